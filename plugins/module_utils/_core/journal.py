# Copyright: (c) 2026, gpuswarm contributors
# SPDX-License-Identifier: Apache-2.0
"""The recovery journal: what happened to which server, one JSON object a line, for people, metrics and decisions.

How the servers are is observed, not read from it. What is read from it is what was tried, and when: that decides about
the next attempt and its pause. A damaged line is skipped, not an error.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from .vocabulary import Phase

LATEST = 1e11  # epoch seconds; what is later, or no number of a moment at all, is damaged


def entry(
    phase: str,
    server: str,
    epoch: float,
    monotonic: float,
    *,
    run: str = "",
    detail: str = "",
    cause: str = "",
    verdict: str = "",
) -> dict[str, Any]:
    """One line of the journal.

    :param epoch: wall clock in seconds, for people; ``monotonic``: seconds that no clock step disturbs, for durations.
    :param run: identifies the run of the playbook that wrote it.
    :param cause: why, in words; ``verdict``: the same as diagnosis calls it, for metrics.
    :raises ValueError: the phase is not a ``Phase``.
    """
    if phase not in set(Phase):
        raise ValueError(f"phase is {phase!r}: it must be one of {', '.join(Phase)}")
    return {
        "time": datetime.fromtimestamp(epoch, tz=UTC).isoformat(timespec="milliseconds"),
        "epoch": round(epoch, 3),
        "monotonic": round(monotonic, 3),
        "run": run,
        "phase": phase,
        "server": server,
        "cause": cause,
        "verdict": verdict,
        "detail": detail,
    }


def parse(text: str) -> list[dict[str, Any]]:
    """The lines of a journal that can be read, oldest first."""
    lines = []
    for line in text.splitlines():
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if (
            isinstance(value, dict)
            and {"phase", "server", "epoch"} <= value.keys()
            and isinstance(value["epoch"], (int, float))
            and abs(value["epoch"]) < LATEST
        ):
            lines.append(value)
    return lines


@dataclass(frozen=True)
class Recovery:
    """One recovery of one server, from noticed to its end.

    ``phases`` are the seconds from one phase to the next, by the name of the one that was reached; ``latest`` is when
    the last of its lines was written.
    """

    server: str
    verdict: str
    started: float
    result: str = "running"  # or "done" or "failed"
    seconds: float | None = None
    phases: Mapping[str, float] = field(default_factory=dict)
    latest: float = 0.0


# The probe notices, and then the playbook that it starts; one that was killed is taken up again by the next. All of
# that is one recovery, unless it lies further back than a run may last.
SAME_RECOVERY_S = 1800.0


@dataclass(frozen=True)
class Progress:
    """What one line of a journal says of the recovery that it belongs to.

    Attributes:
        line: the line.
        recovery: as it is after the line; None when the line belongs to none.
        begins: whether the line begins it.
        seconds: time from the phase before to the one that the line reaches; None where it reaches none.
    """

    line: Mapping[str, Any]
    recovery: Recovery | None = None
    begins: bool = False
    seconds: float | None = None


def follow(lines: Iterable[Mapping[str, Any]]) -> Iterator[Progress]:
    """Goes through a journal, oldest line first; one result for every line."""
    running: dict[str, Recovery] = {}
    last: dict[str, float] = {}
    for line in lines:
        server, phase, epoch = str(line["server"]), str(line["phase"]), float(line["epoch"])
        current = running.get(server)
        if phase == Phase.NOTICED:
            verdict = str(line.get("verdict") or "unknown")
            if current and epoch - last[server] < SAME_RECOVERY_S:
                # What a run sees of a server that the cloud is bringing back already is not why it was lost.
                if Phase.RESTORE not in current.phases:
                    current = replace(current, verdict=verdict)
                running[server] = replace(current, latest=epoch)
                yield Progress(line, running[server])
                continue
            running[server] = Recovery(server, verdict, epoch, latest=epoch)
            yield Progress(line, running[server], begins=True)
        elif current:
            seconds = max(0.0, epoch - last[server])
            current = replace(current, latest=epoch, phases={**current.phases, phase: seconds})
            running[server] = current
            if phase in (Phase.DONE, Phase.FAILED):
                current = replace(current, result=phase, seconds=max(0.0, epoch - current.started))
                del running[server]
            yield Progress(line, current, seconds=seconds)
        else:
            yield Progress(line)
        last[server] = epoch


def recoveries(lines: Iterable[Mapping[str, Any]]) -> list[Recovery]:
    """All recoveries in a journal, in the order of their beginning. One that never ended stays "running"."""
    found: list[Recovery] = []
    current: dict[str, int] = {}
    for progress in follow(lines):
        if progress.recovery is None:
            continue
        if progress.begins:
            current[progress.recovery.server] = len(found)
            found.append(progress.recovery)
        found[current[progress.recovery.server]] = progress.recovery
    return found


def last_recoveries(lines: Iterable[Mapping[str, Any]]) -> dict[str, Recovery]:
    """The latest recovery of each server that had one."""
    return {found.server: found for found in recoveries(lines)}


def last_recovery(lines: Iterable[Mapping[str, Any]], server: str) -> Recovery | None:
    """The server's latest recovery, None when there was none."""
    return last_recoveries(lines).get(server)
