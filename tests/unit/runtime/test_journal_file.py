"""The journal's file: what is written to it stays, beside another writer, after a power failure, over a rotation."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.gpuswarm.ollama.plugins.module_utils._core import journal
from ansible_collections.gpuswarm.ollama.plugins.module_utils._runtime import journal_file


def line(number: int) -> dict[str, Any]:
    return journal.entry("noticed", f"server-{number}", number, number)


def servers(path: Path) -> list[str]:
    return [str(found["server"]) for found in journal.parse(journal_file.read(str(path)))]


def test_a_line_after_a_torn_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal_file.append(str(path), [line(1), line(2)])
    path.write_bytes(path.read_bytes()[:-20])
    journal_file.append(str(path), [line(3)])
    assert servers(path) == ["server-1", "server-3"]


def test_two_that_find_it_full_rotate_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The probe and a run write at the same time: the second must not put the new file in the place of the old one."""
    path = tmp_path / "journal.jsonl"
    monkeypatch.setattr(journal_file, "MAX_BYTES", 1000)
    journal_file.append(str(path), [line(number) for number in range(10)])
    assert path.stat().st_size > 1000
    replace = os.replace
    others = [threading.Thread(target=journal_file.append, args=(str(path), [line(number)])) for number in (10, 11)]

    def slowly(source: Any, target: Any, **_: Any) -> None:
        if not others[1].is_alive() and others[1].ident is None:
            others[1].start()  # it has seen the full file by the time at which this one goes on
            others[1].join(0.3)
        replace(source, target)

    monkeypatch.setattr(Path, "replace", slowly)
    others[0].start()
    for other in others:
        while other.ident is None:
            others[0].join(0.01)
        other.join(10)
    assert sorted(servers(path)) == sorted(f"server-{number}" for number in range(12))


def test_a_rotation_while_it_is_read_hides_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "journal.jsonl"
    (tmp_path / "journal.jsonl.1").write_text("", encoding="utf-8")
    journal_file.append(str(path), [line(1)])
    read_text = Path.read_text
    rotated: list[bool] = []

    def read(self: Path, *arguments: Any, **named: Any) -> str:
        text = read_text(self, *arguments, **named)
        if self.name == "journal.jsonl.1" and not rotated:
            rotated.append(True)
            path.replace(f"{path}.1")
            journal_file.append(str(path), [line(2)])
        return text

    monkeypatch.setattr(Path, "read_text", read)
    assert servers(path) == ["server-1", "server-2"]
