# Copyright: (c) 2026, gpuswarm contributors
# SPDX-License-Identifier: Apache-2.0
"""One run at a time: who may work on the fleet now. The module ``run_lock`` takes and gives the lock.

A run on the manager itself is known by its process, so a killed run leaves nothing that blocks the next. A run from
elsewhere has no process on the manager; it holds the lock for a limited time and renews it as it goes on.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

PATH = "/run/gpuswarm/lock.json"

# Is the process with this id and start time (clock ticks since boot) still there?
IsAlive = Callable[[int, int], bool]


@dataclass(frozen=True)
class Holder:
    """Who holds the lock.

    ``pid`` is 0 for a run that is not on the manager; then ``expires`` (epoch seconds) ends its claim.
    ``boot_id`` makes process ids of an earlier boot worthless.
    """

    run: str
    what: str
    since: float
    pid: int = 0
    started: int = 0
    boot_id: str = ""
    expires: float = 0.0

    def dump(self) -> str:
        """Text of a lock file."""
        return json.dumps(asdict(self), sort_keys=True) + "\n"


def load(text: str) -> Holder | None:
    """The holder that a lock file names; None for an empty or damaged one, which nobody holds."""
    try:
        value = json.loads(text)
        return Holder(**value)
    except (ValueError, TypeError):
        return None


def is_held(holder: Holder | None, run: str, boot_id: str, now: float, is_alive: IsAlive) -> bool:
    """Is the lock held by somebody other than ``run``?"""
    if holder is None or holder.run == run:
        return False
    if holder.pid:
        return holder.boot_id == boot_id and is_alive(holder.pid, holder.started)
    return holder.expires > now


def describe(holder: Holder, now: float) -> str:
    """Who holds the lock, in words."""
    where = f"process {holder.pid}" if holder.pid else f"a run from elsewhere, for {holder.expires - now:.0f} s at most"
    return f"{holder.what} has been at work for {max(0.0, now - holder.since):.0f} s ({where})"


def process(pid: int) -> tuple[int, int]:
    """Parent and start time of a process, see proc(5), /proc/PID/stat, fields 4 and 22.

    :raises OSError: there is none.
    """
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    return int(fields[1]), int(fields[19])


def is_alive(pid: int, started: int) -> bool:
    """Is the process with this id and start time still there?"""
    try:
        return process(pid)[1] == started
    except OSError:
        return False


def boot_id() -> str:
    """Identifies the time since this machine was started."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def held_by(path: str, now: float) -> str:
    """Who holds a lock now, in words; empty when it is free. Takes nothing."""
    try:
        holder = load(Path(path).read_text(encoding="utf-8"))
    except OSError:
        return ""
    return describe(holder, now) if holder and is_held(holder, "", boot_id(), now, is_alive) else ""


def claim(path: Path, run: str, wanted: Holder | None, now: float, *, check_mode: bool = False) -> Holder | None:
    """Take the lock, or give it back. The file's own lock makes reading and writing one step.

    :param path: of the lock; its directory is made if it is missing.
    :param run: who asks; what somebody else holds is left alone.
    :param wanted: the holder from now on; None gives the lock back.
    :param now: epoch seconds.
    :param check_mode: whether only to look.
    :returns: the other one that holds it; None when ``run`` has, or has given back, what it asked for.
    :raises OSError: the file cannot be used.
    """
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    with os.fdopen(descriptor, "r+", encoding="utf-8") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        current = load(stream.read())
        if current and is_held(current, run, boot_id(), now, is_alive):
            return current
        if not check_mode and (wanted is not None or current is not None):
            stream.seek(0)
            stream.truncate()
            if wanted is not None:
                stream.write(wanted.dump())
        return None
