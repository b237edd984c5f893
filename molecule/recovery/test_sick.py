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
    settings,
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


def test_a_node_that_nothing_cures_climbs_the_whole_ladder(cluster: Cluster, connect: Connect, manager: Host) -> None:
    # A server that was started less than five minutes ago may be silent: this one has been there since the beginning.
    victim = cluster.workers[1]
    since = time.time()
    # On the disk, so that neither a restart nor a reboot helps.
    connect(victim).check_output(
        "mkdir -p /etc/systemd/system/docker.service.d && "
        "printf '[Service]\\nExecStartPre=/bin/false\\n' >/etc/systemd/system/docker.service.d/broken.conf && "
        "systemctl daemon-reload && systemctl kill --signal=KILL docker.service"
    )
    # The cure of the test above counts, too.
    ladder = {"restart_docker": 2, "reboot": 1, "replace": 1}
    pauses = {"ladder_pause": 1, "retry_pause": 1, "longest_retry_pause": 5}
    variables = {
        "recovery_ladder": ladder,
        "recovery_rejoin_timeout": 15,  # a restart and a reboot that cannot help are waited for
        **{f"recovery_{name}": value for name, value in pauses.items()},
    }
    probe = {
        "ladder": {"limits": ladder, **{name.removeprefix("ladder_"): value for name, value in pauses.items()}},
        "limits": {"boot_grace": 15},
    }
    with settings(manager, variables, probe):
        found = wait_for(manager, victim, since, lambda seen: "done" in seen, limit_s=900)
    assert list(dict.fromkeys(phase for phase in found if phase in ladder)) == list(ladder)
    assert all(phases(manager, name, since) == [] for name in cluster.workers if name != victim), "others were touched"
    assert "lab-alert" in manager.check_output(f"journalctl --no-pager -t lab-alert --since @{int(since)}")
    wait_until_well(manager)


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
