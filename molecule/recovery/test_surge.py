"""A surge server while the others are rotated: it comes first, goes last, and clients see nothing of either.

The day is shortened on the manager, so that one GPU server after the other is due, the oldest first.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from openstack.connection import Connection

from tests.kit import lab
from tests.kit.clients import asking
from tests.kit.cluster import Cluster, Host
from tests.kit.docker import Docker
from tests.kit.manager import journal, settings, wait_that, wait_until_as_desired

LIMIT_S = 900
MARGIN_S = 3600  # half of it is how long the rotation waits for the surge server
ZONE = "ru-7b"  # where the fourth server comes


def when(manager: Host, server: str, since: float, phase: str) -> float | None:
    """When a server first came to a phase."""
    return next((float(line["epoch"]) for line in journal(manager, server, since) if line["phase"] == phase), None)


def resources(cloud: Connection) -> dict[str, list[str]]:
    """Everything in the cloud that costs money, and the ports."""
    return {
        "servers": sorted(f"{server.name} {server.id}" for server in cloud.compute.servers()),
        "volumes": sorted(f"{volume.name} {volume.id}" for volume in cloud.block_storage.volumes()),
        "ports": sorted(f"{port.name} {port.id}" for port in cloud.network.ports()),
    }


def by_age(cluster: Cluster, cloud: Connection) -> list[tuple[str, float]]:
    """The GPU servers, the oldest first, and when each was started (seconds since the epoch)."""
    servers = cloud.compute.servers()
    started = [
        (server.name, datetime.fromisoformat(server.launched_at).replace(tzinfo=UTC).timestamp())
        for server in servers
        if server.name in cluster.workers
    ]
    return sorted(started, key=lambda item: (item[1], item[0]))


@contextmanager
def last_hour_of(manager: Host, started: float) -> Iterator[Callable[[float], None]]:
    """Servers that were started then or before are due; the function takes another moment, 0 for none."""
    wait_until_as_desired(manager)

    def named(started: float) -> tuple[dict[str, Any], dict[str, Any]]:
        age = int(time.time() - started) if started else 10 * 86400
        rotation = {"surge": True, "full_hour": False, "max_age": age + MARGIN_S, "margin": MARGIN_S}
        prefixes = {"max_age": "recovery_"}
        variables = {prefixes.get(key, "recovery_rotation_") + key: value for key, value in rotation.items()}
        return variables, {"rotation": rotation}

    with settings(manager, *named(started)) as change:
        yield lambda started: change(*named(started))


@pytest.fixture
def unharmed(manager: Host, docker: Docker, cloud: Connection) -> Iterator[None]:
    """Nothing is lost, exchanged or left over, in the cloud or in the swarm."""

    def everything() -> tuple[object, ...]:
        return resources(cloud), docker.hostnames(), docker.service()["Spec"]["Mode"]["Replicated"]["Replicas"]

    before = everything()
    yield
    wait_until_as_desired(manager)
    assert everything() == before


@pytest.mark.usefixtures("unharmed")
def test_a_rotation_of_all_servers_with_one_more_loses_nothing(
    cluster: Cluster, manager: Host, docker: Docker, cloud: Connection
) -> None:
    order = by_age(cluster, cloud)
    names = [name for name, _ in order]
    extra = f"lab-gpu-{len(cluster.workers) + 1}"
    since = time.time()
    samples: list[tuple[float, set[str]]] = []

    def come(server: str, phase: str) -> bool:
        # The servers whose Ollama the gateway may send requests to.
        samples.append((time.time(), set(docker.running())))
        return when(manager, server, since, phase) is not None

    with asking(cluster.gateway) as log, last_hour_of(manager, order[0][1]) as due:
        for number, name in enumerate(names):
            wait_that(manager, f"{name} is active", partial(come, name, "active"), LIMIT_S)
            # It is young again; the next one is due before this one is healthy, so that the surge server stays.
            due(order[number + 1][1] if number + 1 < len(order) else 0)
        wait_that(manager, "the last one is done", lambda: come(names[-1], "done"), LIMIT_S)
        wait_that(manager, f"{extra} is removed", lambda: come(extra, "remove_surge"), LIMIT_S)
        wait_that(
            manager,
            f"{extra} is gone",
            lambda: come(extra, "done") and journal(manager, extra, since)[-1]["phase"] == "done",
            LIMIT_S,
        )
    assert log.lost() == []
    assert len(log.answers()) > 100
    turns = [(name, when(manager, name, since, "rotate"), when(manager, name, since, "done")) for name in names]
    gone = when(manager, extra, since, "remove_surge")
    assert gone is not None
    # One after the other, each once, the oldest first; the surge server is there before the first and after the last.
    moments = [moment for _, rotating, done in turns for moment in (rotating, done)]
    assert None not in moments, turns
    assert moments == sorted(moments, key=float)  # type: ignore[arg-type]
    first, last = float(moments[0] or 0), float(moments[-1] or 0)
    assert last <= gone
    assert all(extra in seen for moment, seen in samples if first < moment < gone - 1)
    away = {name for moment, seen in samples if moment > first for name in names if name not in seen}
    assert away == set(names), "not all of them were seen rotating"
    fewest = min(samples, key=lambda sample: len(sample[1]))
    assert len(fewest[1]) >= len(cluster.workers), fewest
    phases = [line["phase"] for name in (*names, extra) for line in journal(manager, name, since)]
    assert "failed" not in phases
    assert phases.count("rotate") == len(names)


@pytest.mark.thorough  # the gate: unit test_surge.py (a surge that fails), and the rotation above
@pytest.mark.usefixtures("unharmed")
def test_without_room_for_it_the_rotation_goes_on(cluster: Cluster, manager: Host, cloud: Connection) -> None:
    victim, started = by_age(cluster, cloud)[0]
    extra = f"lab-gpu-{len(cluster.workers) + 1}"
    since = time.time()

    def come(server: str, phase: str) -> bool:
        return when(manager, server, since, phase) is not None

    with lab.without_room(ZONE) as release, asking(cluster.gateway) as log, last_hour_of(manager, started) as due:
        wait_that(manager, f"{extra} has failed", lambda: come(extra, "failed"), LIMIT_S)
        # The one that is rotated may belong there.
        release()
        wait_that(manager, f"{victim} is active", lambda: come(victim, "active"), LIMIT_S)
        due(0)
        wait_that(manager, f"{victim} is done", lambda: come(victim, "done"), LIMIT_S)
    assert log.lost() == []
    noticed = next(line for line in journal(manager, victim, since) if line["phase"] == "noticed")
    assert f"without {extra}" in noticed["cause"]
    phases = [line["phase"] for line in journal(manager, extra, since)]
    assert phases.count("failed") == 1
    assert "active" not in phases
