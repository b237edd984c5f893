# SPDX-License-Identifier: Apache-2.0
"""An HTTPS server on this machine, whose certificate one can trust."""

from __future__ import annotations

import json
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class AnsweringServer(ThreadingHTTPServer):
    """Gives prepared answers, by path without its query; the last one again and again.

    Attributes:
        answers: By path, each a status and a body: bytes as they are, anything else as JSON.
        asked: The requests so far: path with its query, and headers.
    """

    daemon_threads = True

    def __init__(self, answers: dict[str, list[tuple[int, Any]]]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers = {path: list(given) for path, given in answers.items()}
        self.asked: list[tuple[str, dict[str, str]]] = []

    @property
    def url(self) -> str:
        """Where it is."""
        return f"https://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: AnsweringServer

    def do_GET(self) -> None:
        self.server.asked.append((self.path, dict(self.headers.items())))
        given = self.server.answers.get(self.path.split("?", 1)[0], [(404, {})])
        status, what = given.pop(0) if len(given) > 1 else given[0]
        body = what if isinstance(what, bytes) else json.dumps(what).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def date_time_string(self, timestamp: float | None = None) -> str:
        """Give every answer the same date: 2026-11-15T08:12:31Z."""
        del timestamp
        return "Sun, 15 Nov 2026 08:12:31 GMT"

    def log_message(self, *_: Any) -> None:
        """Be quiet."""


def certificate(directory: Path) -> Path:
    """Make a certificate of its own for 127.0.0.1; the file has its key, too."""
    file = directory / "server.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(file), "-out", str(directory / "certificate.pem")),
        ],
        check=True,
        capture_output=True,
        timeout=30,
    )
    file.write_text(file.read_text() + (directory / "certificate.pem").read_text(), encoding="utf-8")
    return file


@contextmanager
def https_server(pem: Path, answers: dict[str, list[tuple[int, Any]]]) -> Iterator[AnsweringServer]:
    """Run such a server."""
    server = AnsweringServer(answers)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)
