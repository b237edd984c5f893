"""What was counted, through real backups of one manager and restores on the same and on another one."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.gpuswarm.ollama.plugins.module_utils._core import journal, metrics
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.counters import CounterFamily
from ansible_collections.gpuswarm.ollama.plugins.module_utils._runtime import counters_file, journal_file
from tests.kit.backup import CONTENT, OWN, PARTS, SYSTEM, Machine

STATE = "/var/lib/gpuswarm"
FILES = [f"{STATE}/{name}" for name in ("journal.jsonl", "journal.jsonl.1", "counters.json")]


class Counting:
    """The recovery loop's journal, state and metrics on a manager, without its cloud."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.place = Path(f"{machine.root}{STATE}")
        self.place.mkdir(parents=True, exist_ok=True)
        machine.parts({"recovery": {**PARTS["recovery"], "optional": FILES}})

    def interrupt(self, hour: int) -> None:
        """The journal of an interruption that was healed."""
        at = 3600.0 * hour
        phases = [("noticed", at), ("active", at + 6), ("done", at + 9)]
        entries = [journal.entry(phase, "g", when, when, verdict="lost") for phase, when in phases]
        journal_file.append(str(self.place / "journal.jsonl"), entries)

    def shown(self, now: float = 1e9) -> int:
        """What the metrics say after a cycle."""
        shown = self.place / "gpuswarm.prom"
        lines = journal.parse(journal_file.read(str(self.place / "journal.jsonl")))
        state, _said = counters_file.count(str(self.place / "counters.json"), str(shown), lines, now)
        cycle = metrics.Cycle(at=now, wall=0, cpu=0, maintenance=False, cloud=True, swarm=True)
        shown.write_text(metrics.render([], state, cycle), encoding="utf-8")
        return metrics.exposed(shown.read_text(encoding="utf-8")).counts[CounterFamily.INTERRUPTIONS]["g"]


@pytest.fixture
def one(tmp_path: Path, engine: int, monkeypatch: pytest.MonkeyPatch) -> Counting:
    monkeypatch.setattr(journal_file, "MAX_BYTES", 2000)  # three interruptions
    machine = Machine(tmp_path / "one", SYSTEM | OWN, engine)
    machine.write({name: text for name, text in CONTENT.items() if "journal" not in name})
    return Counting(machine)


def interrupted(manager: Counting, hours: range) -> int:
    for hour in hours:
        manager.interrupt(hour)
        found = manager.shown()
    return found


def test_a_manager_made_from_a_backup_goes_on_counting(one: Counting, tmp_path: Path, engine: int) -> None:
    assert interrupted(one, range(1, 21)) == 20
    assert (one.place / "journal.jsonl.1").exists()
    other = Machine(tmp_path / "other", SYSTEM, engine)
    assert other.restore(one.machine.backup()).returncode == 0
    assert len(journal.parse(journal_file.read(f"{other.root}{STATE}/journal.jsonl"))) < 60
    assert Counting(other).shown() == 20
    assert interrupted(Counting(other), range(30, 35)) == 25


def test_a_backup_that_is_put_back_in_place_takes_nothing_away(one: Counting) -> None:
    interrupted(one, range(1, 11))
    backup = one.machine.backup()
    assert interrupted(one, range(11, 16)) == 15
    assert one.machine.restore(backup).returncode == 0
    assert one.shown() == 15
    assert interrupted(one, range(20, 22)) == 17


def test_two_managers_at_once_count_nothing_twice(one: Counting, tmp_path: Path, engine: int) -> None:
    """The old one was not lost at all. Its later backup goes to the new one, which has counted the same meanwhile."""
    interrupted(one, range(1, 6))
    other = Machine(tmp_path / "other", SYSTEM, engine)
    assert other.restore(one.machine.backup()).returncode == 0
    new = Counting(other)
    assert interrupted(one, range(10, 13)) == 8
    assert interrupted(new, range(10, 12)) == 7
    assert other.restore(one.machine.backup()).returncode == 0
    assert new.shown() == 8
    assert interrupted(new, range(20, 21)) == 9


@pytest.mark.parametrize("which", ["journal", "counters"])
def test_a_journal_and_a_state_of_different_moments(one: Counting, which: str) -> None:
    """The probe goes on while a backup copies its files: one of them is older."""
    interrupted(one, range(1, 3))
    older = {path: path.read_bytes() for path in one.place.iterdir() if path.name.startswith(which)}
    assert interrupted(one, range(3, 4)) == 3
    for path, content in older.items():
        path.write_bytes(content)
    (one.place / "gpuswarm.prom").unlink()  # no part of a backup
    assert one.shown() == 3
    assert interrupted(one, range(9, 10)) == 4
