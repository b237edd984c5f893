# Copyright: (c) 2026, gpuswarm contributors
# SPDX-License-Identifier: Apache-2.0
"""The recovery journal: what happened to which server, one JSON object a line, for people, metrics and decisions.

How the servers are is observed, not read from it. What is read from it is what was tried, and when: that decides about
the next attempt and its pause. A damaged line is skipped, not an error.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from .vocabulary import Phase


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


def recoveries(lines: Iterable[Mapping[str, Any]]) -> list[Recovery]:
    """All recoveries in a journal, in the order of their beginning. One that never ended stays "running"."""
    found: list[Recovery] = []
    current: dict[str, int] = {}
    last: dict[str, float] = {}
    for line in lines:
        server, phase, epoch = str(line["server"]), str(line["phase"]), float(line["epoch"])
        if phase == Phase.NOTICED:
            verdict = str(line.get("verdict") or "unknown")
            if server in current and epoch - last[server] < SAME_RECOVERY_S:
                # What a run sees of a server that the cloud is bringing back already is not why it was lost.
                if Phase.RESTORE not in found[current[server]].phases:
                    found[current[server]] = replace(found[current[server]], verdict=verdict)
                found[current[server]] = replace(found[current[server]], latest=epoch)
                continue
            current[server] = len(found)
            found.append(Recovery(server, verdict, epoch, latest=epoch))
        elif server in current:
            recovery = replace(found[current[server]], latest=epoch)
            phases = {**recovery.phases, phase: max(0.0, epoch - last[server])}
            if phase in (Phase.DONE, Phase.FAILED):
                seconds = max(0.0, epoch - recovery.started)
                found[current.pop(server)] = replace(recovery, result=phase, seconds=seconds, phases=phases)
            else:
                found[current[server]] = replace(recovery, phases=phases)
        last[server] = epoch
    return found


def last_recoveries(lines: Iterable[Mapping[str, Any]]) -> dict[str, Recovery]:
    """The latest recovery of each server that had one."""
    return {found.server: found for found in recoveries(lines)}


def last_recovery(lines: Iterable[Mapping[str, Any]], server: str) -> Recovery | None:
    """The server's latest recovery, None when there was none."""
    return last_recoveries(lines).get(server)
