"""The recovery benchmark's arithmetic: percentiles, goals, and that what was not seen meets none."""

from __future__ import annotations

import math

import pytest

from tests.bench.goals import goal
from tests.bench.recovery import Engine, Rotation, Row, goals, percentile, table


def row(case: str, answers: float | None, noticed: float | None = 5.0) -> Row:
    return Row(case, 1, "g", 1.0, noticed, 7.0, 9.0, 20.0, answers)


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        ([], 0.95, None),
        ([7], 0.5, 7),
        ([7], 0.95, 7),
        ([1, 2, 3, 4], 0.5, 2),
        (list(range(1, 21)), 0.95, 19),
        (list(range(1, 101)), 0.95, 95),
        ([1, math.inf], 0.95, math.inf),
    ],
)
def test_percentile(values: list[float], share: float, expected: float | None) -> None:
    assert percentile(values, share) == expected


@pytest.mark.parametrize(
    ("value", "met", "told"), [(29.9, True, 29.9), (30.0, True, 30.0), (30.1, False, 30.1), (None, False, None)]
)
def test_goal(value: float | None, met: bool, told: float | None) -> None:
    found = goal("g", value, 30)
    assert (found.met, found.value) == (met, told)
    assert goal("g", math.inf, 30) == goal("g", None, 30)


def test_goals() -> None:
    rows = [row("restored, one", 20), row("restored, three", 25), row("re-created, one", 121), row("peer", 500, 400)]
    found = {item.name: item for item in goals(rows, [0.1, 0.2])}
    assert found["noticed p95, s"].value == 5.0  # the peer does not count
    assert found["restored, one: first token p95, s"].met
    assert found["restored, three: first token p95, s (1.3 x one)"].limit == 26
    assert not found["re-created, one: first token p95, s"].met
    assert found["idle probe, mean CPU s"].value == 0.15


def test_what_never_came_back_meets_no_goal() -> None:
    found = goals([row("restored, one", None, None)], [])
    assert [item.met for item in found] == [False, False]


def test_a_rotation_loses_nothing_or_misses_its_goal() -> None:
    assert goals([], [], [Rotation(60, 500, 0, 0)])[0].met
    assert goals([], [], [Rotation(60, 500, 0, 1)])[0].value == 1


def test_the_worst_restart_of_the_engine_counts() -> None:
    found = goals([], [], engines=[Engine(4.8, 0.0), Engine(4.6, 12.0)])
    assert [(item.value, item.met) for item in found] == [(4.8, True), (12.0, False)]


def test_table_says_by_how_much_a_goal_is_missed() -> None:
    rows = [row("restored, one", 31.5)]
    lines = table(rows, goals(rows, []))
    assert lines[1].startswith("restored, one    1")
    assert "MISSED: restored, one: first token p95, s: 31.5 (limit 30), 1.5 too much" in lines
