"""Hours as the cloud bills them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ansible_collections.gpuswarm.ollama.plugins.module_utils._core import billing
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.billing import RULES, Interval, Resource, grid

CORES = Resource("server", "cores", "on_demand", "z")


def at(clock: str, day: int = 1) -> int:
    hour, minute = clock.split(":")
    return int(datetime(2026, 11, day, int(hour), int(minute), tzinfo=UTC).timestamp())


def used(start: str, end: str, quantity: int = 1, one: str = "a") -> Interval:
    return Interval(CORES, one, one, quantity, at(start), at(end))


def counted(*items: Interval, rules: str = "selectel") -> dict[int, int]:
    found = grid(items, RULES[rules], at("00:00"), at("00:00", 2)).get(CORES, {})
    return {hour % 24: quantity for hour, quantity in sorted(found.items())}


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ((), {}),
        # Selectel's own example: 2 cores, 4 more at 13:25, which go at 13:40
        ((used("12:00", "15:00", 2), used("13:25", "13:40", 4, "b")), {12: 2, 13: 6, 14: 2}),
        # one after the other within the hour is one, at the same time is two
        ((used("13:00", "13:20"), used("13:30", "13:50", one="b")), {13: 1}),
        ((used("13:00", "13:20"), used("13:20", "13:50", one="b")), {13: 1}),
        ((used("13:00", "13:21"), used("13:20", "13:50", one="b")), {13: 2}),
        # the hour in which a preemption falls is billed whole, the next is not
        ((used("11:59", "13:01"),), {11: 1, 12: 1, 13: 1}),
        ((used("12:00", "13:00"),), {12: 1}),
        ((used("12:00", "13:00"), used("13:00", "14:00", one="b")), {12: 1, 13: 1}),
    ],
)
def test_the_most_within_the_hour(items: tuple[Interval, ...], expected: dict[int, int]) -> None:
    assert counted(*items) == expected


def test_other_clouds_count_every_object() -> None:
    items = (used("13:00", "13:20"), used("13:30", "13:50"), used("13:30", "13:50", one="b"))
    assert counted(*items, rules="existence") == {13: 2}


def test_only_hours_of_the_period_count() -> None:
    items = [used("00:00", "23:00")]
    found = grid(items, RULES["selectel"], at("05:30"), at("07:10"))
    assert sorted(hour % 24 for hour in found[CORES]) == [6, 7]
    assert grid(items, RULES["selectel"], at("00:00", 2), at("05:00", 2)) == {}


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("ACTIVE", "running"),
        ("REBOOT", "running"),
        ("ERROR", "running"),
        ("SHUTOFF", "stopped"),
        ("SHELVED", "shelved"),
        ("SHELVED_OFFLOADED", "shelved"),
        ("EXPIRED", "shelved"),
    ],
)
def test_states(status: str, state: str) -> None:
    assert billing.server_state(status) == state


@pytest.mark.parametrize(
    ("day", "start", "end"), [((2026, 11, 15), (2026, 11), (2026, 12)), ((2026, 12, 31), (2026, 12), (2027, 1))]
)
def test_months(day: tuple[int, int, int], start: tuple[int, int], end: tuple[int, int]) -> None:
    moment = int(datetime(*day, 23, 59, tzinfo=UTC).timestamp())
    assert billing.month_start(moment) == datetime(*start, 1, tzinfo=UTC).timestamp()
    assert billing.month_end(moment) == datetime(*end, 1, tzinfo=UTC).timestamp()


def test_words() -> None:
    assert str(CORES) == "cores on-demand in z"
    assert str(Resource("server", "GL10", "preemptible").on_demand) == "GL10 on-demand in ?"
    assert str(Resource("volume", "fast.z", "", "z").on_demand) == "disk fast.z (GiB)"
    assert str(Resource("floating_ip")) == "floating IP"
