# Copyright: (c) 2026, gpuswarm contributors
# SPDX-License-Identifier: Apache-2.0
"""What the Docker API says of a swarm, reduced to what decisions need."""

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
HOLD_RESTART = "restart"

# Swarm shows a node as Ready until three of its heartbeats are missing: one that has not registered since its server
# was started is the server's former life. Seconds by which the cloud's clock, which says the latter, may differ.
CLOCK_MARGIN = 3.0

# Task states that still hold a place: everything before a task has ended (swarmkit TaskState).
LIVE_TASK_STATES = frozenset(
    {"new", "allocated", "pending", "assigned", "accepted", "preparing", "ready", "starting", "running"}
)


@dataclass(frozen=True)
class Identity:
    """What a server is known by in the swarm.

    Attributes:
        name: its name in the cloud, which its host name begins with.
        address: its fixed address; empty when it is not known.
        node_id: the node that it is, as its own Docker says; empty when nobody has asked it.
        started: when the cloud started it last (epoch seconds); 0 when that is not known.
    """

    name: str = ""
    address: str = ""
    node_id: str = ""
    started: float = 0.0


@dataclass(frozen=True)
class Node:
    """A swarm node; ``created`` is when it joined, ``updated`` when it last registered or was changed (epoch)."""

    id: str
    hostname: str
    state: str
    availability: str = "active"
    role: str = "worker"
    address: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    created: float = 0.0
    updated: float = 0.0

    @property
    def ready(self) -> bool:
        """Whether the manager hears the node's heartbeats."""
        return self.state == READY


@dataclass(frozen=True)
class Task:
    """A task of a service; ``node_id`` is empty while no node has been found for it.

    ``since`` is when it reached its state (epoch seconds, 0 when Docker does not say), ``error`` what Docker says is
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
            created=_epoch(node.get("CreatedAt")),
            updated=_epoch(node.get("UpdatedAt")),
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


def is_named(node: Node, server: str) -> bool:
    """Whether a node's host name is a server's name, with or without a domain (``NAME.novalocal``)."""
    return node.hostname == server or node.hostname.startswith(f"{server}.")


def namesakes(nodes: Iterable[Node], server: Identity) -> list[Node]:
    """The nodes of a server's host name; if there are none, those at its address."""
    nodes = list(nodes)
    named = [node for node in nodes if is_named(node, server.name)]
    return named or [node for node in nodes if server.address and node.address == server.address]


def node_of_server(nodes: Iterable[Node], server: Identity) -> Node | None:
    """The node that a server is now.

    What the server itself says decides. Else it is one of its namesakes, if possible one at its address. A server that
    joined again, or was made anew, has a twin there, which stays Ready until the swarm notices: of several it is the
    Ready one that joined last. A server made anew on the same port has its predecessor's address, so the address alone
    does not distinguish them.
    """
    if server.node_id:
        return next((node for node in nodes if node.id == server.node_id), None)
    found = namesakes(nodes, server)
    here = [node for node in found if server.address and node.address == server.address]
    return max(here or found, key=lambda node: (node.ready, node.created, node.id), default=None)


def has_registered(node: Node, started: float) -> bool:
    """Whether a node is Ready, and not only because the swarm has not yet noticed the end of its server's former life.

    :param started: when the cloud started the server (epoch seconds); 0 when it does not matter.
    """
    return node.ready and not (started and node.updated and node.updated + CLOCK_MARGIN < started)


def runs_since(task: Task, started: float) -> bool:
    """Whether a task runs that is to run, and not only because its node has not yet reported its end in a former life.

    :param started: as for `has_registered`.
    """
    former = started and task.since and task.since + CLOCK_MARGIN < started
    return task.state == task.desired == "running" and not former


def stale_nodes(nodes: Iterable[Node], server: Identity) -> list[Node]:
    """Twins that may be removed: Down, of the same host name as the server's node, and only when that one is Ready.

    Removing a node blacklists its certificate (swarmkit), so the last identity of a server is never stale: its disk
    may come back with it.
    """
    nodes = list(nodes)
    own = node_of_server(nodes, server)
    if own is None or not own.ready:
        return []
    label = own.hostname.partition(".")[0]
    return [
        node
        for node in namesakes(nodes, server)
        if node.state == DOWN and node.role == "worker" and node.hostname.partition(".")[0] == label
    ]


def has_come(state: str, server: Identity, nodes: Iterable[Node], tasks: Iterable[Task], service: str = "") -> bool:
    """Whether the node of a server has reached a state.

    :param state: "ready" (since the server was started, if that is known); "down"; "running" (ready, with a running
        task of the service, likewise); "idle" (it has no task that has not ended; a node that does not exist has none,
        and what was to end on one that is Down will not be reported any more).
    """
    node = node_of_server(nodes, server)
    if node is None:
        return state == "idle"
    if state == "down":
        return not node.ready
    own = [task for task in tasks if task.node_id == node.id]
    if state == "idle":
        awaited = [task for task in own if node.state != DOWN or task.desired == "running"]
        return all(task.state not in LIVE_TASK_STATES for task in awaited)
    if not has_registered(node, server.started):
        return False
    return state == "ready" or any(task.service == service and runs_since(task, server.started) for task in own)


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
