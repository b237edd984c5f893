"""What Docker on the manager says."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.kit.docker import Docker, Node, Task, parse_nodes, parse_tasks

NODES: list[dict[str, Any]] = [
    {
        "ID": "n1",
        "Spec": {"Labels": {}},
        "Description": {"Hostname": "manager"},
        "Status": {"State": "ready"},
        "ManagerStatus": {"Leader": True},
    },
    {
        "ID": "n2",
        "Spec": {"Labels": {"node.gpu": "true"}},
        "Description": {"Hostname": "gpu-1"},
        "Status": {"State": "down"},
    },
]
TASKS = "\n".join(
    json.dumps({"ID": ident, "Name": f"gpuswarm_ollama.{ident}", "Node": node, "CurrentState": state, "Error": error})
    for ident, node, state, error in (
        ("a", "gpu-1", "Running 3 minutes ago", ""),
        ("b", "gpu-2", "Starting 2 seconds ago", ""),
        ("c", "", "Pending less than a second ago", "no suitable node"),
    )
)


class FakeManager:
    """Answers like the manager's shell."""

    def __init__(self, **answers: str) -> None:
        self.answers = answers
        self.commands: list[str] = []

    def check_output(self, command: str) -> str:
        self.commands.append(command)
        return self.answers[command.split()[1]]


def test_nodes() -> None:
    assert parse_nodes(NODES) == [
        Node("n1", "manager", "ready", {}, leader=True),
        Node("n2", "gpu-1", "down", {"node.gpu": "true"}, leader=False),
    ]
    docker = Docker(FakeManager(node=json.dumps(NODES)))
    assert docker.nodes() == parse_nodes(NODES)
    assert docker.hostnames() == {"n1": "manager", "n2": "gpu-1"}


def test_tasks() -> None:
    running, starting, pending = parse_tasks(TASKS)
    assert running == Task("a", "gpu-1", "running")
    assert starting == Task("b", "gpu-2", "starting")
    assert pending == Task("c", "", "pending", "no suitable node")
    assert parse_tasks("") == []


@pytest.mark.parametrize(("ended", "filtered"), [(False, True), (True, False)])
def test_tasks_of_a_service(ended: bool, filtered: bool) -> None:
    manager = FakeManager(service=TASKS)
    assert len(Docker(manager).tasks("gpuswarm_gateway", ended=ended)) == 3
    (command,) = manager.commands
    assert command.endswith(" --format '{{json .}}' gpuswarm_gateway")
    assert ("--filter desired-state=running " in command) is filtered


def test_what_runs_where() -> None:
    assert Docker(FakeManager(service=TASKS)).running() == {"gpu-1": "a"}


def test_a_service() -> None:
    assert Docker(FakeManager(service='[{"ID": "s1"}]')).service() == {"ID": "s1"}
