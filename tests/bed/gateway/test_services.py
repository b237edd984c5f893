# SPDX-License-Identifier: Apache-2.0
"""A service plugs in by what its own role writes: the role echo of the tests, which no other role knows."""

from __future__ import annotations

import json
import shutil
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from ansible_collections.gpuswarm.ollama.plugins.module_utils._core import backups
from ansible_collections.gpuswarm.ollama.plugins.modules import services_info
from tests.bed.bed import Gateway, gateway_files, run_plays
from tests.bed.conftest import ALICE, ROOT, Cluster
from tests.kit.ansible import changed
from tests.kit.waiting import until

LISTED, PAGE = "https://listed.example", "https://elsewhere.example"
KEY = {"Authorization": f"Bearer {ALICE}"}
BIG = b"x" * (2 * 1024 * 1024)
SERVICES = ("ollama", "echo")


def plain(directory: Path, name: str) -> dict[str, Any]:
    """Variables of a gateway without TLS."""
    return {
        "gateway_tls": False,
        "gateway_api_keys": [{"name": "alice", "key": ALICE}],
        "gateway_admin_keys": [{"name": "root", "key": ROOT}],
        "gateway_max_body_size": "1m",
        "gateway_cors_origins": [LISTED],
        "cluster_configuration_directory": str(directory / name / "etc"),
    }


@dataclass(frozen=True)
class Plugged:
    """Gateways with the service echo, and what the roles have written."""

    directory: Path
    plain: Gateway
    tls: Gateway
    roll: Gateway
    said: str

    def echo(self, method: str, path: str, **options: Any) -> httpx.Response:
        """A request through the gateway without TLS."""
        return self.plain.http.request(method, path, **options)


@pytest.fixture(scope="module")
def plugged(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plugged]:
    directory = tmp_path_factory.mktemp("plugged")
    nodes = {name: cluster.bed.node(f"services-{name}") for name in ("plain", "tls", "roll")}
    variants = {
        "plain": plain(directory, "plain"),
        "tls": {**plain(directory, "tls"), "gateway_tls": True, "gateway_tls_names": [nodes["tls"].address]},
        "roll": {**plain(directory, "roll"), "gateway_update": "roll"},
    }
    # Once more on the first one, and without the service on the last one.
    again = {"plain": variants["plain"]}
    off = {"off": {**variants["roll"], "cluster_directory": str(directory / "roll"), "echo_enabled": False}}
    first, *others = (gateway_files(directory, each, SERVICES) for each in (variants, again, off))
    kept = replace(first, then="cp -a {{ cluster_directory }}/stack/gateway {{ cluster_directory }}/stack/running")
    said = run_plays(directory, [kept, *others])
    service = cluster.bed.node("echo")
    compose = yaml.safe_load((directory / "plain/stack/echo/compose.yml").read_text())
    program = Path(compose["configs"]["echo_program"]["file"])
    [_, _, port] = compose["services"]["echo"]["entrypoint"]
    process = service.start("echo", [sys.executable, program, port])
    gateways = [
        Gateway(nodes[name], directory / name / "stack" / "running", cluster.bed.roots["nginx"]) for name in nodes
    ]
    for gateway in gateways:
        gateway.publish(*cluster.servers)
        gateway.dns.publish("tasks.gpuswarm_echo", [service.address])
    without, tls, roll = gateways
    until("echo answers", lambda: without.http.get("/echo/").is_success and roll.http.get("/echo/").is_success)
    until("echo answers with TLS", lambda: tls.tls().get("/echo/").is_success)
    yield Plugged(directory, without, tls, roll, said)
    process.kill()
    for node in (*nodes.values(), service):
        node.end()


