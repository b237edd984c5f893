"""The worst cases: a whole rotation under load, and a manager that reboots, or is gone for good."""

from __future__ import annotations

import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import openstack
import pytest

from ansible_collections.gpuswarm.ollama.molecule.operations import (
    LAB,
    ROOT,
    asking,
    delete_with_disk,
    nodes_of,
    phases,
    playbook,
    read_cluster,
    settings,
    wait_for,
    wait_until_well,
)

if TYPE_CHECKING:
    from ansible_collections.gpuswarm.ollama.molecule.operations import Cluster, Host

BOOTED = "systemctl show --property UserspaceTimestampMonotonic"
SHORT_DAY_S = 150  # longer than it takes to rotate one server


def cloud_status(name: str) -> str:
    cloud = openstack.connect(cloud="lab")
    return str(cloud.compute.get_server(cloud.compute.find_server(name, ignore_missing=False).id).status)


@pytest.mark.thorough  # the gate: tests/integration/test_tiers.py (on demand and back), unit test_rotation.py
def test_a_stand_in_becomes_preemptible_again(cluster: Cluster, manager: Host) -> None:
    # What was rotated within half an hour is not returned.
    name = next(name for name in cluster.workers if "rotating" not in phases(manager, name, time.time() - 1800))
    nova = openstack.connect(cloud="lab", compute_default_microversion="2.72").compute

    def server() -> dict[str, Any]:
        found: dict[str, Any] = nova.get(f"/servers/detail?name=^{name}$").json()["servers"][0]
        return found

    before, nodes = server(), nodes_of(manager)
    since = time.time()
    # As if there had been no room for a preemptible one.
    assert nova.delete(f"/servers/{before['id']}/tags/preemptible").status_code == 204
    with settings(manager, {"recovery_return_after": 1}, {"rotation": {"return_after": 1}}):
        found = wait_for(manager, name, since, lambda seen: "done" in seen)
    assert "rotating" in found
    after = server()
    assert after["id"] != before["id"]
    assert after["tags"] == ["preemptible"]
    assert after["os-extended-volumes:volumes_attached"] == before["os-extended-volumes:volumes_attached"]
    assert nodes_of(manager) == nodes, "it had to join anew"
    wait_until_well(manager)


@pytest.mark.thorough  # the gate: test_surge.py rotates all servers, with one more
def test_a_rotation_of_all_servers_loses_nothing(cluster: Cluster, manager: Host) -> None:
    wait_until_well(manager)
    since = time.time()
    short = {"recovery_max_age": SHORT_DAY_S, "recovery_rotation_margin": 0}
    probe = {"rotation": {"max_age": SHORT_DAY_S, "margin": 0}}
    with asking(cluster.gateway) as log:
        with settings(manager, short, probe):
            for name in cluster.workers:
                wait_for(manager, name, since, lambda seen: "rotating" in seen and "done" in seen, limit_s=600)
        wait_until_well(manager)
    answers = log.answers()
    lost = [answer for answer in answers if not answer.complete]
    assert lost == [], f"{len(lost)} of {len(answers)}"
    assert len(answers) > 100


# The gate: unit test_schedule.py, test_diagnosis.py (resting); test_surge.py has servers shelved and brought back.
@pytest.mark.thorough
def test_the_schedule_sends_a_server_to_rest_and_gets_it_back(cluster: Cluster, manager: Host) -> None:
    last = cluster.workers[-1]
    since = time.time()
    every_day = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
    fewer = [
        {"days": every_day, "from": "00:00", "to": "12:00", "count": 2},
        {"days": every_day, "from": "12:00", "to": "00:00", "count": 2},
    ]
    with settings(manager, {"recovery_schedule": fewer}, {"schedule": fewer}):
        wait_for(manager, last, since, lambda seen: "resting" in seen)
        deadline = time.time() + 120
        while not cloud_status(last).startswith("SHELVED"):
            assert time.time() < deadline, manager.check_output("journalctl -u gpuswarm-recover -n 80 --no-pager")
            time.sleep(1)
        status = wait_until_well(manager)
        assert {server["server"]: server["verdict"] for server in status["servers"]}[last] == "resting"
    back = time.time()
    wait_for(manager, last, back, lambda seen: "done" in seen)
    wait_until_well(manager)
    assert cloud_status(last) == "ACTIVE"
    assert all(phases(manager, name, since) == [] for name in cluster.workers[:-1]), "others were touched"


def test_a_manager_that_reboots_in_the_middle_goes_on(cluster: Cluster, manager: Host) -> None:
    victim = cluster.workers[-1]
    before = nodes_of(manager)
    since = time.time()
    subprocess.run(["lab/lab", "preempt", victim], cwd=ROOT, check=True, timeout=60)
    wait_for(manager, victim, since, lambda seen: "restoring" in seen)
    server = cluster.server(cluster.manager)["id"]
    openstack.connect(cloud="lab").compute.reboot_server(server, "HARD")  # type: ignore[no-untyped-call]
    found = wait_for(manager, victim, since, lambda seen: "done" in seen, limit_s=300)
    assert "failed" not in found
    wait_until_well(manager)
    assert nodes_of(manager) == before


def test_a_manager_that_is_gone_comes_back_from_its_backup(cluster: Cluster, manager: Host, tmp_path: Path) -> None:
    wait_until_well(manager)
    before = nodes_of(manager)
    recipient = (LAB / "id_ed25519.pub").read_text(encoding="utf-8").strip()
    playbook("backup", "-e", f"backup_destination={tmp_path}", "-e", f'{{"backup_recipients": ["{recipient}"]}}')
    (backup,) = tmp_path.glob("*.age")
    assert backup.stat().st_mode & 0o077 == 0
    delete_with_disk(cluster.manager)
    playbook("restore", "-e", f"backup_restore_file={backup}", "-e", f"backup_identity_file={LAB / 'id_ed25519'}")
    now = read_cluster()
    assert now.server(now.manager)["id"] != cluster.server(cluster.manager)["id"]
    fresh = now.connect(now.manager)
    assert nodes_of(fresh) == before, "workers had to join anew"
    with asking(now.gateway) as log:
        wait_until_well(fresh)
    answers = log.answers()
    assert answers
    assert all(answer.complete for answer in answers), answers
    assert fresh.service("gpuswarm-recover.timer").is_running
    system = ["/", "/etc", "/var", "/var/lib", "/opt"]
    assert fresh.check_output(f"stat -c %a {' '.join(system)}").split() == ["755"] * len(system)

    booted = fresh.check_output(BOOTED)
    openstack.connect(cloud="lab").compute.reboot_server(now.server(now.manager)["id"], "HARD")  # type: ignore[no-untyped-call]
    deadline = time.time() + 120
    seen = booted
    while seen == booted:
        assert time.time() < deadline, "it does not come back"
        time.sleep(1)
        with suppress(RuntimeError):  # testinfra's, while it cannot be logged in to
            seen = fresh.check_output(BOOTED)
    wait_until_well(fresh)
    assert nodes_of(fresh) == before
    again = ["--retry", "30", "--retry-delay", "1", "--retry-all-errors"]
    subprocess.run(["curl", "--fail", *again, f"{now.gateway}/ready"], check=True, capture_output=True, timeout=120)
