"""Fixtures of the scenarios' testinfra tests: the cluster as the product's own inventory lists it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import testinfra

ROOT = Path(__file__).resolve().parents[1]
LAB = ROOT / "build" / "lab"


@dataclass(frozen=True)
class Cluster:
    manager: str
    workers: tuple[str, ...]
    variables: dict[str, dict[str, Any]]

    def server(self, name: str) -> dict[str, Any]:
        server: dict[str, Any] = self.variables[name]["selectel"]
        return server

    def address(self, name: str) -> str:
        return str(self.variables[name]["ansible_host"])

    @property
    def gateway(self) -> str:
        return f"http://{self.address(self.manager)}"


Host = Any  # testinfra's modules are attributes made at run time
Connect = Callable[[str], Host]


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    environment = {
        **os.environ,
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "GPUSWARM_LAB_DIR": str(LAB),
        "OS_CLIENT_CONFIG_FILE": str(LAB / "clouds.yaml"),
        "OS_CLOUD": "lab",
    }
    command = ["ansible-inventory", "-i", str(ROOT / "inventory" / "lab"), "--list"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environment)
    assert result.returncode == 0, result.stderr
    # What the cloud told is marked as not to be templated: {"__ansible_unsafe": value}.
    inventory = json.loads(result.stdout, object_hook=lambda item: item.get("__ansible_unsafe", item))
    (manager,) = inventory["manager"]["hosts"]
    return Cluster(manager, tuple(sorted(inventory["gpu_workers"]["hosts"])), inventory["_meta"]["hostvars"])


@pytest.fixture(scope="session")
def connect(cluster: Cluster) -> Connect:
    def to(name: str) -> Host:
        options = {
            "HostKeyAlias": cluster.server(name)["id"],
            "UserKnownHostsFile": LAB / "known_hosts",
            "StrictHostKeyChecking": "accept-new",
            "IdentitiesOnly": "yes",
            "BatchMode": "yes",
            "LogLevel": "ERROR",
        }
        return testinfra.get_host(
            f"ssh://root@{cluster.address(name)}",
            ssh_identity_file=str(LAB / "id_ed25519"),
            ssh_extra_args=" ".join(f"-o {key}={value}" for key, value in options.items()),
        )

    return to


@pytest.fixture(scope="session")
def manager(cluster: Cluster, connect: Connect) -> Host:
    return connect(cluster.manager)


@pytest.fixture
def docker(manager: Host) -> Callable[[str], Any]:
    """Ask the manager's Docker; the answer is read as JSON, one value for each line."""

    def ask(command: str) -> Any:
        return [json.loads(line) for line in manager.check_output(f"docker {command}").splitlines()]

    return ask
