"""The schedule: how many servers should run when, and what is said about a wrong one."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.schedule import ScheduleError, apply, wanted

WEEK = ["mon", "tue", "wed", "thu", "fri"]
NIGHTS = [{"from": "20:00", "to": "08:00", "count": 1}]
WORK = [{"days": WEEK, "from": "08:00", "to": "20:00", "count": 3}, {"from": "00:00", "to": "23:59", "count": 0}]
ZONE = "Europe/Moscow"


def at(text: str, zone: str = ZONE) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


@pytest.mark.parametrize(
    ("schedule", "when", "count"),
    [
        ([], "2026-11-25T12:00", 5),
        (NIGHTS, "2026-11-25T19:59", 5),
        (NIGHTS, "2026-11-25T20:00", 1),
        (NIGHTS, "2026-11-25T00:00", 1),
        (NIGHTS, "2026-11-25T07:59", 1),
        (NIGHTS, "2026-11-25T08:00", 5),
        (WORK, "2026-11-25T08:00", 3),  # a Wednesday
        (WORK, "2026-11-25T20:00", 0),
        (WORK, "2026-11-28T12:00", 0),  # a Saturday
        # the part after midnight belongs to the day before
        ([{"days": ["fri"], "from": "22:00", "to": "06:00", "count": 2}], "2026-11-28T05:00", 2),
        ([{"days": ["fri"], "from": "22:00", "to": "06:00", "count": 2}], "2026-11-27T05:00", 5),
        # never more than there are
        ([{"from": "00:00", "to": "12:00", "count": 99}], "2026-11-25T01:00", 5),
    ],
)
def test_wanted(schedule: list[dict[str, Any]], when: str, count: int) -> None:
    assert wanted(schedule, ZONE, at(when), 5) == count


def test_the_time_zone_counts() -> None:
    assert wanted(NIGHTS, "UTC", at("2026-11-25T20:00"), 5) == 5


def test_the_last_servers_rest() -> None:
    specs: list[dict[str, Any]] = [{"name": "m", "role": "manager"}]
    specs += [{"name": f"g{number}", "role": "gpu_worker"} for number in range(1, 4)]
    resting = [spec["name"] for spec in apply(specs, NIGHTS, ZONE, at("2026-11-25T23:00")) if spec.get("resting")]
    assert resting == ["g2", "g3"]
    assert apply(specs, NIGHTS, ZONE, at("2026-11-25T12:00")) == specs
    assert "resting" not in specs[3]


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"from": "8:00", "to": "20:00", "count": 1}, "entry 1 of recovery_schedule: from is '8:00'"),
        ({"from": 480, "to": "20:00", "count": 1}, "in quotes"),  # YAML reads 8:00 as a number
        ({"from": "08:00", "to": "24:00", "count": 1}, "to is '24:00'"),
        ({"from": "08:00", "to": "08:00", "count": 1}, "two different times"),
        ({"from": "08:00", "to": "20:00"}, "count is None"),
        ({"from": "08:00", "to": "20:00", "count": -1}, "count is -1"),
        ({"from": "08:00", "to": "20:00", "count": True}, "count is True"),
        ({"from": "08:00", "to": "20:00", "count": 1, "days": ["monday"]}, "days has 'monday'"),
        ({"from": "08:00", "to": "20:00", "count": 1, "days": "mon"}, "a list of"),
        ({"form": "08:00", "to": "20:00", "count": 1}, "has form"),
    ],
)
def test_a_wrong_entry_is_named(entry: dict[str, Any], words: str) -> None:
    with pytest.raises(ScheduleError, match=words):
        wanted([entry], ZONE, 0, 3)


def test_a_wrong_time_zone_is_named() -> None:
    with pytest.raises(ScheduleError, match="recovery_timezone is 'Moscow/Europe'"):
        wanted(NIGHTS, "Moscow/Europe", 0, 3)
