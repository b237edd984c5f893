# SPDX-License-Identifier: Apache-2.0
"""What of a client's request reaches Ollama, and how often: no client changes what others get."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.bed import recorder
from tests.bed.bed import Gateway, Node, Process
from tests.bed.conftest import ALICE, Cluster
from tests.bed.gateway.test_bad_input import raw, status_of
from tests.kit.answers import MODEL, upstreams
from tests.kit.waiting import until

FULL_NAME = "registry.ollama.ai/library/TINY:latest"
PAGE = "https://chat.example"
KEY = {"Authorization": f"Bearer {ALICE}"}
ASK: dict[str, Any] = {"model": MODEL, "prompt": "hello"}


class Server:
    """A recorder in a node of its own."""

    def __init__(self, node: Node, directory: Path) -> None:
        self.address = node.address
        self.state = directory / node.name
        self.does("answer")
        self.process: Process = node.start("recorder", [sys.executable, Path(recorder.__file__), self.state])
        self._read = 0

    def does(self, what: str) -> None:
        """From now on, see `recorder`."""
        self.state.write_text(what, encoding="utf-8")

    def requests(self) -> list[dict[str, Any]]:
        """What has reached it since the last call."""
        lines = self.process.output().splitlines()
        new, self._read = lines[self._read :], len(lines)
        return [json.loads(line) for line in new]


class Recorded:
    """The guarded gateway before three recorders."""

    def __init__(self, gateway: Gateway, servers: list[Server]) -> None:
        self.gateway = gateway
        self.servers = servers

    def does(self, *what: str) -> None:
        """What the servers do from now on, one after another."""
        for server, one in zip(self.servers, what, strict=True):
            server.does(one)

    def reached(self) -> list[dict[str, Any]]:
        """What has reached any of them since the last call."""
        return [request for server in self.servers for request in server.requests()]

    def ask(self, content: bytes | str, path: str = "/api/generate", **headers: str) -> httpx.Response:
        return self.gateway.http.post(path, content=content, headers={**KEY, **headers})

    def tried(self, times: int) -> list[tuple[str, ...]]:
        """Asks so many times, and is answered; the servers that were tried each time."""
        answers = [self.ask(json.dumps(ASK)) for _ in range(times)]
        assert [answer.status_code for answer in answers] == [200] * times
        return [upstreams(answer.headers["X-Served-By"]) for answer in answers]


@pytest.fixture(scope="module")
def three(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorded]:
    directory = tmp_path_factory.mktemp("recorders")
    nodes = [cluster.bed.node(f"recorder-{number}") for number in (1, 2, 3)]
    servers = [Server(node, directory) for node in nodes]
    gateway = cluster.gateways["guarded"]
    gateway.dns.publish("tasks.gpuswarm_ollama", [server.address for server in servers])
    recorded = Recorded(gateway, servers)
    addresses = {server.address for server in servers}
    until("nginx asks all of them", lambda: {server for [server] in recorded.tried(9)} == addresses)
    yield recorded
    gateway.publish(*cluster.servers)
    for node in nodes:
        node.end()


@pytest.fixture
def recorded(three: Recorded) -> Iterator[Recorded]:
    three.reached()
    yield three
    three.does("answer", "answer", "answer")


PASSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "as it is": ('{"model":"tiny","prompt":"hello"}', ASK, ""),
    "model last": ('{"prompt":"hello","model":"tiny"}', ASK, ""),
    "unload": ('{"model":"tiny","keep_alive":0}', {"model": MODEL}, "keep_alive"),
    "both": (
        '{ "options" : {"num_ctx": 1}, "keep_alive":-1 , "model":"tiny" }',
        {"options": {}, "model": MODEL},
        "keep_alive, options.num_ctx",
    ),
    "reload": (
        '{"model":"tiny","options":{"num_ctx":131072,"temperature":0,"num_batch":1}}',
        {"model": MODEL, "options": {"temperature": 0}},
        "options.num_ctx, options.num_batch",
    ),
    "allowed by the operator": (
        '{"model":"tiny","options":{"num_thread":1}}',
        {"model": MODEL, "options": {"num_thread": 1}},
        "",
    ),
    "no options": ('{"model":"tiny","options":null}', {"model": MODEL, "options": None}, ""),
    "a name in full": (json.dumps({"model": FULL_NAME}), {"model": FULL_NAME}, ""),
    "quotes and brackets in words": (
        '{"model":"tiny","prompt":"\\\\","system":"}]\\"{[","keep_alive":0,"stop":["]"]}',
        {"model": MODEL, "prompt": "\\", "system": '}]"{[', "stop": ["]"]},
        "keep_alive",
    ),
    "only a word": ('{"model":"tiny","prompt":"\\"keep_alive\\":0"}', {"model": MODEL, "prompt": '"keep_alive":0'}, ""),
    "larger than the buffer": (
        json.dumps({"prompt": "x" * 1_500_000, "model": MODEL, "keep_alive": 0}),
        {"prompt": "x" * 1_500_000, "model": MODEL},
        "keep_alive",
    ),
    "no body": ("", {}, ""),
}  # fmt: skip


@pytest.mark.parametrize("case", PASSED)
def test_what_reaches_ollama(recorded: Recorded, case: str) -> None:
    sent, expected, ignored = PASSED[case]
    answer = recorded.ask(sent)
    assert answer.status_code == 200, answer.text
    assert answer.headers.get("X-Gateway-Ignored", "") == ignored
    [request] = recorded.reached()
    assert (json.loads(request["body"]) if request["body"] else {}) == expected


def test_a_chunked_body_is_looked_at_too(recorded: Recorded) -> None:
    parts = [b'{"model":"tiny",', b'"prompt":"' + b"x" * 200_000 + b'",', b'"keep_alive":0}']
    answer = recorded.gateway.http.post("/api/generate", content=iter(parts), headers=KEY)
    assert answer.headers["X-Gateway-Ignored"] == "keep_alive"
    [request] = recorded.reached()
    assert "keep_alive" not in request["body"]


@pytest.mark.parametrize(
    ("sent", "status", "words"),
    [
        ('{"model":"tiny","Keep_Alive":0}', 400, '"Keep_Alive" must be written keep_alive'),
        ('{"model":"tiny","\u212aeep_alive":0}', 400, "must be written keep_alive"),
        ('{"model":"tiny","option\u017f":{"num_ctx":1}}', 400, "must be written options"),
        ('{"model":"tiny","MODEL":"other"}', 400, '"MODEL" must be written model'),
        ('{"model":"tiny","options":{"Num_ctx":1}}', 400, '"options.Num_ctx" must be written options.num_ctx'),
        ('{"model":"tiny","options":{"num_gpu":0}}', 400, "options.num_gpu is the operator's to set"),
        ('{"keep_alive":-1,"model":"tiny","keep_alive":"5m"}', 400, "keep_alive must not stand twice"),
        ('{"model":"tiny","options":{"num_ctx":1},"options":{"seed":1}}', 400, "options must not stand twice"),
        ('{"model":"tiny","options":{"num\\u005fgpu":0}}', 400, "options.num_gpu is the operator's to set"),
        ('{"model":"tiny","prompt":"no end}', 400, "a string does not end"),
        ('{"model":"tiny","prompt":["no end"', 400, "an object or a list does not end"),
        ('{"model":"tiny",}', 400, "a name is missing"),
        ('{"model":"tiny","options":[{"num_ctx":1}]}', 400, "options must be an object"),
        ('{"model":"other:7b"}', 404, "model 'other:7b' not found: the gateway serves tiny"),
        ('{"model":["tiny"]}', 400, "model must be a string"),
        ('{"model":"tiny"} {"model":"other"}', 400, "there is something after it"),
        ('[{"model":"tiny"}]', 400, "the body must be a JSON object: it must be an object"),
    ],
)
def test_what_is_refused_is_said(recorded: Recorded, sent: str, status: int, words: str) -> None:
    answer = recorded.ask(sent.encode())
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/json")
    assert words in answer.json()["error"]
    assert recorded.reached() == []


def test_a_compressed_body_is_refused(recorded: Recorded) -> None:
    for coding in ("gzip", "zstd", "gzip, identity"):
        answer = recorded.ask(b"\x1f\x8b", **{"Content-Encoding": coding})
        assert (answer.status_code, answer.json()["error"]) == (415, "the body must not be compressed")
    assert recorded.ask(json.dumps(ASK), **{"Content-Encoding": "identity"}).status_code == 200


def test_deep_bodies_are_passed_on(recorded: Recorded) -> None:
    deep: Any = {"type": "string"}
    for _ in range(25):
        deep = {"type": "object", "properties": {"x": deep}}
    body = {"model": MODEL, "tools": [deep]}
    assert recorded.ask(json.dumps(body)).status_code == 200
    [request] = recorded.reached()
    assert json.loads(request["body"]) == body


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/messages", "/v1/chat/completions", "/api/embed"])
def test_every_endpoint_that_runs_a_model_is_guarded(recorded: Recorded, path: str) -> None:
    assert recorded.ask('{"model":"other"}', path).status_code == 404
    assert recorded.ask('{"model":"tiny","keep_alive":0}', path).headers["X-Gateway-Ignored"] == "keep_alive"
    [request] = recorded.reached()
    assert (request["path"], json.loads(request["body"])) == (path, {"model": MODEL})


def test_what_only_reads_may_name_any_model(recorded: Recorded) -> None:
    assert recorded.ask('{"model":"other"}', "/api/show").status_code == 200
    assert recorded.gateway.http.get("/v1/models/other:7b", headers=KEY).status_code == 200
    assert [request["path"] for request in recorded.reached()] != []


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("GET", "/api/generate", "POST"), ("DELETE", "/v1/models/tiny", "GET, HEAD"), ("POST", "/api/tags", "GET, HEAD")],
)
def test_methods(recorded: Recorded, method: str, path: str, allowed: str) -> None:
    answer = recorded.gateway.http.request(method, path, headers=KEY)
    assert (answer.status_code, answer.headers["Allow"]) == (405, allowed)
    assert answer.json() == {"error": "this method is not allowed here"}
    assert recorded.reached() == []


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"x-api-key": ALICE}, 200),
        ({"x-api-key": "wrong"}, 401),
        ({"x-api-key": "wrong", **KEY}, 200),
        ({"x-api-key": ALICE, "Authorization": "Bearer wrong"}, 401),
    ],
)
def test_a_key_may_come_as_x_api_key_and_ends_here(recorded: Recorded, headers: dict[str, str], status: int) -> None:
    answer = recorded.gateway.http.post("/api/generate", json=ASK, headers=headers)
    assert answer.status_code == status
    for request in recorded.reached():
        assert not {"x-api-key", "authorization", "origin"} & {name.lower() for name in request["headers"]}


def test_a_page_asks_first(recorded: Recorded) -> None:
    asked = {
        "Origin": PAGE,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    answer = recorded.gateway.http.options("/v1/chat/completions", headers=asked)
    assert answer.status_code == 204
    assert answer.headers["Access-Control-Allow-Origin"] == PAGE
    assert answer.headers["Access-Control-Allow-Methods"] == "POST"
    assert answer.headers["Access-Control-Allow-Headers"] == "authorization,content-type"
    assert answer.headers["Vary"] == "Origin"
    assert recorded.reached() == []


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [("/api/tags", KEY, 200), ("/api/tags", {}, 401), ("/nowhere", KEY, 404), ("/api/generate", KEY, 405)],
)
def test_a_page_reads_answers_and_errors(recorded: Recorded, path: str, headers: dict[str, str], status: int) -> None:
    answer = recorded.gateway.http.get(path, headers={"Origin": PAGE, **headers})
    assert answer.status_code == status
    assert answer.headers.get_list("Access-Control-Allow-Origin") == [PAGE]
    assert "Retry-After" in answer.headers["Access-Control-Expose-Headers"]
    assert all("origin" not in map(str.lower, request["headers"]) for request in recorded.reached())


def test_other_pages_are_refused(recorded: Recorded) -> None:
    for origin in ("https://evil.example", "https://chat.example.evil.example", "http://chat.example", "null"):
        for method in ("GET", "OPTIONS"):
            asked = {"Origin": origin, "Access-Control-Request-Method": "GET", **KEY}
            answer = recorded.gateway.http.request(method, "/api/tags", headers=asked)
            assert answer.status_code == 403, origin
            assert "gateway_cors_origins" in answer.json()["error"]
            assert "Access-Control-Allow-Origin" not in answer.headers
    assert recorded.reached() == []


def test_the_gateways_own_pages_need_no_list(recorded: Recorded) -> None:
    own = {"Host": "llm.example:8443", "Origin": "https://llm.example:8443", **KEY}
    assert recorded.gateway.http.get("/api/tags", headers=own).status_code == 200


def test_http_1_0_without_a_host(recorded: Recorded) -> None:
    answer = raw(recorded.gateway, f"GET /api/tags HTTP/1.0\r\nx-api-key: {ALICE}\r\n\r\n".encode())
    assert status_of(answer) == 200
    [request] = recorded.reached()
    assert request["headers"]["Host"] == "localhost"


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"POST /api/chat HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
        (b"GET /api/tags HTTP/9.9\r\nHost: a\r\n\r\n", 505),
        (b"GET /api/tags%0a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 404),
        (b"GET /v1/models/x%0ay HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 404),
    ],
)
def test_nginx_errors_are_json(recorded: Recorded, request_bytes: bytes, status: int) -> None:
    answer = raw(recorded.gateway, request_bytes)
    assert status_of(answer) == status, answer
    if status != 505:  # nginx takes the request for one of HTTP/0.9 and sends the body alone or nothing
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]


def test_full_servers_are_told_by_the_gateway_and_not_marked(recorded: Recorded) -> None:
    recorded.does("full", "full", "full")
    answer = recorded.ask(json.dumps(ASK))
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "30")
    assert "no server can answer at the moment" in answer.json()["error"]
    assert len(recorded.reached()) <= 4, "each is asked, the first one perhaps twice"
    recorded.does("answer", "answer", "answer")
    tried = recorded.tried(9)
    assert {len(servers) for servers in tried} == {1}
    assert len(set(tried)) == 3


def test_the_one_that_is_not_full_is_found(recorded: Recorded) -> None:
    recorded.does("full", "answer", "full")
    tried = recorded.tried(9)
    assert {servers[-1] for servers in tried} == {recorded.servers[1].address}
    assert len({servers[0] for servers in tried}) == 3, "nobody is marked as down"


def test_a_crash_is_bettered_by_another_server(recorded: Recorded) -> None:
    recorded.does("crash", "answer", "answer")
    tried = recorded.tried(9)
    assert max(len(servers) for servers in tried) <= 3
    assert recorded.servers[0].address not in {servers[-1] for servers in tried}
    assert sum(len(servers) > 1 for servers in tried) >= 2, "it is not marked as down, and asked again"


def test_what_crashes_everywhere_is_told_in_ollamas_words(recorded: Recorded) -> None:
    recorded.does("crash", "crash", "crash")
    answer = recorded.ask(json.dumps(ASK))
    assert (answer.status_code, answer.json()) == recorder.ANSWERS["crash"]
    assert len(recorded.reached()) <= 3


def test_what_kills_servers_reaches_no_more_than_any_other_request(recorded: Recorded) -> None:
    recorded.does("close", "close", "close")
    answer = recorded.ask(json.dumps(ASK))
    assert answer.status_code == 503
    assert len(recorded.reached()) == 3
