"""A server that is gone for good, its disk too: the timer alone creates it anew, and its dead twin goes only then."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import openstack

from ansible_collections.gpuswarm.ollama.molecule.operations import delete_with_disk

if TYPE_CHECKING:
    from ansible_collections.gpuswarm.ollama.molecule.operations import Cluster, Host

LIMIT_S = 420


def nodes_of(manager: Host, hostname: str) -> dict[str, str]:
    text = manager.check_output("docker node ls --format '{{json .}}'")
    nodes = [json.loads(line) for line in text.splitlines()]
    return {node["ID"]: node["Status"] for node in nodes if node["Hostname"] == hostname}


def recovered(manager: Host, server: str, since: float) -> bool:
    lines = [json.loads(line) for line in manager.file("/var/lib/gpuswarm/journal.jsonl").content_string.splitlines()]
    phases = [line["phase"] for line in lines if line["server"] == server and line["epoch"] > since]
    assert "failed" not in phases, phases
    return "done" in phases


def test_a_new_node_takes_over(cluster: Cluster, manager: Host) -> None:
    victim = cluster.workers[0]
    before: dict[str, Any] = cluster.server(victim)
    (old,) = nodes_of(manager, victim)
    since = time.time()
    delete_with_disk(victim)
    samples = []
    while not recovered(manager, victim, since):
        assert time.time() - since < LIMIT_S, manager.check_output("journalctl -u gpuswarm-recover -n 100 --no-pager")
        samples.append(nodes_of(manager, victim))
        time.sleep(0.5)
    after = nodes_of(manager, victim)
    assert list(after.values()) == ["Ready"]
    assert old not in after
    # The twin was there at every moment at which no successor was Ready.
    assert all(old in sample or "Ready" in sample.values() for sample in samples), samples
    assert any(old in sample and "Ready" in sample.values() for sample in samples) or old in samples[0]
    server = openstack.connect(cloud="lab").compute.find_server(victim, ignore_missing=False)
    server = openstack.connect(cloud="lab").compute.get_server(server.id)
    assert server.id != before["id"]
    addresses = [item["addr"] for items in server.addresses.values() for item in items]
    assert addresses == [before["fixed_ip"]], "it has another address than before"
    labels = json.loads(manager.check_output(f"docker node inspect {next(iter(after))}"))[0]["Spec"]["Labels"]
    assert labels.items() >= {"node.gpu": "true", "node.gpu.model": "rtx4090"}.items()
