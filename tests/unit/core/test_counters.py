"""What is counted, from which histories, and that no count falls whatever happens to the journal or to the state."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest

from ansible_collections.gpuswarm.ollama.plugins.module_utils._core import journal
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.counters import (
    BUCKETS,
    CounterFamily,
    CounterState,
    Counts,
    added,
    advance,
    dump,
    events,
    highest,
    load,
)
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.metrics import Cycle, exposed, render
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.vocabulary import SURGE_NEEDED

NOTHING = CounterState()
HOUR = 3600.0
RESTED = [(0, "noticed:resting"), (1, "rest"), (60, "done")]


def lines(*items: tuple[float, str], server: str = "g", cause: str = "", **known: Any) -> list[dict[str, Any]]:
    """Lines of a journal. A phase may have a verdict, or the day on which the cloud launched the server: lost@2."""
    found = []
    for at, words in items:
        phase, _colon, verdict = words.partition(":")
        verdict, _at, day = verdict.partition("@")
        more = {**known, **({"launched_at": f"2026-01-0{day}T00:00:00Z"} if day else {})}
        found.append({**journal.entry(phase, server, at, at, verdict=verdict, cause=cause), **more})
    return found


def count(found: Sequence[dict[str, Any]]) -> Counts:
    return added({}, events(found))


@pytest.mark.parametrize(
    ("case", "history", "interruptions"),
    [
        ("one", [(0, "noticed:lost@1"), (9, "active"), (20, "done")], 1),
        ("noticed by the probe and by the run", [(0, "noticed:lost@1"), (3, "noticed:lost"), (9, "active")], 1),
        ("noticed by the run as another verdict", [(0, "noticed:lost@1"), (3, "noticed:docker_dead")], 1),
        ("found to be lost at the second look", [(0, "noticed:node_down"), (3, "noticed:lost")], 1),
        ("two, a day apart", [(0, "noticed:lost@1"), (9, "active"), (20, "done"), (86400, "noticed:lost@2")], 2),
        ("lost again before it was healthy", [(0, "noticed:lost@1"), (9, "active"), (15, "noticed:lost@2")], 2),
        ("lost again, and nobody has seen it ACTIVE", [(0, "noticed:lost@1"), (15, "noticed:lost@2")], 2),
        (
            "no room for it: the loop tries again and again",
            [(at, f"{phase}") for at in range(0, 9000, 300) for phase in ("noticed:lost@1", "failed")],
            1,
        ),
        (
            "the same, and the loop was off for a night",
            [(0, "noticed:lost@1"), (300, "failed"), (9 * HOUR, "noticed:lost@1"), (9 * HOUR + 9, "done")],
            1,
        ),
        (
            "no room, and the cloud does not date it",
            [(at, phase) for at in range(0, 9000, 300) for phase in ("noticed:lost", "failed")],
            1,
        ),
        (
            "a person has brought it back in between",
            [(0, "noticed:lost@1"), (300, "failed"), (600, "noticed:lost@2")],
            2,
        ),
        (
            "paused twice, which leaves the cloud's date of its start as it is",
            [(0, "noticed:lost@1"), (9, "active"), (20, "done"), (HOUR, "noticed:lost@1")],
            2,
        ),
        ("rotated", [(0, "noticed:too_old"), (1, "rotate"), (60, "active"), (90, "done")], 0),
        ("rotated by a run that was killed", [(0, "noticed:too_old"), (1, "rotate"), (40, "noticed:lost@1")], 0),
        (
            "lost, rotated by a run that was killed",
            [
                *((0, "noticed:lost@1"), (9, "done"), (HOUR, "noticed:too_old"), (HOUR + 1, "rotate")),
                *((HOUR + 40, "noticed:lost@2"), (HOUR + 70, "failed"), (3 * HOUR, "noticed:lost@2")),
            ],
            1,
        ),
        (
            "shelved by the schedule, needed in the morning",
            [*RESTED, (9 * HOUR, "noticed:lost@1"), (9 * HOUR + 9, "done")],
            0,
        ),
        (
            "the same, and reclaimed in the afternoon",
            [*RESTED, (9 * HOUR, "noticed:lost@1"), (9 * HOUR + 9, "done"), (15 * HOUR, "noticed:lost@2")],
            1,
        ),
        (
            "the schedule's shelving failed",
            [(0, "noticed:resting"), (1, "rest"), (60, "failed"), (9 * HOUR, "noticed:lost@1")],
            1,
        ),
        ("deleted to be replaced", [(0, "noticed:docker_dead"), (1, "replace"), (9, "noticed:lost")], 0),
    ],
)
def test_an_interruption_is_counted_once(case: str, history: list[tuple[float, str]], interruptions: int) -> None:
    counts = count(lines(*history))
    assert counts.get(CounterFamily.INTERRUPTIONS, {}).get("g", 0) == interruptions, case


def test_a_surge_server_that_is_created_is_no_interruption() -> None:
    created = lines((0, "noticed:lost"), (9, "active"), (30, "done"), cause=f"{SURGE_NEEDED}; it is being restored")
    removed = lines((900, "noticed:surge_unneeded"), (901, "remove_surge"), (930, "done"))
    again = [{**line, "epoch": line["epoch"] + 86400} for line in created]
    assert CounterFamily.INTERRUPTIONS not in count([*created, *removed, *again])
    reclaimed = lines((86500, "noticed:lost@1"), cause="the cloud says SHELVED_OFFLOADED")
    assert count([*created, *removed, *again, *reclaimed])[CounterFamily.INTERRUPTIONS] == {"g": 1}


def test_detection_is_a_phase() -> None:
    first = lines((100, "noticed:lost@1"), detection=4.25)
    counts = count([*first, *lines((103, "noticed:lost"), (109, "active"), (120, "done"))])
    assert counts[CounterFamily.MILLISECONDS] == {"detection": 4250, "active": 9000, "done": 11000, "total": 20000}
    assert counts[CounterFamily.PHASES]["detection 5"] == 1


@pytest.mark.parametrize("damaged", ["4", None, -1, 1e12, float("nan")])
def test_a_detection_that_is_none_is_left_out(damaged: Any) -> None:
    counts = count([{**line, "detection": damaged} for line in lines((100, "noticed:lost@1"))])
    assert counts == {CounterFamily.INTERRUPTIONS: {"g": 1}}


def test_every_time_that_a_phase_is_reached_counts() -> None:
    """A second one in the same recovery must not take the place of the first: a bucket would fall."""
    history = lines((0, "noticed:docker_dead"), (3, "reboot"), (40, "reboot"), (45, "done"))
    seen = [count(history[:number]).get(CounterFamily.PHASES, {}) for number in range(len(history) + 1)]
    for before, after in pairwise(seen):
        assert all(after[name] >= number for name, number in before.items())
    assert {name: n for name, n in seen[-1].items() if name.startswith("reboot")} == {"reboot 3": 1, "reboot 40": 1}
    assert count(history)[CounterFamily.ATTEMPTS] == {"g reboot": 2}


# ---------------------------------------------------------------- how far it was counted


def incident(number: int, server: str = "g") -> list[dict[str, Any]]:
    at = number * HOUR
    seen: dict[str, Any] = {"launched_at": f"life {number}", "detection": 1.0}
    return [
        *lines((at, "noticed:lost"), server=server, **seen),
        *lines((at + 9, "active"), (at + 20, "done"), server=server),
    ]


def incidents(*numbers: int, server: str = "g") -> list[dict[str, Any]]:
    return [line for number in numbers for line in incident(number, server)]


def interruptions(state: CounterState) -> int:
    return state.counts.get(CounterFamily.INTERRUPTIONS, {}).get("g", 0)


NOW = 1000 * HOUR


def shown(state: CounterState, at: float) -> CounterState:
    """What Prometheus was shown of a state."""
    return exposed(render([], state, Cycle(at=at, wall=0, cpu=0, maintenance=False, cloud=True, swarm=True)))


THREE = advance(None, NOTHING, incidents(1, 2, 3), 4 * HOUR)


@pytest.mark.parametrize(
    ("case", "state", "exposed_before", "found", "expected"),
    [
        ("nothing new", THREE, NOTHING, incidents(1, 2, 3), 3),
        ("one more", THREE, NOTHING, incidents(1, 2, 3, 4), 4),
        ("its older half has gone with a rotation", THREE, NOTHING, incidents(3), 3),
        ("the same, and one more", THREE, NOTHING, incidents(3, 4), 4),
        ("two rotations since the last look", THREE, NOTHING, incidents(4, 5), 5),
        ("it cannot be read", THREE, NOTHING, [], 3),
        ("it was lost, and one more is in the new one", THREE, NOTHING, incidents(4), 4),
        ("the state is older than it, as a backup may have them", THREE, NOTHING, incidents(1, 2, 3, 4, 5), 5),
        ("the state is newer than it, as a backup may have them", THREE, NOTHING, incidents(1, 2), 3),
        ("the same, and one more", THREE, NOTHING, incidents(1, 2, 4), 4),
        (
            "put back in place: more was shown",
            THREE,
            shown(advance(None, NOTHING, incidents(*range(9)), NOW), 9.5),
            [],
            9,
        ),
        ("no state", None, NOTHING, incidents(1, 2, 3), 3),
        ("no state, and more was shown", None, shown(THREE, 4 * HOUR), incidents(3), 3),
        ("no state, more was shown, and one more since", None, shown(THREE, 4 * HOUR), incidents(3, 5), 4),
        ("no state, no journal", None, shown(THREE, 4 * HOUR), [], 3),
        ("nothing at all", None, NOTHING, [], 0),
    ],
)
def test_no_count_falls_and_none_is_invented(
    case: str, state: CounterState | None, exposed_before: CounterState, found: list[dict[str, Any]], expected: int
) -> None:
    after = advance(state, exposed_before, found, NOW)
    assert interruptions(after) == expected, case
    again = advance(load(dump(after)), shown(after, NOW), found, NOW + 5)
    assert again == after, "a second look at the same journal counts nothing"
    further = advance(again, shown(again, NOW), [*found, *incident(900)], NOW + 5)
    assert interruptions(further) == expected + 1, "it goes on from there"


def test_a_journal_that_is_lost_and_found_counts_nothing_twice() -> None:
    without = advance(THREE, NOTHING, [], NOW)
    assert interruptions(advance(without, NOTHING, incidents(1, 2, 3), NOW)) == 3


def test_the_order_of_lines_counts_and_not_their_clock() -> None:
    """A clock that was set back: what is written later has an earlier time."""
    later = incidents(7, 8)
    state = advance(None, NOTHING, later, NOW)
    assert interruptions(advance(state, NOTHING, [*later, *incident(3)], NOW)) == 3


def test_two_managers_count_an_interruption_once() -> None:
    """A manager that was thought to be lost goes on beside the one that was made from its backup."""
    backup = advance(None, NOTHING, incidents(1, 2), 3 * HOUR)
    old = advance(backup, shown(backup, 3 * HOUR), incidents(1, 2, 4, 5), NOW)
    new = advance(backup, NOTHING, incidents(1, 2, 4), NOW)
    assert (interruptions(old), interruptions(new)) == (4, 3)
    # The old one's backup is put on the new one, or the other way round.
    for one, other, journal_of_one in ((old, new, incidents(1, 2, 4, 5)), (new, old, incidents(1, 2, 4))):
        after = advance(one, shown(other, NOW), journal_of_one, NOW)
        assert interruptions(after) == 4
        assert interruptions(advance(after, shown(after, NOW), [*journal_of_one, *incident(900)], NOW)) == 5


def test_the_higher_counts_are_a_least_upper_bound() -> None:
    numbers = random.Random(7)  # noqa: S311 - no secret
    pool = [
        {
            family: {name: numbers.randrange(5) for name in numbers.sample("abcd", numbers.randrange(4))}
            for family in numbers.sample(list(CounterFamily), numbers.randrange(5))
        }
        for _ in range(40)
    ]
    for a, b, c in zip(pool, pool[1:], pool[2:], strict=False):
        assert highest(a, b) == highest(b, a)
        assert highest(a, highest(b, c)) == highest(highest(a, b), c)
        assert highest(a, a) == a
        assert highest(a, {}) == a


@pytest.mark.parametrize("seed", range(8))
def test_random_histories(seed: int) -> None:
    """Rotations, restores, lost states and journals in any order: the count never falls, and is exact without them."""
    numbers = random.Random(seed)  # noqa: S311 - no secret
    found: list[dict[str, Any]] = []
    state: CounterState | None = NOTHING
    seen, true = NOTHING, 0
    backup: tuple[list[dict[str, Any]], CounterState | None] = ([], NOTHING)
    for number in range(1, 60):
        chance = numbers.random()
        if chance < 0.5:
            found = [*found, *incident(number)]
            true += 1
        elif chance < 0.65:
            found = found[numbers.randrange(len(found) + 1) :]
        elif chance < 0.75:
            state = None
        elif chance < 0.85:
            backup = (found, state)
        elif chance < 0.95:
            found, state = backup
        now = (number + 0.5) * HOUR
        state = advance(state, seen, found, now)
        assert interruptions(state) == true, (seed, number)
        after = shown(state, now)
        assert highest(after.counts, seen.counts) == after.counts, "something has fallen"
        seen = after


# ---------------------------------------------------------------- its file


def test_a_state_is_read_as_it_was_written() -> None:
    assert load(dump(THREE)) == THREE
    assert load(dump(NOTHING)) == NOTHING


def change(**values: Any) -> str:
    return json.dumps({**json.loads(dump(THREE)), **values})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "Expecting value"),
        (dump(THREE)[:50], "line 1 column"),
        ("[]", "an object of the format 1"),
        (change(format=2), "an object of the format 1"),
        (change(counts=None), "it must have counts, last, until and recovered"),
        (change(counts={"interruptions": {"g": -1}}), "whole numbers from 0"),
        (change(counts={"interruptions": {"g": 1.5}}), "whole numbers from 0"),
        (change(counts={"interruptions": {"g": True}}), "whole numbers from 0"),
        (change(counts={"something": {"g": 1}}), "something"),
        (change(last=[1]), "it must have counts, last, until and recovered"),
        (change(until=float("nan")), "until and recovered must be moments"),
        (change(until="soon"), "soon"),
    ],
)
def test_a_damaged_state_says_what_must_be(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        load(text)


def test_buckets_of_another_version_are_counted_in_those_above_them() -> None:
    state = load(change(counts={"phases": {"active 4.5": 2, "active 5": 1, "active 9999": 1, "active +Inf": 1}}))
    assert state.counts == {CounterFamily.PHASES: {"active 5": 3, "active +Inf": 2}}
    assert shown(state, NOW).counts[CounterFamily.PHASES]["active 5"] == 3
    assert advance(state, shown(state, NOW), [], NOW).counts[CounterFamily.PHASES]["active 5"] == 3


def quantile(share: float, buckets: dict[float, int]) -> float:
    """Prometheus' histogram_quantile: linear within the bucket."""
    bounds = sorted(buckets)
    rank = share * buckets[bounds[-1]]
    upper = next(bound for bound in bounds if buckets[bound] >= rank)
    number = bounds.index(upper)
    lower, below = (bounds[number - 1], buckets[bounds[number - 1]]) if number else (0.0, 0)
    return lower + (upper - lower) * (rank - below) / (buckets[upper] - below)


@pytest.mark.parametrize("median", [2.2, 4.4, 8.6, 9.0, 9.4, 12.0, 18.0, 45.0, 100.0])
def test_buckets_are_fine_enough_for_a_median(median: float) -> None:
    """Few recoveries, close to each other: what they have in common must not be lost in the width of a bucket."""
    times = [median - 0.3, median - 0.1, median, median + 0.1, median + 0.3]
    cumulative = {float(bound): sum(time <= bound for time in times) for bound in BUCKETS}
    error = abs(quantile(0.5, cumulative) - median)
    assert error <= (0.6 if median < 13 else median / 7)
