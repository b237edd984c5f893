# SPDX-License-Identifier: Apache-2.0
"""What Docker on the manager says of nodes, services and tasks: for tests to read, not to change."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.kit.cluster import Host
from tests.kit.names import OLLAMA


@dataclass(frozen=True)
class Node:
    """A node of the swarm. ``state``: ``ready``, ``down`` ...; ``leader``: whether it is the manager that leads."""

    id: str
    hostname: str
    state: str
    labels: Mapping[str, str]
    leader: bool


@dataclass(frozen=True)
class Task:
    """A task of a service. ``node``: host name; ``state``: ``running`` (healthy, if it has a check), ``failed`` ..."""

    id: str
    node: str
    state: str
    error: str = ""


def parse_nodes(inspected: Iterable[Mapping[str, Any]]) -> list[Node]:
    """Read what ``docker node inspect`` tells."""
    return [
        Node(
            node["ID"],
            node["Description"].get("Hostname", ""),  # a node that is just joining has none yet
            node["Status"]["State"],
            node["Spec"].get("Labels", {}),
            bool(node.get("ManagerStatus", {}).get("Leader")),
        )
        for node in inspected
    ]


def parse_tasks(lines: str) -> list[Task]:
    """Read what ``docker service ps`` prints as JSON, one object a line: "Running 3 minutes ago" is ``running``."""
    found = [json.loads(line) for line in lines.splitlines()]
    return [
        Task(task["ID"], task["Node"], task["CurrentState"].partition(" ")[0].lower(), task.get("Error", ""))
        for task in found
    ]


class Docker:
    """The manager's Docker, asked over a connection to the manager."""

    def __init__(self, manager: Host) -> None:
        self._manager = manager

    def nodes(self) -> list[Node]:
        """All nodes of the swarm."""
        return parse_nodes(json.loads(self._manager.check_output("docker node inspect $(docker node ls -q)")))

    def hostnames(self) -> dict[str, str]:
        """Host names of the nodes, by their ids."""
        return {node.id: node.hostname for node in self.nodes()}

    def tasks(self, service: str = OLLAMA, *, ended: bool = False) -> list[Task]:
        """The tasks of a service; also those that have ended, and that Swarm still knows, if wanted."""
        only = "" if ended else "--filter desired-state=running "
        command = f"docker service ps --no-trunc {only}--format '{{{{json .}}}}' {service}"
        return parse_tasks(self._manager.check_output(command))

    def running(self, service: str = OLLAMA) -> dict[str, str]:
        """Ids of the tasks that run, healthy where there is a health check, by their nodes."""
        return {task.node: task.id for task in self.tasks(service) if task.state == "running"}

    def service(self, name: str = OLLAMA) -> dict[str, Any]:
        """What ``docker service inspect`` tells of a service."""
        service: dict[str, Any] = json.loads(self._manager.check_output(f"docker service inspect {name}"))[0]
        return service
