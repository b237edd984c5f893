"""The one GET request: against a real socket, also one that answers badly, slowly or not at all."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ansible_collections.gpuswarm.ollama.plugins.module_utils._clients import http
from ansible_collections.gpuswarm.ollama.plugins.module_utils._clients.http import (
    NoAnswerError,
    get,
    get_dated,
    get_unix,
    post,
)


@contextmanager
def answering(*parts: bytes, pause: float = 0.0, path: Path | None = None) -> Iterator[tuple[str, list[bytes]]]:
    """A server for one connection, that sends the parts with pauses between them."""
    asked: list[bytes] = []
    server = socket.socket(socket.AF_UNIX if path else socket.AF_INET)
    server.bind(str(path) if path else ("127.0.0.1", 0))
    server.listen()
    server.settimeout(5)

    def serve() -> None:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        with connection:
            asked.append(connection.recv(65536))
            for part in parts:
                try:
                    connection.sendall(part)
                except OSError:
                    return
                time.sleep(pause)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield (str(path) if path else f"http://127.0.0.1:{server.getsockname()[1]}"), asked
    finally:
        server.close()
        thread.join(timeout=5)


def test_an_answer_in_pieces() -> None:
    with answering(b"HTTP/1.1 200 O", b"K\r\nContent-Length: 4\r\n\r\nab", b"cd") as (url, asked):
        assert get(f"{url}/a/b?c=d", {"X-Auth-Token": "t"}, 5) == (200, b"abcd")
    head = asked[0].decode().split("\r\n")
    assert head[0] == "GET /a/b?c=d HTTP/1.0"
    assert "X-Auth-Token: t" in head
    assert f"Host: {url.removeprefix('http://')}" in head


def test_a_post_carries_its_body() -> None:
    with answering(b"HTTP/1.0 202 Accepted\r\n\r\n") as (url, asked):
        assert post(f"{url}/a", {"X-Auth-Token": "t"}, b'{"b": null}', 5) == (202, b"")
    head, _, body = asked[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /a HTTP/1.0\r\n")
    assert b"Content-Length: 11" in head
    assert body == b'{"b": null}'


def test_no_path_and_no_length() -> None:
    with answering(b"HTTP/1.0 404 Not Found\r\n\r\ngone") as (url, asked):
        assert get(url, {}, 5) == (404, b"gone")
    assert asked[0].startswith(b"GET / HTTP/1.0\r\n")


def test_unix_socket(tmp_path: Path) -> None:
    with answering(b"HTTP/1.0 200 OK\r\n\r\n[]", path=tmp_path / "s") as (path, asked):
        assert get_unix(path, "/nodes", 5) == (200, b"[]")
    assert asked[0].startswith(b"GET /nodes HTTP/1.0\r\n")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "not HTTP"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "not HTTP"),
        (b"HTTP/1.1 OK\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", "breaks off after 3 of 10 bytes"),
    ],
)
def test_what_is_no_answer(answer: bytes, words: str) -> None:
    with answering(answer) as (url, _), pytest.raises(NoAnswerError, match=words):
        get(url, {}, 5)


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(NoAnswerError, match="refused"):
        get("http://127.0.0.1:1", {}, 5)
    with pytest.raises(NoAnswerError, match="No such file"):
        get_unix(str(tmp_path / "none"), "/", 5)
    with pytest.raises(NoAnswerError):
        get("http://127.0.0.1:port/", {}, 5)


def test_a_server_that_drips_does_not_hold_up() -> None:
    dripping = [b"HTTP/1.1 200 OK\r\n\r\n"] + [b"."] * 50
    with answering(*dripping, pause=0.05) as (url, _), pytest.raises(NoAnswerError, match="timed out"):
        get(url, {}, 0.3)


def test_a_server_that_never_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MAX_BYTES", 1000)
    with answering(b"HTTP/1.1 200 OK\r\n\r\n" + b"." * 2000) as (url, _), pytest.raises(NoAnswerError, match="longer"):
        get(url, {}, 5)


@pytest.mark.parametrize(
    ("authority", "expected"),
    [
        ("cloud.example", ("cloud.example", 443)),
        ("cloud.example:8774", ("cloud.example", 8774)),
        ("[2001:db8::1]", ("2001:db8::1", 443)),
        ("[2001:db8::1]:8774", ("2001:db8::1", 8774)),
    ],
)
def test_authority(authority: str, expected: tuple[str, int]) -> None:
    assert http._authority(authority, 443) == expected


@pytest.mark.parametrize(
    ("head", "moment"),
    [
        (b"Date: Tue, 01 Dec 2026 00:00:40 GMT", 1_796_083_240),
        (b"Server: x\r\ndate:Tue, 1 Dec 2026 00:00:40 GMT", 1_796_083_240),
        (b"Date: Tue, 01 Dez 2026 00:00:40 GMT", None),
        (b"Date: Tue, 01 Dec 2026 00:00:40 CET", None),
        (b"Date: now", None),
        (b"Server: x", None),
    ],
)
def test_the_time_of_the_one_who_answers(head: bytes, moment: int | None) -> None:
    with answering(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\nbody") as (url, _):
        assert get_dated(url, {}, 5) == (200, b"body", moment)
