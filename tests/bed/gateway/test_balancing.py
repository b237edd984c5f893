# SPDX-License-Identifier: Apache-2.0
"""A lost server costs time, not an answer. Servers are frozen, cut off, killed and replaced here."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.bed.bed import Gateway, Ollama
from tests.bed.conftest import Cluster
from tests.kit.answers import MODEL, Answer, question, upstreams
from tests.kit.clients import asking
from tests.kit.waiting import until

QUESTION = question(8)
# Nobody waits for its end. The log has the name as it is spelt here.
ENDLESS = question(100_000, model=f"{MODEL}:latest", stream=True)


def tried(answer: httpx.Response) -> tuple[str, ...]:
    """Addresses of the servers that were tried; the last one answered."""
    return upstreams(answer.headers["X-Served-By"])


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as made:
        yield made


def all_answer(gateway: Gateway, cluster: Cluster) -> None:
    wanted = {server.node.address for server in cluster.servers}
    until("all have answered", lambda: {gateway.ask().server for _ in range(12)} == wanted)


def test_all_servers_are_used(plain: Gateway, cluster: Cluster) -> None:
    all_answer(plain, cluster)


def test_a_busy_server_is_left_in_peace(plain: Gateway, cluster: Cluster, pool: ThreadPoolExecutor) -> None:
    busy, *free = cluster.servers
    all_answer(plain, cluster)
    with busy.frozen():
        waiting: list[Future[Answer]] = [pool.submit(plain.ask) for _ in range(3)]
        until("one request waits for the frozen server", lambda: sum(item.done() for item in waiting) == 2)
        assert {plain.ask().server for _ in range(8)} == {server.node.address for server in free}
    assert all(item.result(30).complete for item in waiting)


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
    until("nginx asks only this one", lambda: {plain.ask().server for _ in range(6)} == {lost.node.address})
    until("nobody is served any more", lambda: lost.clients() == 0)
    with lost.frozen():
        request = pool.submit(plain.ask)
        until("the request is with the server", lambda: lost.clients() == 1)
        plain.dns.publish("tasks.gpuswarm_ollama", [other.node.address])
        # Until then it would ask the frozen one.
        until("nginx knows the other", lambda: httpx.get(f"{plain.url}/ready", timeout=0.5).is_success)
        lost.node.vanish()
        try:
            answer = request.result(60)
        finally:
            lost.node.come_back()
    assert answer.complete
    assert answer.server == other.node.address


@pytest.fixture
def loading(plain: Gateway, cluster: Cluster, pool: ThreadPoolExecutor) -> Iterator[Ollama]:
    """A server whose model's runner has crashed, and is loaded again until the test says otherwise."""
    node = cluster.bed.node(f"gpu-aside-{len(cluster.bed.nodes)}")
    server = Ollama(
        node, cluster.directory / "plain" / "stack" / "ollama", cluster.bed.roots["ollama"],
        load_seconds=600, GPUSWARM_ASIDE=f"{plain.node.address}:8082",
    )  # fmt: skip
    server.end_loads(at_once=True)
    server.wait_until_healthy()
    plain.publish(server, cluster.servers[0])
    until("both answer", lambda: len({plain.ask().server for _ in range(6)}) == 2)
    server.end_loads(at_once=False)
    server.crash_runners()
    waiting = pool.submit(httpx.post, f"{server.url}/api/generate", json=QUESTION, timeout=120)
    server.wait_until_healthy(f"ready, but {MODEL} is being loaded again", 30)
    yield server
    server.end_loads(at_once=True)
    assert waiting.result().is_success
    # It is about to end, and nobody is to meet it then.
    plain.publish(*cluster.servers)
    all_answer(plain, cluster)


def answered_by(gateway: Gateway, seconds: float = 2) -> set[str]:
    """Who answers six questions, each within so many seconds."""
    answers = (httpx.post(f"{gateway.url}/api/generate", json=QUESTION, timeout=seconds) for _ in range(6))
    return {tried(answer)[-1] for answer in answers}


