"""Questions to Docker: against a real socket with a server behind it that answers like Docker, or not."""

from __future__ import annotations

import json
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.gpuswarm.ollama.plugins.module_utils._clients import docker as docker_api
from ansible_collections.gpuswarm.ollama.plugins.module_utils._clients.docker import DockerSilentError
from tests.kit.unix_server import UnixHandler, UnixServer

SERVICES = [{"ID": "s1", "Spec": {"Name": "gpuswarm_ollama"}}, {"ID": "s2", "Spec": {"Name": "gpuswarm_gateway"}}]


class Docker(UnixHandler, BaseHTTPRequestHandler):
    answers: dict[str, tuple[int, bytes]]
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        status, body = self.answers.get(self.path.partition("?")[0], (404, b'{"message": "page not found"}'))
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)


Answering = Callable[[dict[str, tuple[int, bytes]]], str]


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Answering]:
    path = str(tmp_path / "docker.sock")
    server = UnixServer(path, Docker)  # type: ignore[arg-type]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()

    def answer(answers: dict[str, tuple[int, bytes]]) -> str:
        monkeypatch.setattr(Docker, "answers", answers, raising=False)
        monkeypatch.setattr(Docker, "asked", [], raising=False)
        return path

    yield answer
    server.shutdown()
    server.server_close()


def test_nodes(docker: Answering) -> None:
    assert docker_api.nodes(path=docker({"/nodes": (200, b'[{"ID": "n"}]')})) == [{"ID": "n"}]


def test_tasks_of_one_service_are_asked_for_by_its_id(docker: Answering) -> None:
    path = docker({"/services": (200, json.dumps(SERVICES).encode()), "/tasks": (200, b'[{"ID": "t"}]')})
    assert docker_api.tasks(["gpuswarm_ollama"], path=path) == [{"ID": "t"}]
    query = urllib.parse.parse_qs(urllib.parse.urlsplit(Docker.asked[-1]).query)
    assert json.loads(query["filters"][0]) == {"service": {"s1": True}}
    assert docker_api.tasks(path=path) == [{"ID": "t"}]
    assert Docker.asked[-1] == "/tasks"


def test_a_service_that_does_not_exist_has_no_tasks(docker: Answering) -> None:
    path = docker({"/services": (200, b"[]")})
    assert docker_api.tasks(["gpuswarm_ollama"], path=path) == []


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((503, b'{"message": "This node is not a swarm manager."}'), "HTTP 503: This node is not a swarm manager."),
        ((500, b"[]"), "HTTP 500"),
        ((200, b'{"a": 1}'), "HTTP 200"),
        ((200, b"<html>"), "cannot be parsed"),
    ],
)
def test_what_is_no_list_is_no_knowledge(docker: Answering, answer: tuple[int, bytes], words: str) -> None:
    with pytest.raises(DockerSilentError, match=words):
        docker_api.nodes(path=docker({"/nodes": answer}))


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(DockerSilentError, match="does not answer"):
        docker_api.nodes(path=str(tmp_path / "none"))
    with pytest.raises(OSError, match="No such file"):
        next(docker_api.node_events(path=str(tmp_path / "none")))


def event(**attributes: str) -> dict[str, Any]:
    return {"Type": "node", "Action": "update", "Actor": {"ID": "n", "Attributes": attributes}}


def test_events(docker: Answering) -> None:
    events = [event(name="g1", **{"state.old": "ready", "state.new": "down"}), event(name="g1")]
    path = docker({"/events": (200, "".join(json.dumps(item) + "\n" for item in events).encode())})
    assert list(docker_api.node_events(path=path)) == events
    query = urllib.parse.parse_qs(urllib.parse.urlsplit(Docker.asked[-1]).query)
    assert json.loads(query["filters"][0]) == {"type": ["node"]}


@pytest.mark.parametrize(
    ("found", "name"),
    [
        (event(name="g1", **{"state.old": "ready", "state.new": "down"}), "g1"),
        (event(name="g1", **{"state.old": "down", "state.new": "ready"}), ""),
        (event(name="g1", **{"availability.old": "active", "availability.new": "drain"}), ""),
        ({"Type": "node", "Actor": {}}, ""),
        ({}, ""),
    ],
)
def test_went_down(found: dict[str, Any], name: str) -> None:
    assert docker_api.went_down(found) == name
