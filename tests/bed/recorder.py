# SPDX-License-Identifier: Apache-2.0
"""A server in Ollama's place that prints what reaches it, for what no real one says: exactly which bytes those were.

Its argument is a file with what it does: ``answer``, ``full`` and ``crash`` as Ollama answers then, ``close`` without
an answer.
"""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ANSWERS = {
    "answer": (200, {"done": True, "response": ""}),
    "full": (503, {"error": "server busy, please try again.  maximum pending requests exceeded"}),
    "crash": (500, {"error": "llama runner process has terminated: exit status 2"}),
}


class Recorder(BaseHTTPRequestHandler):
    """Prints a line of JSON for each request but those of the readiness."""

    protocol_version = "HTTP/1.1"

    def handle_any(self) -> None:
        """Answer any request."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        what = Path(sys.argv[1]).read_text(encoding="utf-8")
        if self.path == "/api/version":
            what = "answer"
        else:
            seen = {"method": self.command, "path": self.path, "headers": dict(self.headers.items()), "body": body}
            print(json.dumps(seen), flush=True)
        if what == "close":
            self.close_connection = True
            return
        status, answer = ANSWERS[what]
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_HEAD = do_OPTIONS = handle_any  # noqa: N815 - the names are http.server's

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is http.server's
        """Print nothing else."""


if __name__ == "__main__":
    ThreadingHTTPServer(("", 11434), Recorder).serve_forever()
