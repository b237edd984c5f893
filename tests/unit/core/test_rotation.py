"""Rotation: who is due, and that ages which begin alike are spread before the first limit."""

from __future__ import annotations

import itertools

import pytest

from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.rotation import (
    Age,
    Opening,
    RotationPolicy,
    due,
    opening,
)

HOUR = 3600.0
POLICY = RotationPolicy(enabled=True)


def ages(*hours: float, preemptible: bool = True) -> list[Age]:
    return [Age(f"g{number}", value * HOUR, preemptible) for number, value in enumerate(hours, 1)]


@pytest.mark.parametrize(
    ("hours", "names"),
    [
        ((), []),
        ((22.9,), []),
        ((23,), ["g1"]),
        ((23, 15.3, 7.6), ["g1"]),
        ((15, 23.5, 24), ["g3", "g2"]),
        ((22, 14, 6), []),
        # of nearly the same age
        ((0, 0, 0), []),
        ((7.6, 7.6, 7.6), []),
        ((7.7, 7.7, 7.7), ["g1"]),
        ((15.4, 15.4, 7.7), ["g1"]),
        ((15.4, 7.7, 7.7), ["g2"]),
        ((12, 12), ["g1"]),
        ((12, 4), []),
        ((9, 9, 0.1), []),  # one was just rotated
    ],
)
def test_due(hours: tuple[float, ...], names: list[str]) -> None:
    found = due(ages(*hours), POLICY)
    assert [choice.server for choice in found] == names
    assert all(choice.reason for choice in found)


SURGE = RotationPolicy(enabled=True, surge=True)


@pytest.mark.parametrize(
    ("policy", "minute", "surge_exists", "expected"),
    [
        (POLICY, 30, False, Opening()),
        (RotationPolicy(enabled=True, surge=True, full_hour=False), 30, False, Opening()),
        (SURGE, 0, False, Opening(may_begin=True, ahead=3600)),
        (SURGE, 9, False, Opening(may_begin=True, ahead=51 * 60)),
        (SURGE, 10, False, Opening(may_begin=False, ahead=50 * 60)),
        # it is paid for this hour, and for the next if it goes on
        (SURGE, 50, True, Opening(may_begin=True, ahead=600)),
    ],
)
def test_rotations_with_a_surge_server_begin_just_after_the_hour(
    policy: RotationPolicy, minute: int, surge_exists: bool, expected: Opening
) -> None:
    assert opening(policy, 1_800_000_000 + 60 * minute, surge_exists=surge_exists) == expected


@pytest.mark.parametrize(
    ("hours", "chance", "names"),
    [
        # whoever would be due before the next full hour is due now
        ((22.1, 14, 6), Opening(may_begin=True, ahead=HOUR), ["g1"]),
        ((22.1, 14, 6), Opening(may_begin=True, ahead=HOUR / 2), []),
        # the others wait, but not beyond half of the margin, and nobody is spread
        ((23.4, 15, 7), Opening(may_begin=False, ahead=HOUR / 2), []),
        ((23.5, 15, 7), Opening(may_begin=False, ahead=HOUR / 2), ["g1"]),
        ((12, 12), Opening(may_begin=False, ahead=HOUR / 2), []),
        ((12, 12), Opening(may_begin=True, ahead=HOUR), ["g1"]),
    ],
)
def test_due_by_the_hour(hours: tuple[float, ...], chance: Opening, names: list[str]) -> None:
    assert [choice.server for choice in due(ages(*hours), SURGE, chance)] == names


def test_short_lives_are_not_rotated_all_the_time() -> None:
    short = RotationPolicy(enabled=True, surge=True, max_age=2 * HOUR, margin=HOUR)
    assert due(ages(0.4, 0.1), short, Opening(may_begin=True, ahead=HOUR)) == []


def test_on_demand_servers_have_no_limit() -> None:
    assert due(ages(100, 100, preemptible=False), POLICY) == []


@pytest.mark.parametrize(
    ("hours", "after", "names"),
    [(0.9, HOUR, []), (1, HOUR, ["loan"]), (100, 0, [])],
)
def test_what_stands_in_for_a_preemptible_server_is_returned(hours: float, after: float, names: list[str]) -> None:
    policy = RotationPolicy(enabled=True, return_after=after)
    found = due([*ages(15, 7), Age("loan", hours * HOUR, False, stand_in=True)], policy)
    assert [choice.server for choice in found] == names


def test_those_that_end_go_before_those_that_stand_in() -> None:
    found = due([*ages(23.5, 7), Age("loan", 2 * HOUR, False, stand_in=True)], POLICY)
    assert [choice.server for choice in found] == ["g1"]


def test_a_person_asks() -> None:
    forced = RotationPolicy(enabled=False, forced="g2")
    assert [choice.server for choice in due(ages(1, 1, 23, preemptible=False), forced)] == ["g2"]
    assert due(ages(1), forced) == []


def test_switched_off() -> None:
    assert due(ages(100), RotationPolicy(enabled=False)) == []


@pytest.mark.parametrize("count", [1, 2, 3, 5, 10])
def test_a_week_of_a_fleet_that_was_created_at_once(count: int) -> None:
    """Nobody reaches the cloud's limit, and after the first day rotations are spread over the day."""
    born = dict.fromkeys((f"g{number}" for number in range(count)), 0.0)
    rotated: list[float] = []
    step = 120.0
    now = 0.0
    while now < 7 * 24 * HOUR:
        choices = due([Age(name, now - since, preemptible=True) for name, since in born.items()], POLICY)
        if choices:
            born[choices[0].server] = now
            rotated.append(now)
        assert all(now - since < POLICY.max_age for since in born.values())
        now += step
    late = [moment for moment in rotated if moment > 24 * HOUR]
    gaps = [after - before for before, after in itertools.pairwise(late)]
    assert min(gaps) >= POLICY.age_limit / count / 2
