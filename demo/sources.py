"""Where observations come from: the cloud's API, and the manager. One thread each."""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from openstack import exceptions as cloud_errors

from demo.model import JournalSeen, NodeSeen, Observation, ServerSeen, TaskSeen
from tests.kit import answers, cloud
from tests.kit.watching import Watcher

CLOUD_INTERVAL_S = 1.0


class Log(answers.Log):
    """What was observed, too; threads add to it, the main thread reads copies."""

    def __init__(self) -> None:
        super().__init__()
        self._observations: list[Observation] = []
        self._errors: dict[str, str] = {}

    def observe(self, item: Observation) -> None:
        """Add an observation."""
        with self._lock:
            self._observations.append(item)

    def trouble(self, source: str, message: str) -> None:
        """Remember the last trouble of a source; empty when it is over."""
        with self._lock:
            self._errors[source] = message

    def observations(self) -> list[Observation]:
        """Copy what was observed."""
        with self._lock:
            return list(self._observations)

    def troubles(self) -> dict[str, str]:
        """Copy the present troubles by source."""
        with self._lock:
            return {source: message for source, message in self._errors.items() if message}


class CloudWatcher(Watcher):
    """Asks again and again which of the member's servers are ACTIVE, and notes every change.

    Only names are asked for: details would cost the cloud, which shares its cores with the cluster here, three times
    the work.
    """

    def __init__(self, log: Log) -> None:
        super().__init__("cloud")
        self.log = log
        self.connection = cloud.connect()

    def run(self) -> None:
        """Poll until stopped; trouble with the API is noted, not fatal."""
        last: dict[str, str] = {}
        while not self.stopping.wait(CLOUD_INTERVAL_S):
            now = time.time()
            try:
                active = self.connection.compute.servers(details=False, status="ACTIVE")
                servers = {server.name: "ACTIVE" for server in active}
            except (cloud_errors.SDKException, OSError) as error:
                self.log.trouble("cloud", str(error))
                continue
            self.log.trouble("cloud", "")
            for name in last.keys() - servers.keys():
                servers[name] = "not ACTIVE"
            for name, status in servers.items():
                if last.get(name) != status:
                    self.log.observe(ServerSeen(now, name, status))
            last = servers


class ManagerWatcher(Watcher):
    """Keeps one SSH session to the manager, in which poller.py prints what changes.

    Args:
        log: Gets the observations.
        command: Starts, on the manager, a Python that reads its program.
    """

    def __init__(self, log: Log, command: Sequence[str]) -> None:
        super().__init__("manager")
        self.log = log
        self.command = command
        self.process: subprocess.Popen[str] | None = None
        self.fed = threading.Event()

    def run(self) -> None:
        """Read until stopped; a session that breaks is started again."""
        while not self.stopping.is_set():
            self._session()
            self.stopping.wait(1)

    def stop(self) -> None:
        """End the session."""
        self.stopping.set()
        if self.process:
            self.process.terminate()
        super().stop()

    def _session(self) -> None:
        program = Path(__file__).with_name("poller.py")
        with (
            program.open(encoding="utf-8") as source,
            subprocess.Popen(
                self.command, stdin=source, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            ) as process,
        ):
            self.process = process
            assert process.stdout is not None  # noqa: S101 - it is a pipe
            assert process.stderr is not None  # noqa: S101
            for line in process.stdout:
                with contextlib.suppress(ValueError):
                    self._take(json.loads(line))
            if not self.stopping.is_set():
                self.log.trouble("manager", f"the SSH session ended: {process.stderr.read().strip()[-300:]}")

    def _take(self, item: dict[str, Any]) -> None:
        kind = item.pop("kind", "")
        if kind == "alive":
            if item["answered"]:
                self.log.trouble("manager", "")
                self.fed.set()
        elif kind == "node":
            self.log.observe(NodeSeen(**item))
        elif kind == "task":
            self.log.observe(TaskSeen(**{**item, "addresses": tuple(item["addresses"])}))
        elif kind == "journal" and item["epoch"]:
            self.log.observe(JournalSeen(**item))
        elif kind == "error":
            self.log.trouble("manager", item["detail"])
