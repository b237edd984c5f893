# SPDX-License-Identifier: Apache-2.0
"""The memory of pools without room: pauses, and a file that may be in any state."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from ansible_collections.gpuswarm.ollama.plugins.module_utils._runtime.capacity import (
    CAP,
    FIRST,
    FORGET,
    CapacityEntry,
    CapacityMemory,
    parse,
    remembered,
)

NOW = 1_800_000_000.0


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("before", "failures", "longest"),
    [
        (None, 1, FIRST),
        (CapacityEntry(1, NOW - 1), 2, 2 * FIRST),
        (CapacityEntry(4, NOW - 1), 5, 16 * FIRST),
        (CapacityEntry(5, NOW - 1), 6, CAP),
        (CapacityEntry(500, NOW - 1), 501, CAP),
        (CapacityEntry(9, NOW - FORGET), 1, FIRST),  # long ago: not in a row
    ],
)
@pytest.mark.parametrize("random", [0.0, 0.5, 0.999])
def test_pauses(before: CapacityEntry | None, failures: int, longest: float, random: float) -> None:
    entry = remembered(before, NOW, lambda: random)
    assert entry.failures == failures
    assert entry.until - NOW == pytest.approx(longest * (0.5 + random / 2))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "7",
        '{"p": 3}',
        '{"p": {"failures": 1}}',
        '{"p": {"failures": "x", "until": 1}}',
        '{"p": {"failures": 1, "until": NaN}}',
        '{"p": {"failures": 0, "until": 1800000001}}',
        '{"p": {"failures": 1, "until": 9999999999}}',  # a clock that was wrong
        '{"p": {"failures": 1, "until": 5}}',
    ],
)
def test_what_is_damaged_or_worth_nothing_is_nothing(text: str) -> None:
    assert parse(text, NOW) == {}


def test_what_is_learnt_is_kept_for_the_next_run(tmp_path: Path) -> None:
    path, clock = tmp_path / "new" / "capacity.json", Clock()
    memory = CapacityMemory(str(path), "here: ", clock)
    assert memory.no_room("p") == 0
    memory.failed("p")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(json.loads(path.read_text())) == ["here: p"]
    assert [f.name for f in path.parent.iterdir()] == [path.name]
    assert CapacityMemory(str(path), "elsewhere: ", clock).no_room("p") == 0

    later = CapacityMemory(str(path), "here: ", clock)
    assert FIRST / 2 <= later.no_room("p") <= FIRST
    clock.now += FIRST + 1
    assert later.no_room("p") == 0
    later.failed("p")
    assert later.no_room("p") >= FIRST  # twice as long, less a half at most
    later.failed("q")
    memory.had_room("q")  # does not know of it
    memory.had_room("p")
    assert list(json.loads(path.read_text())) == ["here: q"]
    assert CapacityMemory(str(path), "here: ", clock).no_room("p") == 0


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[1, 2]"])
def test_a_damaged_file_is_written_anew(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "capacity.json"
    path.write_bytes(content)
    memory = CapacityMemory(str(path), clock=Clock())
    assert memory.no_room("p") == 0
    memory.failed("p")
    assert memory.no_room("p") > 0
    assert list(json.loads(path.read_text())) == ["p"]


def test_a_file_that_cannot_be_written_costs_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    memory = CapacityMemory(str(tmp_path / "file" / "capacity.json"), clock=Clock())
    memory.failed("p")
    assert memory.no_room("p") > 0
    assert CapacityMemory(None, clock=Clock()).no_room("p") == 0
