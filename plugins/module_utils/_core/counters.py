# Copyright: (c) 2026, gpuswarm contributors
# SPDX-License-Identifier: Apache-2.0
"""What the recovery loop has counted since there is a fleet: numbers that never fall.

Prometheus takes a counter that falls for one that was reset, and counts all of it anew. The journal forgets its older
half when it is rotated, and may be lost, or put back as it was. So a state is kept beside it: the counts, and which
line of the journal was counted last. Every cycle adds what follows that line. Without a state the counts are made from
the journal and from what was exposed last.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from .journal import LATEST, SAME_RECOVERY_S, follow
from .lifecycle import parse_time
from .vocabulary import REMEDIATION_ATTEMPTS, STEPS, SURGE_NEEDED, Phase, Verdict

# Seconds. A quantile is interpolated within a bucket, so these are as wide as the error may be: half a second to a
# second around the time that a recovery usually takes, a tenth to a third elsewhere.
BUCKETS = (
    *(0.5, 1, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13.5, 15, 17.5, 20),
    *(25, 30, 40, 50, 60, 90, 120, 180, 300, 600, 1200, 1800),
)
BEYOND = "+Inf"  # the bucket above them all

# Phases of the histogram that are none of the journal's.
DETECTION = "detection"  # from the loss of a server, as the cloud dates it, to noticed
TOTAL = "total"  # from noticed to done

COUNTED_STEPS = frozenset(str(row.phase) for row in STEPS.values() if row.metric == REMEDIATION_ATTEMPTS)
LONGEST_DETECTION = 366 * 86400.0  # seconds; what is longer is an error of a clock
FORMAT = 1


class CounterFamily(StrEnum):
    """What is counted; in brackets, what a series of it is called.

    A phase's time is counted by the smallest bucket that it fits in, and added up in milliseconds: whole numbers, so
    that the order in which they are added is no matter.
    """

    INTERRUPTIONS = "interruptions"  # (SERVER)
    RECOVERIES = "recoveries"  # (VERDICT RESULT)
    ATTEMPTS = "attempts"  # (SERVER REMEDY)
    PHASES = "phases"  # (PHASE BUCKET)
    MILLISECONDS = "milliseconds"  # (PHASE)


Counts = Mapping[CounterFamily, Mapping[str, int]]
# Number of the line, family, series, how many.
Event = tuple[int, CounterFamily, str, int]
# What tells one line from another.
Mark = tuple[float, str, str, str]


@dataclass(frozen=True)
class CounterState:
    """What was counted, and how far.

    Attributes:
        counts: by family and series.
        last: the line that was counted last; None when there was none.
        until: the latest moment of all lines that were counted, in epoch seconds.
        recovered: when a recovery last succeeded, in epoch seconds; 0: never.
    """

    counts: Counts = field(default_factory=dict)
    last: Mark | None = None
    until: float = 0.0
    recovered: float = 0.0


@dataclass
class _Whereabouts:
    """Whether a server is known to be away, and why.

    Attributes:
        since: the latest line that says so, in epoch seconds; None: it is there.
        life: when the cloud had launched it that was lost; empty when it is back, or that is not known.
        resting: whether the loop itself has shelved it, for as long as the schedule says.
    """

    since: float | None = None
    life: str = ""
    resting: bool = False


def loss(server: Mapping[str, Any] | None, cloud_time: float | None, now: float) -> dict[str, str | float]:
    """What the cloud says of a server that it has taken away, for the line that says that this was noticed.

    :param server: as modules return it, with ``updated_at``: when the cloud last changed it; None when there is none.
    :param cloud_time: when it was observed, by the cloud's clock, which ``updated_at`` is of, too; None when it does
        not tell. Then ``now``, by this machine's clock. Both are epoch seconds.
    :returns: ``launched_at`` and ``detection``, as far as they are known.
    """
    known: dict[str, str | float] = {}
    if server and server.get("launched_at"):
        known["launched_at"] = str(server["launched_at"])
    changed = parse_time(str((server or {}).get("updated_at") or ""))
    if changed:
        seconds = (now if cloud_time is None else cloud_time) - changed.timestamp()
        known["detection"] = round(max(0.0, seconds), 3)
    return known


def events(lines: Iterable[Mapping[str, Any]]) -> Iterator[Event]:
    """What a journal counts, oldest line first."""
    places: dict[str, _Whereabouts] = {}
    for number, progress in enumerate(follow(lines)):
        line, recovery = progress.line, progress.recovery
        server, phase = str(line["server"]), str(line["phase"])
        place = places.setdefault(server, _Whereabouts())
        if phase == Phase.NOTICED:
            if line.get("verdict") == Verdict.LOST and _interrupted(place, line):
                yield number, CounterFamily.INTERRUPTIONS, server, 1
                detection = line.get("detection")
                if isinstance(detection, (int, float)) and 0 <= detection <= LONGEST_DETECTION:
                    yield from _duration(number, DETECTION, float(detection))
        else:
            _follow(place, phase, float(line["epoch"]))
        if phase in COUNTED_STEPS:
            yield number, CounterFamily.ATTEMPTS, f"{server} {phase}", 1
        if recovery is None or progress.seconds is None:
            continue
        yield from _duration(number, phase, progress.seconds)
        if recovery.seconds is not None:
            yield number, CounterFamily.RECOVERIES, f"{recovery.verdict} {recovery.result}", 1
            if recovery.result == Phase.DONE:
                yield from _duration(number, TOTAL, recovery.seconds)


def _interrupted(place: _Whereabouts, line: Mapping[str, Any]) -> bool:
    """Whether a loss that was noticed is an interruption that was not counted yet.

    It is none when the loop itself has shelved or deleted the server, and no other one when the loop tries again to
    bring back what is lost. The cloud dates each life of a server. Where that is not known, what is noticed within the
    time of one recovery is one loss.
    """
    epoch, life = float(line["epoch"]), str(line.get("launched_at") or "")
    if life and place.life:
        known = life == place.life
    else:
        known = place.since is not None and epoch - place.since < SAME_RECOVERY_S
    known = known or place.resting or str(line.get("cause") or "").startswith(SURGE_NEEDED)
    place.since, place.life, place.resting = epoch, life or (place.life if known else ""), False
    return not known


def _follow(place: _Whereabouts, phase: str, epoch: float) -> None:
    """What a phase says of where the server is."""
    if phase in (Phase.ACTIVE, Phase.READY, Phase.HEALTHY):
        place.since, place.life, place.resting = None, "", False
    elif phase in (Phase.ROTATE, Phase.REPLACE):
        place.since, place.life = epoch, ""
    elif phase in (Phase.REST, Phase.REMOVE_SURGE):
        place.resting = True
    elif phase == Phase.DONE:
        place.since, place.life = None, ""
    elif phase == Phase.FAILED:
        place.since, place.resting = epoch if place.since is not None else None, False


def _duration(number: int, phase: str, seconds: float) -> Iterator[Event]:
    bucket = next((f"{bound:g}" for bound in BUCKETS if seconds <= bound), BEYOND)
    yield number, CounterFamily.PHASES, f"{phase} {bucket}", 1
    yield number, CounterFamily.MILLISECONDS, phase, round(seconds * 1000)


def added(counts: Counts, found: Iterable[Event]) -> Counts:
    """The counts with what was found."""
    result = {family: dict(series) for family, series in counts.items()}
    for _number, family, name, amount in found:
        series = result.setdefault(family, {})
        series[name] = series.get(name, 0) + amount
    return result


def highest(one: Counts, other: Counts) -> Counts:
    """Of every series the higher count: what both have counted is counted once."""
    return {
        family: {
            name: max(one.get(family, {}).get(name, 0), other.get(family, {}).get(name, 0))
            for name in {**one.get(family, {}), **other.get(family, {})}
        }
        for family in CounterFamily
        if family in one or family in other
    }


def advance(
    state: CounterState | None, exposed: CounterState, lines: Sequence[Mapping[str, Any]], now: float
) -> CounterState:
    """The state after a look at the journal. No count of it is lower than one before, or than one that was exposed.

    :param state: as it was saved; None when there is none.
    :param exposed: what Prometheus was shown last, and when (``until``). A manager that was restored in place has shown
        more than its backup has.
    :param lines: the journal, with the part before its last rotation, oldest first.
    :param now: epoch seconds.
    """
    if state is None:
        found = list(events(lines))
        fresh = [number for number, line in enumerate(lines) if exposed.until < float(line["epoch"]) <= now]
        counts = highest(added({}, found), added(exposed.counts, _of(found, fresh)))
        state, fresh = exposed, list(range(len(lines)))
    else:
        fresh = _uncounted(lines, state)
        counts = added(state.counts, _of(events(lines), fresh)) if fresh else state.counts
        counts = highest(counts, exposed.counts)
    done = (float(lines[number]["epoch"]) for number in fresh if lines[number]["phase"] == Phase.DONE)
    return CounterState(
        counts=counts,
        last=_mark(lines[-1]) if lines else state.last,
        until=max([state.until, *(float(lines[number]["epoch"]) for number in fresh)]),
        recovered=max([state.recovered, exposed.recovered, *done]),
    )


def _of(found: Iterable[Event], numbers: Iterable[int]) -> list[Event]:
    chosen = frozenset(numbers)
    return [event for event in found if event[0] in chosen]


def _uncounted(lines: Sequence[Mapping[str, Any]], state: CounterState) -> list[int]:
    """Numbers of the lines that follow the one that was counted last.

    A journal that does not have it is another one, as from a backup. Then later ones than all that were counted.
    """
    for number in range(len(lines) - 1, -1, -1):
        if _mark(lines[number]) == state.last:
            return list(range(number + 1, len(lines)))
    return [number for number, line in enumerate(lines) if float(line["epoch"]) > state.until]


def _mark(line: Mapping[str, Any]) -> Mark:
    return float(line["epoch"]), str(line["phase"]), str(line["server"]), str(line.get("run") or "")


def dump(state: CounterState) -> str:
    """Text of a state's file."""
    data = {
        "format": FORMAT,
        "counts": {str(family): dict(sorted(series.items())) for family, series in state.counts.items()},
        "last": state.last,
        "until": state.until,
        "recovered": state.recovered,
    }
    return json.dumps(data, sort_keys=True) + "\n"


