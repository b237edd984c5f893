# Copyright: (c) 2026, gpuswarm contributors
# SPDX-License-Identifier: Apache-2.0
"""How many GPU servers should run at a time of the week.

A schedule only ever asks for fewer than the inventory has: ``fleet_gpu_count`` is the most, and what it costs at most.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from .fleet import ROLE_GPU_WORKER

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_TIME = re.compile(r"([01]\d|2[0-3]):([0-5]\d)")
_KEYS = {"days", "from", "to", "count"}


class ScheduleError(ValueError):
    """A schedule is wrong; the message names the entry and the fix."""


@dataclass(frozen=True)
class ScheduleEntry:
    """So many servers on these days from one time of day (minutes) to another; over midnight if ``start`` > ``end``."""

    days: frozenset[int]
    start: int
    end: int
    count: int

    def covers(self, weekday: int, minute: int) -> bool:
        """Whether it holds then. The part after midnight belongs to the day on which it began."""
        if self.start < self.end:
            return weekday in self.days and self.start <= minute < self.end
        return (weekday in self.days and minute >= self.start) or ((weekday - 1) % 7 in self.days and minute < self.end)


def parse(schedule: Iterable[Mapping[str, Any]]) -> list[ScheduleEntry]:
    """The entries of the variable ``recovery_schedule``.

    :param schedule: each with ``from`` and ``to`` ("HH:MM"), ``count``, and ``days`` (list of "mon" ... "sun"; all).
    :raises ScheduleError: an entry is wrong.
    """
    return [_entry(number, item) for number, item in enumerate(schedule, 1)]


def wanted(schedule: Iterable[Mapping[str, Any]], timezone: str, now: float, most: int) -> int:
    """How many GPU servers should run: the count of the first entry that covers the time, else ``most``.

    :param timezone: a name of the IANA time zone database, e.g. "Europe/Moscow".
    :param now: epoch seconds.
    :param most: how many the inventory has.
    :raises ScheduleError: an entry or the time zone is wrong.
    """
    entries = parse(schedule)
    if not entries:
        return most
    try:
        zone = ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ScheduleError(
            f"recovery_timezone is {timezone!r}, which this system does not know: name one like Europe/Moscow, and "
            "see that the package tzdata is installed"
        ) from error
    local = datetime.fromtimestamp(now, UTC).astimezone(zone)
    minute = local.hour * 60 + local.minute
    return next((min(most, entry.count) for entry in entries if entry.covers(local.weekday(), minute)), most)


def apply(
    specs: Sequence[Mapping[str, Any]], schedule: Iterable[Mapping[str, Any]], timezone: str, now: float
) -> list[dict[str, Any]]:
    """The specifications, with ``resting: true`` on the GPU servers beyond the wanted number, the last ones first.

    :raises ScheduleError: see ``wanted``.
    """
    gpus = [str(spec["name"]) for spec in specs if spec["role"] == ROLE_GPU_WORKER]
    resting = set(gpus[wanted(schedule, timezone, now, len(gpus)) :])
    return [{**spec, "resting": True} if spec["name"] in resting else dict(spec) for spec in specs]


def _entry(number: int, item: Mapping[str, Any]) -> ScheduleEntry:
    where = f"entry {number} of recovery_schedule"
    unknown = sorted(set(item) - _KEYS)
    if unknown:
        raise ScheduleError(f"{where} has {', '.join(unknown)}; it may have {', '.join(sorted(_KEYS))}")
    days = item.get("days") or list(DAYS)
    wrong = (
        [str(day) for day in days if day not in DAYS]
        if isinstance(days, Sequence) and not isinstance(days, str)
        else [days]
    )
    if wrong:
        raise ScheduleError(f"{where}: days has {wrong[0]!r}; it must be a list of {', '.join(DAYS)}")
    start, end = (_minutes(where, key, item.get(key)) for key in ("from", "to"))
    if start == end:
        raise ScheduleError(f"{where} begins and ends at {item.get('from')}: make it two different times")
    count = item.get("count")
    if isinstance(count, bool) or not isinstance(count, int) or count < 0:
        raise ScheduleError(f"{where}: count is {count!r}; it must be a whole number from 0")
    return ScheduleEntry(frozenset(DAYS.index(day) for day in days), start, end, count)


def _minutes(where: str, key: str, value: object) -> int:
    match = _TIME.fullmatch(str(value))
    if not match:
        raise ScheduleError(f'{where}: {key} is {value!r}; it must be a time such as "08:00", in quotes')
    return int(match[1]) * 60 + int(match[2])
