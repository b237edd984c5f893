# SPDX-License-Identifier: Apache-2.0
"""How a run reads what many servers of one fleet have in common: once, for all of them."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.gpuswarm.ollama.plugins.module_utils._clients.cloud import Cloud, volume_server
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.servers import Server, owner

FIRST_POLL = 0.4  # seconds
LONGEST_POLL = 3.0  # seconds


def delays() -> Iterator[float]:
    """Seconds between polls: quick at first, then patient."""
    delay = FIRST_POLL
    while True:
        yield delay
        delay = min(LONGEST_POLL, delay * 1.3)


class Watcher:
    """Reads servers for those who wait. As soon as several wait, one list call answers all of them."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._lock = threading.Lock()
        self._waiting = 0
        self._listed_at = float("-inf")
        self._listed: dict[str, Server] = {}

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Announces one who waits."""
        with self._lock:
            self._waiting += 1
        try:
            yield
        finally:
            with self._lock:
                self._waiting -= 1

    def read(self, server_id: str, not_before: float, freshness: float) -> Server | None:
        """A server as it was at `not_before` (monotonic seconds) or later.

        Args:
            server_id: which.
            not_before: monotonic seconds.
            freshness: seconds that the answer may be older than the question.
        """
        if self._waiting > 1:
            # Before the lock: those who ask while a slow list is read share the next one
            asked = time.monotonic()
            with self._lock:
                if self._listed_at < not_before or asked - self._listed_at > freshness:
                    begun = time.monotonic()
                    self._listed = {s.id: s for s in self._cloud.servers()}
                    self._listed_at = begun
                found = self._listed.get(server_id)
            if found is not None:
                return found
        return self._cloud.server(server_id)  # the list leaves out what waits to be reclaimed


class Leftovers:
    """The fleet's volumes, ports and floating IPs, each listed once and only when asked for."""

    def __init__(self, cloud: Cloud, fleet: str) -> None:
        self._cloud = cloud
        self._fleet = fleet
        self._lock = threading.RLock()
        self._lists: dict[str, list[dict[str, Any]]] = {}

    def _list(self, kind: str, fresh: bool) -> list[dict[str, Any]]:
        read = {"volume": self._cloud.volumes, "port": self._cloud.ports, "floating IP": self._cloud.floating_ips}
        with self._lock:
            if fresh or kind not in self._lists:
                self._lists[kind] = read[kind](self._fleet)
            return self._lists[kind]

    def of(self, kind: str, server: str, *, fresh: bool = False) -> list[dict[str, Any]]:
        """What of a kind belongs to a server; `fresh` asks the cloud again."""
        return [item for item in self._list(kind, fresh) if _owner(kind, item) == server]

    def owners(self) -> set[str]:
        """The names of all servers that something belongs to."""
        kinds = ("volume", "port", "floating IP")
        return {name for kind in kinds for item in self._list(kind, False) if (name := _owner(kind, item))}


def _owner(kind: str, item: Mapping[str, Any]) -> str | None:
    if kind == "volume":
        return volume_server(item)
    known = owner(item.get("description"))
    return known[1] if known else None
