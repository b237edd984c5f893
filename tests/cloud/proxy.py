# SPDX-License-Identifier: Apache-2.0
"""A proxy between OpenStack clients and a cloud: counts the requests, and lets some of them go wrong.

One listener for each service. Addresses of services in answers (the catalog, version documents) are replaced by the
proxy's own, so that a client which knows only Keystone's address stays on it.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import openstack.config
import yaml

UPSTREAM_TIMEOUT = 120.0
SILENCE = 60.0  # seconds; clients wait for less
REQUEST_ID = "req-00000000-0000-0000-0000-00000000fa17"


@dataclass(frozen=True)
class Fault:
    """What goes wrong with a request.

    Attributes:
        carried_out: whether the cloud gets the request all the same.
        reset: the connection is reset instead of an answer.
        silent: nothing comes for as long as the client waits; then the connection is closed without an answer.
        status: the HTTP status of the answer; None: the cloud's own.
        body: the answer's body; None: the cloud's own, or that of an OpenStack error.
        headers: more headers of the answer.
        delay: seconds by which the answer is late.
    """

    carried_out: bool = True
    reset: bool = False
    silent: bool = False
    status: int | None = None
    body: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0

    @property
    def spoils(self) -> bool:
        """Whether the client gets another answer than the cloud's own, or none."""
        altered = self.status is not None or self.body is not None
        return not self.carried_out or self.reset or self.silent or altered


@dataclass
class Request:
    """A request as it came to the proxy.

    Attributes:
        service: its type in the catalog.
        method: HTTP method.
        path: with the query.
        at: when it came, in monotonic seconds.
        lost: whether the client got no good answer: it was to go wrong, or the cloud took longer than the client waits.
    """

    service: str
    method: str
    path: str
    at: float
    lost: bool


