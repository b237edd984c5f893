"""Remediation: which remedy is due, how long the pauses are, and that it ends."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.diagnosis import Diagnosis
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.remediation import (
    USED_UP,
    RemediationPolicy,
    pause,
    plan,
)
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.vocabulary import Step, Verdict

CONVERGE, ESCALATE, EXAMINE, RELEASE, REPORT = Step.CONVERGE, Step.ESCALATE, Step.EXAMINE, Step.RELEASE, Step.REPORT
REBOOT, REPLACE, RESTART_DOCKER, RESTORE = Step.REBOOT, Step.REPLACE, Step.RESTART_DOCKER, Step.RESTORE
REMOVE_SURGE, ROTATE, WAIT = Step.REMOVE_SURGE, Step.ROTATE, Step.WAIT

NOW = 100_000.0
# With every remedy; a fleet has to ask for the last one.
POLICY = RemediationPolicy(limits={RESTART_DOCKER: 2, REBOOT: 2, REPLACE: 1})


def verdict(step: Step, remedy: Step | None = None, server: str = "g1") -> Diagnosis:
    return Diagnosis(server, Verdict.UNREACHABLE, step, "why", remedy=remedy)


def lines(*items: tuple[str, float], server: str = "g1") -> list[dict[str, Any]]:
    """Phases and how many seconds ago they were written."""
    return [{"server": server, "phase": phase, "epoch": NOW - ago} for phase, ago in items]


@pytest.mark.parametrize(
    ("remedy", "history", "step", "left"),
    [
        (RESTART_DOCKER, [], RESTART_DOCKER, 5),
        (REBOOT, [], REBOOT, 3),
        (RESTART_DOCKER, [(RESTART_DOCKER, 119)], WAIT, 4),
        (RESTART_DOCKER, [(RESTART_DOCKER, 120)], RESTART_DOCKER, 4),
        (RESTART_DOCKER, [(RESTART_DOCKER, 900), (RESTART_DOCKER, 239)], WAIT, 3),
        (RESTART_DOCKER, [(RESTART_DOCKER, 900), (RESTART_DOCKER, 240)], REBOOT, 3),
        (
            RESTART_DOCKER,
            [(RESTART_DOCKER, 3000), (RESTART_DOCKER, 2700), (REBOOT, 500)],
            REBOOT,
            2,
        ),
        # a node that had its reboots for one sickness does not get them again for another
        (REBOOT, [(REBOOT, 3000), (REBOOT, 2000)], REPLACE, 1),
        (REBOOT, [(RESTART_DOCKER, 900)], REBOOT, 3),
        # all remedies are used up
        (REBOOT, [(REBOOT, 9000), (REBOOT, 8000), (REPLACE, 4000)], REPORT, 0),
        # what is older than the window is forgotten
        (REBOOT, [(REBOOT, 21601), (REBOOT, 21601), (REPLACE, 21601)], REBOOT, 3),
        # recoveries in between give nothing back: a node that falls ill again and again climbs
        (
            RESTART_DOCKER,
            [(RESTART_DOCKER, 3000), ("done", 2900), (RESTART_DOCKER, 2000), ("done", 1900)],
            REBOOT,
            3,
        ),
    ],
)
def test_remedies(remedy: Step, history: list[tuple[str, float]], step: Step, left: int) -> None:
    (found,) = plan([verdict(ESCALATE, remedy)], lines(*history), NOW, POLICY)
    assert (found.step, found.attempts_left) == (step, left)
    assert (USED_UP in found.reason) == (step == REPORT)
    assert (found.not_before > NOW) == (step == WAIT)


@pytest.mark.parametrize(
    ("step", "phase", "history", "result"),
    [
        (RESTORE, "failed", [], RESTORE),
        (RESTORE, "failed", [9], WAIT),
        (RESTORE, "failed", [10], RESTORE),
        (RESTORE, "failed", [100, 50, 39], WAIT),
        (RESTORE, "failed", [100, 50, 40], RESTORE),
        (RESTORE, "failed", [*range(1000, 400, -50), 299], WAIT),
        (RESTORE, "failed", [*range(1000, 400, -50), 300], RESTORE),  # no limit on their number
        (CONVERGE, "failed", [9], WAIT),
        (REMOVE_SURGE, "failed", [9], WAIT),
        (REMOVE_SURGE, "failed", [10], REMOVE_SURGE),
        (EXAMINE, "examined", [9], WAIT),
        (EXAMINE, "examined", [10], EXAMINE),
        (EXAMINE, "examined", [100, 19], WAIT),
    ],
)
def test_pauses_between_failures(step: Step, phase: str, history: list[float], result: str) -> None:
    (found,) = plan([verdict(step)], lines(*((phase, ago) for ago in history)), NOW, POLICY)
    assert found.step == result
    # A recovery that succeeded since then ends the pause.
    (found,) = plan([verdict(step)], lines(*((phase, ago) for ago in history), ("done", 1)), NOW, POLICY)
    assert found.step == step


def test_runs_that_die_have_pauses_between_them_too() -> None:
    def noticed(ago: float, run: str) -> dict[str, Any]:
        return {"server": "g1", "phase": "noticed", "epoch": NOW - ago, "run": run}

    # What the probe notices is no run.
    assert plan([verdict(RESTORE)], [noticed(1, "probe")], NOW, POLICY)[0].step == RESTORE
    assert plan([verdict(RESTORE)], [noticed(9, "a")], NOW, POLICY)[0].step == WAIT
    assert plan([verdict(RESTORE)], [noticed(10, "a")], NOW, POLICY)[0].step == RESTORE
    died = [noticed(100, "a"), noticed(80, "b"), noticed(39, "c")]
    assert plan([verdict(RESTORE)], died, NOW, POLICY)[0].step == WAIT
    # A run that said itself that it failed counts once.
    told = [noticed(100, "a"), *lines(("failed", 90)), noticed(15, "b"), *lines(("failed", 11))]
    assert plan([verdict(RESTORE)], told, NOW, POLICY)[0].not_before == NOW - 11 + 20


@pytest.mark.parametrize(
    ("step", "history", "result"),
    [
        (WAIT, [], WAIT),
        (WAIT, [("restore", 9)], RESTORE),
        (EXAMINE, [("restore", 60), ("noticed", 55)], RESTORE),
        (WAIT, [("restore", 60), ("done", 9)], WAIT),
        (EXAMINE, [("restore", 60), ("failed", 9)], EXAMINE),
        (Step.NONE, [("restore", 9)], Step.NONE),
        (REPORT, [("restore", 9)], REPORT),
    ],
)
def test_what_the_cloud_was_asked_to_bring_back_is_followed_up(
    step: Step, history: list[tuple[str, float]], result: Step
) -> None:
    (found,) = plan([verdict(step)], lines(*history), NOW, POLICY)
    assert found.step == result


@pytest.mark.parametrize(
    ("kind", "step"), [(Verdict.HEALTHY, RESTORE), (Verdict.HELD, Step.NONE), (Verdict.RESTING, Step.NONE)]
)
def test_how_it_went_is_written_down_though_it_is_well_already(kind: Verdict, step: Step) -> None:
    (found,) = plan([Diagnosis("g1", kind, Step.NONE, "why")], lines(("restore", 9)), NOW, POLICY)
    assert found.step == step


def test_an_attempt_of_a_remedy_is_given_time_before_the_next_look() -> None:
    assert plan([verdict(EXAMINE)], lines((REBOOT, 100)), NOW, POLICY)[0].step == WAIT
    assert plan([verdict(EXAMINE)], lines((REBOOT, 130)), NOW, POLICY)[0].step == EXAMINE


def test_nobody_elses_history_counts() -> None:
    history = lines((REBOOT, 9000), (REBOOT, 8000), (REPLACE, 4000), server="g2")
    first, second = plan([verdict(ESCALATE, REBOOT), verdict(ESCALATE, REBOOT, "g2")], history, NOW, POLICY)
    assert (first.step, second.step) == (REBOOT, REPORT)


@pytest.mark.parametrize("step", [Step.NONE, WAIT, REPORT, RELEASE, Step.ROTATE, Step.REST])
def test_other_steps_are_left_alone(step: Step) -> None:
    before = verdict(step)
    assert plan([before], lines((REBOOT, 1), ("failed", 1)), NOW, POLICY) == [before]


@pytest.mark.parametrize(
    ("stand_in", "ago", "step"),
    [(False, 9, "rotate"), (True, 9, WAIT), (True, 1799, WAIT), (True, 1800, "rotate")],
)
def test_a_return_without_room_is_not_tried_all_the_time(stand_in: bool, ago: float, step: str) -> None:
    asked = Diagnosis("g1", Verdict.TOO_OLD, Step.ROTATE, "why", stand_in=stand_in)
    (found,) = plan([asked], lines(("rotate", ago), ("done", ago - 5)), NOW, POLICY)
    assert found.step == step


def test_a_remedy_can_be_switched_off() -> None:
    policy = RemediationPolicy(limits={RESTART_DOCKER: 0, REBOOT: 1, REPLACE: 0})
    assert plan([verdict(ESCALATE, RESTART_DOCKER)], [], NOW, policy)[0].step == REBOOT
    assert plan([verdict(ESCALATE, RESTART_DOCKER)], lines((REBOOT, 9000)), NOW, policy)[0].step == REPORT


def test_remediation_ends_whatever_happens() -> None:
    history: list[dict[str, Any]] = []
    now, attempts = NOW, []
    while (found := plan([verdict(ESCALATE, RESTART_DOCKER)], history, now, POLICY)[0]).step != REPORT:
        if found.step == WAIT:
            assert found.not_before > now
            now = found.not_before
        else:
            attempts.append(found.step)
            history.append({"server": "g1", "phase": found.step, "epoch": now})
    assert attempts == [RESTART_DOCKER, RESTART_DOCKER, REBOOT, REBOOT, REPLACE]
    assert now - NOW == 120 + 240 + 480 + 960


def test_a_clock_that_went_back_does_not_block() -> None:
    future = [{"server": "g1", "phase": "failed", "epoch": NOW + 5000}]
    assert plan([verdict(RESTORE)], future, NOW, POLICY)[0].step == RESTORE


def test_pause_does_not_overflow() -> None:
    assert pause(10_000, 10, 300) == 300