@pytest.mark.usefixtures("new_nodes_end")
def test_a_server_that_loads_its_model_again_is_left_out(plain: Gateway, cluster: Cluster, loading: Ollama) -> None:
    other = cluster.servers[0].node.address
    until("it has stepped aside", lambda: answered_by(plain) == {other})
    end = time.monotonic() + 5
    while time.monotonic() < end:  # for as long as it takes
        assert answered_by(plain, seconds=30) == {other}
    loading.end_loads(at_once=True)
    until("both answer again", lambda: answered_by(plain) == {other, loading.node.address})


@pytest.mark.usefixtures("new_nodes_end")
def test_a_server_that_steps_aside_is_better_than_none(
    plain: Gateway, loading: Ollama, pool: ThreadPoolExecutor
) -> None:
    plain.dns.publish("tasks.gpuswarm_ollama", [loading.node.address])
    asked: list[Future[Answer]] = []

    def one_waits_for_it() -> bool:
        asked.append(pool.submit(plain.ask))
        return loading.clients() > 1  # besides the one that had it load

    until("a request waits for it", one_waits_for_it, pause=0.5)
    loading.end_loads(at_once=True)
    answers = [item.result(60) for item in asked]
    assert all(answer.complete for answer in answers)
    assert loading.node.address in {answer.server for answer in answers}


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
    until("nginx has met what refuses", lambda: len(plain.ask().upstreams) > 1)
    assert plain.ask().complete


def test_more_servers_than_a_datagram_holds_come_and_go(plain: Gateway, cluster: Cluster) -> None:
    """DNS then answers over TCP, and says as well that it is good for ten minutes."""
    none = [f"127.0.0.{number}" for number in range(2, 52)]
    plain.dns.publish("tasks.gpuswarm_ollama", none)
    until("all are refused", lambda: plain.ask().status == 503)
    plain.publish(*cluster.servers)
    until("nobody is refused any more", lambda: [len(plain.ask().upstreams) for _ in range(9)] == [1] * 9)


def test_without_any_server_there_is_a_clear_answer_and_it_recovers(plain: Gateway, cluster: Cluster) -> None:
    plain.publish()
    answer = plain.http.post("/api/generate", json=QUESTION)
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "30"
    assert answer.json() == {"error": "no server can answer at the moment, try again in 30 s"}
    assert plain.http.get("/health").status_code == 200
    assert plain.http.get("/ready").status_code == 503
    plain.publish(cluster.servers[1])
    assert plain.ask().upstreams == (cluster.servers[1].node.address,)


# Two whole answers at a time and one that is streamed, each client on a connection that it keeps.
LOAD: dict[str, Any] = {"streams": (False, True, False), "tokens": 8, "pause_s": 0.05, "keep": True}


def test_replacing_all_servers_one_after_another_loses_no_answer(cluster: Cluster) -> None:
    """What Swarm does when Ollama's configuration changes: out of DNS, stopped, started anew, in DNS when healthy."""
    gateway = cluster.gateways["managed"]
    servers = list(cluster.servers)
    gateway.publish(*servers)
    with asking(gateway.url, **LOAD) as log:
        for server in servers:
            gateway.publish(*(other for other in servers if other is not server))
            server.process.send(signal.SIGTERM)
            # Without work it stops long before the time that running answers would be given (cluster_drain_timeout).
            assert int(server.service["environment"]["GPUSWARM_DRAIN_SECONDS"]) > 60
            assert server.process.wait(60) in (0, 143, 130)
            server.restart()
            server.wait_until_healthy()
            gateway.publish(*servers)
        until("answers have come", lambda: len(log.answers()) > 10)
    assert log.lost() == []


def test_a_gateway_reloaded_again_and_again_loses_no_answer(cluster: Cluster) -> None:
    gateway = cluster.gateways["managed"]
    file = gateway.directory / "nginx.conf"
    text = file.read_text()
    version = gateway.version()
    try:
        with asking(gateway.url, **LOAD) as log:
            for number in range(5):
                file.write_text(text.replace(version, f"{number:012x}"))
                gateway.reload()
            until("answers have come", lambda: len(log.answers()) > 10)
    finally:
        file.write_text(text)
        gateway.reload()
    assert log.lost() == []
