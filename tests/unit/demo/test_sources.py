"""What the manager tells over SSH, and the session that breaks."""

from __future__ import annotations

import json
from pathlib import Path

from demo.model import JournalSeen, NodeSeen, TaskSeen
from demo.sources import Log, ManagerWatcher
from tests.kit.waiting import until


def test_what_the_manager_tells_becomes_observations(tmp_path: Path) -> None:
    lines = [
        {"kind": "node", "epoch": 1.0, "node_id": "n1", "hostname": "gpu-1", "state": "ready"},
        {
            "kind": "task",
            "epoch": 2.0,
            "task_id": "t1",
            "hostname": "gpu-1",
            "state": "running",
            "addresses": ["10.0.1.5"],
        },
        {"kind": "journal", "epoch": 3.0, "phase": "noticed", "server": "gpu-1", "detail": ""},
        {"kind": "error", "epoch": 3.5, "detail": "the engine is busy"},
        {"kind": "alive", "epoch": 3.5, "answered": False},
        {"kind": "alive", "epoch": 4.0, "answered": True},
    ]
    output = tmp_path / "output"
    output.write_text("motd\n" + "".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    log = Log()
    watcher = ManagerWatcher(log, ["sh", "-c", f"cat {output}; sleep 60"])
    watcher.start()
    assert watcher.fed.wait(10)
    watcher.stop()
    assert log.observations() == [
        NodeSeen(1.0, "n1", "gpu-1", "ready"),
        TaskSeen(2.0, "t1", "gpu-1", "running", ("10.0.1.5",)),
        JournalSeen(3.0, "noticed", "gpu-1"),
    ]


def test_a_session_that_breaks_is_told() -> None:
    log = Log()
    watcher = ManagerWatcher(log, ["sh", "-c", "echo 'No route to host' >&2; exit 255"])
    watcher.start()
    until("it is told", log.troubles)
    watcher.stop()
    assert "No route to host" in log.troubles()["manager"]
