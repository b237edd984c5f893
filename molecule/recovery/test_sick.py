"""Nodes that are sick although their server runs, and recoveries that are killed: the timer alone gets over both."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import openstack
import pytest

from ansible_collections.gpuswarm.ollama.molecule.operations import (
    ROOT,
    nodes_of,
    phases,
    wait_for,
    wait_until_well,
)

if TYPE_CHECKING:
    from ansible_collections.gpuswarm.ollama.molecule.operations import Cluster, Connect, Host


def servers() -> dict[str, str]:
    return {server.id: server.name for server in openstack.connect(cloud="lab").compute.servers()}


@pytest.fixture
def unharmed(manager: Host) -> Iterator[None]:
    """No server and no node is lost, doubled or exchanged by what a test does, and at the end all is well."""
    before = servers(), nodes_of(manager)
    yield
    wait_until_well(manager)
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


def counts(seen: list[str], *, phase: str, times: int) -> bool:
    return seen.count(phase) >= times


@pytest.mark.usefixtures("unharmed")
def test_runs_that_are_killed_are_finished_by_the_next(cluster: Cluster, manager: Host) -> None:
    since = time.time()
    # "noticed" twice: by the probe, and by the run that is to be killed.
    for victim, phase, times in zip(cluster.workers, ("noticed", "active", "ready"), (2, 1, 1), strict=True):
        subprocess.run(["lab/lab", "preempt", victim], cwd=ROOT, check=True, timeout=60)
        wait_for(manager, victim, since, partial(counts, phase=phase, times=times))
        manager.check_output("systemctl kill --signal=KILL gpuswarm-recover.service")
    for victim in cluster.workers:
        assert "failed" not in wait_for(manager, victim, since, lambda seen: "done" in seen)