def test_a_service_is_asked_what_the_client_asks(plugged: Plugged) -> None:
    answer = plugged.echo("PUT", "/echo/a%20b/%C3%BC?c=d%2Fe", content=b"body", headers={**KEY, "Origin": PAGE})
    seen = answer.json()
    assert (seen["method"], seen["path"], seen["bytes"]) == ("PUT", "/echo/a%20b/%C3%BC?c=d%2Fe", 4)
    headers = {name.lower(): value for name, value in seen["headers"].items()}
    assert headers["authorization"] == KEY["Authorization"], "it is open: the service has a login of its own"
    assert headers["origin"] == PAGE
    assert headers["host"] == headers["x-forwarded-host"] == f"{plugged.plain.node.address}:8080"
    assert headers["x-forwarded-proto"] == "http"
    assert headers["x-forwarded-prefix"] == "/echo"
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_a_prefix_is_stripped_and_a_key_ends_at_the_gateway(plugged: Plugged) -> None:
    assert plugged.echo("GET", "/stripped/x").status_code == 401
    assert plugged.echo("GET", "/stripped/x", headers={**KEY, "Origin": PAGE}).status_code == 403
    seen = plugged.echo("GET", "/stripped/x/../y?z", headers=KEY).json()
    assert seen["path"] == "/y?z"
    names = {name.lower() for name in seen["headers"]}
    assert "authorization" not in names
    assert seen["headers"]["X-Forwarded-Prefix"] == "/stripped"


