# SPDX-License-Identifier: Apache-2.0
"""A lost server costs time, not an answer. Servers are frozen, cut off, killed and replaced here."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from ansible_collections.gpuswarm.ollama.tests.integration.gateway.bed import MODEL, Gateway, until

if TYPE_CHECKING:
    from ansible_collections.gpuswarm.ollama.tests.integration.gateway.conftest import Cluster

QUESTION = {"model": MODEL, "prompt": "hello", "stream": False, "options": {"num_predict": 8}}
# Nobody waits for its end. The log has the name as it is spelt here.
ENDLESS = {"model": f"{MODEL}:latest", "prompt": "hello", "options": {"num_predict": 100_000}}


def ask(gateway: Gateway) -> httpx.Response:
    return gateway.http.post("/api/generate", json=QUESTION)


def tried(answer: httpx.Response) -> list[str]:
    """Addresses of the servers that were tried; the last one answered."""
    return [part.rpartition(":")[0] for part in answer.headers["X-Served-By"].replace(" : ", ", ").split(", ")]


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as made:
        yield made


def all_answer(gateway: Gateway, cluster: Cluster) -> None:
    wanted = {server.node.address for server in cluster.servers}
    until("all have answered", lambda: {tried(ask(gateway))[-1] for _ in range(12)} == wanted)


def test_all_servers_are_used(plain: Gateway, cluster: Cluster) -> None:
    all_answer(plain, cluster)


def test_a_busy_server_is_left_in_peace(plain: Gateway, cluster: Cluster, pool: ThreadPoolExecutor) -> None:
    busy, *free = cluster.servers
    all_answer(plain, cluster)
    with busy.frozen():
        waiting: list[Future[httpx.Response]] = [pool.submit(ask, plain) for _ in range(3)]
        until("one request waits for the frozen server", lambda: sum(item.done() for item in waiting) == 2)
        assert {tried(ask(plain))[-1] for _ in range(8)} == {server.node.address for server in free}
    assert all(item.result(30).json()["done"] for item in waiting)


def test_requests_that_meet_a_vanished_server_go_to_another(plain: Gateway, cluster: Cluster) -> None:
    lost = cluster.servers[0]
    lost.node.vanish()
    try:
        answers, lines = plain.exchange(*[{"method": "POST", "url": "/api/generate", "json": QUESTION}] * 9)
    finally:
        lost.node.come_back()
    assert [answer.status_code for answer in answers] == [200] * 9
    assert lost.node.address not in {tried(answer)[-1] for answer in answers}
    retried = [answer for answer in answers if len(tried(answer)) > 1]
    assert retried, "DNS still names the server, so somebody has met it"
    assert len(lines) == 9
    assert {(line["status"], line["tries"]) for line in lines} == {(200, 1), (200, 2)}


def test_a_request_in_work_on_a_vanished_server_is_done_by_another(
    plain: Gateway, cluster: Cluster, pool: ThreadPoolExecutor
) -> None:
    lost, other, _ = cluster.servers
    plain.dns.publish("tasks.gpuswarm_ollama", [lost.node.address])
    until("nginx asks only this one", lambda: {tried(ask(plain))[-1] for _ in range(6)} == {lost.node.address})
    until("nobody is served any more", lambda: lost.clients() == 0)
    with lost.frozen():
        request = pool.submit(ask, plain)
        until("the request is with the server", lambda: lost.clients() == 1)
        plain.dns.publish("tasks.gpuswarm_ollama", [other.node.address])
        # Until then it would ask the frozen one.
        until("nginx knows the other", lambda: httpx.get(f"{plain.url}/ready", timeout=0.5).is_success)
        lost.node.vanish()
        try:
            answer = request.result(60)
        finally:
            lost.node.come_back()
    assert answer.json()["done"]
    assert tried(answer)[-1] == other.node.address


def test_an_answer_that_has_begun_is_not_repeated(plain: Gateway, cluster: Cluster) -> None:
    before = [line["id"] for line in plain.log()]
    with plain.http.stream("POST", "/api/generate", json=ENDLESS) as answer:
        lost = next(server for server in cluster.servers if server.node.address == tried(answer)[-1])
        with lost.frozen():
            lost.node.vanish()
            try:
                lines: list[str] = []
                with pytest.raises(httpx.RemoteProtocolError):
                    lines.extend(answer.iter_lines())
            finally:
                lost.node.come_back()
    [line] = until(
        "it is logged",
        lambda: [line for line in plain.log() if line["model"] == ENDLESS["model"] and line["id"] not in before],
    )
    assert line["tries"] == 1


def test_a_server_that_refuses_costs_nothing(plain: Gateway, cluster: Cluster) -> None:
    plain.dns.publish(
        "tasks.gpuswarm_ollama", [*(server.node.address for server in cluster.servers), plain.node.address]
    )
    until("nginx has met what refuses", lambda: len(tried(ask(plain))) > 1)
    assert ask(plain).json()["done"]


def test_more_servers_than_a_datagram_holds_come_and_go(plain: Gateway, cluster: Cluster) -> None:
    """DNS then answers over TCP, and says as well that it is good for ten minutes."""
    none = [f"127.0.0.{number}" for number in range(2, 52)]
    plain.dns.publish("tasks.gpuswarm_ollama", none)
    until("all are refused", lambda: ask(plain).status_code == 503)
    plain.publish(*cluster.servers)
    until("nobody is refused any more", lambda: [len(tried(ask(plain))) for _ in range(9)] == [1] * 9)


def test_without_any_server_there_is_a_clear_answer_and_it_recovers(plain: Gateway, cluster: Cluster) -> None:
    plain.publish()
    answer = ask(plain)
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "30"
    assert answer.json() == {"error": "no server can answer at the moment, try again in 30 s"}
    assert plain.http.get("/health").status_code == 200
    assert plain.http.get("/ready").status_code == 503
    plain.publish(cluster.servers[1])
    assert tried(ask(plain)) == [cluster.servers[1].node.address]


class Load:
    """Clients that ask one after another until told to stop."""

    def __init__(self, gateway: Gateway, pool: ThreadPoolExecutor, clients: int = 3) -> None:
        self.gateway = gateway
        self.stopped = threading.Event()
        self.failures: list[Any] = []
        self.answers = 0
        self.running = [pool.submit(self._ask, stream=bool(number % 2)) for number in range(clients)]

    def _ask(self, *, stream: bool) -> None:
        with httpx.Client(base_url=self.gateway.url, timeout=60) as client:
            while not self.stopped.wait(0.05):
                try:
                    answer = client.post("/api/generate", json={**QUESTION, "stream": stream})
                    last = json.loads(answer.text.strip().splitlines()[-1])
                    if answer.status_code == 200 and last.get("done"):
                        self.answers += 1
                    else:
                        self.failures.append(answer.text)
                except (httpx.HTTPError, ValueError) as error:
                    self.failures.append(error)

    def end(self) -> None:
        self.stopped.set()
        for item in self.running:
            item.result(60)


def test_replacing_all_servers_one_after_another_loses_no_answer(cluster: Cluster, pool: ThreadPoolExecutor) -> None:
    """What Swarm does when Ollama's configuration changes: out of DNS, stopped, started anew, in DNS when healthy."""
    gateway = cluster.gateways["managed"]
    servers = list(cluster.servers)
    gateway.publish(*servers)
    load = Load(gateway, pool)
    try:
        for server in servers:
            gateway.publish(*(other for other in servers if other is not server))
            server.process.send(signal.SIGTERM)
            # Without work it stops long before the time that running answers would be given (ollama_drain_timeout).
            assert int(server.service["environment"]["GPUSWARM_DRAIN_SECONDS"]) > 60
            assert server.process.wait(60) in (0, 143, 130)
            server.restart()
            server.wait_until_healthy()
            gateway.publish(*servers)
        until("answers have come", lambda: load.answers > 10)
    finally:
        load.end()
    assert load.failures == []


def test_a_gateway_reloaded_again_and_again_loses_no_answer(cluster: Cluster, pool: ThreadPoolExecutor) -> None:
    gateway = cluster.gateways["managed"]
    load = Load(gateway, pool)
    file = gateway.directory / "nginx.conf"
    text = file.read_text()
    version = gateway.version()
    try:
        for number in range(5):
            file.write_text(text.replace(version, f"{number:012x}"))
            gateway.reload()
        until("answers have come", lambda: load.answers > 10)
    finally:
        load.end()
        file.write_text(text)
    assert load.failures == []
