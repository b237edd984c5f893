"""What the cluster looks like after a GPU server was preempted and the timer alone has acted."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.kit import manager as kit
from tests.kit.cluster import Cluster, Host
from tests.kit.docker import Docker, Node, parse_nodes
from tests.kit.paths import BUILD

RECORD = BUILD / "molecule" / "before.json"


@pytest.fixture(scope="module")
def before() -> dict[str, Any]:
    record: dict[str, Any] = json.loads(RECORD.read_text(encoding="utf-8"))
    return record


@pytest.fixture(scope="module")
def journal(manager: Host, before: dict[str, Any]) -> list[dict[str, Any]]:
    return kit.journal(manager, None, before["preempted"])


def test_it_is_the_same_server(cluster: Cluster, before: dict[str, Any]) -> None:
    now = cluster.server(before["victim"])
    assert now["status"] == "ACTIVE"
    for key in ("id", "name", "fixed_ip", "volume_id", "port_id", "availability_zone"):
        assert now[key] == before["server"][key], key
    assert "preemptible" in now["tags"]


def test_nodes_keep_their_ids_and_labels(docker: Docker, before: dict[str, Any]) -> None:
    def by_id(nodes: list[Node]) -> list[Node]:
        return sorted(nodes, key=lambda node: node.id)

    assert by_id(docker.nodes()) == by_id(parse_nodes(before["nodes"]))


def test_the_timer_did_it(journal: list[dict[str, Any]], before: dict[str, Any]) -> None:
    phases = [entry["phase"] for entry in journal if entry["server"] == before["victim"]]
    # By the probe, which asks the cloud, and by the playbook that it starts.
    assert phases == ["noticed", "restore", "noticed", "active", "ready", "healthy", "done"]


def test_nobody_else_was_touched(journal: list[dict[str, Any]], before: dict[str, Any]) -> None:
    assert {entry["server"] for entry in journal} == {before["victim"]}


def test_ollama_runs_on_it_again(docker: Docker, cluster: Cluster) -> None:
    tasks = docker.tasks()
    assert sorted(task.node for task in tasks) == list(cluster.workers)
    assert all(task.state == "running" for task in tasks)


def test_its_engine_asked_the_manager_first(before: dict[str, Any], cluster: Cluster) -> None:
    """What is left of that after the first seconds of the engine that came up with the server."""
    victim, manager = cluster.connect(before["victim"]), cluster.address(cluster.manager)
    for table, others in (
        ("filter", "-j REJECT --reject-with icmp-port-unreachable"),
        ("nat", f"-j DNAT --to-destination {manager}"),
    ):
        rules = victim.check_output(f"iptables -t {table} -S GPUSWARM-GOSSIP").splitlines()
        assert rules[1:] == [f"-A GPUSWARM-GOSSIP -d {manager}/32 -j RETURN", f"-A GPUSWARM-GOSSIP {others}"]
