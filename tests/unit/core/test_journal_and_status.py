"""The recovery journal and the table made of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.gpuswarm.ollama.plugins.module_utils._core import journal, status
from ansible_collections.gpuswarm.ollama.plugins.module_utils._runtime import journal_file


def line(phase: str, server: str, epoch: float) -> dict[str, Any]:
    return journal.entry(phase, server, epoch, epoch, run="r", cause="why")


def test_written_lines_are_read_again(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal_file.append(str(path), [line("noticed", "a", 100.0)])
    journal_file.append(str(path), [line("done", "a", 112.5)])
    read = journal.parse(path.read_text())
    assert [entry["phase"] for entry in read] == ["noticed", "done"]
    assert read[0]["time"] == "1970-01-01T00:01:40.000+00:00"


def test_a_damaged_line_is_skipped() -> None:
    assert journal.parse('{"phase": "noticed", "serv\nnull\n[]\n{"phase": 1}\n') == []


def test_an_unknown_phase_is_refused() -> None:
    with pytest.raises(ValueError, match="phase is 'lost'"):
        journal.entry("lost", "a", 0, 0)


def test_rotation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_file, "MAX_BYTES", 100)
    path = tmp_path / "journal.jsonl"
    for number in range(3):
        journal_file.append(str(path), [line("noticed", f"server-{number}", number)])
    assert "server-2" in path.read_text()
    assert "server-1" in (tmp_path / "journal.jsonl.1").read_text()


@pytest.mark.parametrize(
    ("phases", "result", "seconds"),
    [
        ([("noticed", 10), ("active", 12), ("done", 25)], "done", 15.0),
        ([("noticed", 10), ("failed", 20)], "failed", 10.0),
        ([("noticed", 10), ("done", 20), ("noticed", 50)], "running", None),
        # noticed by the probe, then by the playbook; or the first run was killed
        ([("noticed", 10), ("noticed", 30), ("done", 40)], "done", 30.0),
        ([("noticed", 10), ("active", 12), ("noticed", 30), ("done", 40)], "done", 30.0),
        # the manager was away in between
        ([("noticed", 10), ("noticed", 3000), ("done", 3040)], "done", 40.0),
    ],
)
def test_last_recovery(phases: list[tuple[str, float]], result: str, seconds: float | None) -> None:
    last = journal.last_recovery([line(phase, "a", at) for phase, at in phases], "a")
    assert last is not None
    assert (last.result, last.seconds) == (result, seconds)
    assert journal.last_recovery([line("noticed", "a", 1)], "b") is None


@pytest.mark.parametrize(("between", "kept"), [([], "docker_dead"), (["restore"], "lost")])
def test_why_it_was_lost_is_what_was_seen_before_the_cloud_was_asked(between: list[str], kept: str) -> None:
    seen = [("noticed", "lost"), *((phase, "") for phase in between), ("noticed", "docker_dead")]
    lines = [journal.entry(phase, "a", at, at, verdict=verdict) for at, (phase, verdict) in enumerate(seen)]
    (found,) = journal.recoveries(lines)
    assert found.verdict == kept


def test_recoveries_of_several_servers_are_told_apart() -> None:
    lines = [
        line("done", "c", 1),  # its beginning went with the rotation
        line("noticed", "a", 10),
        line("noticed", "b", 10),
        line("active", "b", 13),
        line("active", "a", 12),
        line("failed", "b", 20),
        line("done", "a", 32),
    ]
    first, second = journal.recoveries(lines)
    assert (first.server, first.result, first.phases) == ("a", "done", {"active": 2.0, "done": 20.0})
    assert (second.server, second.result, second.phases) == ("b", "failed", {"active": 3.0, "failed": 7.0})


def test_both_halves_are_read(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    assert journal_file.read(str(path)) == ""
    path.write_text("new\n")
    (tmp_path / "journal.jsonl.1").write_text("old\n")
    assert journal_file.read(str(path)) == "old\nnew\n"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (59, "59s"), (60, "1m"), (307, "5m7s"), (11520, "3h12m"), (187200, "2d4h"), (-5, "0s")],
)
def test_span(seconds: float, text: str) -> None:
    assert status.span(seconds) == text


SERVERS: list[dict[str, Any]] = [
    {
        "server": "m",
        "status": "ACTIVE",
        "capacity_type": "on_demand",
        "age": None,
        "node_state": "ready",
        "ollama": "",
        "verdict": "healthy",
        "step": "none",
        "reason": "",
        "as_desired": True,
    },
    {
        "server": "g",
        "status": "SHELVED",
        "capacity_type": "preemptible",
        "age": 3600.0,
        "node_state": "down",
        "ollama": "lost",
        "verdict": "lost",
        "step": "restore",
        "reason": "SHELVED",
        "as_desired": False,
    },
]
TEXT = '{"phase": "noticed", "server": "g", "epoch": 10}\n{"phase": "done", "server": "g", "epoch": 24}\n'


def test_table() -> None:
    head, first, second, loop = status.table(status.report(SERVERS, TEXT, "active"), 3600.0)
    assert head.split() == ["SERVER", "CLOUD", "CAPACITY", "AGE", "NODE", "OLLAMA", "VERDICT", "LAST", "RECOVERY"]
    assert first.split() == ["m", "ACTIVE", "on-demand", "-", "ready", "-", "healthy", "-"]
    assert second.split("  ")[0] == "g"
    assert "preemptible  1h" in second
    assert second.endswith("lost: SHELVED  59m50s ago, done in 14 s")
    assert loop == "recovery loop: active"
    assert status.table(status.report([], "", "active", "the cloud is silent"), 0.0)[-1] == "the cloud is silent"


def test_report() -> None:
    told = status.report(SERVERS, TEXT, "active")
    assert told["servers"][0]["last_recovery"] is None
    assert told["servers"][1]["last_recovery"]["result"] == "done"
    assert told["servers"][1]["last_recovery"]["phases"] == {"done": 14}
    assert not told["as_desired"]
    assert status.report(SERVERS[:1], "", "active")["as_desired"]
    assert not status.report(SERVERS[:1], "", "active", "the swarm did not answer")["as_desired"]
    json.dumps(told)
    assert told["cost"] is None
    assert status.report([], "", "active", cost={"error": "x"})["cost"] == {"error": "x"}


@pytest.mark.parametrize(
    ("timer", "maintenance", "words"),
    [
        ("active", "", "active"),
        ("", "", "not installed"),
        ("active", "there is a file x", "active, but in maintenance: there is a file x"),
        ("inactive", "", "inactive"),
    ],
)
def test_loop_state(timer: str, maintenance: str, words: str) -> None:
    assert status.loop_state(timer, maintenance) == words
