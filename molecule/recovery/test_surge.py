"""One server more while the others are rotated: it comes first, goes last, and clients see nothing of either.

The day is shortened on the manager, so that one GPU server after the other is due, the oldest first.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import openstack
import pytest

from ansible_collections.gpuswarm.ollama.molecule.operations import (
    ROOT,
    asking,
    journal,
    nodes_of,
    settings,
    wait_that,
    wait_until_well,
)

if TYPE_CHECKING:
    from ansible_collections.gpuswarm.ollama.molecule.operations import Cluster, Host

SERVICE = "gpuswarm_ollama"
LIMIT_S = 900
MARGIN_S = 3600  # half of it is how long the rotation waits for the extra server
ZONE = "ru-7b"  # where the fourth server comes


def when(manager: Host, server: str, since: float, phase: str) -> float | None:
    """When a server first came to a phase."""
    return next((float(line["epoch"]) for line in journal(manager, server, since) if line["phase"] == phase), None)


def healthy(manager: Host) -> set[str]:
    """The servers whose Ollama the gateway may send requests to."""
    tasks = manager.check_output(
        f"docker service ps --filter desired-state=running --format '{{{{.Node}}}} {{{{.CurrentState}}}}' {SERVICE}"
    )
    words = [line.split() for line in tasks.splitlines()]
    return {task[0] for task in words if len(task) > 1 and task[1] == "Running"}


def resources() -> dict[str, list[str]]:
    """Everything in the cloud that costs money, and the ports."""
    cloud = openstack.connect(cloud="lab")
    return {
        "servers": sorted(f"{server.name} {server.id}" for server in cloud.compute.servers()),
        "volumes": sorted(f"{volume.name} {volume.id}" for volume in cloud.block_storage.volumes()),
        "ports": sorted(f"{port.name} {port.id}" for port in cloud.network.ports()),
    }


def replicas(manager: Host) -> int:
    template = "{{.Spec.Mode.Replicated.Replicas}}"
    return int(manager.check_output(f"docker service inspect --format '{template}' {SERVICE}"))


def by_age(cluster: Cluster) -> list[tuple[str, float]]:
    """The GPU servers, the oldest first, and when each was started (seconds since the epoch)."""
    servers = openstack.connect(cloud="lab").compute.servers()
    started = [
        (server.name, datetime.fromisoformat(server.launched_at).replace(tzinfo=UTC).timestamp())
        for server in servers
        if server.name in cluster.workers
    ]
    return sorted(started, key=lambda item: (item[1], item[0]))


@contextmanager
def last_hour_of(manager: Host, started: float) -> Iterator[Callable[[float], None]]:
    """Servers that were started then or before are due; the function takes another moment, 0 for none."""
    wait_until_well(manager)

    def named(started: float) -> tuple[dict[str, Any], dict[str, Any]]:
        age = int(time.time() - started) if started else 10 * 86400
        rotation = {"surge": True, "max_age": age + MARGIN_S, "margin": MARGIN_S}
        prefixes = {"max_age": "recovery_"}
        variables = {prefixes.get(key, "recovery_rotation_") + key: value for key, value in rotation.items()}
        return variables, {"rotation": rotation}

    with settings(manager, *named(started)) as change:
        yield lambda started: change(*named(started))


@pytest.fixture
def unharmed(manager: Host) -> Iterator[None]:
    """Nothing is lost, exchanged or left over, in the cloud or in the swarm."""
    before = resources(), nodes_of(manager), replicas(manager)
    yield
    wait_until_well(manager)
    assert (resources(), nodes_of(manager), replicas(manager)) == before


@pytest.mark.usefixtures("unharmed")
def test_a_rotation_of_all_servers_with_one_more_loses_nothing(cluster: Cluster, manager: Host) -> None:
    order = by_age(cluster)
    names = [name for name, _ in order]
    extra = f"lab-gpu-{len(cluster.workers) + 1}"
    since = time.time()
    samples: list[tuple[float, set[str]]] = []

    def come(server: str, phase: str) -> bool:
        samples.append((time.time(), healthy(manager)))
        return when(manager, server, since, phase) is not None

    with asking(cluster.gateway) as log, last_hour_of(manager, order[0][1]) as due:
        for number, name in enumerate(names):
            wait_that(manager, partial(come, name, "active"), LIMIT_S)
            # It is young again; the next one is due before this one is healthy, so that the extra server stays.
            due(order[number + 1][1] if number + 1 < len(order) else 0)
        wait_that(manager, lambda: come(names[-1], "done"), LIMIT_S)
        wait_that(manager, lambda: come(extra, "retiring"), LIMIT_S)
        wait_that(
            manager, lambda: come(extra, "done") and journal(manager, extra, since)[-1]["phase"] == "done", LIMIT_S
        )
    answers = log.answers()
    assert [answer for answer in answers if not answer.complete] == []
    assert len(answers) > 100
    turns = [(name, when(manager, name, since, "rotating"), when(manager, name, since, "done")) for name in names]
    gone = when(manager, extra, since, "retiring")
    assert gone is not None
    # One after the other, each once, the oldest first; the extra server is there before the first and after the last.
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
    assert phases.count("rotating") == len(names)


@pytest.mark.thorough  # the gate: unit test_surge.py (a surge that fails), and the rotation above
@pytest.mark.usefixtures("unharmed")
def test_without_room_for_it_the_rotation_goes_on(cluster: Cluster, manager: Host) -> None:
    victim, started = by_age(cluster)[0]
    extra = f"lab-gpu-{len(cluster.workers) + 1}"
    since = time.time()
    subprocess.run(["lab/lab", "exhaust", ZONE], cwd=ROOT, check=True, timeout=60)
    try:
        with asking(cluster.gateway) as log, last_hour_of(manager, started) as due:
            wait_that(manager, lambda: when(manager, extra, since, "failed") is not None, LIMIT_S)
            # The one that is rotated may belong there.
            subprocess.run(["lab/lab", "release", ZONE], cwd=ROOT, check=True, timeout=60)
            wait_that(manager, lambda: when(manager, victim, since, "active") is not None, LIMIT_S)
            due(0)
            wait_that(manager, lambda: when(manager, victim, since, "done") is not None, LIMIT_S)
    finally:
        subprocess.run(["lab/lab", "release", ZONE], cwd=ROOT, check=True, timeout=60)
    assert [answer for answer in log.answers() if not answer.complete] == []
    noticed = next(line for line in journal(manager, victim, since) if line["phase"] == "noticed")
    assert f"without {extra}" in noticed["cause"]
    phases = [line["phase"] for line in journal(manager, extra, since)]
    assert phases.count("failed") == 1
    assert "active" not in phases
