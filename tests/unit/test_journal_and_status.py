"""The recovery journal and the table made of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.gpuswarm.ollama.plugins.module_utils import journal, status


def line(phase: str, server: str, epoch: float) -> dict[str, Any]:
    return journal.entry(phase, server, epoch, epoch, run="r", cause="why")


def test_written_lines_are_read_again(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal.append(str(path), [line("noticed", "a", 100.0)])
    journal.append(str(path), [line("done", "a", 112.5)])
    read = journal.parse(path.read_text())
    assert [entry["phase"] for entry in read] == ["noticed", "done"]
    assert read[0]["time"] == "1970-01-01T00:01:40.000+00:00"


def test_a_damaged_line_is_skipped() -> None:
    assert journal.parse('{"phase": "noticed", "serv\nnull\n[]\n{"phase": 1}\n') == []


def test_an_unknown_phase_is_refused() -> None:
    with pytest.raises(ValueError, match="phase is 'lost'"):
        journal.entry("lost", "a", 0, 0)


def test_rotation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "MAX_BYTES", 100)
    path = tmp_path / "journal.jsonl"
    for number in range(3):
        journal.append(str(path), [line("noticed", f"server-{number}", number)])
    assert "server-2" in path.read_text()
    assert "server-1" in (tmp_path / "journal.jsonl.1").read_text()


@pytest.mark.parametrize(
    ("phases", "result", "seconds"),
    [
        ([("noticed", 10), ("active", 12), ("done", 25)], "done", 15.0),
        ([("noticed", 10), ("failed", 20)], "failed", 10.0),
        ([("noticed", 10), ("done", 20), ("noticed", 50)], "running", None),
        ([("noticed", 10), ("noticed", 30), ("done", 40)], "done", 10.0),
    ],
)
def test_last_recovery(phases: list[tuple[str, float]], result: str, seconds: float | None) -> None:
    last = journal.last_recovery([line(phase, "a", at) for phase, at in [*phases, ("noticed", 1)][: len(phases)]], "a")
    assert last is not None
    assert (last["result"], last["seconds"]) == (result, seconds)
    assert journal.last_recovery([line("noticed", "a", 1)], "b") is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (59, "59s"), (60, "1m"), (307, "5m7s"), (11520, "3h12m"), (187200, "2d4h"), (-5, "0s")],
)
def test_span(seconds: float, text: str) -> None:
    assert status.span(seconds) == text


@pytest.mark.parametrize(
    ("since", "text"),
    [
        ("1970-01-01T00:00:00.000000", "1m40s"),
        ("1970-01-01T00:00:00Z", "1m40s"),
        ("1970-01-01T01:00:00+01:00", "1m40s"),
        (None, "-"),
        ("yesterday", "-"),
    ],
)
def test_age(since: object, text: str) -> None:
    assert status.age(since, 100.0) == text


def test_table() -> None:
    verdicts = [
        {
            "server": "m",
            "status": "ACTIVE",
            "node_state": "ready",
            "ollama": "",
            "verdict": "healthy",
            "step": "none",
            "reason": "",
        },
        {
            "server": "g",
            "status": "SHELVED",
            "node_state": "down",
            "ollama": "lost",
            "verdict": "lost",
            "step": "restore",
            "reason": "SHELVED",
        },
    ]
    servers = [{"name": "g", "preemptible": True, "launched_at": "1970-01-01T00:00:00"}]
    text = '{"phase": "noticed", "server": "g", "epoch": 10}\n{"phase": "done", "server": "g", "epoch": 24}\n'
    head, first, second = status.table(verdicts, servers, text, 3600.0)
    assert head.split() == ["SERVER", "CLOUD", "TIER", "AGE", "NODE", "OLLAMA", "VERDICT", "LAST", "RECOVERY"]
    assert first.split() == ["m", "ACTIVE", "-", "-", "ready", "-", "healthy", "-"]
    assert second.split("  ")[0] == "g"
    assert "preemptible  1h" in second
    assert second.endswith("lost: SHELVED  59m50s ago, done in 14 s")
