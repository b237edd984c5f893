"""Background processes, remembered by pid and start time so that only our own are ever ended."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path


def start_time(pid: int) -> str | None:
    """Start time of a process in clock ticks since boot, None if it is gone (or a zombie)."""
    try:
        # The command name may hold spaces and parentheses: fields are counted from the last ')'.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]


class Daemon:
    """A process that outlives the command that starts it.

    Args:
        name: name of the pid file and the log file.
        run: directory of pid files.
        logs: directory of log files.
    """

    def __init__(self, name: str, run: Path, logs: Path) -> None:
        self.name = name
        self.pid_file = run / f"{name}.pid"
        self.log = logs / f"{name}.log"

    @property
    def pid(self) -> int | None:
        """Its pid, or None if it does not run."""
        try:
            pid, started = self.pid_file.read_text().split()
        except (OSError, ValueError):
            return None
        return int(pid) if start_time(int(pid)) == started else None

    def start(
        self, command: Sequence[str | Path], env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> None:
        """Start it in a session of its own, output appended to its log."""
        for directory in (self.pid_file.parent, self.log.parent):
            directory.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            child = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})},
                cwd=cwd,
                start_new_session=True,
            )
        self.pid_file.write_text(f"{child.pid} {start_time(child.pid)}")

    def stop(self, *, kill: bool = False, timeout: float = 20) -> None:
        """End it: SIGTERM, then SIGKILL to its whole session after ``timeout`` seconds (at once if ``kill``)."""
        pid = self.pid
        if pid is not None:
            deadline = time.monotonic() + (0 if kill else timeout)
            if not kill:
                _signal(os.kill, pid, signal.SIGTERM)
            while self.pid is not None and time.monotonic() < deadline:
                _reap(pid)
                time.sleep(0.05)
            if self.pid is not None:
                _signal(os.killpg, pid, signal.SIGKILL)
                while self.pid is not None:
                    _reap(pid)
                    time.sleep(0.02)
        self.pid_file.unlink(missing_ok=True)

    def tail(self, lines: int = 15) -> str:
        """The end of its log."""
        text = self.log.read_text(errors="replace").splitlines()[-lines:] if self.log.exists() else []
        return "\n".join([f"    end of {self.log}:", *("    | " + line for line in text)])


def _signal(send: Callable[[int, int], None], pid: int, number: int) -> None:
    """Send a signal to a process or group, which may be gone by now."""
    with contextlib.suppress(ProcessLookupError):
        send(pid, number)


def _reap(pid: int) -> None:
    """Collect a child of this very command; others are init's."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
