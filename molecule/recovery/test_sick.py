"""Nodes that are sick although their server runs, and recoveries that are killed: the timer alone gets over both."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial

import pytest
from openstack.connection import Connection

from tests.kit import lab
from tests.kit.cluster import Cluster, Host
from tests.kit.docker import Docker
from tests.kit.manager import phases, settings, wait_for, wait_until_as_desired
from tests.kit.waiting import until


@pytest.fixture
def unharmed(manager: Host, docker: Docker, cloud: Connection) -> Iterator[None]:
    """No server and no node is lost, doubled or exchanged by what a test does, and at the end all is well."""

    def servers() -> dict[str, str]:
        return {server.id: server.name for server in cloud.compute.servers()}

    def no_twins() -> bool:
        names = list(docker.hostnames().values())
        return len(set(names)) == len(names)

    # What an earlier test has had replaced.
    until("the loop has removed dead twins", no_twins, 120, 1)
    wait_until_as_desired(manager)
    before = servers(), docker.hostnames()
    yield
    wait_until_as_desired(manager)
    assert (servers(), docker.hostnames()) == before


@pytest.mark.usefixtures("unharmed")
def test_docker_that_hangs_is_restarted(cluster: Cluster, manager: Host) -> None:
    victim = cluster.workers[1]
    since = time.time()
    cluster.connect(victim).check_output("systemctl kill --kill-whom=main --signal=STOP docker.service")
    found = wait_for(manager, victim, since, lambda seen: "done" in seen)
    assert "examined" in found
    assert [phase for phase in found if phase in ("restart_docker", "reboot", "replace")] == ["restart_docker"]
    others = {line for name in cluster.workers if name != victim for line in phases(manager, name, since)}
    assert others == set(), "others were touched"


def test_a_node_that_nothing_cures_gets_every_remedy(cluster: Cluster, manager: Host) -> None:
    # A server that was started less than five minutes ago may be silent: this one has been there since the beginning.
    victim = cluster.workers[1]
    since = time.time()
    # On the disk, so that neither a restart nor a reboot helps.
    cluster.connect(victim).check_output(
        "mkdir -p /etc/systemd/system/docker.service.d && "
        "printf '[Service]\\nExecStartPre=/bin/false\\n' >/etc/systemd/system/docker.service.d/broken.conf && "
        "systemctl daemon-reload && systemctl kill --signal=KILL docker.service"
    )
    # The remedy of the test above counts, too.
    remedies = {"restart_docker": 2, "reboot": 1, "replace": 1}
    pauses = {"remediation_pause": 1, "retry_pause": 1, "longest_retry_pause": 5}
    variables = {
        "recovery_remediation": remedies,
        "recovery_rejoin_timeout": 15,  # a restart and a reboot that cannot help are waited for
        **{f"recovery_{name}": value for name, value in pauses.items()},
    }
    probe = {
        "remediation": {
            "limits": remedies,
            **{name.removeprefix("remediation_"): value for name, value in pauses.items()},
        },
        "limits": {"boot_grace": 15},
    }
    with settings(manager, variables, probe):
        found = wait_for(manager, victim, since, lambda seen: "done" in seen, limit_s=900)
    assert list(dict.fromkeys(phase for phase in found if phase in remedies)) == list(remedies)
    assert all(phases(manager, name, since) == [] for name in cluster.workers if name != victim), "others were touched"
    assert "lab-alert" in manager.check_output(f"journalctl --no-pager -t lab-alert --since @{int(since)}")
    wait_until_as_desired(manager)


def counts(seen: list[str], *, phase: str, times: int) -> bool:
    return seen.count(phase) >= times


@pytest.mark.usefixtures("unharmed")
def test_runs_that_are_killed_are_finished_by_the_next(cluster: Cluster, manager: Host) -> None:
    since = time.time()
    # "noticed" twice: by the probe, and by the run that is to be killed.
    for victim, phase, times in zip(cluster.workers, ("noticed", "active", "ready"), (2, 1, 1), strict=True):
        lab.preempt(victim)
        wait_for(manager, victim, since, partial(counts, phase=phase, times=times))
        manager.check_output("systemctl kill --signal=KILL gpuswarm-recover.service")
    for victim in cluster.workers:
        assert "failed" not in wait_for(manager, victim, since, lambda seen: "done" in seen)
