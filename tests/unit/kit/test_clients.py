"""The official client against gateways that behave and misbehave."""

from __future__ import annotations

import http.server
import itertools
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.kit.answers import Log
from tests.kit.clients import Asker, Client, ask, asking
from tests.kit.waiting import until

PORTS: list[int] = []  # of the clients, one for each question
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


def whole(handler: http.server.BaseHTTPRequestHandler) -> None:
    begin(handler)
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
            PORTS.append(self.client_address[1])
            behave(self)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class calls it so
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("gateway", "stream", "failed", "cut"),
    [
        pytest.param(good, True, False, False, id="good"),
        pytest.param(broken_off, True, False, True, id="broken off"),
        pytest.param(ended_early, True, False, True, id="ended early"),
        pytest.param(half_a_line, True, False, True, id="half a line"),
        pytest.param(refused, True, True, False, id="refused"),
        pytest.param(whole, False, False, False, id="whole"),
        pytest.param(broken_off, False, True, False, id="whole, broken off"),
        pytest.param(half_a_line, False, True, False, id="whole, half a line"),
        pytest.param(ended_early, False, False, True, id="whole, without its end"),
        pytest.param(refused, False, True, False, id="whole, refused"),
    ],
    indirect=["gateway"],
)
def test_how_an_answer_ended(gateway: str, stream: bool, failed: bool, cut: bool, request: Any) -> None:
    answer = ask(gateway, stream=stream)
    assert (answer.failed, answer.cut, answer.complete) == (failed, cut, not (failed or cut)), answer
    assert answer.upstreams == ("10.0.1.5", "10.0.1.6")
    assert answer.status == (503 if "refused" in request.node.callspec.id else 200)
    assert bool(answer.error) == (failed or cut) or answer.cut
    assert answer.asked <= (answer.first or answer.asked) <= answer.ended


def test_no_gateway_at_all() -> None:
    answer = ask("http://127.0.0.1:9")
    assert answer.failed
    assert answer.error
    assert (answer.status, answer.upstreams) == (0, ())


@pytest.mark.parametrize("gateway", [good], indirect=True)
def test_tokens_are_shown_as_they_come(gateway: str) -> None:
    shown: list[str] = []
    ask(gateway, show=shown.append)
    assert shown == ["word ", "word "]


@pytest.mark.parametrize("gateway", [good], indirect=True)
def test_a_client_asks_until_it_is_stopped(gateway: str) -> None:
    log = Log()
    client = Asker(log, gateway)
    client.start()
    until("it has asked", lambda: len(log.answers()) >= 3)
    client.stop()
    count = len(log.answers())
    time.sleep(0.3)
    assert len(log.answers()) == count


@pytest.mark.parametrize("gateway", [whole], indirect=True)
def test_a_client_keeps_its_connection(gateway: str) -> None:
    PORTS.clear()
    with Client(gateway) as client:
        assert [client.ask(stream=False).complete for _ in range(3)] == [True] * 3
    assert len(set(PORTS)) == 1
    PORTS.clear()
    assert all(ask(gateway, stream=False).complete for _ in range(3))
    assert len(set(PORTS)) == 3


TURNS = itertools.count()


def refused_to_some(handler: http.server.BaseHTTPRequestHandler) -> None:
    time.sleep(0.01)
    (good if next(TURNS) % 2 else refused)(handler)


@pytest.mark.parametrize("gateway", [refused_to_some], indirect=True)
def test_threads_that_share_a_client_get_their_own_answers(gateway: str) -> None:
    with Client(gateway) as client, ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: client.ask(), range(40)))
    assert {(answer.status, answer.complete, answer.failed) for answer in answers} == {
        (200, True, False),
        (503, False, True),
    }


@pytest.mark.parametrize("gateway", [good], indirect=True)
@pytest.mark.parametrize("keep", [True, False])
def test_clients_that_keep_asking(gateway: str, keep: bool) -> None:
    PORTS.clear()
    with asking(gateway, streams=(True, True, True), pause_s=0, keep=keep) as log:
        before = log.answers()
        assert len(before) >= 3
    assert len(log.answers()) >= len(before) + 3
    assert log.lost() == []
    assert len(PORTS) == len(log.answers())
    assert len(set(PORTS)) == (3 if keep else len(PORTS))


@pytest.mark.parametrize("gateway", [good], indirect=True)
def test_clients_stop_when_the_test_fails(gateway: str) -> None:
    with pytest.raises(OSError, match="the test's own"), asking(gateway) as log:
        raise OSError("the test's own")
    count = len(log.answers())
    time.sleep(0.3)
    assert len(log.answers()) == count