@dataclass
class Plan:
    """Which requests go wrong, how, and how often. `word`: what the request has to contain."""

    pattern: str
    fault: Fault
    times: int = 1
    word: str = ""

    def hits(self, line: str, body: bytes | None) -> bool:
        """Whether the request ("POST /v2.1/servers") is one of them; counts it."""
        if self.times > 0 and re.search(self.pattern, line) and self.word.encode() in (body or b""):
            self.times -= 1
            return True
        return False


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128
    proxy: Proxy
    service: str
    upstream: tuple[str, int]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is what some tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server
    _hung_up_on = False  # whether the client did not wait for the answer

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (the base class's name)
        """Says nothing."""

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)) or None
        proxy, service = self.server.proxy, self.server.service
        fault = proxy.fault_for(f"{self.command} {self.path.partition('?')[0]}", body)
        lost = fault is not None and fault.spoils
        request = Request(service, self.command, self.path, time.monotonic(), lost)
        with proxy.handling(request):
            if fault is not None:
                self._go_wrong(fault, body)
            else:
                self._answer(*self._forward(body))
            request.lost = request.lost or self._hung_up_on

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_PATCH = _handle  # noqa: N815  (the base class's names)

    def _forward(self, body: bytes | None) -> tuple[int, dict[str, str], bytes]:
        upstream = http.client.HTTPConnection(*self.server.upstream, timeout=UPSTREAM_TIMEOUT)
        try:
            headers = {k: v for k, v in self.headers.items() if k.lower() not in ("host", "connection")}
            upstream.request(self.command, self.path, body, headers)
            answer = upstream.getresponse()
            data = answer.read()
            kept = {k: v for k, v in answer.getheaders() if k.lower() not in HOP_BY_HOP}
            return answer.status, kept, data
        finally:
            upstream.close()

    def _go_wrong(self, fault: Fault, body: bytes | None) -> None:
        status, headers, data = 500, {"Content-Type": "application/json"}, b""
        if fault.carried_out:
            status, headers, data = self._forward(body)
        time.sleep(fault.delay)
        if fault.reset:
            self._reset()
        elif fault.silent:
            self._hung_up(SILENCE)
            self.close_connection = True
        else:
            if fault.status is not None:
                status, headers = (
                    fault.status,
                    {"Content-Type": "application/json", "x-openstack-request-id": REQUEST_ID},
                )
                data = json.dumps({"error": {"message": "it went wrong in the test", "code": status}}).encode()
            if fault.body is not None:
                data = fault.body.encode()
            self._answer(status, {**headers, **fault.headers}, data)

    def _answer(self, status: int, headers: Mapping[str, str], data: bytes) -> None:
        if self._hung_up(0.0):
            self._hung_up_on = self.close_connection = True
            return
        data = self.server.proxy.translate(data)
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, self.server.proxy.translate(value.encode()).decode())
        if status != http.HTTPStatus.NO_CONTENT:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _hung_up(self, seconds: float) -> bool:
        """Whether the client has closed the connection, or does so within some seconds."""
        try:
            readable, _, _ = select.select([self.connection], [], [], seconds)
            return bool(readable) and not self.connection.recv(1, socket.MSG_PEEK)
        except OSError:
            return True

    def _reset(self) -> None:
        """Ends the connection with a reset instead of an orderly close."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.rfile.close()
        self.connection.close()
        self.close_connection = True


HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "server", "date"})


class Proxy:
    """The listeners, what they saw, and what they are to spoil."""

    def __init__(self, upstreams: Mapping[str, tuple[str, int]]) -> None:
        """Args: address and port of each service."""
        self._lock = threading.Condition()
        self._at_work = 0
        self._plans: list[Plan] = []
        self.requests: list[Request] = []
        self._servers = {name: self._listen(name, upstream, 0) for name, upstream in upstreams.items()}
        self._names = {
            f"{host}:{port}".encode(): "{}:{}".format(*self._servers[name].server_address[:2]).encode()
            for name, (host, port) in upstreams.items()
        }

    def _listen(self, name: str, upstream: tuple[str, int], port: int) -> _Server:
        server = _Server(("127.0.0.1", port), _Handler)
        server.proxy, server.service, server.upstream = self, name, upstream
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return server

    def port(self, service: str) -> int:
        """Where the proxy listens for a service."""
        return int(self._servers[service].server_address[1])

    def close(self) -> None:
        """Ends all listeners."""
        for server in self._servers.values():
            server.shutdown()
            server.server_close()

    def translate(self, data: bytes) -> bytes:
        """The services' addresses replaced by the proxy's."""
        for theirs, ours in self._names.items():
            data = data.replace(theirs, ours)
        return data

    @contextlib.contextmanager
    def handling(self, request: Request) -> Iterator[None]:
        """Remembers a request, and that it is not answered yet."""
        with self._lock:
            self.requests.append(request)
            self._at_work += 1
        try:
            yield
        except OSError:
            request.lost = True
            raise
        finally:
            with self._lock:
                self._at_work -= 1
                self._lock.notify_all()

    def settle(self) -> None:
        """Waits until every request is answered, also those that a client does not wait for any more."""
        with self._lock:
            if not self._lock.wait_for(lambda: not self._at_work, UPSTREAM_TIMEOUT):
                raise TimeoutError(f"{self._at_work} request(s) without an answer after {UPSTREAM_TIMEOUT:.0f} s")

    def seen(self, pattern: str) -> list[Request]:
        """The requests whose line ("POST /v2.1/servers") matches."""
        with self._lock:
            return [r for r in self.requests if re.search(pattern, f"{r.method} {r.path.partition('?')[0]}")]

    def forget(self) -> None:
        """Starts to count anew; nothing goes wrong any more."""
        with self._lock:
            self.requests.clear()
            self._plans.clear()

    def fault_for(self, line: str, body: bytes | None) -> Fault | None:
        """What is to go wrong with a request."""
        with self._lock:
            return next((plan.fault for plan in self._plans if plan.hits(line, body)), None)

    @contextlib.contextmanager
    def spoiling(self, *plans: Plan) -> Iterator[None]:
        """Lets requests go wrong as planned; at the end none is under way."""
        self.forget()
        self._plans += plans
        try:
            yield
        finally:
            self.settle()
            self._plans.clear()

    @contextlib.contextmanager
    def refusing(self, service: str) -> Iterator[Callable[[], None]]:
        """Nobody listens for the service, connections are refused, until the value is called."""
        self.forget()
        server = self._servers[service]
        upstream, port = server.upstream, self.port(service)
        server.shutdown()
        server.server_close()

        def listen() -> None:
            if self._servers[service] is server:
                self._servers[service] = self._listen(service, upstream, port)

        try:
            yield listen
        finally:
            listen()


def before_cloud(clouds_yaml: Path, cloud: str, directory: Path) -> tuple[Proxy, Path]:
    """A proxy before every service of a cloud, and a clouds.yaml in the directory that leads there."""
    config = openstack.config.OpenStackConfig(config_files=[str(clouds_yaml)], load_envvars=False)
    session = config.get_one(cloud).get_session()
    auth: Any = session.auth
    upstreams = {}
    for service in auth.get_access(session).service_catalog.catalog:
        url = urlsplit(next(e["url"] for e in service["endpoints"] if e["interface"] == "public"))
        upstreams[service["type"]] = (str(url.hostname), int(url.port or 80))
    proxy = Proxy(upstreams)
    clouds = yaml.safe_load(clouds_yaml.read_text())
    entry = clouds["clouds"][cloud]["auth"]
    entry["auth_url"] = proxy.translate(entry["auth_url"].encode()).decode()
    behind = directory / "clouds.yaml"
    behind.touch(mode=0o600)
    behind.write_text(yaml.safe_dump(clouds))
    return proxy, behind
