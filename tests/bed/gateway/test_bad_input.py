# SPDX-License-Identifier: Apache-2.0
"""What clients should not send: each has its status, and the service stays up for others."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import httpx
import pytest

from tests.bed.bed import Gateway
from tests.bed.conftest import DAVE
from tests.kit.answers import MODEL, question
from tests.kit.waiting import until

QUESTION = question(4)


@pytest.fixture(autouse=True)
def _others_are_served(plain: Gateway) -> Iterator[None]:
    yield
    answer = plain.http.post("/api/generate", json=QUESTION)
    assert answer.json()["done"]
    assert plain.process.running
    assert not [line for line in plain.errors() if "worker process" in line and "exited" in line]


def connect(gateway: Gateway) -> socket.socket:
    return socket.create_connection((gateway.node.address, 8080), timeout=20)


def raw(gateway: Gateway, request: bytes) -> bytes:
    """What comes back for these bytes until the gateway closes the connection."""
    answer = b""
    # nginx closes before it has read all of what it refuses, which resets the connection after the answer.
    with connect(gateway) as connection, suppress(ConnectionResetError):
        connection.sendall(request)
        while part := connection.recv(65536):
            answer += part
    return answer


def status_of(answer: bytes) -> int:
    found = re.match(rb"HTTP/1\.[01] (\d{3}) ", answer)
    assert found, answer[:200]
    return int(found[1])


def get(path: str, *headers: str) -> bytes:
    lines = (f"GET {path} HTTP/1.1", "Host: gateway.example", "Connection: close", *headers, "", "")
    return "\r\n".join(lines).encode("latin-1")


def test_a_body_that_is_too_large(plain: Gateway) -> None:
    answer = plain.http.post("/api/generate", json={**QUESTION, "prompt": "x" * (2 * 1024 * 1024)})
    assert answer.status_code == 413
    assert answer.json() == {"error": "the request is larger than 2m"}


def test_a_chunked_body_that_grows_too_large(plain: Gateway) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(64):
            yield b"x" * 65536

    try:
        status = httpx.post(f"{plain.url}/api/generate", content=endless()).status_code
    except httpx.WriteError:
        status = 413  # the gateway had closed the connection before all was written
    assert status == 413


def test_a_body_larger_than_the_buffer_in_memory_is_passed_on(plain: Gateway) -> None:
    question = {**QUESTION, "system": "word " * 40_000}
    [answer], [line] = plain.exchange({"method": "POST", "url": "/api/generate", "json": question})
    assert answer.json()["done"]
    assert line["model"] == MODEL


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"", 400),
        (b"[]", 400),
        (b'{"model": 5}', 400),
        (b"\xff\xfe\x00", 400),
        (b'{"prompt": "hello"}', 404),
        (b'{"model": "nobody-has-this", "prompt": "hello"}', 404),
        (b'{"model": "../../etc/passwd", "prompt": "hello"}', 404),
    ],
)
def test_malformed_bodies_and_unknown_models(plain: Gateway, body: bytes, status: int) -> None:
    answer = plain.http.post("/api/generate", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]


@pytest.mark.parametrize(
    "path", ["/nowhere", "/api", "/api/", "/api/generate/", "/v1", "/v1/files", "/metrics", "/stub_status"]
)
def test_unknown_paths(plain: Gateway, path: str) -> None:
    answer = plain.http.get(path)
    assert answer.status_code == 404
    assert answer.json() == {"error": "no such endpoint"}


@pytest.mark.parametrize(
    "path",
    [
        "/api/pull",
        "/api/push",
        "/api/create",
        "/api/copy",
        "/api/delete",
        "/api/blobs/sha256:" + "0" * 64,
        "//api//pull",
        "/api/../api/pull",
        "/api/generate/../pull",
        "/api/%70ull",
        "/api%2fpull",
        "/v1/models/../../api/pull",
        "/v1/models/%2e%2e/%2e%2e/api/pull",
        "/v1/models/..%2f..%2fapi/pull",
        "http://gateway.example/api/pull",
        "/api/pull?x=/api/tags",
        "/api/pull#/api/tags",
    ],
)
def test_closed_endpoints_stay_closed_however_they_are_spelt(plain: Gateway, path: str) -> None:
    answer = raw(plain, get(path, "Content-Length: 0"))
    assert status_of(answer) == 403, answer
    assert b'{"error":"this endpoint is closed on the gateway"}' in answer


def test_what_nginx_makes_of_a_path_is_what_ollama_is_asked_for(plain: Gateway) -> None:
    answer = raw(plain, get("/api/pull;/../tags"))
    assert status_of(answer) == 200
    assert b'"models"' in answer


@pytest.mark.parametrize(
    "path",
    ["/api/pull/", "/api/PULL", "/api/pull%00", "/api\\pull", "/api/tags/../pull/x", "/api/pull%20", "/API/tags"],
)
def test_what_only_looks_like_an_endpoint_is_none(plain: Gateway, path: str) -> None:
    assert status_of(raw(plain, get(path))) in (400, 404)


@pytest.mark.parametrize(
    "header",
    [
        "X-Original-URL: /api/pull",
        "X-Rewrite-URL: /api/pull",
        "X-HTTP-Method-Override: DELETE",
        "X-Forwarded-Prefix: /api/pull",
        "X-Forwarded-For: 127.0.0.1",
        "Upgrade: websocket",
    ],
)
def test_headers_lead_nowhere_else(plain: Gateway, header: str) -> None:
    answer = raw(plain, get("/api/version", header))
    assert status_of(answer) == 200
    assert b'"version"' in answer
    assert status_of(raw(plain, get("/api/pull", header))) == 403


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"GET /api/tags HTTP/1.1\r\n\r\n", 400),
        (b"GET /api/tags HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET /api/tags HTTP/9.9\r\nHost: a\r\n\r\n", 505),
        (b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org\r\n\r\n", 405),
        (b"POST /api/generate HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST /api/ps HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST /api/generate HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n", 400),
        (b"POST /api/generate HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: rot13\r\n\r\n", 501),
        (b"GET /" + b"x" * 40_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"GET /api/tags HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 40_000 + b"\r\n\r\n", 431),
    ],
    ids=[
        "TLS", "no host", "two hosts", "no such version", "CONNECT", "negative length", "length and chunks",
        "bad chunk", "unknown coding", "long address", "long header",
    ],
)  # fmt: skip
def test_broken_http(plain: Gateway, request_bytes: bytes, status: int) -> None:
    answer = raw(plain, request_bytes)
    assert status_of(answer) == status, answer[:300]


def test_a_smuggled_request_is_not_answered(plain: Gateway) -> None:
    inner = b"GET /api/pull HTTP/1.1\r\nHost: a\r\n\r\n"
    body = b"0\r\n\r\n" + inner
    head = f"POST /api/show HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = raw(plain, head.encode() + body)
    assert answer.count(b"HTTP/1.1 ") == 1
    assert status_of(answer) == 400


def test_a_client_that_never_sends_its_headers_is_let_go(strict: Gateway) -> None:
    with connect(strict) as connection:
        connection.sendall(b"GET /api/tags HTTP/1.1\r\nHost: a\r\n")
        assert connection.recv(1024) == b""


def test_a_client_that_never_sends_its_body_is_let_go(strict: Gateway) -> None:
    with connect(strict) as connection:
        head = f"POST /api/generate HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {DAVE}\r\nContent-Length: 100\r\n\r\n"
        connection.sendall(head.encode() + b"{")
        assert connection.recv(1024) == b""
    until("it is logged", lambda: ("/api/generate", 408) in [(line["path"], line["status"]) for line in strict.log()])


def test_a_client_that_reads_slowly_holds_up_nobody(plain: Gateway) -> None:
    body = json.dumps(question(2000, stream=True)).encode()
    head = f"POST /api/generate HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with ExitStack() as stack:
        slow = [stack.enter_context(connect(plain)) for _ in range(4)]
        for connection in slow:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            connection.sendall(head + body)
            assert connection.recv(100)
        for _ in range(10):
            assert plain.http.post("/api/generate", json=QUESTION).json()["done"]


def test_thousands_of_idle_connections(plain: Gateway) -> None:
    with ExitStack() as stack:
        for _ in range(5000):
            stack.enter_context(connect(plain))
        for _ in range(10):
            assert httpx.post(f"{plain.url}/api/generate", json=QUESTION, timeout=30).json()["done"]
