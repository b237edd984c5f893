# SPDX-License-Identifier: Apache-2.0
"""Goals of benchmarks, and the machine that they were met or missed on."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Goal:
    """A figure, what it may be at most, and whether it is."""

    name: str
    value: float | None
    limit: float
    met: bool


def goal(name: str, value: float | None, limit: float) -> Goal:
    """Compare a figure with its limit. No figure meets no goal."""
    met = value is not None and value <= limit
    return Goal(name, None if value is None or math.isinf(value) else round(value, 3), round(limit, 3), met)


def told(goals: Iterable[Goal]) -> list[str]:
    """The goals for people, one line each."""
    lines = []
    for item in goals:
        value = "nothing measured" if item.value is None else f"{item.value:g}"
        miss = "" if item.met or item.value is None else f", {item.value - item.limit:.3g} too much"
        lines.append(f"{'met' if item.met else 'MISSED'}: {item.name}: {value} (limit {item.limit:g}){miss}")
    return lines


def machine() -> str:
    """What it is measured on, and its load now."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return (
        f"{os.cpu_count()} cores ({models[0] if models else platform.machine()}), {memory:.0f} GiB, "
        f"Linux {platform.release()}, Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}"
    )
