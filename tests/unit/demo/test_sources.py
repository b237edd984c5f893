"""The official client against gateways that behave and misbehave."""

from __future__ import annotations

import http.server
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from demo.model import JournalSeen, NodeSeen, TaskSeen
from demo.sources import Asker, Log, ManagerWatcher, ask

Behave = Callable[[http.server.BaseHTTPRequestHandler], None]


def chunk(handler: http.server.BaseHTTPRequestHandler, data: bytes) -> None:
    handler.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
    handler.wfile.flush()


def begin(handler: http.server.BaseHTTPRequestHandler, status: int = 200) -> None:
    handler.send_response(status)
    handler.send_header("X-Served-By", "10.0.1.5:11434, 10.0.1.6:11434")
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()


def part(*, done: bool) -> bytes:
    return json.dumps({"model": "tiny", "response": "word ", "done": done}).encode() + b"\n"


def good(handler: http.server.BaseHTTPRequestHandler) -> None:
    begin(handler)
    chunk(handler, part(done=False))
    chunk(handler, part(done=True))
    chunk(handler, b"")


def broken_off(handler: http.server.BaseHTTPRequestHandler) -> None:
    begin(handler)
    chunk(handler, part(done=False))
    handler.connection.shutdown(socket.SHUT_RDWR)


def ended_early(handler: http.server.BaseHTTPRequestHandler) -> None:
    begin(handler)
    chunk(handler, part(done=False))
    chunk(handler, b"")


def half_a_line(handler: http.server.BaseHTTPRequestHandler) -> None:
    begin(handler)
    chunk(handler, part(done=False))
    chunk(handler, b'{"model": "ti')
    chunk(handler, b"")


def refused(handler: http.server.BaseHTTPRequestHandler) -> None:
    begin(handler, 503)
    chunk(handler, b'{"error":"no server can answer at the moment"}')
    chunk(handler, b"")


@pytest.fixture
def gateway(request: pytest.FixtureRequest) -> Iterator[str]:
    behave: Behave = request.param

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            behave(self)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class calls it so
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("gateway", "failed", "cut"),
    [
        pytest.param(good, False, False, id="good"),
        pytest.param(broken_off, False, True, id="broken off"),
        pytest.param(ended_early, False, True, id="ended early"),
        pytest.param(half_a_line, False, True, id="half a line"),
        pytest.param(refused, True, False, id="refused"),
    ],
    indirect=["gateway"],
)
def test_how_an_answer_ended(gateway: str, failed: bool, cut: bool) -> None:
    answer = ask(gateway, "tiny")
    assert (answer.failed, answer.cut, answer.complete) == (failed, cut, not (failed or cut))
    assert answer.upstreams == ("10.0.1.5", "10.0.1.6")
    assert bool(answer.error) == (failed or cut) or answer.cut
    assert answer.asked <= (answer.first or answer.asked) <= answer.ended


def test_no_gateway_at_all() -> None:
    answer = ask("http://127.0.0.1:9", "tiny")
    assert answer.failed
    assert answer.error


@pytest.mark.parametrize("gateway", [good], indirect=True)
def test_tokens_are_shown_as_they_come(gateway: str, capsys: pytest.CaptureFixture[str]) -> None:
    ask(gateway, "tiny", show=True)
    assert capsys.readouterr().out == "word word "


@pytest.mark.parametrize("gateway", [good], indirect=True)
def test_a_client_asks_until_it_is_stopped(gateway: str) -> None:
    log = Log()
    client = Asker(log, 1, gateway, "tiny")
    client.start()
    deadline = time.monotonic() + 10
    while len(log.answers()) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    client.stop()
    count = len(log.answers())
    assert count >= 3
    time.sleep(0.3)
    assert len(log.answers()) == count


def test_what_the_manager_tells_becomes_observations(tmp_path: Path) -> None:
    lines = [
        {"kind": "node", "epoch": 1.0, "node_id": "n1", "hostname": "gpu-1", "state": "ready"},
        {
            "kind": "task",
            "epoch": 2.0,
            "task_id": "t1",
            "hostname": "gpu-1",
            "state": "running",
            "addresses": ["10.0.1.5"],
        },
        {"kind": "journal", "epoch": 3.0, "phase": "noticed", "server": "gpu-1", "detail": ""},
        {"kind": "error", "epoch": 3.5, "detail": "the engine is busy"},
        {"kind": "alive", "epoch": 3.5, "answered": False},
        {"kind": "alive", "epoch": 4.0, "answered": True},
    ]
    output = tmp_path / "output"
    output.write_text("motd\n" + "".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    log = Log()
    watcher = ManagerWatcher(log, ["sh", "-c", f"cat {output}; sleep 60", "ssh"], "/journal")
    watcher.start()
    assert watcher.fed.wait(10)
    watcher.stop()
    assert log.observations() == [
        NodeSeen(1.0, "n1", "gpu-1", "ready"),
        TaskSeen(2.0, "t1", "gpu-1", "running", ("10.0.1.5",)),
        JournalSeen(3.0, "noticed", "gpu-1"),
    ]


def test_a_session_that_breaks_is_told() -> None:
    log = Log()
    watcher = ManagerWatcher(log, ["sh", "-c", "echo 'No route to host' >&2; exit 255", "ssh"], "/journal")
    watcher.start()
    deadline = time.monotonic() + 10
    while not log.troubles() and time.monotonic() < deadline:
        time.sleep(0.02)
    watcher.stop()
    assert "No route to host" in log.troubles()["manager"]
