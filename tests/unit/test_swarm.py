"""What the Docker API says, reduced to nodes, tasks and membership."""

from __future__ import annotations

import pytest

from ansible_collections.gpuswarm.ollama.plugins.module_utils.swarm import (
    Node,
    Task,
    has_come,
    membership,
    node_of_server,
    nodes_from_api,
    stale_nodes,
    tasks_from_api,
)

NODES = [Node(id="n1", hostname="a", state="ready"), Node(id="n2", hostname="b", state="down")]


@pytest.mark.parametrize(
    ("local", "action"),
    [
        ({"LocalNodeState": "inactive", "NodeID": ""}, "join"),
        ({}, "join"),
        ({"LocalNodeState": "active", "NodeID": "n1"}, "none"),
        ({"LocalNodeState": "active", "NodeID": "n2"}, "none"),  # Down for the manager, but ours
        ({"LocalNodeState": "pending", "NodeID": "n1"}, "none"),
        ({"LocalNodeState": "active", "NodeID": "other"}, "leave_and_join"),
        ({"LocalNodeState": "error", "NodeID": "removed"}, "leave_and_join"),
        ({"LocalNodeState": "locked", "NodeID": "n1"}, "leave_and_join"),
        ({"LocalNodeState": "pending", "NodeID": ""}, "leave_and_join"),
    ],
)
def test_membership(local: dict[str, str], action: str) -> None:
    decided = membership(local, NODES)
    assert decided.action == action
    assert decided.reason


def test_the_ready_twin_is_the_node() -> None:
    twins = [Node(id="old", hostname="a", state="down"), Node(id="new", hostname="a", state="ready")]
    found = node_of_server(twins, "a")
    assert found is not None
    assert found.id == "new"
    assert [node.id for node in stale_nodes(twins, "a")] == ["old"]
    assert node_of_server(twins, "b") is None


@pytest.mark.parametrize("state", ["unknown", "disconnected", "ready"])
def test_only_a_down_twin_is_stale(state: str) -> None:
    assert stale_nodes([Node(id="x", hostname="a", state=state), Node(id="y", hostname="a", state="ready")], "a") == []


def test_a_manager_is_never_stale() -> None:
    twins = [Node(id="x", hostname="a", state="down", role="manager"), Node(id="y", hostname="a", state="ready")]
    assert stale_nodes(twins, "a") == []


def test_reading_the_api() -> None:
    (node,) = nodes_from_api(
        [
            {
                "ID": "n1",
                "Spec": {"Role": "worker", "Availability": "drain", "Labels": {"k": "v"}},
                "Description": {"Hostname": "a"},
                "Status": {"State": "ready", "Addr": "10.0.0.1"},
            }
        ]
    )
    assert node == Node("n1", "a", "ready", "drain", "worker", "10.0.0.1", {"k": "v"})
    (task,) = tasks_from_api(
        [{"ID": "t", "ServiceID": "s", "NodeID": "n1", "Status": {"State": "running"}, "DesiredState": "running"}],
        [{"ID": "s", "Spec": {"Name": "gpuswarm_ollama"}}],
    )
    assert (task.service, task.state) == ("gpuswarm_ollama", "running")


def test_an_answer_with_nothing_in_it() -> None:
    assert nodes_from_api([{"ID": "n1"}])[0].state == "unknown"
    assert tasks_from_api([{"ID": "t"}], [])[0].node_id == ""


@pytest.mark.parametrize(
    ("state", "node_state", "task_state", "expected"),
    [
        ("ready", "ready", None, True),
        ("ready", "down", None, False),
        ("ready", None, None, False),
        ("down", "down", None, True),
        ("down", "unknown", None, True),
        ("down", "ready", None, False),
        ("down", None, None, False),
        ("running", "ready", "running", True),
        ("running", "ready", "starting", False),
        ("running", "down", "running", False),  # Swarm goes on saying so
        ("running", "ready", None, False),
        ("idle", "ready", None, True),
        ("idle", "ready", "running", False),
        ("idle", "ready", "preparing", False),
        ("idle", "ready", "shutdown", True),
        ("idle", None, None, True),
    ],
)
def test_has_come(state: str, node_state: str | None, task_state: str | None, expected: bool) -> None:
    nodes = [Node("n", "g", node_state)] if node_state else []
    tasks = [Task("t", "s", "n", task_state, "running")] if task_state else []
    assert has_come(state, "g", nodes, tasks, "s") is expected
    assert has_come(state, "another", nodes, tasks, "s") is (state == "idle")


def test_what_docker_says_of_a_task() -> None:
    raw = {
        "ID": "t",
        "ServiceID": "s",
        "Status": {"State": "failed", "Timestamp": "2026-01-01T00:00:01.123456789Z", "Err": "unhealthy"},
        "NetworksAttachments": [{"Addresses": ["10.0.1.5/24"]}],
    }
    (task,) = tasks_from_api(
        [
            raw,
        ],
        [{"ID": "s", "Spec": {"Name": "stack_ollama"}}],
    )
    assert (task.service, task.error, task.addresses) == ("stack_ollama", "unhealthy", ("10.0.1.5",))
    assert round(task.since, 3) == 1767225601.123
    (bare,) = tasks_from_api([{"ID": "t"}], [])
    assert (bare.since, bare.error, bare.addresses) == (0.0, "", ())
