"""What the workers do after their manager was restored.

The play of playbooks/restore.yml runs; a server stands in for the engines, which it talks with over their socket.
"""

from __future__ import annotations

import json
import os
import socket
import socketserver
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
WORKERS = ["demo-gpu-1", "demo-gpu-2", "demo-gpu-3"]
LOST = WORKERS[-1]
PATIENCE_S = 6


class Engine(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """The manager's, which hears the first two workers once all three are waited for, never the third; and theirs."""

    daemon_threads = True

    def __init__(self, path: Path) -> None:
        self.waiting: set[int] = set()
        self.left = 0
        super().__init__(str(path), Answer)

    def nodes(self, process: int) -> list[dict[str, Any]]:
        self.waiting.add(process)
        heard = WORKERS[:-1] if len(self.waiting) == len(WORKERS) else []
        return [
            {
                "ID": name,
                "Spec": {"Role": "worker", "Availability": "active"},
                "Description": {"Hostname": name},
                "Status": {"State": "ready" if name in heard else "down"},
            }
            for name in WORKERS
        ]


class Answer(BaseHTTPRequestHandler):
    server: Engine

    def do_GET(self) -> None:
        size = struct.calcsize("3i")
        process, _, _ = struct.unpack("3i", self.connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
        self.answer(self.server.nodes(process) if self.path.startswith("/nodes") else [])

    def do_POST(self) -> None:
        assert self.path == "/swarm/leave?force=true"
        self.server.left += 1
        self.answer({})

    def answer(self, what: Any) -> None:
        body = json.dumps(what).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "socket"

    def log_message(self, *_: Any) -> None:
        """Be quiet."""


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with Engine(tmp_path / "docker.sock") as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield server
        server.shutdown()


def test_workers_that_do_not_find_the_manager_leave_all_side_by_side(engine: Engine, tmp_path: Path) -> None:
    plays = yaml.safe_load((ROOT / "playbooks" / "restore.yml").read_text(encoding="utf-8"))
    play = next(play for play in plays if "gpu_workers" in play.get("hosts", ""))
    (tmp_path / "play.yml").write_text(yaml.safe_dump([play]), encoding="utf-8")
    hosts = dict.fromkeys(WORKERS)
    inventory = {
        "manager": {"hosts": {"demo-manager": None}},
        "gpu_workers": {"hosts": hosts},
        "status_active": {"hosts": hosts},
        "all": {
            "vars": {
                "fleet_name": "demo",
                "ansible_connection": "local",
                "ansible_python_interpreter": sys.executable,
            }
        },
    }
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump(inventory), encoding="utf-8")
    settings = {"__backup_socket": engine.server_address, "backup_rejoin_timeout": PATIENCE_S}
    command = ["ansible-playbook", "-i", "hosts.yml", "play.yml", "--extra-vars", json.dumps(settings)]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_INVENTORY_ENABLED": "yaml"}
    result = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert len(engine.waiting) == len(WORKERS)
    assert f"changed: [{LOST}]" in result.stdout
    assert engine.left == 1, result.stdout
