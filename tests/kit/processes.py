# SPDX-License-Identifier: Apache-2.0
"""The processes below one, and their memory."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterable, Mapping
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36  # prctl(2)


def adopt_orphans() -> None:
    """Make this process the parent of what its children leave behind (daemons, Ansible's asynchronous jobs)."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def stats() -> dict[int, str]:
    """Read /proc/PID/stat (proc(5)) of every process."""
    found: dict[int, str] = {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            found[int(file.parent.name)] = file.read_text()
    return found


def descendants(parents: Mapping[int, int], ancestor: int) -> set[int]:
    """The processes below ``ancestor``, by a table of every process's parent."""
    children: dict[int, list[int]] = {}
    for pid, parent in parents.items():
        children.setdefault(parent, []).append(pid)
    found: set[int] = set()
    rest = [ancestor]
    while rest:
        fresh = [pid for pid in children.get(rest.pop(), []) if pid not in found]
        found.update(fresh)
        rest += fresh
    return found


def below(ancestor: int, table: Mapping[int, str] | None = None) -> set[int]:
    """The processes below one, by :func:`stats` (default: those of now)."""
    table = stats() if table is None else table
    return descendants({pid: int(stat.rpartition(")")[2].split()[1]) for pid, stat in table.items()}, ancestor)


def pss_mib(pids: Iterable[int]) -> float:
    """Memory of processes in MiB; pages that they share are counted once."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024
