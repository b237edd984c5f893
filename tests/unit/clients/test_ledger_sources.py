"""The questions about what is billed, against a real HTTP server."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from ansible_collections.gpuswarm.ollama.plugins.module_utils._clients.ledger_sources import LedgerSources, UntoldError


class Handler(BaseHTTPRequestHandler):
    answers: dict[str, tuple[int, Any]]

    def do_GET(self) -> None:
        status, body = self.answers.get(self.path, (404, {}))
        version = "compute 2.72" if self.path.startswith("/compute/") else None
        right = self.headers["X-Auth-Token"] == "t" and self.headers["OpenStack-API-Version"] == version
        self.send_response(status if right else 401)
        self.end_headers()
        self.wfile.write(body if isinstance(body, bytes) else json.dumps(body).encode())

    def log_message(self, *_: Any) -> None:
        """Be quiet."""


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[LedgerSources]:
    monkeypatch.setattr(Handler, "answers", {}, raising=False)
    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    catalog = [
        {"type": kind, "endpoints": [{"interface": "public", "region": "r", "url": f"{url}/{kind}/v2.1"}]}
        for kind in ("compute", "volumev3", "network")
    ]
    yield LedgerSources("t", catalog, "r")
    server.shutdown()
    server.server_close()


def test_actions(cloud: LedgerSources) -> None:
    Handler.answers["/compute/v2.1/servers/a/os-instance-actions"] = (200, {"instanceActions": [{"action": "create"}]})
    assert cloud.actions("a") == [{"action": "create"}]
    assert cloud.actions("purged") is None
    Handler.answers["/compute/v2.1/servers/b/os-instance-actions"] = (403, {})
    assert cloud.actions("b") is None


def test_volumes_are_listed_to_their_end(cloud: LedgerSources) -> None:
    first = "/volumev3/v2.1/volumes/detail?limit=1000"
    Handler.answers[first] = (200, {"volumes": [{"id": "a"}, {"id": "b"}], "volumes_links": [{"rel": "next"}]})
    Handler.answers[f"{first}&marker=b"] = (200, {"volumes": [{"id": "c"}]})
    assert [volume["id"] for volume in cloud.volumes()] == ["a", "b", "c"]
    # One that never ends is no list.
    Handler.answers[f"{first}&marker=b"] = Handler.answers[first]
    with pytest.raises(UntoldError, match="there are more than 40"):
        cloud.volumes()


def test_floating_ips(cloud: LedgerSources) -> None:
    Handler.answers["/network/v2.1/floatingips"] = (200, {"floatingips": []})
    assert cloud.floating_ips() == []


@pytest.mark.parametrize(
    "answer", [(200, b"<html>"), (200, []), (200, {"floatingips": 1}), (401, {}), (503, {}), (404, {"floatingips": []})]
)
def test_what_is_no_list_is_no_knowledge(cloud: LedgerSources, answer: tuple[int, Any]) -> None:
    Handler.answers["/network/v2.1/floatingips"] = answer
    with pytest.raises(UntoldError, match="the cloud does not tell the floating IPs"):
        cloud.floating_ips()


def test_a_cloud_without_the_service() -> None:
    with pytest.raises(UntoldError, match="catalog has no volume service"):
        LedgerSources("t", []).volumes()


def test_nobody_there() -> None:
    point = {"interface": "public", "region": "r", "url": "http://127.0.0.1:1/v2.1"}
    with pytest.raises(UntoldError, match="the actions of the server a"):
        LedgerSources("t", [{"type": "compute", "endpoints": [point]}]).actions("a")
