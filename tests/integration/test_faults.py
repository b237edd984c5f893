# SPDX-License-Identifier: Apache-2.0
"""Bad weather between the modules and the cloud: a proxy lets single requests, or all of a kind, go wrong.

Whatever happens to a request, a module ends either where it should or with an error that says what was asked, how
often, and what exists now; and there is never a second server, volume or port.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import World, run_module
from .proxy import REQUEST_ID, Fault, Plan, Proxy, before_cloud

READ_TIMEOUT = 2.0  # seconds for one request
WRITE_TIMEOUT = 8.0  # many servers at once make a busy machine answer late
SILENCE = 12.0
BUSY = 10.0  # seconds that a busy machine may take for what should take none
HTML = "<html><head><title>Bad Gateway</title></head><body>upstream went away</body></html>"

RESET_BEFORE = Fault(carried_out=False, reset=True)
RESET_AFTER = Fault(reset=True)
SILENT_BEFORE = Fault(carried_out=False, silent=SILENCE)
SILENT_AFTER = Fault(silent=SILENCE)
UNAUTHORISED = Fault(carried_out=False, status=401)
FORBIDDEN = Fault(carried_out=False, status=403)
CONFLICT = Fault(carried_out=False, status=409)
TOO_MANY = Fault(carried_out=False, status=429, headers={"Retry-After": "1"})
MUCH_TOO_MANY = Fault(carried_out=False, status=429, headers={"Retry-After": "3600"})
ERROR = Fault(carried_out=False, status=500)
ERROR_AFTER = Fault(status=500)
BAD_GATEWAY_AFTER = Fault(status=502, body=HTML, headers={"Content-Type": "text/html"})
UNAVAILABLE = Fault(carried_out=False, status=503, headers={"Retry-After": "1"})
GATEWAY_TIMEOUT_AFTER = Fault(status=504, body="")
MALFORMED = Fault(body='{"server')
SLOW = Fault(delay=READ_TIMEOUT / 4)

TRANSIENT = {
    "reset before": RESET_BEFORE,
    "reset after": RESET_AFTER,
    "silent before": SILENT_BEFORE,
    "silent after": SILENT_AFTER,
    "401": UNAUTHORISED,
    "429": TOO_MANY,
    "500": ERROR,
    "500 after": ERROR_AFTER,
    "502 after": BAD_GATEWAY_AFTER,
    "503": UNAVAILABLE,
    "504 after": GATEWAY_TIMEOUT_AFTER,
    "malformed": MALFORMED,
    "slow": SLOW,
}
every_transient = pytest.mark.parametrize("fault", TRANSIENT.values(), ids=TRANSIENT)


@pytest.fixture(scope="module")
def proxy(cloud_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """The proxy before the whole cloud; from here on the environment names a cloud behind it."""
    file = cloud_environment["OS_CLIENT_CONFIG_FILE"]
    made, behind = before_cloud(Path(file), cloud_environment["OS_CLOUD"], tmp_path_factory.mktemp("behind"))
    os.environ["OS_CLIENT_CONFIG_FILE"] = str(behind)
    yield made
    os.environ["OS_CLIENT_CONFIG_FILE"] = file
    made.close()


def info(world: World, **options: Any) -> dict[str, Any]:
    return run_module("selectel_server_info", fleet=world.fleet, api_timeout=READ_TIMEOUT, **options)


def present(world: World, spec: dict[str, Any]) -> dict[str, Any]:
    return run_module("selectel_server", fleet=world.fleet, api_timeout=WRITE_TIMEOUT, timeout=200, **spec)


def fleet(world: World, specs: list[dict[str, Any]], state: str = "present") -> list[dict[str, Any]]:
    options: dict[str, Any] = {"state": state, "api_timeout": WRITE_TIMEOUT, "timeout": 400}
    did = run_module("selectel_fleet", fleet=world.fleet, servers=specs, **options)
    assert not did.get("failed"), did["msg"]
    servers: list[dict[str, Any]] = did["servers"]
    return servers


@pytest.fixture
def spec(world: World, proxy: Proxy) -> Iterator[dict[str, Any]]:
    found = world.spec("weather")
    yield found
    proxy.forget()
    fleet(world, [found], "absent")
    assert world.counts(found["name"]) == (0, 0, 0)


# -- reads ------------------------------------------------------------------------------------------------------------

LIST = "GET .*/servers/detail$"


@every_transient
def test_a_read_is_repeated(world: World, proxy: Proxy, fault: Fault) -> None:
    info(world)  # there is a token
    with proxy.spoiling(Plan(LIST, fault)):
        did = info(world)
    assert not did.get("failed"), did
    assert len(proxy.seen(LIST)) == (1 if fault is SLOW else 2)
    if "Retry-After" in fault.headers:
        first, second = (request.at for request in proxy.seen(LIST))
        assert second - first >= 1  # as it was asked to
    # Only a token that is refused is asked for anew
    assert len(proxy.seen("POST .*/auth/tokens$")) == (1 if fault is UNAUTHORISED else 0)


def test_a_refused_connection_is_tried_again(world: World, proxy: Proxy) -> None:
    info(world)
    with proxy.refusing("compute", 1.0):
        did = info(world)
    assert not did.get("failed"), did


# For a token, 401 means that the password is wrong
@pytest.mark.parametrize("name", sorted(TRANSIENT.keys() - {"401"}))
def test_a_token_is_asked_for_again(world: World, proxy: Proxy, name: str) -> None:
    fault = TRANSIENT[name]
    with proxy.spoiling(Plan("POST .*/auth/tokens$", fault)):
        did = info(world, token_cache="")
    assert not did.get("failed"), did
    assert len(proxy.seen("POST .*/auth/tokens$")) == (1 if fault is SLOW else 2)


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        (RESET_BEFORE, "unreachable", ["failed 6 time(s)"]),
        (ERROR, "unreachable", ["failed 6 time(s)", "HTTP 500 it went wrong in the test", REQUEST_ID]),
        (BAD_GATEWAY_AFTER, "unreachable", ["HTTP 502 upstream went away"]),
        (MALFORMED, "unreachable", ["not JSON"]),
        (SILENT_BEFORE, "timeout", ["time-out of 7 s"]),
        (MUCH_TOO_MANY, "unreachable", ["failed 1 time(s)", "HTTP 429"]),
        (UNAUTHORISED, "auth", ["token was refused twice"]),
        (FORBIDDEN, "api", ["HTTP 403", "role 'member'", REQUEST_ID]),
        (Fault(body='{"else": 1}'), "unreachable", ["no 'servers'", "OpenStack API"]),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_read_that_keeps_failing(world: World, proxy: Proxy, fault: Fault, kind: str, words: list[str]) -> None:
    info(world)
    limit = 7 if fault is SILENT_BEFORE else 60
    started = time.monotonic()
    with proxy.spoiling(Plan(LIST, fault, 99)):
        did = info(world, timeout=limit)
    assert (did["failed"], did["error_kind"]) == (True, kind), did
    assert time.monotonic() - started < limit + READ_TIMEOUT + BUSY
    where = [] if kind == "timeout" else [f"127.0.0.1:{proxy.port('compute')}", "/servers/detail"]
    for word in ["listing the servers", *where, *words]:
        assert word in did["msg"], did["msg"]


# -- writes -----------------------------------------------------------------------------------------------------------

CREATES = {"port": "POST .*/ports$", "volume": "POST .*/volumes$", "server": "POST .*/servers$"}
ACTION = "POST .*/servers/{}/action$"


def ident(server: dict[str, Any], what: str) -> str:
    return str(server["id"] if what == "server" else server[f"{what}_id"])


@pytest.mark.parametrize("what", CREATES)
def test_what_is_created_or_deleted_is_so_once(world: World, proxy: Proxy, what: str) -> None:
    """One server for each kind of weather, all at once: created, looked at again, deleted."""
    specs = [world.spec(f"{what}-{name.replace(' ', '-')}") for name in TRANSIENT]
    weather = list(zip(specs, TRANSIENT.values(), strict=True))
    plans = [Plan(CREATES[what], fault, word=f'"{spec["name"]}"') for spec, fault in weather]
    with proxy.spoiling(*plans):
        did = fleet(world, specs)
    assert [plan.times for plan in plans] == [0] * len(specs)
    assert {(s["action"], s["changed"], s["server"]["status"]) for s in did} == {("create", True, "ACTIVE")}
    assert {spec["name"]: world.counts(spec["name"]) for spec in specs} == {s["name"]: (1, 1, 1) for s in specs}
    assert {s["action"] for s in fleet(world, specs)} == {"none"}

    ids = [ident(s["server"], what) for s in did]
    plans = [Plan(f"DELETE .*/{one}$", fault) for one, fault in zip(ids, TRANSIENT.values(), strict=True)]
    with proxy.spoiling(*plans):
        gone = fleet(world, specs, "absent")
    assert [plan.times for plan in plans] == [0] * len(specs)
    assert {s["changed"] for s in gone} == {True}
    assert {spec["name"]: world.counts(spec["name"]) for spec in specs} == {s["name"]: (0, 0, 0) for s in specs}


def test_unshelves(world: World, proxy: Proxy) -> None:
    """One shelved server for each kind of weather, and one on which somebody else is acting."""
    faults = {**TRANSIENT, "conflict": CONFLICT}
    specs = [world.spec(f"back-{name.replace(' ', '-')}") for name in faults]
    ids = [s["server"]["id"] for s in fleet(world, specs)]
    for one in ids:
        world.nova.post(f"/servers/{one}/action", json={"shelve": None}, microversion="2.72")
    for one in ids:
        world.wait(one, "SHELVED_OFFLOADED")
    plans = [Plan(ACTION.format(one), fault) for one, fault in zip(ids, faults.values(), strict=True)]
    with proxy.spoiling(*plans):
        did = fleet(world, specs)
    assert [plan.times for plan in plans] == [0] * len(specs)
    assert [(s["server"]["id"], s["server"]["status"]) for s in did] == [(one, "ACTIVE") for one in ids]
    assert {s["action"] for s in did} == {"unshelve"}
    fleet(world, specs, "absent")


def test_a_creation_that_is_refused_leaves_nothing(world: World, proxy: Proxy, spec: dict[str, Any]) -> None:
    with proxy.spoiling(Plan(CREATES["server"], CONFLICT, 99)):
        did = present(world, spec)
    assert (did["failed"], did["changed"], did["error_kind"]) == (True, False, "conflict"), did
    for word in ("creating the server", "HTTP 409", "/servers", REQUEST_ID, "nothing that exists now"):
        assert word in did["msg"]
    assert world.counts(spec["name"]) == (0, 0, 0)


@pytest.mark.parametrize("fault", [ERROR, RESET_BEFORE], ids=["500", "reset"])
def test_a_creation_that_keeps_failing_says_what_exists(
    world: World, proxy: Proxy, spec: dict[str, Any], fault: Fault
) -> None:
    with proxy.spoiling(Plan(CREATES["server"], fault, 99)):
        did = present(world, spec)
    assert (did["failed"], did["error_kind"]) == (True, "unreachable"), did
    (port,), (volume,) = world.ports(spec["name"]), world.volumes(spec["name"])
    words = ["creating the server", "POST", f"127.0.0.1:{proxy.port('compute')}", "looked for"]
    for word in [*words, port["id"], volume["id"], *([REQUEST_ID] if fault is ERROR else [])]:
        assert word in did["msg"], did["msg"]
    assert world.counts(spec["name"]) == (0, 1, 1)
    assert present(world, spec)["server"]["volume_id"] == volume["id"]


def test_polls(world: World, proxy: Proxy, spec: dict[str, Any]) -> None:
    """While a creation is waited for, reads fail."""
    plan = Plan(r"GET .*/servers/[0-9a-f-]{36}$", ERROR, 3)
    with proxy.spoiling(plan):
        did = present(world, spec)
    assert plan.times < 3
    assert (did.get("failed", False), did["server"]["status"]) == (False, "ACTIVE"), did
