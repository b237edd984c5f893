"""Commands that the demonstration starts: shown line by line, limited, and never left behind."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from demo.run import DemoError, lines_of


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_command_that_is_no_longer_followed_is_ended(tmp_path: Path) -> None:
    lines = lines_of(["bash", "-c", "echo $$; exec sleep 60"], tmp_path / "log", 120)
    pid = int(next(lines))
    assert alive(pid)
    lines.close()  # what Ctrl-C comes to
    deadline = time.monotonic() + 10
    while alive(pid):
        assert time.monotonic() < deadline, "the command was left behind"
        time.sleep(0.05)


def test_a_command_that_fails_says_how_it_ended(tmp_path: Path) -> None:
    lines = lines_of(["bash", "-c", "echo the last words; exit 3"], tmp_path / "log", 60)
    with pytest.raises(DemoError, match=r"status 3(?s:.*)the last words"):
        list(lines)
    assert (tmp_path / "log").read_text() == "the last words\n"


def test_a_command_that_prints_nothing_is_limited(tmp_path: Path) -> None:
    with pytest.raises(DemoError, match="took longer than 1 s"):
        list(lines_of(["sleep", "30"], tmp_path / "log", 1))
