# SPDX-License-Identifier: Apache-2.0
"""The scripts of the role ollama in the real server: health means that the models are loaded."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import httpx
import pytest

from ansible_collections.gpuswarm.ollama.tests.integration.gateway.bed import MODEL, Ollama, until

if TYPE_CHECKING:
    from ansible_collections.gpuswarm.ollama.tests.integration.gateway.conftest import Cluster

pytestmark = pytest.mark.usefixtures("new_nodes_end")


@pytest.fixture(scope="module")
def server(cluster: Cluster) -> Iterator[Ollama]:
    """A server whose models are looked after every ten minutes only, so that a test can take them away."""
    made = Ollama(
        cluster.bed.node("gpu-4"), cluster.directory / "plain" / "ollama", cluster.bed.roots["ollama"],
        GPUSWARM_MODEL_CHECK_SECONDS="600",
    )  # fmt: skip
    made.wait_until_healthy()
    yield made
    made.process.kill()


def unload(server: Ollama) -> None:
    httpx.post(f"{server.url}/api/generate", json={"model": MODEL, "keep_alive": 0}, timeout=30).raise_for_status()
    until("it is unloaded", lambda: httpx.get(f"{server.url}/api/ps").json()["models"] == [])


def load(server: Ollama) -> None:
    httpx.post(f"{server.url}/api/generate", json={"model": MODEL, "keep_alive": -1}, timeout=30).raise_for_status()


def test_healthy_when_its_models_are_loaded(server: Ollama) -> None:
    assert server.health() == (True, "ready")


def test_a_model_that_is_present_but_not_loaded_is_not_enough(server: Ollama) -> None:
    unload(server)
    try:
        assert server.health() == (False, f"{MODEL} is not loaded")
        assert MODEL in httpx.get(f"{server.url}/api/tags").text, "the check that the first design had would pass"
    finally:
        load(server)
    assert server.health() == (True, "ready")


def test_a_model_on_the_cpu_is_not_enough_where_a_gpu_is_required(server: Ollama) -> None:
    assert server.health(GPUSWARM_REQUIRE_GPU="true") == (False, f"{MODEL} is not wholly in the GPU's memory")


def test_every_model_counts(server: Ollama) -> None:
    assert server.health(GPUSWARM_MODELS=f"{MODEL} other:7b") == (False, "other:7b is not loaded")


def test_a_server_that_hangs_is_unhealthy_within_the_time_of_the_check(server: Ollama) -> None:
    with server.frozen():
        healthy, _ = server.health()
    assert not healthy


def test_a_server_that_is_not_there(server: Ollama) -> None:
    healthy, text = server.health(OLLAMA_PORT="11435")
    assert not healthy
    assert text.endswith("the server does not answer")


def test_the_script_loads_again_what_was_unloaded(cluster: Cluster) -> None:
    server = cluster.servers[2]
    unload(server)
    server.wait_until_healthy()


def test_a_running_answer_is_finished_before_the_server_stops(server: Ollama) -> None:
    question = {"model": MODEL, "prompt": "hello", "options": {"num_predict": 1500}}
    with httpx.stream("POST", f"{server.url}/api/generate", json=question, timeout=60) as answer:
        lines = answer.iter_lines()
        assert not json.loads(next(lines))["done"]
        server.process.send(signal.SIGTERM)
        *_, last = lines
    assert json.loads(last)["done"]
    server.process.wait(60)
    server.restart()
    server.wait_until_healthy()


def test_a_model_counts_when_its_load_has_ended(cluster: Cluster) -> None:
    server = Ollama(
        cluster.bed.node("gpu-slow"), cluster.directory / "plain" / "ollama", cluster.bed.roots["ollama"],
        load_seconds=600,
    )  # fmt: skip
    # At the second time, what the first one has left must not count.
    for _ in range(2):
        until("the server lists the model", lambda: httpx.get(f"{server.url}/api/ps").json()["models"])
        assert server.health() == (False, f"{MODEL} is not loaded")
        server.end_loads(at_once=True)
        server.wait_until_healthy()
        server.process.kill()
        server.end_loads(at_once=False)
        server.restart()


def test_a_slow_load_takes_its_time(cluster: Cluster) -> None:
    began = time.monotonic()
    server = Ollama(
        cluster.bed.node("gpu-slower"), cluster.directory / "plain" / "ollama", cluster.bed.roots["ollama"],
        load_seconds=2,
    )  # fmt: skip
    server.wait_until_healthy()
    assert time.monotonic() - began >= 2
