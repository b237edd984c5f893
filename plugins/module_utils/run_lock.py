# Copyright: (c) 2026, gpuswarm contributors
# SPDX-License-Identifier: Apache-2.0
"""One run at a time: who may work on the fleet now. Pure decisions; the module ``run_lock`` does the I/O.

A run on the manager itself is known by its process, so a killed run leaves nothing that blocks the next. A run from
elsewhere has no process on the manager; it holds the lock for a limited time and renews it as it goes on.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass

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
