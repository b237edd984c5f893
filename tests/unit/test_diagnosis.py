"""Diagnosis: every combination of what the cloud and the swarm can say, and the one verdict for it."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.gpuswarm.ollama.plugins.module_utils.diagnosis import diagnose, ollama_state
from ansible_collections.gpuswarm.ollama.plugins.module_utils.swarm import Node, Task

SERVICE = "gpuswarm_ollama"
LABELS = {"node.gpu": "true"}
GPU = {"name": "demo-gpu-1", "role": "gpu_worker"}
MANAGER = {"name": "demo-manager", "role": "manager"}


def server(
    status: str, task_state: str | None = None, name: str = "demo-gpu-1", fault: str | None = None
) -> dict[str, Any]:
    return {"id": "s1", "name": name, "status": status, "task_state": task_state, "fault": fault}


def node(state: str = "ready", labels: dict[str, str] | None = None, **more: Any) -> Node:
    return Node(id="n1", hostname="demo-gpu-1", state=state, labels=LABELS if labels is None else labels, **more)


RUNNING = Task(id="t1", service=SERVICE, node_id="n1", state="running", desired="running")
STARTING = Task(id="t1", service=SERVICE, node_id="n1", state="starting", desired="running")
FAILED = Task(id="t0", service=SERVICE, node_id="n1", state="failed", desired="shutdown")


@pytest.mark.parametrize(
    ("cloud", "nodes", "tasks", "verdict", "step"),
    [
        # all is well
        ([server("ACTIVE")], [node()], [RUNNING], "healthy", "none"),
        ([server("ACTIVE")], [node()], [FAILED, RUNNING], "healthy", "none"),
        # preempted, whatever the cloud calls it
        ([server("SHELVED")], [node("down")], [RUNNING], "lost", "restore"),
        ([server("SHELVED_OFFLOADED")], [node("down")], [RUNNING], "lost", "restore"),
        ([server("EXPIRED")], [node("down")], [RUNNING], "lost", "restore"),
        ([server("SHELVED_OFFLOADED")], [node()], [RUNNING], "lost", "restore"),  # the swarm has not seen it yet
        ([], [node("down")], [], "lost", "restore"),
        ([], [], [], "lost", "restore"),
        ([server("ERROR", fault="No valid host was found.")], [node("down")], [], "lost", "restore"),
        ([server("PAUSED")], [node("down")], [], "lost", "restore"),
        # somebody is at work, or a person has to look
        ([server("SHELVED", "unshelving")], [node("down")], [], "in_build", "wait"),
        ([server("BUILD")], [], [], "in_build", "wait"),
        ([server("SHUTOFF")], [node("down")], [], "needs_attention", "report"),
        ([server("RESCUE")], [node("down")], [], "needs_attention", "report"),
        ([server("SOMETHING_NEW")], [node("down")], [], "needs_attention", "report"),
        # it runs, but not as a node
        ([server("ACTIVE")], [], [], "not_in_swarm", "converge"),
        ([server("ACTIVE")], [node("down")], [RUNNING], "node_down", "converge"),
        ([server("ACTIVE")], [node("unknown")], [RUNNING], "node_down", "converge"),
        ([server("ACTIVE")], [node(labels={})], [], "labels_missing", "converge"),
        ([server("ACTIVE")], [node(labels={"node.gpu": "false"})], [], "labels_missing", "converge"),
        # a node without Ollama
        ([server("ACTIVE")], [node(availability="drain")], [], "held", "none"),
        ([server("ACTIVE")], [node()], [STARTING], "ollama_not_ready", "wait"),
        ([server("ACTIVE")], [node()], [FAILED], "ollama_not_ready", "wait"),
        # partial knowledge leads to nothing
        (None, [node()], [RUNNING], "unknown", "report"),
        (None, [node("down")], [], "unknown", "report"),
        (None, None, None, "unknown", "report"),
        ([server("ACTIVE")], None, None, "unknown", "report"),
        ([server("SHELVED")], None, None, "lost", "restore"),  # the cloud alone is enough to know this
    ],
)
def test_gpu_worker(
    cloud: list[dict[str, Any]] | None, nodes: list[Node] | None, tasks: list[Task] | None, verdict: str, step: str
) -> None:
    (found,) = diagnose([GPU], cloud, nodes, tasks, SERVICE, LABELS)
    assert (found.verdict, found.step) == (verdict, step)
    assert found.reason


def test_manager_needs_no_ollama() -> None:
    nodes = [Node(id="m", hostname="demo-manager", state="ready", role="manager")]
    (found,) = diagnose([MANAGER], [server("ACTIVE", name="demo-manager")], nodes, [], SERVICE, LABELS)
    assert (found.verdict, found.step, found.ollama) == ("healthy", "none", "")


def test_one_lost_server_changes_nothing_for_the_others() -> None:
    specs = [GPU, {"name": "demo-gpu-2", "role": "gpu_worker"}]
    nodes = [node(), Node(id="n2", hostname="demo-gpu-2", state="down", labels=LABELS)]
    found = diagnose(specs, [server("ACTIVE"), server("SHELVED", name="demo-gpu-2")], nodes, [RUNNING], SERVICE, LABELS)
    assert [verdict.verdict for verdict in found] == ["healthy", "lost"]


def test_twin_is_stale_only_beside_a_ready_successor() -> None:
    old = Node(id="old", hostname="demo-gpu-1", state="down", labels=LABELS)
    (alone,) = diagnose([GPU], [server("ACTIVE")], [old], [], SERVICE, LABELS)
    assert alone.stale_node_ids == []
    (beside,) = diagnose([GPU], [server("ACTIVE")], [old, node()], [RUNNING], SERVICE, LABELS)
    assert (beside.node_id, beside.stale_node_ids) == ("n1", ["old"])


def test_a_task_of_a_dead_node_is_not_believed() -> None:
    assert ollama_state(node("down"), [RUNNING], SERVICE) == "lost"
    assert ollama_state(node(), [RUNNING], "another_service") == "absent"
    assert ollama_state(None, [RUNNING], SERVICE) == "absent"
