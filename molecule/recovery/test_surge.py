"""One server more while another is rotated: it comes first, goes last, and clients see nothing of either.

The day is shortened on the manager, so that the oldest GPU server is due at once and nobody else is.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import openstack
import pytest

from ansible_collections.gpuswarm.ollama.molecule.operations import ROOT, asking, journal, nodes_of, settings

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


def settled(manager: Host) -> bool:
    """Whether all is well and no run is at work."""
    idle = manager.run("systemctl is-active gpuswarm-recover.service").stdout.strip() != "activating"
    return bool(idle and json.loads(manager.run("gpuswarm-status -o json").stdout or "{}").get("well") is True)


def await_that(manager: Host, true: Callable[[], bool], limit_s: float = LIMIT_S) -> None:
    deadline = time.time() + limit_s
    while not true():
        assert time.time() < deadline, manager.check_output(
            f"gpuswarm-status || true; docker service ps --no-trunc {SERVICE}; "
            "tail -n 40 /var/lib/gpuswarm/journal.jsonl; journalctl -u gpuswarm-recover -n 120 --no-pager"
        )
        time.sleep(0.5)


def oldest(cluster: Cluster) -> tuple[str, int]:
    """The server that is due first, and its age in seconds."""
    servers = openstack.connect(cloud="lab").compute.servers()
    started = {server.name: server.launched_at for server in servers if server.name in cluster.workers}
    name = min(started, key=lambda item: (started[item], item))
    return name, int(time.time() - datetime.fromisoformat(started[name]).replace(tzinfo=UTC).timestamp())


@contextmanager
def last_hour_of(manager: Host, age: int) -> Iterator[Callable[[], None]]:
    """A server of this age is due, until the function is called."""
    await_that(manager, lambda: settled(manager), 120)

    def named(max_age: int) -> tuple[dict[str, Any], dict[str, Any]]:
        rotation = {"surge": True, "max_age": max_age, "margin": MARGIN_S}
        prefixes = {"max_age": "recovery_"}
        variables = {prefixes.get(key, "recovery_rotation_") + key: value for key, value in rotation.items()}
        return variables, {"rotation": rotation}

    with settings(manager, *named(age + MARGIN_S)) as change:
        yield lambda: change(*named(age + MARGIN_S + 86400))


@pytest.fixture
def unharmed(manager: Host) -> Iterator[None]:
    """Nothing is lost, exchanged or left over, in the cloud or in the swarm."""
    before = resources(), nodes_of(manager), replicas(manager)
    yield
    await_that(manager, lambda: settled(manager), 120)
    assert (resources(), nodes_of(manager), replicas(manager)) == before


@pytest.mark.usefixtures("unharmed")
def test_a_server_more_comes_first_and_goes_last(cluster: Cluster, manager: Host) -> None:
    victim, age = oldest(cluster)
    extra = f"lab-gpu-{len(cluster.workers) + 1}"
    since = time.time()
    samples: list[tuple[float, set[str]]] = []

    def come(server: str, phase: str) -> bool:
        samples.append((time.time(), healthy(manager)))
        return when(manager, server, since, phase) is not None

    with asking(cluster.gateway) as log, last_hour_of(manager, age) as over:
        await_that(manager, lambda: come(victim, "active"))
        over()
        await_that(manager, lambda: come(victim, "done"))
        await_that(manager, lambda: come(extra, "retiring"))
        await_that(manager, lambda: come(extra, "done") and journal(manager, extra, since)[-1]["phase"] == "done")
    answers = log.answers()
    assert [answer for answer in answers if not answer.complete] == []
    assert len(answers) > 50
    rotating, gone = when(manager, victim, since, "rotating"), when(manager, extra, since, "retiring")
    assert rotating is not None
    assert gone is not None
    # It worked before the other left, and until that was back.
    assert all(extra in names for moment, names in samples if rotating < moment < gone - 1)
    assert any(victim not in names for _, names in samples), "it was not seen rotating"
    fewest = min(samples, key=lambda sample: len(sample[1]))
    assert len(fewest[1]) >= len(cluster.workers), fewest
    phases = [line["phase"] for name in (victim, extra) for line in journal(manager, name, since)]
    assert "failed" not in phases
    touched = {name for name in cluster.workers if name != victim and journal(manager, name, since)}
    assert touched == set(), "others were touched"


@pytest.mark.usefixtures("unharmed")
def test_without_room_for_it_the_rotation_goes_on(cluster: Cluster, manager: Host) -> None:
    victim, age = oldest(cluster)
    extra = f"lab-gpu-{len(cluster.workers) + 1}"
    since = time.time()
    subprocess.run(["lab/lab", "exhaust", ZONE], cwd=ROOT, check=True, timeout=60)
    try:
        with asking(cluster.gateway) as log, last_hour_of(manager, age) as over:
            await_that(manager, lambda: when(manager, extra, since, "failed") is not None)
            # The one that is rotated may belong there.
            subprocess.run(["lab/lab", "release", ZONE], cwd=ROOT, check=True, timeout=60)
            await_that(manager, lambda: when(manager, victim, since, "active") is not None)
            over()
            await_that(manager, lambda: when(manager, victim, since, "done") is not None)
    finally:
        subprocess.run(["lab/lab", "release", ZONE], cwd=ROOT, check=True, timeout=60)
    assert [answer for answer in log.answers() if not answer.complete] == []
    noticed = next(line for line in journal(manager, victim, since) if line["phase"] == "noticed")
    assert f"without {extra}" in noticed["cause"]
    phases = [line["phase"] for line in journal(manager, extra, since)]
    assert phases.count("failed") == 1
    assert "active" not in phases
