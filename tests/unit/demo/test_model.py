from __future__ import annotations

import pytest

from demo.model import (
    Before,
    JournalSeen,
    NodeSeen,
    Observation,
    ServerSeen,
    TaskSeen,
    Timeline,
    figures,
    gateway_dropped,
    known_before,
    shortcomings,
    timeline,
)
from tests.kit.answers import Answer

T0 = 1000.0
VICTIM = "gpu-3"
OLD, NEW, OTHER = "10.0.1.5", "10.0.1.9", "10.0.1.6"
BEFORE = Before(frozenset({"old-task"}), frozenset({OLD}))


def answer(asked: float, *tried: str, complete: bool = True, first: bool = True) -> Answer:
    return Answer(T0 + asked, T0 + asked + 0.05 if first else None, T0 + asked + 0.1, complete, tried)


def recovery(*, down: bool = True) -> list[Observation]:
    seen: list[Observation] = [
        ServerSeen(T0 - 5, VICTIM, "ACTIVE"),
        TaskSeen(T0 - 5, "old-task", VICTIM, "running", (OLD,)),
        ServerSeen(T0 + 1.5, VICTIM, "not ACTIVE"),
        JournalSeen(T0 + 6, "noticed", VICTIM),
        ServerSeen(T0 + 9, VICTIM, "ACTIVE"),
        JournalSeen(T0 + 9.4, "active", VICTIM),
        # The dead node's task is still said to be running.
        TaskSeen(T0 + 10, "old-task", VICTIM, "running", (OLD,)),
        JournalSeen(T0 + 12, "ready", VICTIM),
        TaskSeen(T0 + 13, "new-task", VICTIM, "starting", (NEW,)),
        TaskSeen(T0 + 16, "new-task", VICTIM, "running", (NEW,)),
        JournalSeen(T0 + 16.5, "healthy", VICTIM),
    ]
    if down:
        seen += [NodeSeen(T0 + 7.5, "n3", VICTIM, "down"), NodeSeen(T0 + 11.5, "n3", VICTIM, "ready")]
    return seen


def load() -> list[Answer]:
    return [
        answer(-1, OLD),
        answer(0.2, OLD, OTHER),
        answer(1.2, OLD, OTHER),
        *(answer(2 + step, OTHER) for step in range(15)),
        answer(17, NEW),
    ]


def test_whole_recovery() -> None:
    times = timeline(T0, VICTIM, BEFORE, recovery(), load())
    assert times.complete
    assert [(step, round(epoch - T0, 2)) for epoch, step, _ in times.reached()] == [
        ("preempted", 0),
        ("dropped", 1.25),
        ("noticed", 6),
        ("active", 9),
        ("ready", 11.5),
        ("healthy", 16),
        ("answers", 17.05),
    ]


def test_node_that_never_left_ready_counts_from_the_journal() -> None:
    assert timeline(T0, VICTIM, BEFORE, recovery(down=False), load()).after("ready") == 12


@pytest.mark.parametrize(
    ("state", "task", "expected"),
    [("preparing", "new-task", 10.5), ("assigned", "new-task", 12), ("preparing", "old-task", 12)],
)
def test_node_that_never_left_ready_counts_from_a_task_that_it_took_on(state: str, task: str, expected: float) -> None:
    seen = [*recovery(down=False), TaskSeen(T0 + 10.5, task, VICTIM, state)]
    assert timeline(T0, VICTIM, BEFORE, seen, load()).after("ready") == expected


def test_order_of_arrival_does_not_matter() -> None:
    forward = timeline(T0, VICTIM, BEFORE, recovery(), load())
    assert timeline(T0, VICTIM, BEFORE, recovery()[::-1], load()[::-1]) == forward


def test_nothing_counts_before_the_server_is_back() -> None:
    early = [item for item in recovery() if item.epoch < T0 + 8.5]
    early.append(TaskSeen(T0 + 3, "stale-task", VICTIM, "running", (NEW,)))
    times = timeline(T0, VICTIM, BEFORE, early, load())
    assert (times.active, times.ready, times.healthy, times.answers) == (None, None, None, None)
    assert not times.complete


def test_a_server_that_was_never_seen_away_is_not_back() -> None:
    seen: list[Observation] = [ServerSeen(T0 + 1, VICTIM, "ACTIVE"), ServerSeen(T0 + 2, VICTIM, "ACTIVE")]
    assert timeline(T0, VICTIM, BEFORE, seen, []).active is None


