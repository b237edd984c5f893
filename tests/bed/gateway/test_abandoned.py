# SPDX-License-Identifier: Apache-2.0
"""Clients that leave before an answer has ended: Ollama must not notice, or it loses a turn for good (issue 17131)."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.bed.bed import Gateway, Ollama
from tests.bed.conftest import ALICE, Cluster
from tests.kit.answers import question
from tests.kit.waiting import until

SHORT = question(40, stream=True)
LONG = question(2000, stream=True)
LASTING = question(400)
# What has been asked before is computed to its end first.
ANSWERED_WITHIN_S = 60.0


@pytest.fixture
def crowd() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(24) as made:
        yield made


def leave(url: str, lines: int, body: dict[str, Any] = SHORT) -> str:
    """Read some lines of a stream, and leave; the address of who has answered."""
    with httpx.Client(timeout=60) as client, client.stream("POST", f"{url}/api/generate", json=body) as answer:
        answer.raise_for_status()
        for number, _ in enumerate(answer.iter_lines()):
            if number == lines:
                break
        return str(answer.headers["X-Served-By"]).rpartition(":")[0]


def is_answered(url: str) -> bool:
    try:
        answer = httpx.post(f"{url}/api/generate", json=question(1), timeout=ANSWERED_WITHIN_S)
    except httpx.TimeoutException:
        return False
    return answer.is_success and answer.json()["done"] is True


def all_turns_are_left(servers: tuple[Ollama, ...]) -> None:
    """Each server does as many at a time as it did when it was new."""
    until("all is computed", lambda: sum(server.clients() for server in servers) == 0, 120)
    for server in servers:
        turns = int(server.service["environment"]["OLLAMA_NUM_PARALLEL"])
        with ThreadPoolExecutor(turns) as pool:
            # One answer that lasts keeps each turn but the last.
            lasting = [
                pool.submit(httpx.post, f"{server.url}/api/generate", json=LASTING, timeout=60)
                for _ in range(turns - 1)
            ]
            assert is_answered(server.url)
            assert all(item.result().is_success for item in lasting)


def test_abandoned_streams_cost_nobody_an_answer(plain: Gateway, cluster: Cluster, crowd: ThreadPoolExecutor) -> None:
    list(crowd.map(leave, [plain.url] * 240, [0, 1, 2] * 80))
    assert list(crowd.map(is_answered, [plain.url] * 30)) == [True] * 30
    all_turns_are_left(cluster.servers)


def test_neither_do_those_of_http2(secured: Gateway, cluster: Cluster, crowd: ThreadPoolExecutor) -> None:
    """The end of a stream is no end of its connection there, and seen at once."""

    def leave_after(seconds: float) -> str:
        command = [
            "curl", "--silent", "--insecure", "--no-buffer", "--http2", "--max-time", str(seconds), "--output",
            "/dev/null", "--write-out", "%{http_version}", "--header", f"Authorization: Bearer {ALICE}", "--data",
            json.dumps(SHORT), f"{secured.tls_url}/api/generate",
        ]  # fmt: skip
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stdout

    assert "2" in set(crowd.map(leave_after, [0.05, 0.1, 0.2, 0.4] * 30))
    all_turns_are_left(cluster.servers)


def test_those_that_leave_the_queue_cost_nobody_an_answer(
    plain: Gateway, cluster: Cluster, crowd: ThreadPoolExecutor
) -> None:
    server = cluster.servers[0]
    plain.dns.publish("tasks.gpuswarm_ollama", [server.node.address])
    until("nginx asks only this one", lambda: {plain.ask().server for _ in range(6)} == {server.node.address})
    with server.frozen():

        def wait_and_leave(_: int) -> None:
            with pytest.raises(httpx.TimeoutException):
                httpx.post(f"{plain.url}/api/generate", json=SHORT, timeout=1)

        list(crowd.map(wait_and_leave, range(24)))
    all_turns_are_left((server,))


def test_a_server_that_computes_for_nobody_is_busy(plain: Gateway, cluster: Cluster) -> None:
    until("nothing is computed", lambda: sum(server.clients() for server in cluster.servers) == 0, 120)
    busy = leave(plain.url, 4, LONG)
    [server] = [server for server in cluster.servers if server.node.address == busy]
    with server.frozen():
        assert server.clients() == 1
        assert busy not in {plain.ask().server for _ in range(6)}
    until("it is computed to its end", lambda: server.clients() == 0, 120)


def test_nothing_is_awaited_from_a_server_that_vanished(plain: Gateway, cluster: Cluster) -> None:
    until("nothing is computed", lambda: sum(server.clients() for server in cluster.servers) == 0, 120)
    address = leave(plain.url, 4, LONG)
    [server] = [server for server in cluster.servers if server.node.address == address]

    def awaited() -> str:
        return plain.node.run("ss", "-Htn", "state", "established", "dst", f"{address}:11434")

    with server.frozen():
        assert awaited()
        server.node.vanish()
        try:
            until("the gateway knows", lambda: not awaited(), 10)
        finally:
            server.node.come_back()
    until("the server knows", lambda: server.clients() == 0, 120)


@pytest.mark.parametrize("event", ["reload", "stop"])
def test_a_gateway_that_is_replaced_reads_to_the_end(plain: Gateway, cluster: Cluster, event: str) -> None:
    until("nothing is computed", lambda: sum(server.clients() for server in cluster.servers) == 0, 120)
    busy = leave(plain.url, 4, LONG)
    [server] = [server for server in cluster.servers if server.node.address == busy]
    if event == "reload":
        with server.frozen():
            plain.reload()
            assert server.clients() == 1
    else:
        plain.process.send(signal.SIGQUIT)  # as its service is stopped
        plain.process.wait(120)
        plain.start()
    all_turns_are_left((server,))


def test_an_answer_in_one_piece_is_computed_for_nobody_no_longer(plain: Gateway, cluster: Cluster) -> None:
    """Ollama survives that, and its time is not wasted."""
    until("nothing is computed", lambda: sum(server.clients() for server in cluster.servers) == 0, 120)
    with pytest.raises(httpx.TimeoutException):
        httpx.post(f"{plain.url}/api/generate", json=question(100_000), timeout=0.5)
    until("Ollama has been told", lambda: sum(server.clients() for server in cluster.servers) == 0, 5)
