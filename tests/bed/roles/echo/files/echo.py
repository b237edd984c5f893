# SPDX-License-Identifier: Apache-2.0
"""Answers with what has reached it; /events is a stream whose next event waits for a request, /ws a WebSocket.

Its argument is its port.
"""

from __future__ import annotations

import base64
import hashlib
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WEBSOCKET = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3
go_on = threading.Event()


class Echo(BaseHTTPRequestHandler):
    """Says what was asked."""

    protocol_version = "HTTP/1.1"

    def handle_any(self) -> None:
        """Answer any request."""
        if self.path.endswith("/events"):
            self.events()
        elif self.path.endswith("/ws") and self.headers.get("Upgrade") == "websocket":
            self.web_socket()
        else:
            if self.path.endswith("/next"):
                go_on.set()
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.say({"method": self.command, "path": self.path, "headers": dict(self.headers), "bytes": len(body)})

    def say(self, what: object) -> None:
        """Answer with JSON."""
        content = json.dumps(what).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def events(self) -> None:
        """Two events; the second one comes when somebody has asked for /next."""
        go_on.clear()
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        self.wfile.write(b"data: first\n\n")
        if go_on.wait(30):
            self.wfile.write(b"data: second\n\n")

    def web_socket(self) -> None:
        """The first bytes that arrive go back as they are."""
        key = self.headers["Sec-WebSocket-Key"] + WEBSOCKET
        accept = base64.b64encode(hashlib.sha1(key.encode(), usedforsecurity=False).digest()).decode()
        self.close_connection = True
        self.send_response(101)
        for name, value in (("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", accept)):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(self.connection.recv(1024))

    do_GET = do_POST = do_HEAD = do_PUT = do_DELETE = do_OPTIONS = handle_any  # noqa: N815 - the names are http.server's

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is http.server's
        """Print nothing."""


if __name__ == "__main__":
    ThreadingHTTPServer(("", int(sys.argv[1])), Echo).serve_forever()
