# Copyright: (c) 2026, gpuswarm contributors
# SPDX-License-Identifier: Apache-2.0
"""What is wrong with each server of the fleet, and the one next step. Pure: no I/O and no Ansible import.

Two observations are joined: what the cloud says of the server and what the swarm says of its node. Either may be
missing (``None``); then the verdict is "unknown" and nothing is touched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from . import lifecycle
from .fleet import ROLE_GPU_WORKER
from .servers import Server, Spec
from .swarm import LIVE_TASK_STATES, Node, Task, node_of_server, stale_nodes

# Steps of a verdict.
NONE = "none"
WAIT = "wait"
RESTORE = "restore"  # the cloud has to act: unshelve, create, start ...
CONVERGE = "converge"  # the server runs, its node is not what it should be
REPORT = "report"  # a person has to look

# What lifecycle says about a server: (kind of action, reason in words).
Decide = Callable[..., tuple[str, str]]


@dataclass(frozen=True)
class Finding:
    """What is wrong, the next step, and why in words."""

    verdict: str
    step: str
    reason: str


@dataclass(frozen=True)
class Verdict:
    """What is wrong with one server."""

    server: str
    verdict: str
    step: str
    reason: str
    role: str = ""
    status: str = "ABSENT"
    node_id: str = ""
    node_state: str = "absent"
    ollama: str = "absent"
    stale_node_ids: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """The verdict as playbooks see it."""
        return asdict(self)


def lifecycle_decision(server: Mapping[str, Any] | None, spec: Mapping[str, Any]) -> tuple[str, str]:
    """What lifecycle says about a server as modules return it (``Server.as_result``)."""
    view = None
    if server is not None:
        view = Server(
            id=str(server["id"]),
            name=str(server["name"]),
            status=str(server["status"]),
            task_state=server.get("task_state"),
            fault=server.get("fault"),
        )
    action = lifecycle.decide(view, Spec.from_options(spec), datetime.now(UTC))
    return action.kind.value, action.reason


def diagnose(
    specs: Iterable[Mapping[str, Any]],
    servers: Sequence[Mapping[str, Any]] | None,
    nodes: Sequence[Node] | None,
    tasks: Sequence[Task] | None,
    ollama_service: str,
    labels: Mapping[str, str] | None = None,
    decide: Decide = lifecycle_decision,
) -> list[Verdict]:
    """One verdict for every server that the fleet shall have.

    :param specs: the desired servers (``fleet.server_specs``).
    :param servers: the cloud's view of the fleet, or None when the cloud did not answer.
    :param nodes: the swarm's nodes, or None when Docker did not answer or the swarm has no leader.
    :param tasks: the swarm's tasks, or None likewise.
    :param ollama_service: full name of the Ollama service in the swarm.
    :param labels: the node labels that a GPU server must carry.
    :param decide: the lifecycle decision for one server.
    """
    by_name = {str(server["name"]): server for server in servers or []}
    verdicts = []
    for spec in specs:
        name = str(spec["name"])
        server = by_name.get(name)
        node = node_of_server(nodes or [], name)
        ollama = ollama_state(node, tasks or [], ollama_service) if spec["role"] == ROLE_GPU_WORKER else ""
        if servers is None:
            finding = Finding("unknown", REPORT, "the cloud did not answer")
        else:
            finding = _cloud_finding(*decide(server, spec)) or (
                Finding("unknown", REPORT, "the swarm's manager did not answer")
                if nodes is None
                else _node_finding(node, spec["role"] == ROLE_GPU_WORKER, ollama, labels or {})
            )
        verdicts.append(
            Verdict(
                server=name,
                verdict=finding.verdict,
                step=finding.step,
                reason=finding.reason,
                role=str(spec["role"]),
                status="?" if servers is None else str(server["status"]) if server else "ABSENT",
                node_id=node.id if node else "",
                node_state=node.state if node else "absent",
                ollama=ollama,
                stale_node_ids=[stale.id for stale in stale_nodes(nodes or [], name)],
            )
        )
    return verdicts


def _cloud_finding(kind: str, reason: str) -> Finding | None:
    """What the lifecycle's decision means; None when the cloud has nothing to do."""
    if kind == "none":
        return None
    if kind == "wait":
        return Finding("in_build", WAIT, reason)
    if kind == "report":
        return Finding("needs_attention", REPORT, reason)
    return Finding("lost", RESTORE, reason)


def _node_finding(node: Node | None, gpu_worker: bool, ollama: str, labels: Mapping[str, str]) -> Finding:
    """What is wrong with the node of a server that runs."""
    if node is None:
        return Finding("not_in_swarm", CONVERGE, "the server runs but is no node of the swarm")
    if not node.ready:
        return Finding("node_down", CONVERGE, f"the server runs but its node is {node.state}")
    if not gpu_worker:
        return Finding("healthy", NONE, "the node is ready")
    missing = sorted(key for key, value in labels.items() if node.labels.get(key) != value)
    finding = Finding("healthy", NONE, "the node is ready and its Ollama task runs")
    if missing:
        finding = Finding("labels_missing", CONVERGE, f"the node lacks the labels {', '.join(missing)}")
    elif node.availability != "active":
        finding = Finding("held", NONE, f"the node's availability is {node.availability}: it gets no tasks")
    elif ollama != "running":
        finding = Finding("ollama_not_ready", WAIT, f"the node is ready, its Ollama task is {ollama}")
    return finding


def ollama_state(node: Node | None, tasks: Iterable[Task], service: str) -> str:
    """State of the Ollama task on a node: "absent", "lost" (the node is not Ready) or the task's own state.

    Swarm goes on saying "running" for the tasks of a dead node, so a task is only believed together with its node.
    """
    if node is None:
        return "absent"
    states = [
        task.state
        for task in tasks
        if task.node_id == node.id
        and task.service == service
        and task.desired == "running"
        and task.state in LIVE_TASK_STATES
    ]
    if not states:
        return "absent"
    if not node.ready:
        return "lost"
    return "running" if "running" in states else states[0]
