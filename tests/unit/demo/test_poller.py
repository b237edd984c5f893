from __future__ import annotations

import http.server
import json
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo import poller

RESPONSES: dict[str, Any] = {
    "/nodes": [{"ID": "n1", "Description": {"Hostname": "gpu-1"}, "Status": {"State": "ready"}}],
    "/services": [
        {"ID": "s1", "Spec": {"Name": "gpuswarm_ollama"}},
        {"ID": "s2", "Spec": {"Name": "gpuswarm_gateway"}},
    ],
    "/tasks": [
        {
            "ID": "t1",
            "ServiceID": "s1",
            "NodeID": "n1",
            "DesiredState": "running",
            "Status": {"State": "running"},
            "NetworksAttachments": [{"Addresses": ["10.0.1.5/24"]}],
        },
        {"ID": "t2", "ServiceID": "s1", "DesiredState": "running", "Status": {"State": "pending"}},
        {"ID": "t3", "ServiceID": "s2", "NodeID": "n1", "DesiredState": "running", "Status": {"State": "running"}},
        {"ID": "t4", "ServiceID": "s1", "NodeID": "n1", "DesiredState": "shutdown", "Status": {"State": "rejected"}},
    ],
}


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps(RESPONSES.get(self.path, {})).encode()
        self.send_response(200 if self.path in RESPONSES else 503)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "socket"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class calls it so
        pass


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    path = str(tmp_path / "docker.sock")
    monkeypatch.setattr(poller, "ENGINE", path)
    with socketserver.ThreadingUnixStreamServer(path, Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield
        server.shutdown()
        thread.join()


@pytest.mark.usefixtures("engine")
def test_swarm_names_nodes_and_the_wanted_tasks_of_ollama_only() -> None:
    assert poller.swarm() == {
        "node n1": {"kind": "node", "node_id": "n1", "hostname": "gpu-1", "state": "ready"},
        "task t1": {
            "kind": "task",
            "task_id": "t1",
            "hostname": "gpu-1",
            "state": "running",
            "addresses": ["10.0.1.5"],
        },
        "task t2": {"kind": "task", "task_id": "t2", "hostname": "", "state": "pending", "addresses": []},
    }


@pytest.mark.usefixtures("engine")
def test_an_engine_without_swarm_is_an_error() -> None:
    with pytest.raises(OSError, match="GET /nothing: 503"):
        poller.get("/nothing")


def test_journal_gives_each_complete_line_once(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    assert poller.journal_lines(str(path), 0) == ([], 0)
    path.write_text('{"phase": "noticed"}\nnot json\n{"phase": "act', encoding="utf-8")
    entries, position = poller.journal_lines(str(path), 0)
    assert entries == [{"phase": "noticed"}]
    with path.open("a", encoding="utf-8") as stream:
        stream.write('ive"}\n')
    entries, position = poller.journal_lines(str(path), position)
    assert entries == [{"phase": "active"}]
    assert poller.journal_lines(str(path), position) == ([], position)


def test_a_journal_that_was_rotated_is_read_from_its_start(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_text('{"phase": "done"}\n', encoding="utf-8")
    assert poller.journal_lines(str(path), 5000)[0] == [{"phase": "done"}]
