# Copyright: (c) 2026, gpuswarm contributors
# SPDX-License-Identifier: Apache-2.0
"""One HTTP request with a time limit for the whole of it, without ``http.client``.

The probe runs every few seconds, and importing ``http.client`` (with ``email``) costs it a third of its CPU time.
HTTP/1.0 (RFC 1945) is enough: the answer ends where the connection ends, and no server may send it in chunks.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from datetime import datetime

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

MAX_BYTES = 64 << 20  # far above the answer for the largest fleet; keeps a mad server from filling the memory


class NoAnswerError(Exception):
    """There was no whole answer within the time limit."""


def get(url: str, headers: Mapping[str, str], timeout: float, cafile: str = "") -> tuple[int, bytes]:
    """Status and body of an ``http`` or ``https`` address.

    :param timeout: seconds for everything together.
    :param cafile: certificates of authorities for ``https``; empty: the system's.
    :raises NoAnswerError: it does not answer, or not in time, or not in HTTP.
    """
    return _request("GET", url, headers, b"", timeout, cafile)[:2]


def get_dated(url: str, headers: Mapping[str, str], timeout: float, cafile: str = "") -> tuple[int, bytes, int | None]:
    """The same with the server's own time: epoch seconds of the answer's header Date, None if it has none."""
    status, body, head = _request("GET", url, headers, b"", timeout, cafile)
    return status, body, _date(head)


def post(url: str, headers: Mapping[str, str], body: bytes, timeout: float, cafile: str = "") -> tuple[int, bytes]:
    """The same for a POST of JSON; without an answer it may have been carried out or not."""
    headers = {**headers, "Content-Type": "application/json", "Content-Length": str(len(body))}
    return _request("POST", url, headers, body, timeout, cafile)[:2]


def _request(
    method: str, url: str, headers: Mapping[str, str], body: bytes, timeout: float, cafile: str
) -> tuple[int, bytes, bytes]:
    deadline = time.monotonic() + timeout
    try:
        scheme, rest = url.split("://", 1)
        authority, slash, path = rest.partition("/")
        host, port = _authority(authority, 443 if scheme == "https" else 80)
        with socket.create_connection((host, port), timeout=timeout) as plain:
            if scheme != "https":
                return _exchange(plain, f"{method} {slash + path or '/'}", authority, headers, body, deadline)
            import ssl  # noqa: PLC0415  (ten milliseconds of CPU time: only when it is needed)

            context = ssl.create_default_context(cafile=cafile or None)
            with context.wrap_socket(plain, server_hostname=host) as secure:
                return _exchange(secure, f"{method} {slash + path or '/'}", authority, headers, body, deadline)
    except (OSError, ValueError) as error:
        raise NoAnswerError(str(error) or type(error).__name__) from error


def get_unix(path: str, target: str, timeout: float) -> tuple[int, bytes]:
    """Status and body of a request to a server behind a UNIX socket.

    :param path: the socket.
    :param target: path and query of the request.
    :param timeout: seconds for everything together.
    :raises NoAnswerError: see ``get``.
    """
    deadline = time.monotonic() + timeout
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout)
            connection.connect(path)
            return _exchange(connection, f"GET {target}", "localhost", {}, b"", deadline)[:2]
    except (OSError, ValueError) as error:
        raise NoAnswerError(str(error) or type(error).__name__) from error


def _authority(text: str, port: int) -> tuple[str, int]:
    """Host and port of an address's middle part, IPv6 in brackets."""
    host, colon, number = text.rpartition(":")
    if not colon or "]" in number:
        return text.strip("[]"), port
    return host.strip("[]"), int(number)


def _exchange(
    connection: socket.socket, what: str, host: str, headers: Mapping[str, str], content: bytes, deadline: float
) -> tuple[int, bytes, bytes]:
    """Status, body and head of the answer."""
    lines = [f"{what} HTTP/1.0", f"Host: {host}", "Accept: application/json", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + content)
    parts: list[bytes] = []
    size = 0
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        connection.settimeout(left)
        part = connection.recv(1 << 16)
        if not part:
            break
        parts.append(part)
        size += len(part)
        if size > MAX_BYTES:
            raise ValueError(f"the answer is longer than {MAX_BYTES} bytes")
    head, blank, body = b"".join(parts).partition(b"\r\n\r\n")
    words = head.split(b"\r\n", 1)[0].split()
    if not blank or len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():
        raise ValueError("the answer is not HTTP")
    length = [line.split(b":", 1)[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    if length and len(body) < int(length[0]):
        raise ValueError(f"the answer breaks off after {len(body)} of {int(length[0])} bytes")
    return int(words[1]), body, head


def _date(head: bytes) -> int | None:
    """Epoch seconds of a header "Date: Tue, 15 Nov 1994 08:12:31 GMT" (RFC 9110); strptime is dear to import."""
    for line in head.split(b"\r\n"):
        name, _colon, value = line.partition(b":")
        if name.strip().lower() != b"date":
            continue
        try:
            _weekday, day, month, year, clock, zone = value.decode("ascii").split()
            if zone == "GMT":
                text = f"{year}-{_MONTHS.index(month) + 1:02}-{day:>02}T{clock}+00:00"
                return int(datetime.fromisoformat(text).timestamp())
        except ValueError:
            return None
    return None
