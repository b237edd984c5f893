"""Fixtures of the scenarios' testinfra tests."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from ansible_collections.gpuswarm.ollama.molecule import operations
from ansible_collections.gpuswarm.ollama.molecule.operations import Cluster, Connect, Host


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    return operations.read_cluster()


@pytest.fixture(scope="session")
def connect(cluster: Cluster) -> Connect:
    return cluster.connect


@pytest.fixture(scope="session")
def manager(cluster: Cluster) -> Host:
    return cluster.connect(cluster.manager)


@pytest.fixture
def docker(manager: Host) -> Callable[[str], Any]:
    """Ask the manager's Docker; the answer is read as JSON, one value for each line."""

    def ask(command: str) -> Any:
        return [json.loads(line) for line in manager.check_output(f"docker {command}").splitlines()]

    return ask
