# SPDX-License-Identifier: Apache-2.0
"""Bad weather between the modules and the cloud: a proxy lets single requests, or all of a kind, go wrong.

Whatever happens to a request, a module ends either where it should or with an error that says what was asked, how
often, and what exists now; and there is never a second server, volume or port.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.gpuswarm.ollama.plugins.module_utils._clients import cloud
from ansible_collections.gpuswarm.ollama.plugins.module_utils._clients.retry import Failure, next_delay
from tests.cloud.conftest import World, run_module
from tests.cloud.proxy import REQUEST_ID, Fault, Plan, Proxy, Request, before_cloud

# Seconds for one request where nothing may come as its answer, and where anything comes
SHORT, LONG = 2.0, 60.0
WRITE_TIMEOUT = 8.0  # seconds for one of the requests of many servers at once
HTML = "<html><head><title>Bad Gateway</title></head><body>upstream went away</body></html>"

RESET_BEFORE = Fault(carried_out=False, reset=True)
RESET_AFTER = Fault(reset=True)
SILENT_BEFORE = Fault(carried_out=False, silent=True)
SILENT_AFTER = Fault(silent=True)
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
SLOW = Fault(delay=0.5)

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
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OS_CLIENT_CONFIG_FILE", str(behind))
        yield made
    made.close()


def info(world: World, fault: Fault | None = None, **options: Any) -> dict[str, Any]:
    """Reads the servers, in a weather."""
    patience = SHORT if fault is not None and fault.silent else LONG
    return run_module("selectel_server_info", fleet=world.fleet, api_timeout=patience, **options)


def present(world: World, spec: dict[str, Any]) -> dict[str, Any]:
    return run_module("selectel_server", fleet=world.fleet, api_timeout=LONG, timeout=400, **spec)


def fleet(world: World, specs: list[dict[str, Any]], state: str = "present") -> list[dict[str, Any]]:
    options: dict[str, Any] = {"state": state, "api_timeout": WRITE_TIMEOUT, "timeout": 900}
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


def none_too_many(requests: list[Request]) -> bool:
    """Whether there is one request with a good answer, the last, and before it none but those that had none."""
    return [request.lost for request in requests] == [True] * (len(requests) - 1) + [False]


@every_transient
def test_a_read_is_repeated(world: World, proxy: Proxy, fault: Fault) -> None:
    info(world)  # there is a token
    plan = Plan(LIST, fault)
    with proxy.spoiling(plan):
        did = info(world, fault)
    assert not did.get("failed"), did
    assert plan.times == 0
    assert none_too_many(proxy.seen(LIST))
    assert proxy.seen(LIST)[0].lost is (fault is not SLOW)
    if "Retry-After" in fault.headers:
        first, second = (request.at for request in proxy.seen(LIST))
        assert second - first >= 1  # as it was asked to
    # Only a token that is refused is asked for anew
    tokens = proxy.seen("POST .*/auth/tokens$")
    assert none_too_many(tokens) if fault is UNAUTHORISED else not tokens


@pytest.mark.usefixtures("short_pauses")
def test_a_refused_connection_is_tried_again(world: World, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    info(world)
    failures: list[Failure] = []
    with proxy.refusing("compute") as listen:

        def seen(failure: Failure, attempt: int, *, repeatable: bool) -> float | None:
            failures.append(failure)
            if attempt == 2:
                listen()
            return next_delay(failure, attempt, repeatable=repeatable)

        monkeypatch.setattr(cloud, "next_delay", seen)
        did = info(world)
    assert not did.get("failed"), did
    assert failures == [Failure(sent=False)] * 2
    assert none_too_many(proxy.seen(LIST))


# For a token, 401 means that the password is wrong
@pytest.mark.parametrize("name", sorted(TRANSIENT.keys() - {"401"}))
def test_a_token_is_asked_for_again(world: World, proxy: Proxy, name: str) -> None:
    fault = TRANSIENT[name]
    plan = Plan("POST .*/auth/tokens$", fault)
    with proxy.spoiling(plan):
        did = info(world, fault, token_cache="")
    assert not did.get("failed"), did
    assert plan.times == 0
    tokens = proxy.seen("POST .*/auth/tokens$")
    assert none_too_many(tokens)
    assert tokens[0].lost is (fault is not SLOW)


@pytest.mark.parametrize(
    ("fault", "tries", "kind", "words"),
    [
        (RESET_BEFORE, 6, "unreachable", ["failed 6 time(s)"]),
        (ERROR, 6, "unreachable", ["failed 6 time(s)", "HTTP 500 it went wrong in the test", REQUEST_ID]),
        (BAD_GATEWAY_AFTER, 6, "unreachable", ["HTTP 502 upstream went away"]),
        (MALFORMED, 6, "unreachable", ["not JSON"]),
        (MUCH_TOO_MANY, 1, "unreachable", ["failed 1 time(s)", "HTTP 429"]),
        (UNAUTHORISED, 2, "auth", ["token was refused twice"]),
        (FORBIDDEN, 1, "api", ["HTTP 403", "role 'member'", REQUEST_ID]),
        (Fault(body='{"else": 1}'), 6, "unreachable", ["no 'servers'", "OpenStack API"]),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
@pytest.mark.usefixtures("short_pauses")
def test_a_read_that_keeps_failing(
    world: World, proxy: Proxy, fault: Fault, tries: int, kind: str, words: list[str]
) -> None:
    info(world)
    with proxy.spoiling(Plan(LIST, fault, 99)):
        did = info(world)
    assert (did["failed"], did["error_kind"]) == (True, kind), did
    assert len(proxy.seen(LIST)) == tries
    for word in ["listing the servers", f"127.0.0.1:{proxy.port('compute')}", "/servers/detail", *words]:
        assert word in did["msg"], did["msg"]


def test_the_time_out_ends_a_read_that_gets_no_answer(world: World, proxy: Proxy) -> None:
    info(world)
    with proxy.spoiling(Plan(LIST, SILENT_BEFORE, 99)):
        did = info(world, SILENT_BEFORE, timeout=3 * SHORT)
    assert (did["failed"], did["error_kind"]) == (True, "timeout"), did
    assert 1 <= len(proxy.seen(LIST)) <= 3  # each of them waits for its own time-out
    for word in ("listing the servers", f"time-out of {3 * SHORT:.0f} s"):
        assert word in did["msg"], did["msg"]


# -- writes -----------------------------------------------------------------------------------------------------------

CREATES = {"port": "POST .*/ports$", "volume": "POST .*/volumes$", "server": "POST .*/servers$"}
ACTION = "POST .*/servers/{}/action$"


def ident(server: dict[str, Any], what: str) -> str:
    return str(server["id"] if what == "server" else server[f"{what}_id"])


def test_what_is_created_brought_back_or_deleted_is_so_once(world: World, proxy: Proxy) -> None:
    """One server for each kind of weather, all at once.

    The weather strikes at each of the steps in which a server is created, looked at again, brought back and deleted.
    Another server has somebody else acting on it while it is brought back.
    """
    weather = {f"sky-{name.replace(' ', '-')}": fault for name, fault in TRANSIENT.items()}
    specs = [world.spec(name) for name in (*weather, "sky-conflict")]
    names = [spec["name"] for spec in specs]
    struck = dict(zip(names, weather.values(), strict=False))
    plans = {
        (what, name): Plan(pattern, fault, word=f'"{name}"')
        for what, pattern in CREATES.items()
        for name, fault in struck.items()
    }
    with proxy.spoiling(*plans.values()):
        did = fleet(world, specs)
    assert [key for key, plan in plans.items() if plan.times] == []
    assert {(s["action"], s["changed"], s["server"]["status"]) for s in did} == {("create", True, "ACTIVE")}
    assert world.counts_of(names) == dict.fromkeys(names, (1, 1, 1))
    assert {s["action"] for s in fleet(world, specs)} == {"none"}

    servers = {s["name"]: s["server"] for s in did}
    ids = [servers[name]["id"] for name in names]
    world.shelve(ids)
    actions = {
        name: Plan(ACTION.format(servers[name]["id"]), fault) for name, fault in {**struck, names[-1]: CONFLICT}.items()
    }
    with proxy.spoiling(*actions.values()):
        back = fleet(world, specs)
    assert [name for name, plan in actions.items() if plan.times] == []
    assert [(s["server"]["id"], s["server"]["status"]) for s in back] == [(one, "ACTIVE") for one in ids]
    assert {s["action"] for s in back} == {"unshelve"}
    assert world.counts_of(names) == dict.fromkeys(names, (1, 1, 1))

    plans = {
        (what, name): Plan(f"DELETE .*/{ident(servers[name], what)}$", fault)
        for what in CREATES
        for name, fault in struck.items()
    }
    with proxy.spoiling(*plans.values()):
        gone = fleet(world, specs, "absent")
    assert [key for key, plan in plans.items() if plan.times] == []
    assert {s["changed"] for s in gone} == {True}
    world.nothing_left(names)


def test_a_creation_that_is_refused_leaves_nothing(world: World, proxy: Proxy, spec: dict[str, Any]) -> None:
    with proxy.spoiling(Plan(CREATES["server"], CONFLICT, 99)):
        did = present(world, spec)
    assert (did["failed"], did["changed"], did["error_kind"]) == (True, False, "conflict"), did
    for word in ("creating the server", "HTTP 409", "/servers", REQUEST_ID, "nothing that exists now"):
        assert word in did["msg"]
    assert world.counts(spec["name"]) == (0, 0, 0)


@pytest.mark.parametrize("fault", [ERROR, RESET_BEFORE], ids=["500", "reset"])
@pytest.mark.usefixtures("short_pauses")
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
