"""What the cluster looks like after a GPU server was preempted and the timer alone has acted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from ansible_collections.gpuswarm.ollama.molecule.operations import Cluster, Connect, Host

RECORD = Path(__file__).resolve().parents[2] / "build" / "molecule" / "before.json"


@pytest.fixture(scope="module")
def before() -> dict[str, Any]:
    record: dict[str, Any] = json.loads(RECORD.read_text(encoding="utf-8"))
    return record


@pytest.fixture(scope="module")
def nodes(manager: Host) -> list[dict[str, Any]]:
    result: list[dict[str, Any]] = json.loads(manager.check_output("docker node ls -q | xargs docker node inspect"))
    return result


@pytest.fixture(scope="module")
def journal(manager: Host, before: dict[str, Any]) -> list[dict[str, Any]]:
    lines = manager.file("/var/lib/gpuswarm/journal.jsonl").content_string.splitlines()
    entries = [json.loads(line) for line in lines]
    return [entry for entry in entries if entry["epoch"] > before["preempted"]]


def test_it_is_the_same_server(cluster: Cluster, before: dict[str, Any]) -> None:
    now = cluster.server(before["victim"])
    assert now["status"] == "ACTIVE"
    for key in ("id", "name", "fixed_ip", "volume_id", "port_id", "availability_zone"):
        assert now[key] == before["server"][key], key
    assert "preemptible" in now["tags"]


def test_nodes_keep_their_ids_and_labels(nodes: list[dict[str, Any]], before: dict[str, Any]) -> None:
    def facts(items: list[dict[str, Any]]) -> dict[str, tuple[str, dict[str, str], str]]:
        return {
            node["ID"]: (node["Description"]["Hostname"], node["Spec"]["Labels"], node["Status"]["State"])
            for node in items
        }

    assert facts(nodes) == facts(before["nodes"])


def test_the_timer_did_it(journal: list[dict[str, Any]], before: dict[str, Any]) -> None:
    phases = [entry["phase"] for entry in journal if entry["server"] == before["victim"]]
    # By the probe, which asks the cloud, and by the playbook that it starts.
    assert phases == ["noticed", "restoring", "noticed", "active", "ready", "healthy", "done"]


def test_nobody_else_was_touched(journal: list[dict[str, Any]], before: dict[str, Any]) -> None:
    assert {entry["server"] for entry in journal} == {before["victim"]}


def test_ollama_runs_on_it_again(docker: Callable[[str], Any], cluster: Cluster) -> None:
    tasks = docker("service ps --filter desired-state=running --format '{{json .}}' gpuswarm_ollama")
    assert sorted(task["Node"] for task in tasks) == list(cluster.workers)
    assert all(task["CurrentState"].startswith("Running") for task in tasks)


def test_its_engine_asked_the_manager_first(connect: Connect, before: dict[str, Any], cluster: Cluster) -> None:
    """What is left of that after the first seconds of the engine that came up with the server."""
    victim, manager = connect(before["victim"]), cluster.address(cluster.manager)
    for table, others in (
        ("filter", "-j REJECT --reject-with icmp-port-unreachable"),
        ("nat", f"-j DNAT --to-destination {manager}"),
    ):
        rules = victim.check_output(f"iptables -t {table} -S GPUSWARM-GOSSIP").splitlines()
        assert rules[1:] == [f"-A GPUSWARM-GOSSIP -d {manager}/32 -j RETURN", f"-A GPUSWARM-GOSSIP {others}"]
