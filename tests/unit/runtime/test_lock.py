"""Who may work on the fleet: a run that died blocks nobody, a run that lives blocks everybody else."""

from __future__ import annotations

import pytest

from ansible_collections.gpuswarm.ollama.plugins.module_utils._runtime.lock import Holder, describe, is_held, load

LOCAL = Holder(run="one", what="recover.yml", since=100.0, pid=7, started=70, boot_id="boot")
REMOTE = Holder(run="one", what="site.yml", since=100.0, expires=200.0)


@pytest.mark.parametrize(
    ("holder", "run", "boot", "now", "alive", "held"),
    [
        (None, "two", "boot", 150, True, False),
        (LOCAL, "two", "boot", 150, True, True),
        (LOCAL, "two", "boot", 150, False, False),  # killed
        (LOCAL, "two", "later", 150, True, False),  # the machine was restarted
        (LOCAL, "one", "boot", 150, True, False),  # its own
        (REMOTE, "two", "boot", 150, False, True),
        (REMOTE, "two", "boot", 200, False, False),  # its time is over
        (REMOTE, "one", "boot", 150, False, False),
    ],
)
def test_is_held(holder: Holder | None, run: str, boot: str, now: float, alive: bool, held: bool) -> None:
    asked: list[tuple[int, int]] = []

    def is_alive(pid: int, started: int) -> bool:
        asked.append((pid, started))
        return alive

    assert is_held(holder, run, boot, now, is_alive) is held
    assert set(asked) <= {(7, 70)}


@pytest.mark.parametrize("holder", [LOCAL, REMOTE])
def test_a_lock_file_is_read_as_written(holder: Holder) -> None:
    assert load(holder.dump()) == holder


@pytest.mark.parametrize("text", ["", "{", "null", "[]", '{"run": "x"}', '{"unknown": 1}'])
def test_a_damaged_lock_file_is_nobodys(text: str) -> None:
    assert load(text) is None


def test_words() -> None:
    assert describe(LOCAL, 130.0) == "recover.yml has been at work for 30 s (process 7)"
    assert "for 70 s at most" in describe(REMOTE, 130.0)
