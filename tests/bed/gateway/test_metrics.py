# SPDX-License-Identifier: Apache-2.0
"""What Prometheus learns of the gateway, from the real exporter."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import httpx
import pytest

from tests.bed.bed import Exporter, Gateway
from tests.bed.conftest import Cluster
from tests.kit.answers import MODEL, question
from tests.kit.waiting import until

QUESTION = question(4, prompt="nobody-may-read-this")
REQUESTS = "gpuswarm_gateway_requests_total"
ERRORS = "gpuswarm_gateway_errors_total"
RETRIES = "gpuswarm_gateway_retries_total"
SECONDS = "gpuswarm_gateway_request_seconds"
FIRST_BYTE = "gpuswarm_gateway_first_byte_seconds"


@pytest.fixture(scope="module")
def exporter(cluster: Cluster) -> Iterator[Exporter]:
    made = Exporter(cluster.gateways["plain"], cluster.bed.roots["mtail"])
    yield made
    made.process.kill()


class Added:
    """How much has been added to a counter."""

    def __init__(self, exporter: Exporter, name: str, **labels: str) -> None:
        self.exporter, self.name, self.labels = exporter, name, labels
        self.before = self.now()

    def now(self) -> float:
        return max(0, self.exporter.value(self.name, **self.labels))

    def is_at_least(self, wanted: int) -> None:
        until(f"{self.name} {self.labels} grows by {wanted}", lambda: self.now() - self.before >= wanted)

    def is_exactly(self, wanted: int) -> None:
        self.is_at_least(wanted)
        assert self.now() - self.before == wanted


def test_requests_and_their_times(plain: Gateway, exporter: Exporter) -> None:
    labels = {"model": MODEL}
    requests = Added(exporter, REQUESTS, status="200", **labels)
    times = [Added(exporter, f"{name}_count", **labels) for name in (SECONDS, FIRST_BYTE)]
    slow = Added(exporter, f"{SECONDS}_bucket", le="+Inf", **labels)
    for name in (MODEL, f"{MODEL}:latest", MODEL.upper()):
        plain.http.post("/api/generate", json={**QUESTION, "model": name}).raise_for_status()
    for added in (requests, *times, slow):
        added.is_exactly(3)
    assert exporter.value(f"{SECONDS}_sum", **labels) > 0


def test_every_server_has_its_own(plain: Gateway, exporter: Exporter, cluster: Cluster) -> None:
    counters = [
        Added(exporter, REQUESTS, model=MODEL, upstream=f"{server.node.address}:11434") for server in cluster.servers
    ]

    def all_have_answered() -> bool:
        plain.http.post("/api/generate", json=QUESTION).raise_for_status()
        return all(counter.now() > counter.before for counter in counters)

    until("each has answered one", all_have_answered)


def test_what_clients_write_is_no_label(plain: Gateway, exporter: Exporter) -> None:
    other = Added(exporter, REQUESTS, model="other", status="404")
    names = ["nobody-has-this", "a model", 'x"} 1\nfake_total 1', "m" * 150, "failed model=x upstream=y"]
    for name in names:
        assert plain.http.post("/api/generate", json={**QUESTION, "model": name}).status_code in (400, 404)
    none = Added(exporter, REQUESTS, model="none", status="404")
    plain.http.get("/nowhere?nobody-may-read-this", headers={"Authorization": "Bearer nobody-may-read-this"})
    none.is_exactly(1)
    other.is_at_least(1)
    models = {
        sample.split('model="')[1].split('"')[0] for sample in exporter.page().splitlines() if 'model="' in sample
    }
    assert models <= {MODEL, "other", "none"}
    assert "nobody" not in exporter.page()


def test_errors(plain: Gateway, exporter: Exporter) -> None:
    errors = Added(exporter, ERRORS, model=MODEL)
    unavailable = Added(exporter, REQUESTS, model=MODEL, status="503", upstream="")
    plain.publish()
    assert plain.http.post("/api/generate", json=QUESTION).status_code == 503
    errors.is_exactly(1)
    unavailable.is_exactly(1)


def test_a_retry_is_told_of_the_server_that_did_not_answer(
    plain: Gateway, exporter: Exporter, cluster: Cluster
) -> None:
    refuses = Added(exporter, RETRIES, model=MODEL, upstream=f"{plain.node.address}:11434")
    errors = Added(exporter, ERRORS, model=MODEL)
    plain.dns.publish(
        "tasks.gpuswarm_ollama", [*(server.node.address for server in cluster.servers), plain.node.address]
    )

    def retried() -> bool:
        return "," in plain.http.post("/api/generate", json=QUESTION).raise_for_status().headers["X-Served-By"]

    until("nginx has met what refuses", retried)
    refuses.is_at_least(1)
    errors.is_exactly(0)


def test_requests_in_flight(plain: Gateway, exporter: Exporter, cluster: Cluster) -> None:
    whole, streamed = QUESTION, {**QUESTION, "stream": True}
    with ThreadPoolExecutor(4) as pool, ExitStack() as stack:
        for server in cluster.servers:
            stack.enter_context(server.frozen())
        url = f"{plain.url}/api/generate"
        waiting = [pool.submit(httpx.post, url, json=body, timeout=60) for body in (whole, whole, streamed, streamed)]

        def in_flight() -> bool:
            # The health check also says how many there are.
            return plain.health() and exporter.value("gpuswarm_gateway_in_flight") == 4

        until("four are in flight", in_flight)
        assert sum(server.clients() for server in cluster.servers) == 4
        stack.close()
        assert all('"done":true' in item.result().text for item in waiting)
    until("none is any more", lambda: plain.health() and exporter.value("gpuswarm_gateway_in_flight") == 0)


def test_the_gateway_does_without_its_exporter(plain: Gateway, exporter: Exporter) -> None:
    exporter.process.send(signal.SIGKILL)
    exporter.process.wait(10)
    logged = len(plain.log())
    for _ in range(5):
        plain.http.post("/api/generate", json=QUESTION).raise_for_status()
    until("all are in the log", lambda: len(plain.log()) >= logged + 5)
    exporter.start()
    counted = Added(exporter, REQUESTS, model=MODEL, status="200")
    plain.http.post("/api/generate", json=QUESTION).raise_for_status()
    counted.is_exactly(1)


def test_what_the_exporter_has_read_is_thrown_away(plain: Gateway, exporter: Exporter) -> None:
    counted = Added(exporter, REQUESTS, model=MODEL, status="200")
    file = plain.requests / "requests.log"
    with file.open("ab") as log:
        log.write(b"x" * 9_000_000 + b"\n")
    plain.http.post("/api/generate", json=QUESTION).raise_for_status()
    counted.is_exactly(1)
    assert plain.health()
    assert file.stat().st_size < 1_000_000
    plain.http.post("/api/generate", json=QUESTION).raise_for_status()
    counted.is_exactly(2)
