# Copyright: (c) 2026, gpuswarm contributors
# SPDX-License-Identifier: Apache-2.0
"""What the Docker API says of a swarm, reduced to what decisions need. Pure: no I/O and no Ansible import."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

# Node states of the Docker API (swarmkit NodeStatus.State).
READY = "ready"
DOWN = "down"

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
    """A task of a service; ``node_id`` is empty while no node has been found for it."""

    id: str
    service: str
    node_id: str
    state: str
    desired: str


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
        )
        for task in tasks
    ]


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
