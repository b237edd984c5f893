# Copyright: (c) 2026, gpuswarm contributors
# SPDX-License-Identifier: Apache-2.0
"""The recovery loop's metrics in Prometheus' text format (version 0.0.4), for node_exporter's textfile collector. Pure.

Written by hand because the probe writes them every few seconds and must import little; a test reads them with
Prometheus' own parser. What is counted comes from the journal, whose older half goes when it is rotated: then counters
start anew, which ``rate()`` and ``increase()`` allow for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .diagnosis import RUNGS, Verdict
from .journal import Recovery, recoveries

# Seconds; from a phase of a second to one that times out after half an hour.
BUCKETS = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800)

# Verdicts that mean: the cloud took the server away.
INTERRUPTED = "lost"


@dataclass(frozen=True)
class Look:
    """One look of the probe.

    Attributes:
        at: epoch seconds.
        wall: seconds that it took.
        cpu: CPU seconds that it took.
        maintenance: whether the loop is switched off.
        cloud: whether the cloud answered.
        swarm: whether the swarm answered.
    """

    at: float
    wall: float
    cpu: float
    maintenance: bool
    cloud: bool
    swarm: bool


Labels = Mapping[str, str]
Sample = tuple[str, Labels, float]


def render(verdicts: Sequence[Verdict], lines: Iterable[Mapping[str, Any]], look: Look) -> str:
    """All metrics as one text."""
    lines = list(lines)
    past = recoveries(lines)
    text = []
    for name, kind, description, samples in (*_present(verdicts, look), *_past(lines, past)):
        if samples:
            text += [f"# HELP {name} {description}", f"# TYPE {name} {kind}"]
            text += [_line(*sample) for sample in samples]
    return "\n".join(text) + "\n"


Family = tuple[str, str, str, list[Sample]]


def _present(verdicts: Sequence[Verdict], look: Look) -> list[Family]:
    counts = Counter((v.status, v.tier or "none", v.verdict) for v in verdicts)
    return [
        (
            "gpuswarm_servers",
            "gauge",
            "Servers of the fleet by the cloud's status, tier and verdict.",
            [
                ("gpuswarm_servers", {"status": status, "tier": tier, "verdict": verdict}, count)
                for (status, tier, verdict), count in sorted(counts.items())
            ],
        ),
        (
            "gpuswarm_server_healthy",
            "gauge",
            "Whether the server is as it is wanted to be.",
            [_own("gpuswarm_server_healthy", v, float(v.well)) for v in verdicts],
        ),
        (
            "gpuswarm_server_age_seconds",
            "gauge",
            "Time since the cloud last started the server.",
            [_own("gpuswarm_server_age_seconds", v, v.age) for v in verdicts if v.age is not None],
        ),
        (
            "gpuswarm_server_attempts_left",
            "gauge",
            "Attempts that are left on the ladder for a sick server; 0: a person has to look.",
            [
                _own("gpuswarm_server_attempts_left", v, v.attempts_left)
                for v in verdicts
                if v.attempts_left is not None
            ],
        ),
        _one("gpuswarm_maintenance", "gauge", "Whether the recovery loop is switched off.", float(look.maintenance)),
        (
            "gpuswarm_observed",
            "gauge",
            "Whether the source answered the probe.",
            [
                ("gpuswarm_observed", {"source": "cloud"}, float(look.cloud)),
                ("gpuswarm_observed", {"source": "swarm"}, float(look.swarm)),
            ],
        ),
        _one("gpuswarm_probe_timestamp_seconds", "gauge", "When the probe last looked.", look.at),
        _one("gpuswarm_probe_duration_seconds", "gauge", "Time that the last look took.", look.wall),
        _one("gpuswarm_probe_cpu_seconds", "gauge", "CPU time that the last look took.", look.cpu),
    ]


def _past(lines: Sequence[Mapping[str, Any]], past: Sequence[Recovery]) -> list[Family]:
    causes = Counter((r.verdict, r.result) for r in past if r.result != "running")
    interrupted = Counter(r.server for r in past if r.verdict == INTERRUPTED)
    rungs = Counter((str(line["server"]), str(line["phase"])) for line in lines if line["phase"] in RUNGS)
    last = max((r.started + (r.seconds or 0.0) for r in past if r.result == "done"), default=None)
    return [
        (
            "gpuswarm_interruptions_total",
            "counter",
            "Recoveries that began because the cloud had taken the server away.",
            [("gpuswarm_interruptions_total", {"server": name}, n) for name, n in sorted(interrupted.items())],
        ),
        (
            "gpuswarm_recoveries_total",
            "counter",
            "Recoveries that have ended, by what was wrong and by result.",
            [
                ("gpuswarm_recoveries_total", {"cause": cause, "result": result}, n)
                for (cause, result), n in sorted(causes.items())
            ],
        ),
        (
            "gpuswarm_ladder_attempts_total",
            "counter",
            "Cures that were tried on sick servers.",
            [
                ("gpuswarm_ladder_attempts_total", {"server": server, "rung": rung}, n)
                for (server, rung), n in sorted(rungs.items())
            ],
        ),
        (
            "gpuswarm_last_recovery_timestamp_seconds",
            "gauge",
            "When a recovery last succeeded.",
            [] if last is None else [("gpuswarm_last_recovery_timestamp_seconds", {}, last)],
        ),
        (
            "gpuswarm_recovery_phase_seconds",
            "histogram",
            "Time that recoveries took to reach a phase from the one before; total: from noticed to done.",
            _histogram(past),
        ),
    ]


def _histogram(past: Sequence[Recovery]) -> list[Sample]:
    values: dict[str, list[float]] = {}
    for recovery in past:
        for phase, seconds in recovery.phases.items():
            values.setdefault(phase, []).append(seconds)
        if recovery.result == "done" and recovery.seconds is not None:
            values.setdefault("total", []).append(recovery.seconds)
    name = "gpuswarm_recovery_phase_seconds"
    samples: list[Sample] = []
    for phase, durations in sorted(values.items()):
        for bound in BUCKETS:
            within = sum(1 for value in durations if value <= bound)
            samples.append((f"{name}_bucket", {"phase": phase, "le": str(bound)}, within))
        samples.append((f"{name}_bucket", {"phase": phase, "le": "+Inf"}, len(durations)))
        samples.append((f"{name}_sum", {"phase": phase}, sum(durations)))
        samples.append((f"{name}_count", {"phase": phase}, len(durations)))
    return samples


def _one(name: str, kind: str, description: str, value: float) -> Family:
    return name, kind, description, [(name, {}, value)]


def _own(name: str, verdict: Verdict, value: float) -> Sample:
    return name, {"server": verdict.server}, value


def _line(name: str, labels: Labels, value: float) -> str:
    inner = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
    return f"{name}{{{inner}}} {value:.15g}" if inner else f"{name} {value:.15g}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
