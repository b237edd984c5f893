# SPDX-License-Identifier: Apache-2.0
"""What the jobs of one run have in common."""

from __future__ import annotations

from collections.abc import Collection

from ansible_collections.gpuswarm.ollama.plugins.module_utils._clients.catalogue import Catalogue
from ansible_collections.gpuswarm.ollama.plugins.module_utils._clients.cloud import Cloud
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.servers import Spec

from .capacity import CapacityMemory
from .watch import Leftovers, Watcher


class Run:
    """One run over some servers of a fleet: the connection, the wishes, and what is read once for all of them."""

    def __init__(
        self,
        cloud: Cloud,
        fleet: str,
        *,
        check_mode: bool,
        assume_existing: Collection[str],
        return_to_preemptible: bool,
    ) -> None:
        """Reads nothing yet. Args: as `provision.Fleet`; fleet is its name."""
        self.cloud = cloud
        self.fleet = fleet
        self.check_mode = check_mode
        self.return_to_preemptible = return_to_preemptible
        self.catalogue = Catalogue(cloud, assume_existing if check_mode else ())
        self.watcher = Watcher(cloud)
        self.leftovers = Leftovers(cloud, fleet)
        self._memories: dict[str | None, CapacityMemory] = {}

    def memory(self, spec: Spec) -> CapacityMemory:
        """Which pools had no room; without a file it is this run's alone."""
        path = spec.capacity_memory
        if path not in self._memories:
            self._memories[path] = CapacityMemory(path, f"{self.cloud.auth_url} {self.cloud.region}: ")
        return self._memories[path]