def load(text: str) -> CounterState:
    """A state out of its file.

    :raises ValueError: it is damaged; the message says what must be.
    """
    data = json.loads(text)
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise ValueError(f"it must be an object of the format {FORMAT}")
    try:
        counts = {CounterFamily(family): dict(series) for family, series in data["counts"].items()}
        numbers = [number for series in counts.values() for number in series.values()]
        last = data["last"]
        mark = None if last is None else (float(last[0]), str(last[1]), str(last[2]), str(last[3]))
        state = CounterState(counts, mark, float(data["until"]), float(data["recovered"]))
    except (KeyError, TypeError, AttributeError, LookupError) as error:
        raise ValueError("it must have counts, last, until and recovered") from error
    if not all(isinstance(number, int) and not isinstance(number, bool) and number >= 0 for number in numbers):
        raise ValueError("all counts must be whole numbers from 0")
    if not 0 <= state.until < LATEST or not 0 <= state.recovered < LATEST:
        raise ValueError("until and recovered must be moments, in epoch seconds")
    return replace(state, counts=_in_buckets(state.counts))


def _in_buckets(counts: Counts) -> Counts:
    """The same with the buckets of today: what was counted in one that is no more is in the next one above it."""
    result = {family: dict(series) for family, series in counts.items()}
    phases: dict[str, int] = {}
    for name, number in result.pop(CounterFamily.PHASES, {}).items():
        phase, _space, bucket = name.rpartition(" ")
        upper = next((f"{bound:g}" for bound in BUCKETS if bucket != BEYOND and float(bucket) <= bound), BEYOND)
        phases[f"{phase} {upper}"] = phases.get(f"{phase} {upper}", 0) + number
    return {**result, **({CounterFamily.PHASES: phases} if phases else {})}
