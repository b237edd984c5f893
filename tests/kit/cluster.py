# SPDX-License-Identifier: Apache-2.0
"""The lab's cluster as the product's own inventory lists it, and how its servers are logged in to."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.kit import ansible
from tests.kit.commands import KitError
from tests.kit.lab import INVENTORY, LAB, variables

Host = Any  # testinfra's modules are attributes made at run time


@dataclass(frozen=True)
class Cluster:
    """The servers: the manager's name, the GPU servers' names, sorted, and all host variables by name."""

    manager: str
    workers: tuple[str, ...]
    hosts: Mapping[str, Mapping[str, Any]]

    @property
    def names(self) -> tuple[str, ...]:
        """All of them, the manager first."""
        return (self.manager, *self.workers)

    def server(self, name: str) -> Mapping[str, Any]:
        """What the cloud says of a server."""
        server: Mapping[str, Any] = self.hosts[name].get("gpuswarm", {})
        return server

    def address(self, name: str) -> str:
        """Where a server is logged in to."""
        return str(self.hosts[name].get("ansible_host", ""))

    @property
    def fleet(self) -> str:
        """Name of the fleet."""
        return str(self.hosts[self.manager].get("fleet_name", ""))

    @property
    def gateway(self) -> str:
        """URL that clients use."""
        return f"http://{self.address(self.manager)}"

    def user(self, name: str) -> str:
        """As whom the inventory logs in to a server; a KitError if it does not say so in plain words."""
        user = str(self.hosts[name].get("ansible_user", ""))
        if not user or "{{" in user:
            raise KitError(f"ansible_user of {name} is {user!r} in {INVENTORY}: it must be the name of a user")
        return user

    def login(self, name: str) -> str:
        """Where to log in, as ssh wants it: user@address."""
        return f"{self.user(name)}@{self.address(name)}"

    def remote(self, name: str, command: str) -> list[str]:
        """A command line that runs something on a server as root, whom what tests look at belongs to."""
        if self.user(name) != "root":
            command = f"sudo -n sh -c {shlex.quote(command)}"
        options = {**self._options(name), "IdentityFile": LAB.ssh_key, "ConnectTimeout": 10, "ServerAliveInterval": 5}
        arguments = [part for key, value in options.items() for part in ("-o", f"{key}={value}")]
        return ["ssh", *arguments, self.login(name), command]

    def connect(self, name: str) -> Host:
        """Log in to a server, as testinfra does; its commands run as root."""
        import testinfra  # noqa: PLC0415 (only Molecule and benchmarks log in)

        return testinfra.get_host(
            f"ssh://{self.login(name)}",
            sudo=self.user(name) != "root",
            ssh_identity_file=str(LAB.ssh_key),
            ssh_extra_args=" ".join(f"-o {key}={value}" for key, value in self._options(name).items()),
        )

    def _options(self, name: str) -> dict[str, object]:
        return {
            # As the inventory does it: a server's key is filed under its id, for another server may get its address.
            "HostKeyAlias": self.server(name).get("id", name),
            "UserKnownHostsFile": LAB.state / "known_hosts",
            "StrictHostKeyChecking": "accept-new",
            "IdentitiesOnly": "yes",
            "BatchMode": "yes",
            "LogLevel": "ERROR",
        }


def parse(listing: Mapping[str, Any]) -> Cluster:
    """Find the cluster in what :func:`ansible.listing` has read; a KitError if there is none."""
    managers = list(listing.get("manager", {}).get("hosts", []))
    workers = sorted(listing.get("gpu_workers", {}).get("hosts", []))
    if len(managers) != 1 or not workers:
        raise KitError(
            f"the inventory lists managers {managers} and GPU servers {workers}: it must be one of the first, and at "
            "least one of the second"
        )
    return Cluster(managers[0], tuple(workers), listing["_meta"]["hostvars"])


def read_cluster() -> Cluster:
    """Read the servers that the lab's inventory lists now; a KitError if that fails, or there is no cluster."""
    return parse(ansible.listing(INVENTORY, env=variables(), limit_s=120))
