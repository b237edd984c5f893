# SPDX-License-Identifier: Apache-2.0
"""What a command and all its descendants take: wall and CPU seconds, and memory."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36  # <linux/prctl.h>
INTERVAL = 0.25  # seconds between two looks at the memory


@dataclass(frozen=True)
class Usage:
    """What a command took. `memory`: MiB at the peak, pages that processes share counted once (PSS).

    `given_up`: it was ended before it was done, so that all figures are only lower bounds.
    """

    wall: float
    cpu: float
    memory: float
    given_up: bool = False


def adopt_orphans() -> None:
    """Makes this process the parent of what its children leave behind (Ansible's asynchronous jobs)."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def _descendants(root: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, IndexError, ValueError):
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found, todo = [], [root]
    while todo:
        more = children.get(todo.pop(), [])
        found += more
        todo += more
    return found


def _memory(pids: Sequence[int]) -> float:
    total = 0
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
    return total / 1024


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _reap_the_rest(seconds: float) -> None:
    """Waits for what the command left behind, so that its time counts."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                time.sleep(0.05)
        except ChildProcessError:
            return


def _end(pids: Sequence[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def measured(command: Sequence[str], env: Mapping[str, str], timeout: float) -> Usage:
    """Runs a command to its end, or for as long as the time-out says. There must be no other child process meanwhile.

    Raises:
        RuntimeError: it failed; the message holds the end of its output.
    """
    peak, done, given_up = 0.0, threading.Event(), False

    def watch() -> None:
        nonlocal peak
        while not done.wait(INTERVAL):
            peak = max(peak, _memory(_descendants(os.getpid())))

    watcher = threading.Thread(target=watch)
    before, started = _cpu(), time.monotonic()
    watcher.start()
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, env=dict(env), stdout=output, stderr=output)
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            given_up = True
        finally:
            wall = time.monotonic() - started
            if process.returncode is None:
                _end(_descendants(os.getpid()))
                process.wait()
            done.set()
            watcher.join()
        _reap_the_rest(30)
        if process.returncode and not given_up:
            output.seek(0)
            raise RuntimeError(f"{' '.join(command[:4])} ended with {process.returncode}: {output.read()[-3000:]}")
    return Usage(wall, _cpu() - before, peak, given_up)
