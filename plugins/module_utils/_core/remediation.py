# Copyright: (c) 2026, gpuswarm contributors
# SPDX-License-Identifier: Apache-2.0
"""The remediation policy for sick nodes, and the pauses between attempts.

What was tried is read from the journal. Every attempt is written there before it is made, so a run that is killed in
the middle has used it up, and no loop of crashes repeats it without end. Attempts older than the window are forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from .diagnosis import Diagnosis
from .vocabulary import REMEDIES, STEPS, Pause, Phase, Step, Verdict

USED_UP = "remedies used up"

PROBE_RUN = "probe"  # who has written, when it was no run


@dataclass(frozen=True)
class RemediationPolicy:
    """How often, and with what pauses; times in seconds.

    Attributes:
        limits: attempts of each remedy within ``window``, by remedy.
        window: attempts older than this are forgotten.
        pause: pause after the first attempt of a remedy; doubled after each further one, up to ``longest_pause``.
        retry_pause: pause after the first failed restore or set-up, and after the first examination that led to
            nothing; doubled likewise, up to ``longest_retry_pause``. Their number has no limit: room in the cloud may
            come back at any time.
    """

    limits: Mapping[str, int] = field(default_factory=lambda: {Step.RESTART_DOCKER: 2, Step.REBOOT: 2, Step.REPLACE: 0})
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
    verdicts: Sequence[Diagnosis],
    journal: Iterable[Mapping[str, Any]],
    now: float,
    policy: RemediationPolicy | None = None,
) -> list[Diagnosis]:
    """The verdicts with the step that is due now: a remedy, or a pause.

    :param journal: the lines of the recovery journal (``journal.parse``), oldest first.
    :param now: epoch seconds.
    """
    policy = policy or RemediationPolicy()
    lines: dict[str, list[Mapping[str, Any]]] = {}
    for line in journal:
        if 0 <= now - float(line["epoch"]) <= policy.window:
            lines.setdefault(str(line["server"]), []).append(line)
    return [_planned(verdict, lines.get(verdict.server, []), now, policy) for verdict in verdicts]


def failed_within(lines: Iterable[Mapping[str, Any]], server: str, now: float, seconds: float) -> bool:
    """Whether a run that had to do with the server has failed within so many seconds."""
    failed = [float(line["epoch"]) for line in lines if line["phase"] == Phase.FAILED and line["server"] == server]
    return any(0 <= now - epoch <= seconds for epoch in failed)


def _planned(
    verdict: Diagnosis, lines: Sequence[Mapping[str, Any]], now: float, policy: RemediationPolicy
) -> Diagnosis:
    # Also one that is healthy again already: the run observes it and records the result.
    if (verdict.step in (Step.WAIT, Step.EXAMINE) or verdict.verdict == Verdict.HEALTHY) and _being_restored(lines):
        verdict = replace(verdict, step=Step.RESTORE, reason=f"{verdict.reason}; it is being restored")
    if verdict.step in (Step.EXAMINE, Step.ESCALATE):
        examine = verdict.step == Step.EXAMINE
        verdict = _with_remedy(verdict, [line for line in lines if line["phase"] in REMEDIES], now, policy)
        if not examine or verdict.step != Step.EXAMINE:
            return verdict
        attempts = _since_done(lines, Phase.EXAMINED)
    elif STEPS[verdict.step].pause == Pause.RETRY:
        attempts = _failures(lines)
    elif verdict.step == Step.ROTATE and verdict.stand_in:
        # There may have been no room: it went on as it was, and is due ever since.
        attempts = [line for line in lines if line["phase"] == Phase.ROTATE]
        return _paused(verdict, attempts, now, policy.longest_pause)
    else:
        return verdict
    return _paused(verdict, attempts, now, pause(len(attempts), policy.retry_pause, policy.longest_retry_pause))


def _being_restored(lines: Iterable[Mapping[str, Any]]) -> bool:
    """Whether the cloud was asked to bring it back, and no run has recorded the result since."""
    ends = [line["phase"] for line in lines if line["phase"] in (Phase.RESTORE, Phase.DONE, Phase.FAILED)]
    return bool(ends) and ends[-1] == Phase.RESTORE


def _since_done(lines: Iterable[Mapping[str, Any]], phase: str) -> list[Mapping[str, Any]]:
    """The lines of a phase after the last recovery that succeeded."""
    found: list[Mapping[str, Any]] = []
    for line in lines:
        if line["phase"] == Phase.DONE:
            found = []
        elif line["phase"] == phase:
            found.append(line)
    return found


def _failures(lines: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The runs after the last recovery that succeeded, by their last line; one that died is known by its first."""
    found: list[Mapping[str, Any]] = []
    begun: list[Mapping[str, Any]] = []
    for line in lines:
        if line["phase"] == Phase.DONE:
            found, begun = [], []
        elif line["phase"] == Phase.FAILED:
            found, begun = [*found, line], []
        elif line["phase"] == Phase.NOTICED and line.get("run") not in (None, "", PROBE_RUN):
            found, begun = found + begun, [line]
    return found + begun


def _with_remedy(
    verdict: Diagnosis, tried: Sequence[Mapping[str, Any]], now: float, policy: RemediationPolicy
) -> Diagnosis:
    counts = {remedy: sum(1 for line in tried if line["phase"] == remedy) for remedy in REMEDIES}
    # An unexamined node may need any remedy, so the mildest is taken as its first.
    remedies = REMEDIES[REMEDIES.index(verdict.remedy or Step.RESTART_DOCKER) :]
    left = {remedy: max(0, policy.limits.get(remedy, 0) - counts[remedy]) for remedy in remedies}
    verdict = replace(verdict, attempts_left=sum(left.values()))
    if not any(left.values()):
        words = ", ".join(f"{counts[remedy]} x {remedy}" for remedy in remedies if counts[remedy])
        reason = f"{verdict.reason}; {USED_UP} ({words or 'every remedy is switched off'}): a person must look"
        return replace(verdict, step=Step.REPORT, reason=reason)
    if verdict.step == Step.ESCALATE:
        verdict = replace(verdict, step=next(remedy for remedy in remedies if left[remedy]))
    return _paused(verdict, tried, now, pause(len(tried), policy.pause, policy.longest_pause))


def _paused(verdict: Diagnosis, attempts: Sequence[Mapping[str, Any]], now: float, seconds: float) -> Diagnosis:
    if not attempts:
        return verdict
    until = float(attempts[-1]["epoch"]) + seconds
    if until <= now:
        return verdict
    reason = f"{verdict.reason}; attempt {len(attempts)} is {now - float(attempts[-1]['epoch']):.0f} s ago, next"
    reason += f" ({verdict.step}) in {until - now:.0f} s"
    return replace(verdict, step=Step.WAIT, reason=reason, not_before=until)
