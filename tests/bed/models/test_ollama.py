# SPDX-License-Identifier: Apache-2.0
"""The scripts of the role ollama in the real server: health means that the models are loaded."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import httpx
import pytest

from tests.bed.bed import Ollama
from tests.bed.conftest import Cluster
from tests.kit.answers import MODEL, question
from tests.kit.waiting import until

pytestmark = pytest.mark.usefixtures("new_nodes_end")


@pytest.fixture(scope="module")
def server(cluster: Cluster) -> Iterator[Ollama]:
    """A server whose models are looked after every ten minutes only, so that a test can take them away."""
    made = Ollama(
        cluster.bed.node("gpu-4"), cluster.directory / "plain" / "stack" / "ollama", cluster.bed.roots["ollama"],
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


def test_a_model_that_is_present_but_not_loaded_is_not_enough(cluster: Cluster, server: Ollama) -> None:
    unload(server)
    try:
        assert server.health(GPUSWARM_RELOAD_SECONDS="0") == (False, f"not_loaded: {MODEL} is not loaded")
        assert server.health() == (True, f"ready, but {MODEL} is being loaded again")
        # What serve.sh leaves when Ollama could not load it.
        failed = cluster.bed.directory / f"{server.node.name}-run" / f"failed-{MODEL}"
        failed.touch()
        assert server.health() == (False, f"not_loaded: {MODEL} is not loaded")
        failed.unlink()
        assert MODEL in httpx.get(f"{server.url}/api/tags").text, "the check that the first design had would pass"
    finally:
        load(server)
    server.wait_until_healthy("ready", 30)


def test_a_model_on_the_cpu_is_not_enough_where_a_gpu_is_required(server: Ollama) -> None:
    assert server.health(GPUSWARM_REQUIRE_GPU="true") == (False, f"on_cpu: {MODEL} is not wholly in the GPU's memory")


def test_every_model_counts(server: Ollama) -> None:
    assert server.health(GPUSWARM_MODELS=f"{MODEL} other:7b") == (False, "not_loaded: other:7b is not loaded")


def test_a_model_may_be_spelled_otherwise_than_the_server_lists_it(cluster: Cluster) -> None:
    server = Ollama(
        cluster.bed.node("gpu-spelling"), cluster.directory / "plain" / "stack" / "ollama", cluster.bed.roots["ollama"],
        GPUSWARM_MODELS=f"library/{MODEL.upper()}",
    )  # fmt: skip
    server.wait_until_healthy()
    assert [model["name"] for model in httpx.get(f"{server.url}/api/ps").json()["models"]] == [f"{MODEL}:latest"]


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
    long = question(1500, stream=True)
    with httpx.stream("POST", f"{server.url}/api/generate", json=long, timeout=60) as answer:
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
        cluster.bed.node("gpu-slow"), cluster.directory / "plain" / "stack" / "ollama", cluster.bed.roots["ollama"],
        load_seconds=600,
    )  # fmt: skip
    # At the second time, what the first one has left must not count.
    for _ in range(2):
        until("the server lists the model", lambda: httpx.get(f"{server.url}/api/ps").json()["models"])
        assert server.health() == (False, f"not_loaded: {MODEL} is not loaded")
        server.end_loads(at_once=True)
        server.wait_until_healthy()
        server.process.kill()
        server.end_loads(at_once=False)
        server.restart()


@pytest.mark.parametrize("seen", ["the first runner, then the second one", "only the second one"])
def test_a_model_that_is_loaded_again_counts_when_that_has_ended(cluster: Cluster, tmp_path: Path, seen: str) -> None:
    # On a busy machine a command takes its time: a file that it writes is there before its content is.
    slow = tmp_path / "cat"
    slow.write_text('#!/bin/bash\nsleep 2\nexec /bin/cat "$@"\n')
    slow.chmod(0o755)
    node = cluster.bed.node(f"gpu-again-{len(seen)}")
    server = Ollama(
        node, cluster.directory / "plain" / "stack" / "ollama", cluster.bed.roots["ollama"],
        {"/usr/local/bin/cat": slow}, load_seconds=600, GPUSWARM_HUNG_SECONDS="1",
    )  # fmt: skip
    watcher = "/gpuswarm/watch.sh"
    until("the server lists the model", lambda: httpx.get(f"{server.url}/api/ps").json()["models"])
    with ThreadPoolExecutor(1) as client:
        with server.frozen(watcher) if seen == "only the second one" else nullcontext():
            server.end_loads(at_once=True)
            server.wait_until_healthy()
            server.end_loads(at_once=False)
            if seen != "only the second one":
                time.sleep(2)
            server.crash_runners()
            asked = client.submit(httpx.post, f"{server.url}/api/generate", json=question(), timeout=60)
            until("it is loaded again", lambda: server.pids("runner"))
            time.sleep(3)
        again = f"ready, but {MODEL} is being loaded again"
        server.wait_until_healthy(again, 30)
        time.sleep(3)
        # The server lists it, a client waits and nothing is computed: neither loaded nor hung.
        assert httpx.get(f"{server.url}/api/ps").json()["models"]
        assert server.health() == (True, again)
        assert server.health(GPUSWARM_RELOAD_SECONDS="0") == (False, f"not_loaded: {MODEL} is not loaded")
        server.end_loads(at_once=True)
        asked.result().raise_for_status()
    server.wait_until_healthy("ready", 30)


def test_a_slow_load_takes_its_time(cluster: Cluster) -> None:
    began = time.monotonic()
    server = Ollama(
        cluster.bed.node("gpu-slower"), cluster.directory / "plain" / "stack" / "ollama", cluster.bed.roots["ollama"],
        load_seconds=2,
    )  # fmt: skip
    server.wait_until_healthy()
    assert time.monotonic() - began >= 2