def test_pages_of_listed_origins_may_use_what_needs_a_key(plugged: Plugged) -> None:
    asks = {"Origin": LISTED, "Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "authorization"}
    preflight = plugged.echo("OPTIONS", "/stripped/x", headers=asks)
    assert preflight.status_code == 204
    assert "PUT" in preflight.headers["Access-Control-Allow-Methods"]
    answer = plugged.echo("PUT", "/stripped/x", headers={**KEY, "Origin": LISTED})
    assert answer.headers.get_list("Access-Control-Allow-Origin") == [LISTED]
    assert "Origin" not in answer.json()["headers"]


def test_the_address_without_its_slash_leads_there(plugged: Plugged) -> None:
    answer = plugged.tls.tls().get("/echo?a=b")
    assert (answer.status_code, answer.headers["Location"]) == (308, "/echo/?a=b")


def test_methods_and_administrators(plugged: Plugged) -> None:
    assert plugged.echo("GET", "/echo-status", headers=KEY).json()["path"] == "/echo-status"
    refused = plugged.echo("POST", "/echo-status", headers=KEY)
    assert (refused.status_code, refused.headers["Allow"]) == (405, "GET")
    path = "/echo-admin/sha256:" + "0" * 64
    assert plugged.echo("GET", path, headers=KEY).status_code == 403
    assert plugged.echo("GET", path, headers={"Authorization": f"Bearer {ROOT}"}).json()["path"] == path
    assert plugged.echo("GET", "/echo-admin/sha256:x", headers=KEY).status_code == 404


def test_a_route_has_its_own_limit_of_a_body(plugged: Plugged) -> None:
    refused = plugged.echo("POST", "/echo/x", content=BIG)
    assert (refused.status_code, refused.json()) == (413, {"error": "the request is larger than 1m"})
    assert plugged.echo("POST", "/echo/files/x", content=BIG).json()["bytes"] == len(BIG)
    refused = plugged.echo("POST", "/echo/files/x", content=BIG * 2)
    assert (refused.status_code, refused.json()) == (413, {"error": "the request is larger than 3m"})


@pytest.mark.parametrize("tls", [False, True])
def test_events_pass_one_by_one(plugged: Plugged, tls: bool) -> None:
    gateway = plugged.tls if tls else plugged.plain
    client = gateway.tls() if tls else gateway.http
    with client.stream("GET", "/echo/events") as answer:
        events = answer.iter_lines()
        assert next(events) == "data: first"
        # The second one does not come before the first has arrived.
        plugged.plain.http.get("/echo/next")
        assert [line for line in events if line] == ["data: second"]


def test_a_web_socket_passes(plugged: Plugged) -> None:
    request = (
        "GET /echo/ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    with socket.create_connection((plugged.plain.node.address, 8080), timeout=20) as connection:
        connection.sendall(request.encode())
        head = connection.recv(4096).decode()
        assert head.startswith("HTTP/1.1 101 ")
        assert "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head, "RFC 6455, 1.3"
        connection.sendall(b"\x81\x05hello")
        assert connection.recv(1024) == b"\x81\x05hello"


def test_no_other_protocol_passes(plugged: Plugged) -> None:
    asks = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAMAAABkAARAAAAAAAIAAAAA"}
    headers = {
        name.lower(): text for name, text in plugged.echo("GET", "/echo/", headers=asks).json()["headers"].items()
    }
    assert "upgrade" not in headers
    assert headers["connection"] == "close"


def test_models_are_asked_as_before(plugged: Plugged) -> None:
    assert plugged.echo("GET", "/api/version").status_code == 401
    assert plugged.echo("GET", "/api/version", headers=KEY).json()["version"]
    assert plugged.echo("GET", "/ready").is_success
    assert plugged.echo("POST", "/api/generate", headers=KEY, json={"model": "other"}).status_code == 404


def test_a_service_without_a_task_is_503(plugged: Plugged) -> None:
    address = plugged.plain.dns.names["tasks.gpuswarm_echo"]
    plugged.plain.dns.publish("tasks.gpuswarm_echo", [])
    try:
        until("it is gone", lambda: plugged.echo("GET", "/echo/").status_code == 503)
        assert plugged.echo("GET", "/ready").is_success
    finally:
        plugged.plain.dns.publish("tasks.gpuswarm_echo", address)
        until("echo answers", lambda: plugged.echo("GET", "/echo/").is_success)


def test_a_second_run_changes_nothing(plugged: Plugged) -> None:
    # Roles have run twice on the first one.
    assert changed(plugged.said)["plain"] == changed(plugged.said)["roll"] > 0


def test_gateways_that_are_replaced_have_the_same_files(plugged: Plugged) -> None:
    compose = yaml.safe_load((plugged.directory / "roll/stack/gateway/compose.yml").read_text())
    configs = {item["target"] for item in compose["services"]["gateway"]["configs"]}
    assert configs >= {"/gpuswarm/nginx.conf", "/gpuswarm/web.conf"}


def test_what_it_plugs_in_keeps_the_contract(plugged: Plugged) -> None:
    found = services_info.look(plugged.directory / "plain" / "stack", ["ollama", "echo", "gateway"])
    assert found["serves"] == ["tiny"]
    assert [(each["service"], each["port"]) for each in found["targets"]] == [("echo", 8000), ("gateway-metrics", 3903)]
    assert list(found["rules"]) == ["echo"]
    [dashboard] = found["dashboards"]
    assert json.loads(Path(dashboard).read_text())["uid"] == "echo"
    part = (plugged.directory / "plain" / "etc" / "backup.d" / "echo.json").read_text()
    assert backups.part("echo", part).volumes == ("echo",)


def test_it_goes_with_all_that_it_plugged_in_when_it_is_off(plugged: Plugged) -> None:
    there = plugged.directory / "roll"
    assert not (there / "stack/echo").exists()
    assert not (there / "etc/backup.d/echo.json").exists()
    running, kept = there / "stack/running", there / "stack/kept"
    shutil.copytree(running, kept)
    shutil.copytree(there / "stack/gateway", running, dirs_exist_ok=True)
    plugged.roll.reload()
    try:
        for path in ("/echo/", "/echo", "/stripped/", "/echo-status"):
            assert plugged.roll.http.get(path, headers=KEY).json() == {"error": "no such endpoint"}
        assert plugged.roll.http.get("/api/version", headers=KEY).is_success
    finally:
        shutil.copytree(kept, running, dirs_exist_ok=True)
        shutil.rmtree(kept)
        plugged.roll.reload()
    assert plugged.roll.http.get("/echo/").is_success
