"""What the Docker API says, reduced to nodes, tasks and membership."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.swarm import (
    CLOCK_MARGIN,
    Identity,
    Node,
    Task,
    has_come,
    has_registered,
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


A = Identity("a", address="10.0.0.1")
# A server that was made anew: its port, and so its address, are the predecessor's.
OLD = Node("z-old", "a", "ready", address="10.0.0.1", created=100, updated=100)
NEW = Node("b-new", "a", "ready", address="10.0.0.1", created=900, updated=900)


@pytest.mark.parametrize("turned", [False, True], ids=["in order", "turned"])
@pytest.mark.parametrize(
    ("nodes", "server", "expected"),
    [
        pytest.param([OLD, NEW], A, "b-new", id="the swarm has not noticed the loss"),
        pytest.param([replace(OLD, state="down"), NEW], A, "b-new", id="it has"),
        pytest.param([OLD, replace(NEW, state="down")], A, "z-old", id="the one that is heard"),
        pytest.param([replace(OLD, state="down"), replace(NEW, state="down")], A, "b-new", id="both down"),
        pytest.param([replace(OLD, state="unknown"), replace(NEW, state="unknown")], A, "b-new", id="new leader"),
        pytest.param([OLD, NEW], replace(A, node_id="z-old"), "z-old", id="the server itself says so"),
        pytest.param([OLD, replace(NEW, state="down")], replace(A, node_id="b-new"), "b-new", id="even if it is down"),
        pytest.param([OLD, NEW], replace(A, node_id="none"), None, id="or that it is neither"),
        pytest.param([OLD, replace(NEW, address="10.0.0.9")], A, "z-old", id="the later one is another machine"),
        pytest.param([replace(OLD, address="10.0.0.9"), NEW], A, "b-new", id="the earlier one is"),
        pytest.param([replace(OLD, created=900), NEW], A, "z-old", id="together: some order, but one"),
        pytest.param([OLD, NEW], Identity("a"), "b-new", id="no address known"),
        pytest.param([OLD, NEW], Identity("b", address="10.0.0.2"), None, id="another server"),
        # A cloud whose servers call themselves otherwise.
        pytest.param([replace(OLD, hostname="a.novalocal")], A, "z-old", id="with a domain"),
        pytest.param([replace(OLD, hostname="a.openstacklocal"), NEW], A, "b-new", id="one with, one without"),
        pytest.param([replace(OLD, hostname="host-10-0-0-1.openstacklocal")], A, "z-old", id="by its address"),
        pytest.param(
            [replace(OLD, hostname="a1"), replace(NEW, hostname="aa.novalocal", address="")], A, "z-old", id="x"
        ),
        pytest.param([replace(OLD, hostname="x", address="")], Identity("a"), None, id="no address is no match"),
    ],
)
def test_the_node_of_a_server(nodes: list[Node], server: Identity, expected: str | None, turned: bool) -> None:
    found = node_of_server(reversed(nodes) if turned else nodes, server)
    assert (found.id if found else None) == expected


@pytest.mark.parametrize("turned", [False, True], ids=["in order", "turned"])
@pytest.mark.parametrize(
    ("old", "new", "stale"),
    [
        pytest.param(replace(OLD, state="down"), NEW, ["z-old"], id="dead beside ready"),
        pytest.param(replace(OLD, state="down", hostname="a.novalocal"), NEW, ["z-old"], id="with a domain"),
        pytest.param(OLD, NEW, [], id="not noticed yet"),
        pytest.param(replace(OLD, state="unknown"), NEW, [], id="unknown"),
        pytest.param(replace(OLD, state="disconnected"), NEW, [], id="disconnected"),
        pytest.param(replace(OLD, state="down"), replace(NEW, state="down"), [], id="the last identity"),
        pytest.param(replace(OLD, state="down", role="manager"), NEW, [], id="a manager"),
        pytest.param(replace(OLD, state="down", hostname="b"), NEW, [], id="another server's, at the same address"),
    ],
)
def test_stale_nodes(old: Node, new: Node, stale: list[str], turned: bool) -> None:
    twins = [new, old] if turned else [old, new]
    assert [node.id for node in stale_nodes(twins, A)] == stale


def test_nodes_of_one_host_name_and_several_addresses_are_not_each_others_twins() -> None:
    nodes = [Node("n1", "debian", "ready", address="10.0.0.1"), Node("n2", "debian", "down", address="10.0.0.2")]
    assert stale_nodes(nodes, A) == []


@pytest.mark.parametrize(
    ("state", "updated", "started", "expected"),
    [
        ("ready", 100, 200, False),  # its server was started anew, and the swarm has not noticed
        ("ready", 201, 200, True),
        ("ready", 200 - CLOCK_MARGIN, 200, True),
        ("ready", 100, 0, True),
        ("ready", 0, 200, True),
        ("down", 201, 200, False),
    ],
)
def test_a_node_that_has_not_registered_since_is_a_former_life(
    state: str, updated: float, started: float, expected: bool
) -> None:
    node = Node("n", "a", state, updated=updated)
    assert has_registered(node, started) is expected
    server, task = Identity("a", started=started), Task("t", "s", "n", "running", "running")
    assert has_come("ready", server, [node], []) is expected
    assert has_come("running", server, [node], [task], "s") is expected
    assert has_come("idle", server, [node], [task]) is False


@pytest.mark.parametrize(
    ("since", "started", "expected"),
    [(100, 200, False), (201, 200, True), (200 - CLOCK_MARGIN, 200, True), (100, 0, True), (0, 200, True)],
)
def test_a_task_that_runs_since_before_is_of_a_former_life(since: float, started: float, expected: bool) -> None:
    """Its node has registered again, and has not reported yet that it ended with the server."""
    former = Task("t", "s", "n", "running", "running", since=since)
    new, server = replace(former, since=started + 9), Identity("a", started=started)
    nodes = [Node("n", "a", "ready", updated=started + 5)]
    assert has_come("running", server, nodes, [former], "s") is expected
    for tasks in ([former, new], [new, former]):
        assert has_come("running", server, nodes, tasks, "s")


@pytest.mark.parametrize("turned", [False, True], ids=["in order", "turned"])
@pytest.mark.parametrize(
    ("where", "running", "idle"),
    [("z-old", False, True), ("b-new", True, False), ("", False, True)],
    ids=["the dead one's task", "its own task", "no task"],
)
@pytest.mark.parametrize("server", [A, replace(A, node_id="b-new"), replace(A, started=800)])
def test_the_task_of_a_dead_twin_is_not_believed(
    server: Identity, where: str, running: bool, idle: bool, turned: bool
) -> None:
    nodes = [NEW, OLD] if turned else [OLD, NEW]
    tasks = [Task("t", "s", where, "running", "running")]
    assert has_come("running", server, nodes, tasks, "s") is running
    assert has_come("idle", server, nodes, tasks, "s") is idle


def test_reading_the_api() -> None:
    (node,) = nodes_from_api(
        [
            {
                "ID": "n1",
                "Spec": {"Role": "worker", "Availability": "drain", "Labels": {"k": "v"}},
                "Description": {"Hostname": "a"},
                "Status": {"State": "ready", "Addr": "10.0.0.1"},
                "CreatedAt": "1970-01-01T00:01:00.123456789Z",
                "UpdatedAt": "1970-01-01T00:02:00Z",
            }
        ]
    )
    assert node == Node("n1", "a", "ready", "drain", "worker", "10.0.0.1", {"k": "v"}, 60.123456, 120.0)
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
    assert has_come(state, Identity("g"), nodes, tasks, "s") is expected
    assert has_come(state, Identity("another"), nodes, tasks, "s") is (state == "idle")


@pytest.mark.parametrize(
    ("node_state", "desired", "expected"),
    [
        ("down", "shutdown", True),
        ("ready", "shutdown", False),
        ("unknown", "shutdown", False),
        ("down", "running", False),
    ],
)
def test_what_a_node_that_is_down_will_not_report_is_not_waited_for(
    node_state: str, desired: str, expected: bool
) -> None:
    tasks = [Task("t", "s", "n", "running", desired)]
    assert has_come("idle", Identity("g"), [Node("n", "g", node_state)], tasks) is expected


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
