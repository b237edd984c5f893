"""Runs on the manager, fed to its Python over SSH: prints every change of the swarm and of the recovery journal.

One JSON object per line: {"kind": "node" | "task" | "journal" | "error" | "alive", ...}. It uses only the standard
library, asks the engine's socket directly, and ends with the SSH session that started it.
"""

from __future__ import annotations

import http.client
import json
import socket
import sys
import time
from typing import Any

INTERVAL_S = 0.25
ENGINE = "/var/run/docker.sock"
SERVICE_SUFFIX = "ollama"


class Engine(http.client.HTTPConnection):
    """HTTP over the Docker engine's socket."""

    def connect(self) -> None:
        """Connect to the engine."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(5)
        self.sock.connect(ENGINE)


def get(path: str) -> Any:
    """Ask the engine."""
    engine = Engine("localhost", timeout=5)
    try:
        engine.request("GET", path)
        response = engine.getresponse()
        body = response.read()
    finally:
        engine.close()
    if response.status != 200:
        message = f"GET {path}: {response.status} {body[:200]!r}"
        raise OSError(message)
    return json.loads(body)


def swarm() -> dict[str, dict[str, Any]]:
    """Read the nodes, and the tasks of the Ollama service, keyed by id."""
    nodes = get("/nodes")
    hostnames = {node["ID"]: node["Description"]["Hostname"] for node in nodes}
    services = {item["ID"] for item in get("/services") if item["Spec"]["Name"].split("_")[-1] == SERVICE_SUFFIX}
    seen: dict[str, dict[str, Any]] = {
        f"node {node['ID']}": {
            "kind": "node",
            "node_id": node["ID"],
            "hostname": hostnames[node["ID"]],
            "state": node["Status"]["State"],
        }
        for node in nodes
    }
    for task in get("/tasks"):
        # Swarm keeps a few ended tasks of each replica, for people to look at.
        if task.get("ServiceID") in services and task["DesiredState"] == "running":
            networks = task.get("NetworksAttachments") or []
            seen[f"task {task['ID']}"] = {
                "kind": "task",
                "task_id": task["ID"],
                "hostname": hostnames.get(task.get("NodeID", ""), ""),
                "state": task["Status"]["State"],
                "addresses": [
                    address.split("/")[0] for network in networks for address in network.get("Addresses") or []
                ],
            }
    return seen


def journal_lines(path: str, position: int) -> tuple[list[dict[str, Any]], int]:
    """Read the complete lines that were added to the journal since the last time."""
    try:
        with open(path, encoding="utf-8") as stream:  # noqa: PTH123 - nothing to gain from pathlib here
            stream.seek(0, 2)
            if stream.tell() < position:
                position = 0
            stream.seek(position)
            text = stream.read()
    except FileNotFoundError:
        return [], 0
    complete = text[: text.rfind("\n") + 1]
    entries = []
    for line in complete.splitlines():
        try:
            entries.append(json.loads(line))
        except ValueError:
            continue
    return entries, position + len(complete.encode())


def emit(item: dict[str, Any]) -> None:
    """Print one observation."""
    sys.stdout.write(json.dumps(item) + "\n")
    sys.stdout.flush()


def main(journal: str) -> None:
    """Watch until the reader goes away."""
    last: dict[str, dict[str, Any]] = {}
    _, position = journal_lines(journal, 0)
    while True:
        began = time.time()
        answered = False
        try:
            seen = swarm()
            answered = True
            for key, item in seen.items():
                if last.get(key) != item:
                    emit({**item, "epoch": began})
            last = seen
        except (OSError, http.client.HTTPException, KeyError, ValueError) as error:
            emit({"kind": "error", "epoch": began, "detail": f"{type(error).__name__}: {error}"})
        entries, position = journal_lines(journal, position)
        for entry in entries:
            emit({"kind": "journal", **{key: entry.get(key) or "" for key in ("epoch", "phase", "server", "detail")}})
        # A line every time, so that the poller notices when nobody reads any more.
        emit({"kind": "alive", "epoch": began, "answered": answered})
        time.sleep(max(0.05, INTERVAL_S - (time.time() - began)))


if __name__ == "__main__":
    main(sys.argv[1])
