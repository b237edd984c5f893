# Copyright: (c) 2026, gpuswarm contributors
# SPDX-License-Identifier: Apache-2.0
"""What the Docker API says of a swarm, reduced to what decisions need. Pure: no I/O and no Ansible import."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

# Node states of the Docker API (swarmkit NodeStatus.State).
READY = "ready"
DOWN = "down"
UNKNOWN = "unknown"  # after a restart of the manager, until heartbeats come or their time is over

# Why a node is drained, when this collection did it; a drained node without it is a person's.
HOLD_LABEL = "gpuswarm.hold"
HOLD_ROTATION = "rotation"
HOLD_SCHEDULE = "schedule"

# Task states that still hold a place: everything before a task has ended (swarmkit TaskState).
LIVE_TASK_STATES = frozenset(
    {"new", "allocated", "pending", "assigned", "accepted", "preparing", "ready", "starting", "running"}
)


@dataclass(frozen=True)
class Node:
    """A swarm node."""

    id: str
    hostname: str
    state: str
    availability: str = "active"
    role: str = "worker"
    address: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def ready(self) -> bool:
        """Whether the manager hears the node's heartbeats."""
        return self.state == READY


@dataclass(frozen=True)
class Task:
    """A task of a service; ``node_id`` is empty while no node has been found for it.

    ``since`` is when it came to its state (epoch seconds, 0 when Docker does not say), ``error`` what Docker says is
    wrong.
    """

    id: str
    service: str
    node_id: str
    state: str
    desired: str
    since: float = 0.0
    error: str = ""
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True)
class Membership:
    """What has to happen on a server so that it is a worker of this swarm."""

    action: str  # none | join | leave_and_join
    reason: str


def nodes_from_api(nodes: Iterable[Mapping[str, Any]]) -> list[Node]:
    """Nodes out of the Docker API's ``GET /nodes``."""
    return [
        Node(
            id=node["ID"],
            hostname=node.get("Description", {}).get("Hostname", ""),
            state=node.get("Status", {}).get("State", "unknown"),
            availability=node.get("Spec", {}).get("Availability", "active"),
            role=node.get("Spec", {}).get("Role", "worker"),
            address=node.get("Status", {}).get("Addr", ""),
            labels=dict(node.get("Spec", {}).get("Labels") or {}),
        )
        for node in nodes
    ]


def tasks_from_api(tasks: Iterable[Mapping[str, Any]], services: Iterable[Mapping[str, Any]]) -> list[Task]:
    """Tasks out of the Docker API's ``GET /tasks``, with their services' names out of ``GET /services``."""
    names = {service["ID"]: service.get("Spec", {}).get("Name", service["ID"]) for service in services}
    return [
        Task(
            id=task["ID"],
            service=names.get(task.get("ServiceID", ""), task.get("ServiceID", "")),
            node_id=task.get("NodeID", ""),
            state=task.get("Status", {}).get("State", "unknown"),
            desired=task.get("DesiredState", "unknown"),
            since=_epoch(task.get("Status", {}).get("Timestamp")),
            error=str(task.get("Status", {}).get("Err") or ""),
            addresses=tuple(
                str(address).partition("/")[0]
                for attachment in task.get("NetworksAttachments") or ()
                for address in attachment.get("Addresses") or ()
            ),
        )
        for task in tasks
    ]


def _epoch(text: object) -> float:
    """Seconds since the epoch of a time stamp of Docker's (RFC 3339 with nanoseconds); 0 when there is none."""
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return 0.0
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def node_of_server(nodes: Iterable[Node], server: str) -> Node | None:
    """The node that a server is now: the Ready one of its hostname, else the first that is known.

    A server that left and joined again has a twin of the same hostname that stays Down; the id tells them apart.
    """
    same = [node for node in nodes if node.hostname == server]
    return next((node for node in same if node.ready), same[0] if same else None)


def stale_nodes(nodes: Iterable[Node], server: str) -> list[Node]:
    """Twins that may be removed: Down, of the server's hostname, and only when another one of that name is Ready.

    Removing a node blacklists its certificate (swarmkit), so the last identity of a server is never stale: its disk
    may come back with it.
    """
    same = [node for node in nodes if node.hostname == server]
    if not any(node.ready for node in same):
        return []
    return [node for node in same if node.state == DOWN and node.role == "worker"]


def has_come(state: str, hostname: str, nodes: Iterable[Node], tasks: Iterable[Task], service: str = "") -> bool:
    """Whether the node of a server has come to a state.

    :param state: "ready"; "down"; "running" (ready, with a running task of the service); "idle" (it has no task that
        has not ended; a node that does not exist has none).
    """
    node = node_of_server(nodes, hostname)
    if node is None:
        return state == "idle"
    if state in ("ready", "down"):
        return node.ready == (state == "ready")
    own = [task for task in tasks if task.node_id == node.id]
    if state == "idle":
        return all(task.state not in LIVE_TASK_STATES for task in own)
    return node.ready and any(
        task.service == service and task.state == "running" and task.desired == "running" for task in own
    )


def membership(local: Mapping[str, Any], nodes: Iterable[Node]) -> Membership:
    """What a server has to do to be a worker of the swarm whose manager lists ``nodes``.

    :param local: the ``Swarm`` part of ``docker info`` on the server. ``LocalNodeState`` is "active" for a member of
        *any* swarm, a dead one too, so it is the node id, looked up in the manager's list, that decides.
    """
    state = str(local.get("LocalNodeState") or "inactive")
    node_id = str(local.get("NodeID") or "")
    if state == "inactive" and not node_id:
        return Membership("join", "it is in no swarm")
    if state == "locked":
        return Membership("leave_and_join", "its swarm state is locked")
    if node_id and any(node.id == node_id for node in nodes):
        return Membership("none", f"it is node {node_id} of this swarm")
    return Membership("leave_and_join", f"its node {node_id or '(none)'} is not known to this swarm's manager")
