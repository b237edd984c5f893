"""One server more while another is rotated: it comes first, goes last, and clients see nothing of either.

The day is shortened on the manager, so that the oldest GPU server is due at once and nobody else is.
"""

from __future__ import annotations

import http.client
import json
import shlex
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import openstack
import pytest

if TYPE_CHECKING:
    from ansible_collections.gpuswarm.ollama.molecule.conftest import Cluster, Host

ROOT = Path(__file__).resolve().parents[2]
SERVICE = "gpuswarm_ollama"
LIMIT_S = 900
MARGIN_S = 3600  # half of it is how long the rotation waits for the extra server
ZONE = "ru-7b"  # where the fourth server comes
SETTINGS = ("/etc/gpuswarm/manager/group_vars/all.yml", "/etc/gpuswarm/probe.json")

# The loop reads the one file, its probe the other; JSON is YAML.
EDIT = """
import json, os, sys, yaml
rotation = json.loads(sys.argv[1])
names = {"surge": "rotation_surge", "margin": "rotation_margin"}
for path in sys.argv[2:]:
    settings = yaml.safe_load(open(path, encoding="utf-8"))
    if path.endswith(".json"):
        settings["settings"]["rotation"].update(rotation)
    else:
        settings.update({"recovery_" + names.get(key, key): value for key, value in rotation.items()})
    with open(path + ".new", "w", encoding="utf-8") as file:
        json.dump(settings, file)
    os.chmod(path + ".new", 0o600)
    os.replace(path + ".new", path)
"""

Day = Callable[[dict[str, Any]], None]


def journal(manager: Host, server: str, since: float) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in manager.file("/var/lib/gpuswarm/journal.jsonl").content_string.splitlines()]
    return [line for line in lines if line["server"] == server and line["epoch"] > since]


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


def nodes(manager: Host) -> dict[str, str]:
    text = manager.check_output("docker node ls --format '{{json .}}'")
    return {node["ID"]: node["Hostname"] for node in map(json.loads, text.splitlines())}


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


@pytest.fixture
def day(manager: Host) -> Iterator[Day]:
    """Changes the settings of the rotation on the manager, until the test is over."""
    await_that(manager, lambda: settled(manager), 120)
    for path in SETTINGS:
        manager.check_output(f"cp -p {path} /var/tmp/{Path(path).name}.kept")

    def change(rotation: dict[str, Any]) -> None:
        python = "/opt/gpuswarm/venv/bin/python"
        manager.check_output(shlex.join([python, "-c", EDIT, json.dumps(rotation), *SETTINGS]))

    yield change
    for path in SETTINGS:
        manager.check_output(f"mv /var/tmp/{Path(path).name}.kept {path}")


@pytest.fixture
def unharmed(manager: Host) -> Iterator[None]:
    """Nothing is lost, exchanged or left over, in the cloud or in the swarm."""
    before = resources(), nodes(manager), replicas(manager)
    yield
    await_that(manager, lambda: settled(manager), 120)
    assert (resources(), nodes(manager), replicas(manager)) == before


@contextmanager
def asking(cluster: Cluster) -> Iterator[tuple[list[float], list[str]]]:
    """Clients that keep asking: when they got their answers, and what went wrong."""
    answers: list[float] = []
    lost: list[str] = []
    stop = threading.Event()
    body = {"model": "tiny", "prompt": "hello", "stream": False, "options": {"num_predict": 16}}

    def ask() -> None:
        while not stop.is_set():
            request = urllib.request.Request(  # noqa: S310 - http
                f"{cluster.gateway}/api/generate", json.dumps(body).encode(), {"Content-Type": "application/json"}
            )
            try:
                with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
                    if json.load(response)["done"]:
                        answers.append(time.time())
            except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
                lost.append(f"{datetime.now(UTC).isoformat()}: {error!r}")
            stop.wait(0.2)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        yield answers, lost
    finally:
        stop.set()
        for thread in threads:
            thread.join(timeout=90)


@pytest.mark.usefixtures("unharmed")
def test_a_server_more_comes_first_and_goes_last(cluster: Cluster, manager: Host, day: Day) -> None:
    victim, age = oldest(cluster)
    extra = f"lab-gpu-{len(cluster.workers) + 1}"
    since = time.time()
    samples: list[tuple[float, set[str]]] = []

    def come(server: str, phase: str) -> bool:
        samples.append((time.time(), healthy(manager)))
        return when(manager, server, since, phase) is not None

    with asking(cluster) as (answers, lost):
        time.sleep(3)
        day({"surge": True, "max_age": age + MARGIN_S, "margin": MARGIN_S})
        await_that(manager, lambda: come(victim, "active"))
        # From here on nobody is due.
        day({"max_age": age + MARGIN_S + 86400})
        await_that(manager, lambda: come(victim, "done"))
        await_that(manager, lambda: come(extra, "retiring"))
        await_that(manager, lambda: come(extra, "done") and journal(manager, extra, since)[-1]["phase"] == "done")
        time.sleep(3)
    assert lost == []
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
def test_without_room_for_it_the_rotation_goes_on(cluster: Cluster, manager: Host, day: Day) -> None:
    victim, age = oldest(cluster)
    extra = f"lab-gpu-{len(cluster.workers) + 1}"
    since = time.time()
    subprocess.run(["lab/lab", "exhaust", ZONE], cwd=ROOT, check=True, timeout=60)
    try:
        with asking(cluster) as (_answers, lost):
            day({"surge": True, "max_age": age + MARGIN_S, "margin": MARGIN_S})
            await_that(manager, lambda: when(manager, extra, since, "failed") is not None)
            # The one that is rotated may belong there.
            subprocess.run(["lab/lab", "release", ZONE], cwd=ROOT, check=True, timeout=60)
            await_that(manager, lambda: when(manager, victim, since, "active") is not None)
            day({"max_age": age + MARGIN_S + 86400})
            await_that(manager, lambda: when(manager, victim, since, "done") is not None)
    finally:
        subprocess.run(["lab/lab", "release", ZONE], cwd=ROOT, check=True, timeout=60)
    assert lost == []
    noticed = next(line for line in journal(manager, victim, since) if line["phase"] == "noticed")
    assert f"without {extra}" in noticed["cause"]
    phases = [line["phase"] for line in journal(manager, extra, since)]
    assert phases.count("failed") == 1
    assert "active" not in phases
