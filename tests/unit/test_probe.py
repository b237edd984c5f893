"""The probe: when it asks for a run, which token it takes, and that a silent cloud is no reason to act."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.gpuswarm.ollama.plugins.module_utils import probe
from ansible_collections.gpuswarm.ollama.plugins.module_utils.diagnosis import Verdict

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def verdict(step: str, stale: tuple[str, ...] = ()) -> Verdict:
    return Verdict(server="demo-gpu-1", verdict="v", step=step, reason="r", stale_node_ids=list(stale))


@pytest.mark.parametrize(
    ("step", "stale", "reasons"),
    [
        ("none", (), 0),
        ("wait", (), 0),
        ("report", (), 0),
        ("restore", (), 1),
        ("converge", (), 1),
        ("none", ("old",), 1),
        ("restore", ("old",), 2),
    ],
)
def test_worth_a_run(step: str, stale: tuple[str, ...], reasons: int) -> None:
    assert len(probe.worth_a_run([verdict(step, stale)])) == reasons


def save_token(
    folder: Path, url: str = "http://127.0.0.1:1", left: float = 3600, name: str = "a", mode: int = 0o600
) -> Path:
    catalog = [{"type": "compute", "endpoints": [{"interface": "public", "region": "r", "url": url}]}]
    expires = (NOW + timedelta(seconds=left)).strftime("%Y-%m-%dT%H:%M:%S.000000Z")
    state = json.dumps({"auth_token": f"secret-{name}", "body": {"token": {"expires_at": expires, "catalog": catalog}}})
    file = folder / f"token-{name}.json"
    file.write_text(json.dumps({"auth_state": state}), encoding="utf-8")
    file.chmod(mode)
    return file


def test_a_good_token_is_taken(tmp_path: Path) -> None:
    save_token(tmp_path)
    token, catalog = probe.read_token(str(tmp_path), NOW)
    assert token == "secret-a"
    assert catalog[0]["type"] == "compute"


def test_an_expired_token_does_not_hide_a_good_one(tmp_path: Path) -> None:
    save_token(tmp_path, name="good")
    save_token(tmp_path, name="old", left=30)
    assert probe.read_token(str(tmp_path), NOW)[0] == "secret-good"


@pytest.mark.parametrize("case", ["none", "expired", "damaged", "readable by others"])
def test_no_token_that_can_be_used(tmp_path: Path, case: str) -> None:
    if case == "expired":
        save_token(tmp_path, left=59)
    if case == "damaged":
        save_token(tmp_path).write_text('{"auth_state": "{', encoding="utf-8")
    if case == "readable by others":
        save_token(tmp_path, mode=0o644)
    with pytest.raises(probe.NoTokenError):
        probe.read_token(str(tmp_path), NOW)


class Handler(BaseHTTPRequestHandler):
    status = 200
    body = b"{}"

    def do_GET(self) -> None:
        self.send_response(self.status if self.headers["X-Auth-Token"] == "secret-a" else 401)
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: Any) -> None:
        """Be quiet."""


@pytest.fixture
def config(tmp_path: Path) -> Iterator[dict[str, Any]]:
    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    save_token(tmp_path, f"http://127.0.0.1:{server.server_port}/v2.1")
    yield {"fleet": "demo", "region": "r", "token_cache": str(tmp_path)}
    server.shutdown()
    server.server_close()


def test_only_the_fleets_servers_are_listed(config: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    servers = [
        {"id": "1", "name": "demo-gpu-1", "status": "SHELVED", "metadata": {"gpuswarm_fleet": "demo"}},
        {"id": "2", "name": "somebody-elses", "status": "ACTIVE"},
    ]
    monkeypatch.setattr(Handler, "body", json.dumps({"servers": servers}).encode())
    assert [(found["name"], found["status"]) for found in probe.list_servers(config, NOW)] == [
        ("demo-gpu-1", "SHELVED")
    ]


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (401, b"{}", probe.NoTokenError),
        (503, b"", probe.SilentError),
        (404, b"<html>", probe.SilentError),
        (200, b"<html>", probe.SilentError),
        (200, b"[]", probe.SilentError),
        (200, b"{}", probe.SilentError),
    ],
)
def test_what_is_no_list_is_no_knowledge(
    config: dict[str, Any], monkeypatch: pytest.MonkeyPatch, status: int, body: bytes, error: type[Exception]
) -> None:
    monkeypatch.setattr(Handler, "status", status)
    monkeypatch.setattr(Handler, "body", body)
    with pytest.raises(error):
        probe.list_servers(config, NOW)


def test_nobody_there(tmp_path: Path) -> None:
    save_token(tmp_path)
    with pytest.raises(probe.SilentError, match="does not answer"):
        probe.list_servers({"fleet": "demo", "region": "r", "token_cache": str(tmp_path)}, NOW)
