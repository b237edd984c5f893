"""Where observations come from: the cloud's API, the manager, and the clients themselves. One thread each."""

from __future__ import annotations

import contextlib
import json
import ssl
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import ollama
import openstack
from openstack import exceptions as cloud_errors

from demo.model import Answer, JournalSeen, NodeSeen, Observation, ServerSeen, TaskSeen, upstreams

CLOUD_INTERVAL_S = 1.0
# Far above what an answer of the lab's model takes: only a request that hangs comes near it.
ANSWER_LIMIT_S = 30.0
# Between an answer and the next question: the clients share two cores with the cluster.
PAUSE_S = 0.25
# Read once: for every client anew, it would cost more than its question.
TRUSTED = ssl.create_default_context()
PROMPT = "Why does a swarm heal itself?"


class Log:
    """What was observed so far; threads add to it, the main thread reads copies."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._observations: list[Observation] = []
        self._answers: list[Answer] = []
        self._errors: dict[str, str] = {}

    def observe(self, item: Observation) -> None:
        """Add an observation."""
        with self._lock:
            self._observations.append(item)

    def answered(self, answer: Answer) -> None:
        """Add an answer."""
        with self._lock:
            self._answers.append(answer)

    def trouble(self, source: str, message: str) -> None:
        """Remember the last trouble of a source; empty when it is over."""
        with self._lock:
            self._errors[source] = message

    def observations(self) -> list[Observation]:
        """Copy what was observed."""
        with self._lock:
            return list(self._observations)

    def answers(self) -> list[Answer]:
        """Copy what was answered."""
        with self._lock:
            return list(self._answers)

    def troubles(self) -> dict[str, str]:
        """Copy the present troubles by source."""
        with self._lock:
            return {source: message for source, message in self._errors.items() if message}


class Watcher:
    """A thread that runs until it is told to stop.

    ``ends_within_s``: how long that may take.
    """

    ends_within_s = 5.0

    def __init__(self, name: str) -> None:
        self.stopping = threading.Event()
        self._thread = threading.Thread(target=self.run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Ask it to end, and wait for that."""
        self.stopping.set()
        self._thread.join(timeout=self.ends_within_s)

    def run(self) -> None:
        """Do the work until ``stopping`` is set."""
        raise NotImplementedError


class CloudWatcher(Watcher):
    """Asks again and again which of the member's servers are ACTIVE, and notes every change.

    Only names are asked for: details would cost the cloud, which shares its cores with the cluster here, three times
    the work.
    """

    def __init__(self, log: Log) -> None:
        super().__init__("cloud")
        self.log = log
        self.connection = openstack.connect()

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
    """Keeps one SSH session to the manager, in which poller.py prints what changes."""

    def __init__(self, log: Log, ssh: Sequence[str], journal: str) -> None:
        super().__init__("manager")
        self.log = log
        self.command = [*ssh, f"exec python3 -u - {journal}"]
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


class Asker(Watcher):
    """A client that asks, reads the stream to its end, and asks again."""

    ends_within_s = ANSWER_LIMIT_S + 5  # an answer that hangs is an answer too

    def __init__(self, log: Log, number: int, gateway: str, model: str) -> None:
        super().__init__(f"client-{number}")
        self.log = log
        self.gateway = gateway
        self.model = model

    def run(self) -> None:
        """Ask until stopped."""
        while not self.stopping.is_set():
            self.log.answered(ask(self.gateway, self.model))
            self.stopping.wait(PAUSE_S)


def ask(gateway: str, model: str, *, show: bool = False) -> Answer:
    """Ask one question through the gateway with the official client, streamed.

    Args:
        gateway: URL of the gateway.
        model: Name of the model.
        show: Whether to print the tokens as they come.

    Returns:
        How it went; errors are part of the answer.
    """
    tried: list[tuple[str, ...]] = []

    def note(response: httpx.Response) -> None:
        tried.append(upstreams(response.headers.get("X-Served-By", "")))

    asked = time.time()
    first: float | None = None
    complete = False
    error = ""
    # A connection of its own for every question, as independent users have.
    hooks = {"response": [note]}
    with ollama.Client(host=gateway, timeout=ANSWER_LIMIT_S, verify=TRUSTED, event_hooks=hooks) as client:
        try:
            for part in client.generate(model=model, prompt=PROMPT, stream=True, options={"num_predict": 128}):
                first = first or time.time()
                complete = complete or bool(part.done)
                if show:
                    print(part.response, end="", flush=True)
        except (httpx.HTTPError, ollama.ResponseError, ConnectionError, ValueError) as problem:
            error = f"{type(problem).__name__}: {problem}"
    return Answer(asked, first, time.time(), complete, tried[-1] if tried else (), error)
