# SPDX-License-Identifier: Apache-2.0
"""What a command and all its descendants take: wall and CPU seconds, and memory."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tests.kit.processes import below, pss_mib

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


def _end(pids: Iterable[int]) -> None:
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
            peak = max(peak, pss_mib(below(os.getpid())))

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
                _end(below(os.getpid()))
                process.wait()
            done.set()
            watcher.join()
        _reap_the_rest(30)
        if process.returncode and not given_up:
            output.seek(0)
            raise RuntimeError(f"{' '.join(command[:4])} ended with {process.returncode}: {output.read()[-3000:]}")
    return Usage(wall, _cpu() - before, peak, given_up)
