"""Nodes that are sick although their server runs, and recoveries that are killed: the timer alone gets over both."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import openstack
import pytest

if TYPE_CHECKING:
    from ansible_collections.gpuswarm.ollama.molecule.conftest import Cluster, Connect, Host

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 240


def journal(manager: Host, server: str, since: float) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in manager.file("/var/lib/gpuswarm/journal.jsonl").content_string.splitlines()]
    return [line for line in lines if line["server"] == server and line["epoch"] > since]


def phases(manager: Host, server: str, since: float) -> list[str]:
    return [line["phase"] for line in journal(manager, server, since)]


def wait_for(manager: Host, server: str, since: float, done: Callable[[list[str]], bool]) -> list[str]:
    """Wait until the journal tells enough; all phases since then."""
    deadline = time.time() + LIMIT_S
    while not done(found := phases(manager, server, since)):
        assert time.time() < deadline, (
            found,
            manager.check_output("journalctl -u gpuswarm-recover -n 80 --no-pager; gpuswarm-status || true"),
        )
        time.sleep(0.3)
    return found


def nodes_of(manager: Host) -> dict[str, str]:
    text = manager.check_output("docker node ls --format '{{json .}}'")
    nodes = [json.loads(line) for line in text.splitlines()]
    return {node["ID"]: node["Hostname"] for node in nodes}


def servers() -> dict[str, str]:
    return {server.id: server.name for server in openstack.connect(cloud="lab").compute.servers()}


@pytest.fixture
def unharmed(manager: Host) -> Iterator[None]:
    """No server and no node is lost, doubled or exchanged by what a test does, and at the end all is well."""
    before = servers(), nodes_of(manager)
    yield
    deadline = time.time() + 60
    while (status := json.loads(manager.run("gpuswarm-status -o json").stdout or "{}")).get("well") is not True:
        assert time.time() < deadline, status
        time.sleep(1)
    assert (servers(), nodes_of(manager)) == before


@pytest.mark.usefixtures("unharmed")
def test_docker_that_hangs_is_restarted(cluster: Cluster, connect: Connect, manager: Host) -> None:
    victim = cluster.workers[1]  # the first was created anew by another test, and has another host key since
    since = time.time()
    connect(victim).check_output("systemctl kill --kill-whom=main --signal=STOP docker.service")
    found = wait_for(manager, victim, since, lambda seen: "done" in seen)
    assert "examined" in found
    assert [phase for phase in found if phase in ("restart_docker", "reboot", "replace")] == ["restart_docker"]
    others = {line for name in cluster.workers if name != victim for line in phases(manager, name, since)}
    assert others == set(), "others were touched"


@pytest.mark.parametrize("phase", ["noticed", "active", "ready"])
@pytest.mark.usefixtures("unharmed")
def test_a_run_that_is_killed_is_finished_by_the_next(cluster: Cluster, manager: Host, phase: str) -> None:
    victim = cluster.workers[-1]
    since = time.time()
    subprocess.run(["lab/lab", "preempt", victim], cwd=ROOT, check=True, timeout=60)
    # "noticed" twice: by the probe, and by the run that is to be killed.
    wait_for(manager, victim, since, lambda seen: seen.count(phase) >= (2 if phase == "noticed" else 1))
    manager.check_output("systemctl kill --signal=KILL gpuswarm-recover.service")
    found = wait_for(manager, victim, since, lambda seen: "done" in seen)
    assert "failed" not in found