def test_other_servers_and_earlier_recoveries_are_ignored() -> None:
    seen: list[Observation] = [
        JournalSeen(T0 - 100, "noticed", VICTIM),
        JournalSeen(T0 + 3, "noticed", "gpu-1"),
        ServerSeen(T0 + 1, "gpu-1", "not ACTIVE"),
        ServerSeen(T0 + 2, "gpu-1", "ACTIVE"),
    ]
    times = timeline(T0, VICTIM, BEFORE, seen, [])
    assert times.reached() == [(T0, "preempted", "preempted")]


def test_failure_is_carried() -> None:
    seen = [JournalSeen(T0 + 3, "failed", VICTIM, "No valid host was found")]
    assert timeline(T0, VICTIM, BEFORE, seen, []).failure == "No valid host was found"


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        pytest.param([], None, id="nothing known yet"),
        pytest.param([answer(n, OTHER) for n in range(4)], 0.0, id="never tried again"),
        pytest.param([answer(n / 10, OTHER) for n in range(9)], None, id="too soon to tell"),
        pytest.param([answer(0.1, OLD, OTHER), answer(9, OTHER)], None, id="too few answers to tell"),
        pytest.param([answer(1, OLD, OTHER), *(answer(2 + n, OTHER) for n in range(4))], 1.05, id="last try counts"),
        pytest.param(
            [
                Answer(T0 - 1, T0 - 0.9, T0 + 11, complete=False, upstreams=(OLD,)),
                *(answer(n, OTHER) for n in range(4)),
            ],
            0.0,
            id="a stream that was running is no try",
        ),
        pytest.param(
            [
                Answer(T0 - 0.5, T0 + 0.9, T0 + 1, complete=True, upstreams=(OLD, OTHER)),
                *(answer(1 + n, OTHER) for n in range(4)),
            ],
            0.9,
            id="a request under way that moved on is one",
        ),
        pytest.param([answer(2 + n, first=False, complete=False) for n in range(9)], None, id="failures are no proof"),
    ],
)
def test_gateway_dropped(answers: list[Answer], expected: float | None) -> None:
    dropped = gateway_dropped(T0, frozenset({OLD}), answers)
    assert (None if dropped is None else round(dropped - T0, 2)) == expected


def test_known_before() -> None:
    seen: list[Observation] = [
        TaskSeen(T0, "a", VICTIM, "running", (OLD,)),
        TaskSeen(T0, "b", VICTIM, "failed", ("10.0.1.4",)),
        TaskSeen(T0, "c", "gpu-1", "running", (OTHER,)),
        NodeSeen(T0, "n", VICTIM, "ready"),
    ]
    assert known_before(seen, VICTIM) == Before(frozenset({"a", "b"}), frozenset({OLD, "10.0.1.4"}))


def test_figures_name_exactly_what_is_promised() -> None:
    answers = [*load(), answer(0.3, complete=False, first=False), answer(0.4, OLD, complete=False)]
    times = timeline(T0, VICTIM, BEFORE, recovery(), answers)
    assert figures(times, answers, 123.456, 0) == {
        "requests_total": 21,
        "requests_failed": 1,
        "streams_cut": 1,
        "detect_s": 6.0,
        "active_s": 9.0,
        "ready_s": 11.5,
        "healthy_s": 16.0,
        "first_token_s": 17.05,
        "site_s": 123.5,
        "site_again_changed": 0,
    }


def test_success_has_no_shortcomings() -> None:
    times = timeline(T0, VICTIM, BEFORE, recovery(), load())
    assert shortcomings(times, figures(times, load(), 60, 0)) == []


@pytest.mark.parametrize(
    ("answers", "changed", "expected"),
    [
        ([*load(), answer(1, first=False, complete=False)], 0, "1 of 20 requests failed before their first byte"),
        (load(), 2, "the second run of site.yml changed 2 things"),
        ([], 0, "no client got to ask anything"),
        (load()[:-1], 0, "not seen: answers again"),
    ],
)
def test_every_shortcoming_is_named(answers: list[Answer], changed: int, expected: str) -> None:
    times = timeline(T0, VICTIM, BEFORE, recovery(), answers)
    assert any(expected in item for item in shortcomings(times, figures(times, answers, 60, changed)))


def test_timeline_without_anything() -> None:
    assert Timeline(T0).after("preempted") == 0
    assert Timeline(T0).after("ready") is None
