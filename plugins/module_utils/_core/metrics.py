# Copyright: (c) 2026, gpuswarm contributors
# SPDX-License-Identifier: Apache-2.0
"""The recovery loop's metrics in Prometheus' text format (version 0.0.4), for node_exporter's textfile collector.

Written by hand because the probe writes them every few seconds and must import little; a test reads them with
Prometheus' own parser. What is counted comes from the journal, whose older half goes when it is rotated: then counters
start anew, which ``rate()`` and ``increase()`` allow for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .diagnosis import Diagnosis
from .journal import Recovery, recoveries
from .vocabulary import REMEDIATION_ATTEMPTS, STEPS, VERDICTS, Verdict

# Seconds; from a phase of a second to one that times out after half an hour.
BUCKETS = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800)


@dataclass(frozen=True)
class Cycle:
    """What the probe did in one cycle of the recovery loop.

    Attributes:
        at: when, in epoch seconds.
        wall: seconds that the probe took.
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


def render(verdicts: Sequence[Diagnosis], lines: Iterable[Mapping[str, Any]], cycle: Cycle) -> str:
    """All metrics as one text."""
    lines = list(lines)
    past = recoveries(lines)
    return text([*_present(verdicts, cycle), *_past(lines, past)])


# Name, type, description, samples.
Family = tuple[str, str, str, list[Sample]]


def text(families: Iterable[Family]) -> str:
    """Metrics in Prometheus' text format; a family without samples is left out."""
    found = []
    for name, kind, description, samples in families:
        if samples:
            found += [f"# HELP {name} {description}", f"# TYPE {name} {kind}"]
            found += [_line(*sample) for sample in samples]
    return "\n".join(found) + "\n"


def _present(verdicts: Sequence[Diagnosis], cycle: Cycle) -> list[Family]:
    counts = Counter((v.status, v.capacity_type or "none", v.verdict) for v in verdicts)
    return [
        (
            "gpuswarm_servers",
            "gauge",
            "Servers of the fleet by the cloud's status, capacity type and verdict.",
            [
                ("gpuswarm_servers", {"status": status, "capacity_type": capacity_type, "verdict": verdict}, count)
                for (status, capacity_type, verdict), count in sorted(counts.items())
            ],
        ),
        (
            "gpuswarm_server_as_desired",
            "gauge",
            "Whether the server is as it should be.",
            [_own("gpuswarm_server_as_desired", v, float(v.as_desired)) for v in verdicts],
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
            "Remediation attempts that are left for a sick server; 0: a person must look.",
            [
                _own("gpuswarm_server_attempts_left", v, v.attempts_left)
                for v in verdicts
                if v.attempts_left is not None
            ],
        ),
        _one("gpuswarm_maintenance", "gauge", "Whether the recovery loop is switched off.", float(cycle.maintenance)),
        (
            "gpuswarm_observed",
            "gauge",
            "Whether the source answered the probe.",
            [
                ("gpuswarm_observed", {"source": "cloud"}, float(cycle.cloud)),
                ("gpuswarm_observed", {"source": "swarm"}, float(cycle.swarm)),
            ],
        ),
        _one("gpuswarm_probe_timestamp_seconds", "gauge", "When the probe last ran.", cycle.at),
        _one("gpuswarm_probe_duration_seconds", "gauge", "Time that the probe took in the last cycle.", cycle.wall),
        _one("gpuswarm_probe_cpu_seconds", "gauge", "CPU time that the probe took in the last cycle.", cycle.cpu),
    ]


def _past(lines: Sequence[Mapping[str, Any]], past: Sequence[Recovery]) -> list[Family]:
    ended = Counter((r.verdict, r.result) for r in past if r.result != "running")
    interrupted = Counter(r.server for r in past if r.verdict == Verdict.LOST)
    interruptions = VERDICTS[Verdict.LOST].metric
    counted = {str(row.phase) for row in STEPS.values() if row.metric == REMEDIATION_ATTEMPTS}
    remedies = Counter((str(line["server"]), str(line["phase"])) for line in lines if line["phase"] in counted)
    last = max((r.started + (r.seconds or 0.0) for r in past if r.result == "done"), default=None)
    return [
        (
            interruptions,
            "counter",
            "Recoveries that began because the cloud had reclaimed the server.",
            [(interruptions, {"server": name}, n) for name, n in sorted(interrupted.items())],
        ),
        (
            "gpuswarm_recoveries_total",
            "counter",
            "Recoveries that have ended, by what was wrong and by result.",
            [
                ("gpuswarm_recoveries_total", {"verdict": verdict, "result": result}, n)
                for (verdict, result), n in sorted(ended.items())
            ],
        ),
        (
            REMEDIATION_ATTEMPTS,
            "counter",
            "Remedies that were tried on sick servers.",
            [
                (REMEDIATION_ATTEMPTS, {"server": server, "remedy": remedy}, n)
                for (server, remedy), n in sorted(remedies.items())
            ],
        ),
        (
            "gpuswarm_last_recovery_timestamp_seconds",
            "gauge",
            "When a recovery last succeeded.",
            [] if last is None else [("gpuswarm_last_recovery_timestamp_seconds", {}, last)],
        ),
        (
            "gpuswarm_recovery_phase_duration_seconds",
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
    name = "gpuswarm_recovery_phase_duration_seconds"
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


def _own(name: str, verdict: Diagnosis, value: float) -> Sample:
    return name, {"server": verdict.server}, value


def _line(name: str, labels: Labels, value: float) -> str:
    inner = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
    return f"{name}{{{inner}}} {value:.15g}" if inner else f"{name} {value:.15g}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
