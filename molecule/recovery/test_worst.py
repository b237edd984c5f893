"""The worst cases: a whole rotation under load, and a manager that reboots, or is gone for good."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from openstack.connection import Connection

from tests.kit import cloud as kit
from tests.kit import lab
from tests.kit.clients import asking
from tests.kit.cluster import Cluster, Host, read_cluster
from tests.kit.docker import Docker
from tests.kit.door import Door
from tests.kit.lab import LAB
from tests.kit.manager import journal, phases, settings, wait_for, wait_that, wait_until_as_desired
from tests.kit.waiting import TRANSIENT, until
from tests.kit.watching import running

BOOTED = "systemctl show --property UserspaceTimestampMonotonic"
# What meet.sh asks at every start of the manager's engine.
DIAGNOSTICS = r"""bash -c 'exec 3<>/dev/tcp/127.0.0.1/7947; printf "GET /ready HTTP/1.0\r\n\r\n" >&3; grep OK <&3'"""
SHORT_DAY_S = 150  # longer than it takes to rotate one server


def until_ready(gateway: str) -> None:
    """Wait until the gateway has found the replicas."""
    until("the gateway is ready", lambda: httpx.get(f"{gateway}/ready", timeout=10).is_success, 120, 1)


@pytest.mark.thorough  # the gate: tests/cloud/test_strategies.py (on demand and back), unit test_rotation.py
def test_a_stand_in_becomes_preemptible_again(cluster: Cluster, manager: Host, docker: Docker) -> None:
    def rotated(name: str) -> float:
        lines = journal(manager, name, 0)
        return max((line["epoch"] for line in lines if line["phase"] == "rotate"), default=0.0)

    # What was rotated within half an hour is not returned; so the loop has to forget the last time.
    name = min(cluster.workers, key=rotated)
    window = min(21600, int(time.time() - rotated(name)) - 1)
    nova = kit.connect(microversion=kit.MICROVERSION).compute

    def server() -> dict[str, Any]:
        found: dict[str, Any] = nova.get(f"/servers/detail?name=^{name}$").json()["servers"][0]
        return found

    before, nodes = server(), docker.hostnames()
    since = time.time()
    # As if there had been no room for a preemptible one.
    assert nova.delete(f"/servers/{before['id']}/tags/preemptible").status_code == 204
    variables = {"recovery_return_after": 1, "recovery_remediation_window": window}
    with settings(manager, variables, {"rotation": {"return_after": 1}, "remediation": {"window": window}}):
        found = wait_for(manager, name, since, lambda seen: "done" in seen)
    assert "rotate" in found
    after = server()
    assert after["id"] != before["id"]
    assert after["tags"] == ["preemptible"]
    assert after["os-extended-volumes:volumes_attached"] == before["os-extended-volumes:volumes_attached"]
    assert docker.hostnames() == nodes, "it had to join anew"
    wait_until_as_desired(manager)


@pytest.mark.thorough  # the gate: test_surge.py rotates all servers, with one more
def test_a_rotation_of_all_servers_loses_nothing(cluster: Cluster, manager: Host) -> None:
    wait_until_as_desired(manager)
    since = time.time()
    short = {"recovery_max_age": SHORT_DAY_S, "recovery_rotation_margin": 0}
    probe = {"rotation": {"max_age": SHORT_DAY_S, "margin": 0}}
    with asking(cluster.gateway) as log:
        with settings(manager, short, probe):
            for name in cluster.workers:
                wait_for(manager, name, since, lambda seen: "rotate" in seen and "done" in seen, limit_s=600)
        wait_until_as_desired(manager)
    assert log.lost() == []
    assert len(log.answers()) > 100


# The gate: unit test_schedule.py, test_diagnosis.py (resting); test_surge.py has servers shelved and brought back.
@pytest.mark.thorough
def test_the_schedule_sends_a_server_to_rest_and_gets_it_back(
    cluster: Cluster, manager: Host, cloud: Connection
) -> None:
    last = cluster.workers[-1]
    since = time.time()
    every_day = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
    fewer = [
        {"days": every_day, "from": "00:00", "to": "12:00", "count": 2},
        {"days": every_day, "from": "12:00", "to": "00:00", "count": 2},
    ]
    with settings(manager, {"recovery_schedule": fewer}, {"schedule": fewer}):
        wait_for(manager, last, since, lambda seen: "rest" in seen)
        wait_that(manager, f"{last} rests", lambda: kit.server(cloud, last).status.startswith("SHELVED"), 120)
        status = wait_until_as_desired(manager)
        assert {server["server"]: server["verdict"] for server in status["servers"]}[last] == "resting"
    back = time.time()
    wait_for(manager, last, back, lambda seen: "done" in seen)
    wait_until_as_desired(manager)
    assert kit.server(cloud, last).status == "ACTIVE"
    assert all(phases(manager, name, since) == [] for name in cluster.workers[:-1]), "others were touched"


def test_a_manager_that_reboots_in_the_middle_goes_on(
    cluster: Cluster, manager: Host, docker: Docker, cloud: Connection
) -> None:
    victim = cluster.workers[-1]
    before = docker.hostnames()
    since = time.time()
    lab.preempt(victim)
    wait_for(manager, victim, since, lambda seen: "restore" in seen)
    server = cluster.server(cluster.manager)["id"]
    door = Door(cluster.gateway)
    with running([door]):
        cloud.compute.reboot_server(server, "HARD")  # type: ignore[no-untyped-call]
        found = wait_for(manager, victim, since, lambda seen: "done" in seen, limit_s=300)
        assert "failed" not in found
        wait_until_as_desired(manager)
        until_ready(cluster.gateway)
    assert docker.hostnames() == before
    assert door.seconds["refused"] > 0, "the manager was not away"
    # Without meet.sh of the role swarm_manager it is 12 to 55 seconds.
    assert door.seconds["without servers"] < 6
    assert manager.run(DIAGNOSTICS).rc == 0
    assert manager.run(f"runuser -u nobody -- {DIAGNOSTICS}").rc != 0, "not only root reaches the engine's diagnostics"


def test_a_manager_that_is_gone_comes_back_from_its_backup(
    cluster: Cluster, manager: Host, docker: Docker, cloud: Connection, tmp_path: Path
) -> None:
    wait_until_as_desired(manager)
    until_ready(cluster.gateway)
    before = docker.hostnames()
    recipient = LAB.ssh_key.with_suffix(".pub").read_text(encoding="utf-8").strip()
    with asking(cluster.gateway) as log:
        lab.playbook("backup", variables={"backup_destination": str(tmp_path), "backup_recipients": [recipient]})
    assert log.lost() == [], "the gateway has to go on during a backup"
    (backup,) = tmp_path.glob("*.age")
    assert backup.stat().st_mode & 0o077 == 0
    kit.delete_with_disk(cloud, cluster.manager)
    files = {"backup_restore_file": str(backup), "backup_identity_file": str(LAB.ssh_key)}
    lab.playbook("restore", variables=files)
    now = read_cluster()
    assert now.server(now.manager)["id"] != cluster.server(cluster.manager)["id"]
    fresh = now.connect(now.manager)
    assert Docker(fresh).hostnames() == before, "workers had to join anew"
    with asking(now.gateway) as log:
        wait_until_as_desired(fresh)
    assert log.answers()
    assert log.lost() == []
    assert fresh.service("gpuswarm-recover.timer").is_running
    assert fresh.service("gpuswarm-backup.timer").is_running
    system = ["/", "/etc", "/var", "/var/lib", "/opt"]
    assert fresh.check_output(f"stat -c %a {' '.join(system)}").split() == ["755"] * len(system)

    def boot() -> str:
        """Which boot it is; empty while systemd stops or is not there yet."""
        shown = fresh.run(BOOTED)
        return str(shown.stdout) if shown.rc == 0 else ""

    booted = boot()
    cloud.compute.reboot_server(now.server(now.manager)["id"], "HARD")  # type: ignore[no-untyped-call]
    # RuntimeError is testinfra's, while it cannot be logged in to.
    until(
        "the manager has booted again",
        lambda: boot() not in ("", booted),
        120,
        1,
        tolerate=(*TRANSIENT, RuntimeError),
    )
    wait_until_as_desired(fresh)
    assert Docker(fresh).hostnames() == before
    until_ready(now.gateway)
