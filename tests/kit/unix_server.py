# SPDX-License-Identifier: Apache-2.0
"""An HTTP server on a Unix socket, as Docker's engine is one."""

from __future__ import annotations

import socket
import socketserver
from http.server import HTTPServer
from typing import Any


class UnixHandler:
    """For request handlers, before ``BaseHTTPRequestHandler``: the client has no address."""

    def address_string(self) -> str:
        """Name the client."""
        return "socket"

    def log_message(self, *_: Any) -> None:
        """Be quiet."""


class UnixServer(HTTPServer):
    """The server; its address is the socket's path."""

    address_family = socket.AF_UNIX

    def server_bind(self) -> None:
        """Bind to the path, of which no host name can be looked up."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "localhost", 0
