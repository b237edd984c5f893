"""Diagnosis: every combination of what the cloud, the swarm, the gateway and a login can say, and the one verdict."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.diagnosis import (
    Diagnosis,
    Evidence,
    Limits,
    Observation,
    diagnose,
    ollama_state,
)
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.rotation import RotationPolicy
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.swarm import HOLD_LABEL, Node, Task
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.vocabulary import VERDICTS, Step

NOW = 1_800_000_000.0
SERVICE = "gpuswarm_ollama"
LABELS = {"node.gpu": "true"}
GPU = {"name": "demo-gpu-1", "role": "gpu_worker"}
MANAGER = {"name": "demo-manager", "role": "manager"}
LIMITS = Limits(rotation=RotationPolicy(enabled=True))


def server(
    status: str = "ACTIVE",
    task_state: str | None = None,
    name: str = "demo-gpu-1",
    fault: str | None = None,
    age: float = 7200,
) -> dict[str, Any]:
    return {
        "id": name,
        "name": name,
        "role": "gpu_worker",
        "capacity_type": "preemptible",
        "status": status,
        "task_state": task_state,
        "fault": fault,
        "launched_at": datetime.fromtimestamp(NOW - age, UTC).replace(tzinfo=None).isoformat(),
    }


def node(state: str = "ready", labels: dict[str, str] | None = None, **more: Any) -> Node:
    return Node(id="n1", hostname="demo-gpu-1", state=state, labels=LABELS if labels is None else labels, **more)


def task(state: str, ago: float = 60, node_id: str = "n1", error: str = "", **more: Any) -> Task:
    desired = "shutdown" if state in ("failed", "rejected", "shutdown") else "running"
    return Task("t", SERVICE, node_id, state, desired, since=NOW - ago, error=error, **more)


RUNNING = task("running")
DOWN = node("down")
HELD = {**LABELS, HOLD_LABEL: "rotation"}
RESTS = {**LABELS, HOLD_LABEL: "schedule"}
RESTARTS = {**LABELS, HOLD_LABEL: "restart"}

DARK = Evidence(ssh=False)
NO_DOCKER = Evidence(ssh=True, docker="absent")
DEAD_DOCKER = Evidence(ssh=True, docker="silent")
MEMBER = Evidence(ssh=True, docker="answers", membership="none")
NO_SWARM = Evidence(ssh=True, docker="answers", membership="join")
OTHER_SWARM = Evidence(
    ssh=True, docker="answers", membership="leave_and_join", membership_reason="its node x is unknown"
)


def one(
    cloud: list[dict[str, Any]] | None,
    nodes: list[Node] | None,
    tasks: list[Task] | None,
    spec: dict[str, Any] | None = None,
    evidence: Evidence | None = None,
    gateway: set[str] | None = None,
) -> Diagnosis:
    seen = Observation(cloud, nodes, tasks, NOW, {"demo-gpu-1": evidence} if evidence else {}, gateway)
    return diagnose([spec or GPU], seen, SERVICE, LABELS, LIMITS)[0]


@pytest.mark.parametrize(
    ("cloud", "nodes", "tasks", "verdict", "step"),
    [
        # all is well
        ([server()], [node()], [RUNNING], "healthy", "none"),
        ([server()], [node()], [task("failed"), RUNNING], "healthy", "none"),
        # preempted, whatever the cloud calls it
        ([server("SHELVED")], [DOWN], [RUNNING], "lost", "restore"),
        ([server("SHELVED_OFFLOADED")], [DOWN], [RUNNING], "lost", "restore"),
        ([server("EXPIRED")], [DOWN], [RUNNING], "lost", "restore"),
        ([server("SHELVED_OFFLOADED")], [node()], [RUNNING], "lost", "restore"),  # the swarm has not seen it yet
        ([], [DOWN], [], "lost", "restore"),
        ([], [], [], "lost", "restore"),
        ([server("ERROR", fault="No valid host was found.")], [DOWN], [], "lost", "restore"),
        ([server("PAUSED")], [DOWN], [], "lost", "restore"),
        # somebody is at work, or a person must look
        ([server("SHELVED", "unshelving")], [DOWN], [], "in_build", "wait"),
        ([server("BUILD")], [], [], "in_build", "wait"),
        ([server("ACTIVE", "reboot_started_hard")], [DOWN], [], "in_build", "wait"),
        ([server("SHUTOFF")], [DOWN], [], "stopped", "report"),
        ([server("RESCUE")], [DOWN], [], "needs_attention", "report"),
        ([server("SOMETHING_NEW")], [DOWN], [], "needs_attention", "report"),
        ([server(), server()], [node()], [RUNNING], "duplicate", "report"),
        ([server(), server("ERROR")], [node()], [RUNNING], "duplicate", "report"),
        # it runs, but not as a node: first somebody has to log in and look
        ([server()], [], [], "not_in_swarm", "examine"),
        ([server()], [DOWN], [RUNNING], "node_down", "examine"),
        ([server()], [node("disconnected")], [RUNNING], "node_down", "examine"),
        ([server(age=20)], [DOWN], [RUNNING], "booting", "wait"),  # it was unshelved and comes by itself
        ([server(age=20)], [], [], "not_in_swarm", "examine"),  # it is new: nothing comes by itself
        # the swarm has not noticed the end of the former life; after the grace it has, and what is Ready then is
        ([server(age=20)], [node(updated=NOW - 500)], [RUNNING], "booting", "wait"),
        ([server(age=20)], [node(updated=NOW - 10)], [RUNNING], "ollama_starting", "wait"),
        ([server(age=20)], [node(updated=NOW - 10)], [RUNNING, task("failed", 5)], "ollama_starting", "wait"),
        ([server(age=20)], [node(updated=NOW - 10)], [RUNNING, task("running", 5)], "healthy", "none"),
        ([server(age=50)], [node(updated=NOW - 500)], [RUNNING], "healthy", "none"),
        ([server()], [node("unknown")], [RUNNING], "node_unknown", "wait"),  # the manager was just restarted
        ([server()], [node(), Node("n2", "demo-gpu-1", "ready")], [RUNNING], "duplicate", "report"),
        # the node is ready, but not as it should be
        ([server()], [node(labels={})], [], "labels_missing", "converge"),
        ([server()], [node(labels={"node.gpu": "false"})], [], "labels_missing", "converge"),
        ([server()], [node(availability="drain")], [], "held", "none"),
        ([server()], [node(availability="pause")], [RUNNING], "held", "none"),
        # Ollama
        ([server()], [node()], [], "ollama_missing", "report"),  # there is no such service
        ([server()], [node()], [task("pending", node_id="", error="no suitable node")], "ollama_missing", "wait"),
        ([server()], [node()], [task("failed")], "ollama_missing", "wait"),
        ([server()], [node()], [task("starting")], "ollama_starting", "wait"),
        ([server()], [node()], [task("preparing", 800)], "ollama_starting", "wait"),
        ([server()], [node()], [task("starting", 901)], "ollama_unhealthy", "examine"),
        ([server()], [node()], [task("failed")] * 2 + [task("starting")], "ollama_starting", "wait"),
        ([server()], [node()], [task("failed")] * 3 + [task("starting")], "ollama_unhealthy", "examine"),
        ([server()], [node()], [task("rejected")] * 3, "ollama_unhealthy", "examine"),
        # what died with the server is reported when it comes back
        ([server(age=100)], [node()], [task("failed", 90)] * 3 + [task("starting")], "ollama_starting", "wait"),
        ([server(age=100)], [node()], [task("failed", 50)] * 3 + [task("starting")], "ollama_unhealthy", "examine"),
        ([server()], [node()], [task("failed", 1000)] * 3 + [task("starting")], "ollama_starting", "wait"),
        ([server()], [node()], [task("failed", node_id="n2")] * 3 + [task("starting")], "ollama_starting", "wait"),
        # too old
        ([server(age=82799)], [node()], [RUNNING], "healthy", "none"),
        ([server(age=82800)], [node()], [RUNNING], "too_old", "rotate"),
        ([server(age=82800)], [DOWN], [RUNNING], "node_down", "examine"),
        # drained by this collection: go on, or end it
        ([server(age=82800)], [node(labels=HELD, availability="drain")], [], "draining", "rotate"),
        ([server(age=60)], [node(labels=HELD, availability="drain")], [], "draining", "release"),
        ([server()], [node(labels=HELD)], [RUNNING], "draining", "release"),
        ([server()], [node(labels=RESTS, availability="drain")], [], "draining", "release"),
        ([server()], [node(labels=RESTARTS, availability="drain")], [], "draining", "release"),
        ([server("SHELVED")], [node("down", labels=HELD, availability="drain")], [], "lost", "restore"),
        # partial knowledge leads to nothing
        (None, [node()], [RUNNING], "unknown", "report"),
        (None, [DOWN], [], "unknown", "report"),
        (None, None, None, "unknown", "report"),
        ([server()], None, None, "unknown", "report"),
        ([server("SHELVED")], None, None, "lost", "restore"),  # the cloud alone is enough to know this
    ],
)
def test_gpu_worker(
    cloud: list[dict[str, Any]] | None, nodes: list[Node] | None, tasks: list[Task] | None, verdict: str, step: str
) -> None:
    found = one(cloud, nodes, tasks)
    assert (found.verdict, found.step) == (verdict, step)
    assert found.reason


@pytest.mark.parametrize(
    ("nodes", "age", "evidence", "verdict", "step", "remedy"),
    [
        ([DOWN], 7200, DARK, "unreachable", Step.ESCALATE, Step.REBOOT),
        ([DOWN], 7200, DEAD_DOCKER, "docker_dead", Step.ESCALATE, Step.RESTART_DOCKER),
        ([DOWN], 7200, NO_DOCKER, "not_set_up", "converge", ""),
        ([DOWN], 7200, MEMBER, "partitioned", Step.ESCALATE, Step.RESTART_DOCKER),
        ([DOWN], 7200, OTHER_SWARM, "foreign_swarm", "converge", ""),  # or its certificate is blacklisted
        ([DOWN], 7200, NO_SWARM, "not_in_swarm", "converge", ""),
        ([], 7200, DARK, "unreachable", Step.ESCALATE, Step.REBOOT),
        ([], 7200, NO_DOCKER, "not_set_up", "converge", ""),
        ([], 7200, NO_SWARM, "not_in_swarm", "converge", ""),
        ([], 7200, OTHER_SWARM, "foreign_swarm", "converge", ""),
        # a server that was just started is not called sick for being silent
        ([], 200, DARK, "booting", "wait", ""),
        ([DOWN], 200, DARK, "booting", "wait", ""),
        ([DOWN], 200, DEAD_DOCKER, "booting", "wait", ""),
        ([], 20, NO_DOCKER, "not_set_up", "converge", ""),
        ([], 20, NO_SWARM, "not_in_swarm", "converge", ""),
        ([DOWN], 20, OTHER_SWARM, "foreign_swarm", "converge", ""),
        # what a login found of a node that is well by now is of no interest
        ([node()], 7200, DARK, "healthy", "none", ""),
        ([node()], 7200, DEAD_DOCKER, "healthy", "none", ""),
        ([node("unknown")], 7200, DARK, "node_unknown", "wait", ""),
    ],
)
def test_after_a_login(nodes: list[Node], age: float, evidence: Evidence, verdict: str, step: str, remedy: str) -> None:
    found = one([server(age=age)], nodes, [RUNNING], evidence=evidence)
    assert (found.verdict, found.step, found.remedy or "") == (verdict, step, remedy)


@pytest.mark.parametrize(
    ("said", "error", "verdict", "step"),
    [
        ("on_cpu: qwen3:30b is not wholly in the GPU's memory", "", "ollama_on_cpu", Step.ESCALATE),
        ("not_loaded: qwen3:30b is not loaded", "", "models_missing", Step.REPORT),
        ("hung: qwen3:30b does not answer", "", "ollama_unhealthy", Step.ESCALATE),
        ("the server does not answer", "", "ollama_unhealthy", Step.ESCALATE),
        ("", "task: non-zero exit (137)", "ollama_unhealthy", Step.ESCALATE),
        ("", "", "ollama_unhealthy", Step.ESCALATE),
    ],
)
def test_an_ollama_that_does_not_become_healthy(said: str, error: str, verdict: str, step: str) -> None:
    tasks = [task("failed", error=error)] * 3
    found = one([server()], [node()], tasks, evidence=Evidence(ssh=True, docker="answers", ollama=said))
    assert (found.verdict, found.step) == (verdict, step)
    assert (said or error) in found.reason
    dark = one([server()], [node()], tasks, evidence=DARK)
    assert (dark.verdict, dark.step) == ("ollama_unhealthy", Step.REPORT)


@pytest.mark.parametrize(
    ("gateway", "ago", "verdict"),
    [
        (None, 60, "healthy"),  # it was not asked
        ({"10.0.1.5"}, 60, "healthy"),
        ({"10.0.1.9"}, 60, "not_balanced"),
        (set(), 60, "not_balanced"),
        (set(), 10, "healthy"),  # it is about to be taken up
    ],
)
def test_the_gateways_view(gateway: set[str] | None, ago: float, verdict: str) -> None:
    tasks = [task("running", ago, addresses=("10.0.1.5",))]
    found = one([server()], [node()], tasks, gateway=gateway)
    assert found.verdict == verdict
    assert found.step in ("none", Step.REPORT)


@pytest.mark.parametrize(
    ("cloud", "nodes", "verdict", "step"),
    [
        ([server()], [node()], "resting", "rest"),
        ([server("SHELVED_OFFLOADED")], [DOWN], "resting", "none"),
        ([], [], "resting", "none"),
        ([server("SHELVED", "shelving")], [DOWN], "in_build", "wait"),
        ([server()], [node(labels=RESTS, availability="drain")], "resting", "rest"),
        (None, [node()], "unknown", "report"),
    ],
)
def test_the_schedule_does_not_want_it(
    cloud: list[dict[str, Any]] | None, nodes: list[Node], verdict: str, step: str
) -> None:
    found = one(cloud, nodes, [RUNNING], spec={**GPU, "resting": True})
    assert (found.verdict, found.step) == (verdict, step)


def test_manager_needs_no_ollama() -> None:
    nodes = [Node(id="m", hostname="demo-manager", state="ready", role="manager")]
    (found,) = diagnose(
        [MANAGER], Observation([server(name="demo-manager") | {"role": "manager"}], nodes, [], NOW), SERVICE
    )
    assert (found.verdict, found.step, found.ollama) == ("healthy", "none", "")


def fleet(count: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[Node], list[Task]]:
    names = [f"demo-gpu-{number}" for number in range(1, count + 1)]
    return (
        [{"name": name, "role": "gpu_worker"} for name in names],
        [server(name=name) for name in names],
        [Node(name, name, "ready", labels=LABELS) for name in names],
        [task("running", node_id=name) for name in names],
    )


def verdicts(specs: Any, servers: Any, nodes: Any, tasks: Any, evidence: Any = None) -> list[tuple[str, str]]:
    found = diagnose(specs, Observation(servers, nodes, tasks, NOW, evidence or {}), SERVICE, LABELS, LIMITS)
    return [(verdict.verdict, verdict.step) for verdict in found]


def test_one_lost_server_changes_nothing_for_the_others() -> None:
    specs, servers, nodes, tasks = fleet(3)
    servers[1]["status"] = "SHELVED"
    found = verdicts(specs, servers, nodes, tasks)
    assert found == [("healthy", "none"), ("lost", "restore"), ("healthy", "none")]


def test_a_manager_that_is_cut_off_does_not_reboot_everybody() -> None:
    specs, servers, nodes, tasks = fleet(3)
    down = [Node(item.id, item.hostname, "down", labels=LABELS) for item in nodes]
    dark = {item["name"]: DARK for item in servers}
    assert verdicts(specs, servers, down, tasks, dark) == [("cut_off", "report")] * 3
    # One that can be reached shows that the manager is not cut off.
    dark["demo-gpu-2"] = MEMBER
    assert [step for _, step in verdicts(specs, servers, down, tasks, dark)] == [Step.ESCALATE] * 3
    # A server that the cloud has taken away says nothing about the manager.
    servers[1]["status"] = "SHELVED"
    assert [step for _, step in verdicts(specs, servers, down, tasks, dark)] == ["report", "restore", "report"]


def test_a_list_without_the_manager_is_not_believed() -> None:
    specs, servers, nodes, tasks = fleet(2)
    assert verdicts([MANAGER, *specs], [], nodes, tasks) == [("unknown", "report")] * 3
    found = verdicts([MANAGER, *specs], [server(name="demo-manager"), servers[0]], nodes, tasks)
    assert found[1:] == [("healthy", "none"), ("lost", "restore")]


def test_a_surplus_server_is_named_and_left_alone() -> None:
    specs, servers, nodes, tasks = fleet(2)
    assert verdicts(specs[:1], servers, nodes, tasks) == [("healthy", "none"), ("surplus", "report")]
    assert verdicts(specs[:1], None, nodes, tasks) == [("unknown", "report")]


def test_one_at_a_time_is_rotated_and_none_during_an_incident() -> None:
    specs, servers, nodes, tasks = fleet(3)
    for item, age in zip(servers, (83000, 84000, 1000), strict=True):
        item["launched_at"] = datetime.fromtimestamp(NOW - age, UTC).isoformat()
    found = verdicts(specs, servers, nodes, tasks)
    assert found == [("too_old", "wait"), ("too_old", "rotate"), ("healthy", "none")]
    servers[2]["status"] = "SHELVED"
    found = verdicts(specs, servers, nodes, tasks)
    assert found == [("too_old", "wait"), ("too_old", "wait"), ("lost", "restore")]
    # One that is being rotated when another is lost goes back to work.
    nodes[1] = Node("demo-gpu-2", "demo-gpu-2", "ready", "drain", labels=HELD)
    assert verdicts(specs, servers, nodes, tasks)[1] == ("draining", "release")


# demo-gpu-1 was made anew on the port of its predecessor.
HOME = {**server(age=30), "fixed_ip": "10.0.0.1"}
DEAD = Node("old", "demo-gpu-1", "ready", address="10.0.0.1", labels=LABELS, created=NOW - 9000, updated=NOW - 9000)
HEIR = replace(DEAD, id="new", created=NOW - 20, updated=NOW - 20)
ITS_OWN, THE_DEAD_ONES = task("running", 5, node_id="new"), task("running", node_id="old")
UNPLACED = task("pending", node_id="", error="no suitable node")


@pytest.mark.parametrize("turned", [False, True], ids=["in order", "turned"])
@pytest.mark.parametrize(
    ("nodes", "tasks", "evidence", "verdict", "step", "node_id", "stale"),
    [
        pytest.param([DEAD], [THE_DEAD_ONES], None, "booting", "wait", "old", [], id="not joined yet"),
        pytest.param([DEAD, HEIR], [THE_DEAD_ONES], None, "ollama_missing", "wait", "new", [], id="no task yet"),
        pytest.param([DEAD, HEIR], [THE_DEAD_ONES, UNPLACED], None, "ollama_missing", "wait", "new", [], id="pending"),
        pytest.param([DEAD, HEIR], [THE_DEAD_ONES, ITS_OWN], None, "healthy", "none", "new", [], id="as_desired"),
        pytest.param(
            [replace(DEAD, state="down"), HEIR], [ITS_OWN], None, "healthy", "none", "new", ["old"], id="noticed"
        ),
        # What is not explained by that is a person's business, unless the server itself says which it is.
        pytest.param(
            [DEAD, replace(HEIR, created=NOW - 121)], [ITS_OWN], None, "duplicate", "report", "new", [], id="for long"
        ),
        pytest.param(
            [DEAD, replace(HEIR, created=NOW - 121)],
            [ITS_OWN],
            replace(MEMBER, node_id="new"),
            "healthy",
            "none",
            "new",
            [],
            id="it says it is the new one",
        ),
        pytest.param([DEAD], [THE_DEAD_ONES], NO_SWARM, "not_in_swarm", "converge", "", [], id="it says it is none"),
    ],
)
def test_a_server_that_was_made_anew_before_the_swarm_noticed(
    nodes: list[Node],
    tasks: list[Task],
    evidence: Evidence | None,
    verdict: str,
    step: str,
    node_id: str,
    stale: list[str],
    turned: bool,
) -> None:
    found = one([HOME], nodes[::-1] if turned else nodes, tasks, evidence=evidence)
    assert (found.verdict, found.step, found.node_id, found.stale_node_ids) == (verdict, step, node_id, stale)


@pytest.mark.parametrize(
    "hostname", ["demo-gpu-1.novalocal", "demo-gpu-1.openstacklocal", "host-10-0-0-1.openstacklocal"]
)
@pytest.mark.parametrize("evidence", [None, replace(MEMBER, node_id="n1")])
def test_a_host_name_that_is_not_the_servers_name(hostname: str, evidence: Evidence | None) -> None:
    cloud = [{**server(), "fixed_ip": "10.0.0.1"}]
    renamed = replace(node(), hostname=hostname, address="10.0.0.1")
    found = one(cloud, [renamed], [RUNNING], evidence=evidence)
    assert (found.verdict, found.step, found.node_id) == ("healthy", "none", "n1")
    # Its predecessor under the plain name goes only when it is surely one.
    before = Node("old", hostname.partition(".")[0], "down", address="10.0.0.1", labels=LABELS)
    assert one(cloud, [before, renamed], [RUNNING], evidence=evidence).stale_node_ids == ["old"]


def test_another_servers_node_at_its_address_is_not_its_own() -> None:
    specs, servers, nodes, tasks = fleet(2)
    servers[0]["fixed_ip"] = "10.0.0.1"
    assert verdicts(specs, servers, [replace(nodes[1], address="10.0.0.1")], tasks)[0] == ("not_in_swarm", "examine")


def test_the_task_that_counts_for_the_gateway_is_the_one_that_is_to_run() -> None:
    ends = replace(RUNNING, desired="shutdown", addresses=("10.0.1.4",))
    stays = replace(RUNNING, addresses=("10.0.1.5",))
    for tasks in ([ends, stays], [stays, ends]):
        assert one([server()], [node()], tasks, gateway={"10.0.1.5"}).verdict == "healthy"


def test_twin_is_stale_only_beside_a_ready_successor() -> None:
    old = Node(id="old", hostname="demo-gpu-1", state="down", labels=LABELS)
    assert one([server()], [old], []).stale_node_ids == []
    beside = one([server()], [old, node()], [RUNNING])
    assert (beside.node_id, beside.stale_node_ids) == ("n1", ["old"])


def test_a_task_of_a_dead_node_is_not_believed() -> None:
    assert ollama_state(DOWN, [RUNNING], SERVICE) == "lost"
    assert ollama_state(node(), [RUNNING], "another_service") == "absent"
    assert ollama_state(None, [RUNNING], SERVICE) == "absent"


STATUSES = ("ACTIVE", "SHELVED", "EXPIRED", "SHUTOFF", "ERROR", "BUILD", "SOMETHING_NEW", "ABSENT")
NODES = ("ready", "down", "unknown", "absent", "drained")
EVIDENCE = (None, DARK, NO_DOCKER, DEAD_DOCKER, MEMBER, NO_SWARM, OTHER_SWARM)
DISRUPTIVE = {Step.ESCALATE, "converge", "rotate", "rest"}


@pytest.mark.parametrize("spec", [GPU, {**GPU, "resting": True}], ids=["wanted", "resting"])
def test_every_combination_has_a_verdict_and_none_hurts_what_is_not_known(spec: dict[str, Any]) -> None:
    states: tuple[list[Task], ...] = ([RUNNING], [task("starting")], [task("failed")] * 3, [])
    for status, state, tasks, evidence in itertools.product(STATUSES, NODES, states, EVIDENCE):
        cloud = [] if status == "ABSENT" else [server(status)]
        drained = state == "drained"
        nodes = [node("ready" if drained else state, availability="drain" if drained else "active")]
        nodes = [] if state == "absent" else nodes
        found = one(cloud, nodes, tasks, spec, evidence)
        case = (status, state, [item.state for item in tasks], evidence, found)
        assert found.step in VERDICTS[found.verdict].steps, case
        assert found.reason, case
        if found.step in DISRUPTIVE:
            assert status == "ACTIVE", case
            assert state != "unknown", case
        if found.step == Step.ESCALATE:
            assert evidence is not None, case
            assert found.remedy, case
        # Without the cloud's word, or without the swarm's for a server that runs, nothing is done.
        assert one(None, nodes, tasks, spec, evidence).step == Step.REPORT, case
        if status == "ACTIVE":
            assert one(cloud, None, None, spec, evidence).step == Step.REPORT, case
