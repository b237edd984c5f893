# SPDX-License-Identifier: Apache-2.0
"""A runner that hangs is found by what it does; what takes long, and what waits its turn, is left alone."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from lab.gpuswarm_lab.steps import StepLog
from tests.bed.bed import Ollama, stopped, store_of
from tests.bed.conftest import Cluster
from tests.bed.models.real_models import CHAT, store
from tests.kit.answers import MODEL, question
from tests.kit.waiting import until

pytestmark = pytest.mark.usefixtures("new_nodes_end")

Start = Callable[..., Ollama]
HUNG = f"hung: {CHAT} does not answer, and its runner computes nothing"


@pytest.fixture
def start(cluster: Cluster) -> Start:
    """Start a server with one model; the usual one answers at length."""

    def started(name: str, model: str = CHAT, **environment: str) -> Ollama:
        node, root = cluster.bed.node(name), cluster.bed.roots["ollama"]
        if model == CHAT:
            shutil.copytree(store(StepLog(cluster.bed.directory / "models.log"), root), store_of(node))
            environment["OLLAMA_NEW_ENGINE"] = "true"  # the other one aborts on it
        server = Ollama(
            node, cluster.directory / "plain" / "stack" / "ollama", root, None, 0,
            GPUSWARM_MODELS=model, **environment,
        )  # fmt: skip
        server.wait_until_healthy()
        return server

    return started


def story(*, stream: bool, tokens: int = 1500) -> dict[str, Any]:
    return question(tokens, model=CHAT, prompt="Tell me a very long story about a sailor.", stream=stream)


@contextmanager
def waiting_client(server: Ollama) -> Iterator[Iterator[str]]:
    """A client has got a part of an answer, and waits for more."""
    with httpx.stream("POST", f"{server.url}/api/generate", json=story(stream=True), timeout=60) as answer:
        lines = answer.iter_lines()
        assert not json.loads(next(lines))["done"]
        yield lines


def found(server: Ollama) -> list[str]:
    """What it has logged about runners that hang."""
    return [line for line in server.process.output().splitlines() if "computes nothing" in line]


def asked_itself(server: Ollama) -> int:
    """How often it was asked something from inside of its container."""
    lines = server.process.output().splitlines()
    return len([line for line in lines if "127.0.0.1 | POST" in line and "/api/generate" in line])


def test_a_runner_that_is_stopped_is_out_of_traffic_and_replaced(start: Start) -> None:
    server = start("gpu-hung")
    with waiting_client(server), server.frozen("runner"):
        # The benchmark of the gateway measures it; here others may use the machine.
        assert server.wait_until_unhealthy(40) == HUNG
        # What Swarm does then. The client that still waits must not keep it.
        server.process.send(signal.SIGTERM)
        server.process.wait(30)
    server.restart()
    server.wait_until_healthy()


def test_a_runner_that_goes_on_is_left_alone_again(start: Start) -> None:
    server = start("gpu-halting", GPUSWARM_HUNG_SECONDS="2")
    with waiting_client(server):
        with server.frozen("runner"):
            until("it is found", lambda: found(server))
            assert server.health() == (False, HUNG)
        server.wait_until_healthy("ready", 30)
    assert len(found(server)) == 1
    assert asked_itself(server) <= 4, "questions pile up"


@contextmanager
def slowed(server: Ollama) -> Iterator[None]:
    """Its runner computes a fifth of the time: what would take seconds takes minutes, and costs the machine little."""
    over = threading.Event()

    def halt() -> None:
        while not over.wait(0.1):
            with stopped(server.pids("runner")):  # none while it is replaced
                over.wait(0.4)

    with ThreadPoolExecutor(1) as halting:
        halted = halting.submit(halt)
        try:
            yield
        finally:
            over.set()
            halted.result()


def healths(server: Ollama, seconds: float) -> set[tuple[bool, str]]:
    """What the health check says in that time."""
    end = time.monotonic() + seconds
    said = set()
    while time.monotonic() < end:
        said.add(server.health())
        time.sleep(0.5)
    return said


# As a minute to the ten seconds after which an operator's server hangs.
PATIENCE, LONG = 3, 18


# The full minute is thorough: the shorter one is the same in the gate.
@pytest.mark.parametrize(("patience", "long"), [(PATIENCE, LONG), pytest.param(10, 60, marks=pytest.mark.thorough)])
def test_a_long_prompt_is_left_alone(start: Start, patience: int, long: int) -> None:
    server = start(f"gpu-long-{long}", GPUSWARM_HUNG_SECONDS=str(patience), OLLAMA_NUM_PARALLEL="1")
    prompt = question(1, model=CHAT, prompt="The sailor saw the sea. " * 1200)
    with ThreadPoolExecutor(1) as client, slowed(server):
        waiting = client.submit(httpx.post, f"{server.url}/api/generate", json=prompt, timeout=3 * long)
        assert healths(server, long) == {(True, "ready")}
        assert not waiting.done(), "its evaluation did not take so long"
        server.process.kill()
    assert found(server) == []


def test_a_full_queue_is_left_alone(start: Start) -> None:
    server = start("gpu-full", GPUSWARM_HUNG_SECONDS=str(PATIENCE), OLLAMA_NUM_PARALLEL="1", OLLAMA_MAX_QUEUE="1")
    # Whoever wants another context waits for the long answers to end, and all others behind him.
    long, other = story(stream=False), {**story(stream=False), "options": {"num_ctx": 1024}}
    questions = [long, long, long, other, other, other, other]

    def ask(body: dict[str, Any]) -> int:
        try:
            return httpx.post(f"{server.url}/api/generate", json=body, timeout=60).status_code
        except httpx.HTTPError:
            return 0

    with ThreadPoolExecutor(len(questions)) as clients, slowed(server):
        asked = []
        for body in questions:
            asked.append(clients.submit(ask, body))
            time.sleep(0.3)
        until("the queue is full", lambda: [one for one in asked if one.done() and one.result() == 503])
        assert {healthy for healthy, _ in healths(server, LONG)} == {True}
        assert [one for one in asked if not one.done()], "nobody waited so long"
        server.process.kill()
    assert found(server) == []


def test_a_client_that_does_not_read_is_what_is_waited_for(start: Start) -> None:
    server = start("gpu-unread", MODEL, GPUSWARM_HUNG_SECONDS="2", OLLAMA_NUM_PARALLEL="1")
    body = json.dumps(question(400, stream=True))
    head = f"POST /api/generate HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        client.connect((server.node.address, 11434))
        client.sendall((head + body).encode())
        client_port = str(client.getsockname()[1])

        def unread() -> bool:
            connection = server.node.run("ss", "-Htn", "state", "established", "dport", "=", f":{client_port}")
            return int(connection.split()[1]) > 0

        until("it does not read", unread)
        # As the runner does by itself when its answers are not taken any more.
        with server.frozen("runner"):
            assert healths(server, 6) == {(True, "ready")}
    assert found(server) == []
