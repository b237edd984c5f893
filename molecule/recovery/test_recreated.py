"""A server that is gone for good, its disk too: the timer alone creates it anew, and its dead twin goes only then."""

from __future__ import annotations

import time
from functools import partial

from openstack.connection import Connection

from tests.kit.cloud import delete_with_disk, server
from tests.kit.cluster import Cluster, Host
from tests.kit.docker import Docker
from tests.kit.manager import phases, wait_that
from tests.kit.names import LABELS

LIMIT_S = 420


def states(docker: Docker, hostname: str) -> dict[str, str]:
    return {node.id: node.state for node in docker.nodes() if node.hostname == hostname}


def test_a_new_node_takes_over(cluster: Cluster, manager: Host, docker: Docker, cloud: Connection) -> None:
    victim = cluster.workers[0]
    before = cluster.server(victim)
    look = partial(states, docker, victim)
    (old,) = look()
    since = time.time()
    delete_with_disk(cloud, victim)
    samples = []

    def recovered() -> bool:
        found = phases(manager, victim, since)
        assert "failed" not in found, found
        samples.append(look())
        return "done" in found

    wait_that(manager, f"{victim} is there again", recovered, LIMIT_S)
    # On a quick machine all this takes less time than the swarm needs to call the dead twin Down; it goes then.
    wait_that(manager, "its dead twin is gone", lambda: old not in look(), LIMIT_S)
    assert list(look().values()) == ["ready"]
    # The twin was there at every moment at which no successor was Ready.
    assert all(old in sample or "ready" in sample.values() for sample in samples), samples
    assert any(old in sample and "ready" in sample.values() for sample in samples) or old in samples[0]
    now = server(cloud, victim)
    assert now.id != before["id"]
    addresses = [item["addr"] for items in now.addresses.values() for item in items]
    assert addresses == [before["fixed_ip"]], "it has another address than before"
    (labels,) = [node.labels for node in docker.nodes() if node.hostname == victim]
    assert labels.items() >= LABELS.items()
