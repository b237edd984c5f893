# Copyright: (c) 2026, gpuswarm contributors
# SPDX-License-Identifier: Apache-2.0
"""The ladder for sick nodes, and the pauses between attempts. Pure: no I/O, no clock.

What was tried is read from the journal. Every attempt is written there before it is made, so a run that is killed in
the middle has used it up, and no loop of crashes repeats it without end. Attempts older than the window are forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from .diagnosis import (
    CONVERGE,
    ESCALATE,
    EXAMINE,
    HEALTHY,
    REBOOT,
    REPLACE,
    REPORT,
    RESTART_DOCKER,
    RESTORE,
    RETIRE,
    ROTATE,
    RUNGS,
    WAIT,
    Verdict,
)

USED_UP = "ladder used up"

# Phases of the journal that are read here, besides the rungs.
_DONE = "done"
_FAILED = "failed"
_EXAMINED = "examined"
_NOTICED = "noticed"
_RESTORING = "restoring"
_ROTATING = "rotating"

PROBE_RUN = "probe"  # who has written, when it was no run


@dataclass(frozen=True)
class Policy:
    """How often, and with what pauses; times in seconds.

    Attributes:
        limits: attempts on each rung within ``window``, by rung.
        window: attempts older than this are forgotten.
        pause: pause after the first attempt on the ladder; doubled after each further one, up to ``longest_pause``.
        retry_pause: pause after the first failed restore or set-up, and after the first look that led to nothing;
            doubled likewise, up to ``longest_retry_pause``. Their number has no limit: room in the cloud may come back
            at any time.
    """

    limits: Mapping[str, int] = field(default_factory=lambda: {RESTART_DOCKER: 2, REBOOT: 2, REPLACE: 1})
    window: float = 21600.0
    pause: float = 120.0
    longest_pause: float = 1800.0
    retry_pause: float = 10.0
    longest_retry_pause: float = 300.0


def pause(count: int, first: float, longest: float) -> float:
    """Seconds to wait after so many attempts: 0, first, 2 first, 4 first ... up to the longest.

    >>> [pause(count, 10, 60) for count in range(5)]
    [0.0, 10, 20, 40, 60]
    """
    return 0.0 if count < 1 else min(longest, first * 2 ** min(count - 1, 30))


def plan(
    verdicts: Sequence[Verdict], journal: Iterable[Mapping[str, Any]], now: float, policy: Policy | None = None
) -> list[Verdict]:
    """The verdicts with the step that is due now: a rung of the ladder, or a pause.

    :param journal: the lines of the recovery journal (``journal.parse``), oldest first.
    :param now: epoch seconds.
    """
    policy = policy or Policy()
    lines: dict[str, list[Mapping[str, Any]]] = {}
    for line in journal:
        if 0 <= now - float(line["epoch"]) <= policy.window:
            lines.setdefault(str(line["server"]), []).append(line)
    return [_planned(verdict, lines.get(verdict.server, []), now, policy) for verdict in verdicts]


def failed_within(lines: Iterable[Mapping[str, Any]], server: str, now: float, seconds: float) -> bool:
    """Whether a run that had to do with the server has failed within so many seconds."""
    failed = [float(line["epoch"]) for line in lines if line["phase"] == _FAILED and line["server"] == server]
    return any(0 <= now - epoch <= seconds for epoch in failed)


def _planned(verdict: Verdict, lines: Sequence[Mapping[str, Any]], now: float, policy: Policy) -> Verdict:
    # One that is well again already too: the run looks at it, and writes down how it went.
    if (verdict.step in (WAIT, EXAMINE) or verdict.verdict == HEALTHY) and _being_restored(lines):
        verdict = replace(verdict, step=RESTORE, reason=f"{verdict.reason}; it is being restored")
    if verdict.step in (EXAMINE, ESCALATE):
        examine = verdict.step == EXAMINE
        verdict = _ladder(verdict, [line for line in lines if line["phase"] in RUNGS], now, policy)
        if not examine or verdict.step != EXAMINE:
            return verdict
        attempts = _since_done(lines, _EXAMINED)
    elif verdict.step in (RESTORE, CONVERGE, RETIRE):
        attempts = _failures(lines)
    elif verdict.step == ROTATE and verdict.stand_in:
        # There may have been no room: it went on as it was, and is due ever since.
        attempts = [line for line in lines if line["phase"] == _ROTATING]
        return _paused(verdict, attempts, now, policy.longest_pause)
    else:
        return verdict
    return _paused(verdict, attempts, now, pause(len(attempts), policy.retry_pause, policy.longest_retry_pause))


def _being_restored(lines: Iterable[Mapping[str, Any]]) -> bool:
    """Whether the cloud was asked to bring it back, and no run has said since what came of it."""
    ends = [line["phase"] for line in lines if line["phase"] in (_RESTORING, _DONE, _FAILED)]
    return bool(ends) and ends[-1] == _RESTORING


def _since_done(lines: Iterable[Mapping[str, Any]], phase: str) -> list[Mapping[str, Any]]:
    """The lines of a phase after the last recovery that succeeded."""
    found: list[Mapping[str, Any]] = []
    for line in lines:
        if line["phase"] == _DONE:
            found = []
        elif line["phase"] == phase:
            found.append(line)
    return found


def _failures(lines: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The runs after the last recovery that succeeded, by their last line; one that died is known by its first."""
    found: list[Mapping[str, Any]] = []
    begun: list[Mapping[str, Any]] = []
    for line in lines:
        if line["phase"] == _DONE:
            found, begun = [], []
        elif line["phase"] == _FAILED:
            found, begun = [*found, line], []
        elif line["phase"] == _NOTICED and line.get("run") not in (None, "", PROBE_RUN):
            found, begun = found + begun, [line]
    return found + begun


def _ladder(verdict: Verdict, tried: Sequence[Mapping[str, Any]], now: float, policy: Policy) -> Verdict:
    counts = {rung: sum(1 for line in tried if line["phase"] == rung) for rung in RUNGS}
    # An unexamined node may be on any rung, so the mildest is taken as its first.
    rungs = RUNGS[RUNGS.index(verdict.rung or RESTART_DOCKER) :]
    left = {rung: max(0, policy.limits.get(rung, 0) - counts[rung]) for rung in rungs}
    verdict = replace(verdict, attempts_left=sum(left.values()))
    if not any(left.values()):
        words = ", ".join(f"{counts[rung]} x {rung}" for rung in rungs if counts[rung])
        reason = f"{verdict.reason}; {USED_UP} ({words or 'every rung is switched off'}): a person has to look"
        return replace(verdict, step=REPORT, reason=reason)
    if verdict.step == ESCALATE:
        verdict = replace(verdict, step=next(rung for rung in rungs if left[rung]))
    return _paused(verdict, tried, now, pause(len(tried), policy.pause, policy.longest_pause))


def _paused(verdict: Verdict, attempts: Sequence[Mapping[str, Any]], now: float, seconds: float) -> Verdict:
    if not attempts:
        return verdict
    until = float(attempts[-1]["epoch"]) + seconds
    if until <= now:
        return verdict
    reason = f"{verdict.reason}; attempt {len(attempts)} is {now - float(attempts[-1]['epoch']):.0f} s ago, next"
    reason += f" ({verdict.step}) in {until - now:.0f} s"
    return replace(verdict, step=WAIT, reason=reason, not_before=until)
