# SPDX-License-Identifier: Apache-2.0
"""Writes the synthetic traces in ``traces/``: the same parameters give the same files.

Nobody has published traces of preemptible GPU servers at Selectel. The parameters are assumptions, chosen so that each
trace asks one question; they are in the files, too.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from tests.bench.simulate.trace import TRACES, Trace, dump
from tests.kit.paths import ROOT

HOUR, DAY = 3600, 86400
STEP = 300  # seconds; what happens lies on multiples of it, as public traces have it
MONTH = 30 * DAY


@dataclass(frozen=True)
class Parameters:
    """What a trace is generated from.

    Attributes:
        seed: of the random numbers.
        preemption_hours: mean hours that a server runs until the cloud ends it by itself (exponential).
        shortages_per_week: mean number of shortages that a zone has of its own (Poisson).
        shared_per_week: mean number of shortages that strike all zones at once.
        shortage_hours: mean length of one (exponential, 15 minutes to 12 hours).
        left: servers that there is room for within a shortage: one of these.
        empty: days, from and to, in which a zone has no room at all.
        busy: hours of working days (UTC), from and to, in which a zone has room for one of ``left``, drawn every hour.
        plenty: servers that there is room for at other times.
    """

    seed: int
    preemption_hours: float
    shortages_per_week: float = 0.0
    shared_per_week: float = 0.0
    shortage_hours: float = 3.0
    left: Sequence[int] = (0, 1, 2)
    empty: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    busy: Sequence[int] = ()
    plenty: int = 8


ZONES = ("ru-7a", "ru-7b")
SERVERS = 5  # numbers of GPU servers that single preemptions hit: as many as any policy has, with the surge server

SYNTHETIC: Mapping[str, Parameters] = {
    # Nothing but the 24 hours, and now and then a server that is ended early.
    "calm": Parameters(seed=1, preemption_hours=96),
    # Zones lack room for some hours, more often each by itself than all of them.
    "shortages": Parameters(seed=2, preemption_hours=96, shortages_per_week=4, shared_per_week=1),
    # One zone has no room for a day.
    "empty-zone": Parameters(
        seed=3, preemption_hours=96, shortages_per_week=1, shared_per_week=0.25, empty={"ru-7a": (9, 10)}
    ),
    # Everybody works at the same hours.
    "busy-days": Parameters(seed=4, preemption_hours=48, busy=(8, 12)),
}


def generate(name: str, parameters: Parameters) -> Trace:
    """The trace of these parameters."""
    draw = random.Random(parameters.seed)  # noqa: S311 - a trace, no secrets
    shared = _shortages(draw, parameters, parameters.shared_per_week)
    room: dict[str, Sequence[tuple[int, int]]] = {}
    preemptions: list[tuple[int, int]] = []
    for zone in ZONES:
        level = [parameters.plenty] * (MONTH // STEP)
        for start, end, left in [*_shortages(draw, parameters, parameters.shortages_per_week), *shared]:
            level[start:end] = [min(left, before) for before in level[start:end]]
        for hour in range(MONTH // HOUR):
            # The month begins on a Tuesday.
            if parameters.busy and (hour // 24 + 1) % 7 < 5 and parameters.busy[0] <= hour % 24 < parameters.busy[1]:
                left = draw.choice(parameters.left)
                level[hour * HOUR // STEP : (hour + 1) * HOUR // STEP] = [left] * (HOUR // STEP)
        if zone in parameters.empty:
            first, last = (day * DAY // STEP for day in parameters.empty[zone])
            level[first:last] = [0] * (last - first)
        room[zone] = [(i * STEP, n) for i, n in enumerate(level) if not i or level[i - 1] != n]
    for number in range(1, SERVERS + 1):
        at = 0.0
        while (at := at + draw.expovariate(1 / (parameters.preemption_hours * HOUR))) < MONTH:
            preemptions.append((int(at), number))
    return Trace(name, MONTH, room, sorted(preemptions))


def _shortages(draw: random.Random, parameters: Parameters, per_week: float) -> list[tuple[int, int, int]]:
    """Shortages: from and to, in steps, and what is left."""
    found: list[tuple[int, int, int]] = []
    at = 0.0
    while per_week and (at := at + draw.expovariate(per_week / (7 * DAY))) < MONTH:
        seconds = min(12 * HOUR, max(900.0, draw.expovariate(1 / (parameters.shortage_hours * HOUR))))
        start = int(at) // STEP
        found.append((start, min(MONTH // STEP, start + int(seconds) // STEP), draw.choice(parameters.left)))
    return found


def text(name: str) -> str:
    """The file of a synthetic trace."""
    return dump(generate(name, SYNTHETIC[name]), asdict(SYNTHETIC[name]))


def main() -> int:
    """Write all of them."""
    for name in SYNTHETIC:
        path = TRACES / f"{name}.json"
        path.write_text(text(name), encoding="utf-8")
        print(path.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
