# SPDX-License-Identifier: Apache-2.0
"""The memory of pools that had no room: for how long each is passed over, and the small file that keeps it.

The file is JSON: {"POOL": {"failures": how often in a row, "until": seconds since 1970}}. It is replaced as a whole and
only its owner can read it. One that is missing, damaged or cannot be written is no error: it only saves attempts.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.gpuswarm.ollama.plugins.module_utils._clients.files import replace_private

# Seconds. A minute is a few rounds of the recovery loop. The cap keeps a pool from being left out for long: others'
# preemptible servers end in it within 24 hours.
FIRST = 60.0
CAP = 1800.0
FORGET = 2 * CAP  # so long after its time an entry no longer counts as "in a row"


@dataclass(frozen=True)
class CapacityEntry:
    """What is known of one pool."""

    failures: int
    until: float


def remembered(before: CapacityEntry | None, now: float, rng: Callable[[], float] = random.random) -> CapacityEntry:
    """The entry after another failure: exponential, capped, jittered by half."""
    failures = before.failures + 1 if before and now - before.until < FORGET else 1
    pause = min(CAP, FIRST * 2.0 ** min(failures - 1, 30))
    return CapacityEntry(failures, now + pause * (0.5 + 0.5 * rng()))


def parse(text: str, now: float) -> dict[str, CapacityEntry]:
    """The entries of a file that are worth something; empty if it is damaged.

    A time further ahead than any pause comes from a clock that was wrong, and does not count.
    """
    try:
        data = json.loads(text)
        entries = {str(k): CapacityEntry(int(v["failures"]), float(v["until"])) for k, v in data.items()}
    except (ValueError, TypeError, KeyError, AttributeError):
        return {}
    return {k: e for k, e in entries.items() if now - FORGET < e.until <= now + CAP and e.failures > 0}


class CapacityMemory:
    """What this and earlier runs learnt. Can be used from several threads."""

    def __init__(self, path: str | None, prefix: str = "", clock: Callable[[], float] = time.time) -> None:
        """Args: path of the file, None: only this run's; prefix distinguishes clouds and regions in one file."""
        self.path = Path(path).expanduser() if path else None
        self._prefix = prefix
        self._clock = clock
        self._lock = threading.Lock()
        self._entries = self._load()

    def no_room(self, pool: object) -> float:
        """Seconds for which the pool is passed over, 0 if it may be tried."""
        with self._lock:
            entry = self._entries.get(self._key(pool))
        return max(0.0, entry.until - self._clock()) if entry else 0.0

    def failed(self, pool: object) -> None:
        """It had no room."""
        with self._lock:
            self._entries = {**self._entries, **self._load()}
            key = self._key(pool)
            self._entries[key] = remembered(self._entries.get(key), self._clock())
            self._save(self._entries)

    def had_room(self, pool: object) -> None:
        """It had room: what was known is forgotten."""
        with self._lock:
            if self._entries.pop(self._key(pool), None) is not None:
                others = {k: e for k, e in self._load().items() if k != self._key(pool)}
                self._save(others)

    def _key(self, pool: object) -> str:
        return f"{self._prefix}{pool}"

    def _load(self) -> dict[str, CapacityEntry]:
        if self.path is None:
            return {}
        try:
            return parse(self.path.read_text(encoding="utf-8"), self._clock())
        except (OSError, UnicodeDecodeError):
            return {}

    def _save(self, entries: Mapping[str, CapacityEntry]) -> None:
        if self.path is None:
            return
        text = json.dumps({k: {"failures": e.failures, "until": round(e.until, 1)} for k, e in sorted(entries.items())})
        replace_private(self.path, text)
