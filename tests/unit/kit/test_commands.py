"""Commands: shown line by line, limited, and never left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.kit import commands
from tests.kit.commands import KitError, clock, environment, run
from tests.kit.paths import ROOT
from tests.kit.waiting import until


def alive(pid: int) -> bool:
    try:
        # A zombie is nobody's work any more.
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_both_streams_are_kept_apart_shown_and_logged_together(tmp_path: Path) -> None:
    shown: list[str] = []
    done = run(["bash", "-c", "echo one; echo two >&2; printf three"], log=tmp_path / "logs" / "log", show=shown.append)
    assert (done.status, done.stdout, done.stderr) == (0, "one\nthree", "two\n")
    assert sorted(shown) == ["one", "three", "two"]
    assert sorted((tmp_path / "logs" / "log").read_text().split()) == sorted(shown)


def test_long_output_is_whole() -> None:
    done = run([sys.executable, "-c", "print('x' * 300_000); print('\\u00e4' * 100_000)"])
    assert done.stdout == "x" * 300_000 + "\n" + "ä" * 100_000 + "\n"


def test_it_reads_nothing_and_works_in_the_checkout() -> None:
    assert run(["bash", "-c", "cat; pwd"]).stdout == f"{ROOT}\n"


def test_a_command_that_fails_says_how_it_ended(tmp_path: Path) -> None:
    with pytest.raises(KitError, match=r"status 3 after 0:00\. The end of \S+/log:\n    the last words$"):
        run(["bash", "-c", "echo the last words; exit 3"], log=tmp_path / "log")
    assert (tmp_path / "log").read_text() == "the last words\n"
    assert run(["bash", "-c", "exit 3"], check=False).status == 3


def test_what_explains_a_failure_comes_before_the_end() -> None:
    with pytest.raises(
        KitError, match=r"status 1 after 0:00\.\nhere it is\nThe end of its output:\n(?s:.*)    line 59$"
    ):
        run(["bash", "-c", "seq -f 'line %g' 0 59; exit 1"], evidence=lambda text: ["here it is"] if text else [])


def test_only_the_end_of_the_output_is_in_the_error() -> None:
    with pytest.raises(KitError) as caught:
        run(["bash", "-c", "seq -f 'line %g' 0 59; exit 1"])
    assert str(caught.value).splitlines()[1] == "    line 20"


@pytest.mark.parametrize("check", [True, False])
def test_a_command_that_prints_nothing_is_limited(check: bool) -> None:
    with pytest.raises(KitError, match=r"took longer than 0\.3 s"):
        run(["sleep", "30"], limit_s=0.3, check=check)


def test_a_command_that_goes_on_printing_is_limited() -> None:
    with pytest.raises(KitError, match=r"took longer than 0\.3 s"):
        run(["bash", "-c", "while true; do echo x; sleep 0.01; done"], limit_s=0.3)


def test_it_is_ended_with_what_it_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "END_S", 0.5)
    pids: list[int] = []

    def both_have_begun(line: str) -> None:
        pids.append(int(line))
        if len(pids) == 2:
            raise KeyboardInterrupt

    # Neither the command nor its child goes when it is asked to.
    script = "trap '' TERM; (trap '' TERM; echo $BASHPID; sleep 60; sleep 60) & echo $$; wait; sleep 60"
    with pytest.raises(KeyboardInterrupt):
        run(["bash", "-c", script], show=both_have_begun)
    until("both have ended", lambda: not any(map(alive, pids)))


def test_an_interrupt_ends_it() -> None:
    pids: list[int] = []

    def interrupted(line: str) -> None:
        pids.append(int(line))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(["bash", "-c", "echo $$; exec sleep 60"], show=interrupted)
    assert not alive(pids[0])


def test_it_ends_with_this_process(tmp_path: Path) -> None:
    """However that ends: SIGKILL leaves it no time."""
    file = tmp_path / "pid"
    program = f"from tests.kit.commands import run; run(['bash', '-c', 'echo $$ >{file}; exec sleep 60'])"
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, env=os.environ) as process:
        until("it has begun", lambda: file.exists() and file.read_text())
        pid = int(file.read_text())
        assert alive(pid)
        process.send_signal(signal.SIGKILL)
    until("it has ended", lambda: not alive(pid))


def test_what_holds_the_output_open_is_ended_too(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    with pytest.raises(KitError, match="took longer"):
        run(["bash", "-c", f"sleep 60 & echo $! >{file}"], limit_s=2)
    until("it has ended", lambda: not alive(int(file.read_text())))


def test_what_a_command_leaves_running_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    run(["bash", "-c", f"sleep 60 >/dev/null 2>&1 & echo $! >{file}"])
    pid = int(file.read_text())
    assert alive(pid)
    os.kill(pid, signal.SIGKILL)


def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEPT", "1")
    monkeypatch.setenv("GONE", "1")
    found = environment({"GONE": None, "NEW": "2", "ANSIBLE_NOCOLOR": "0"})
    assert (found["KEPT"], found["NEW"], found["ANSIBLE_NOCOLOR"]) == ("1", "2", "0")
    assert "GONE" not in found
    assert found["ANSIBLE_CONFIG"] == str(ROOT / "ansible.cfg")
    assert found["PATH"].split(":")[0] == str(Path(sys.executable).parent)


@pytest.mark.parametrize(("seconds", "text"), [(5, "0:05"), (65.9, "1:05"), (3600, "60:00")])
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_a_program_that_is_not_there_is_named() -> None:
    began = time.monotonic()
    with pytest.raises(KitError, match="no-such-program"):
        run(["no-such-program"])
    assert time.monotonic() - began < 10
