# Copyright: (c) 2026, gpuswarm contributors
# SPDX-License-Identifier: Apache-2.0
"""The recovery loop's metrics in Prometheus' text format (version 0.0.4), for node_exporter's textfile collector.

Written by hand because the probe writes them every few seconds and must import little; a test reads them with
Prometheus' own parser. What is counted is `counters`' business. Every counter that may be needed is there from the
start, with 0: ``increase()`` does not count what a series is born with.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from .counters import BEYOND, BUCKETS, COUNTED_STEPS, DETECTION, TOTAL, CounterFamily, CounterState, Counts
from .diagnosis import Diagnosis
from .fleet import ROLE_GPU_WORKER
from .vocabulary import REMEDIATION_ATTEMPTS, STEPS, VERDICTS, Phase, Step, Verdict

INTERRUPTIONS = VERDICTS[Verdict.LOST].metric
RECOVERIES = "gpuswarm_recoveries_total"
PHASES = "gpuswarm_recovery_phase_duration_seconds"
LAST_RECOVERY = "gpuswarm_last_recovery_timestamp_seconds"
TIMESTAMP = "gpuswarm_probe_timestamp_seconds"

# What may be counted: verdicts that lead to a recovery, and phases that one reaches.
RECOVERED = [
    str(verdict)
    for verdict, row in VERDICTS.items()
    if any(STEPS[step].acts or step == Step.ESCALATE for step in row.steps)
]
TIMED = [DETECTION, *(str(phase) for phase in Phase if phase != Phase.NOTICED), TOTAL]
BOUNDS = [*(f"{bound:g}" for bound in BUCKETS), BEYOND]


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


def render(verdicts: Sequence[Diagnosis], counted: CounterState, cycle: Cycle) -> str:
    """All metrics as one text."""
    workers = [verdict.server for verdict in verdicts if verdict.role == ROLE_GPU_WORKER]
    return text([*_present(verdicts, cycle), *_past(workers, counted)])


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
        _one(TIMESTAMP, "gauge", "When the probe last ran.", cycle.at),
        _one("gpuswarm_probe_duration_seconds", "gauge", "Time that the probe took in the last cycle.", cycle.wall),
        _one("gpuswarm_probe_cpu_seconds", "gauge", "CPU time that the probe took in the last cycle.", cycle.cpu),
    ]


def _past(workers: Sequence[str], counted: CounterState) -> list[Family]:
    interruptions = _from_zero(counted.counts, CounterFamily.INTERRUPTIONS, workers)
    results = [f"{verdict} {result}" for verdict in RECOVERED for result in (Phase.DONE, Phase.FAILED)]
    recoveries = _from_zero(counted.counts, CounterFamily.RECOVERIES, results)
    remedies = [f"{server} {remedy}" for server in workers for remedy in sorted(COUNTED_STEPS)]
    attempts = _from_zero(counted.counts, CounterFamily.ATTEMPTS, remedies)
    return [
        (
            INTERRUPTIONS,
            "counter",
            "Losses of the server that the recovery loop has noticed and not caused itself.",
            [(INTERRUPTIONS, {"server": server}, n) for server, n in interruptions],
        ),
        (
            RECOVERIES,
            "counter",
            "Recoveries that have ended, by what was wrong and by result.",
            [(RECOVERIES, _two(name, "verdict", "result"), n) for name, n in recoveries],
        ),
        (
            REMEDIATION_ATTEMPTS,
            "counter",
            "Remedies that were tried on sick servers.",
            [(REMEDIATION_ATTEMPTS, _two(name, "server", "remedy"), n) for name, n in attempts],
        ),
        (
            LAST_RECOVERY,
            "gauge",
            "When a recovery last succeeded.",
            [(LAST_RECOVERY, {}, counted.recovered)] if counted.recovered else [],
        ),
        (
            PHASES,
            "histogram",
            "Time to reach a phase from the one before; detection: from the loss to noticed; total: noticed to done.",
            _histogram(counted.counts),
        ),
    ]


def _from_zero(counts: Counts, family: CounterFamily, expected: Iterable[str]) -> list[tuple[str, int]]:
    """The series of a family that are counted or expected, in order."""
    return sorted({**dict.fromkeys(expected, 0), **counts.get(family, {})}.items())


def _two(name: str, first: str, second: str) -> Labels:
    """The labels that a series is called by; the second has no space in it."""
    words = name.rpartition(" ")
    return {first: words[0], second: words[2]}


def _histogram(counts: Counts) -> list[Sample]:
    buckets = counts.get(CounterFamily.PHASES, {})
    times = dict(_from_zero(counts, CounterFamily.MILLISECONDS, TIMED))
    samples: list[Sample] = []
    for phase in sorted(times):
        within = 0
        for bound in BOUNDS:
            within += buckets.get(f"{phase} {bound}", 0)
            samples.append((f"{PHASES}_bucket", {"phase": phase, "le": bound}, within))
        samples.append((f"{PHASES}_sum", {"phase": phase}, times[phase] / 1000))
        samples.append((f"{PHASES}_count", {"phase": phase}, within))
    return samples


_SAMPLE = re.compile(r"(\w+)(?:\{(.*)\})? ([0-9]+(?:\.[0-9]+)?(?:e[+-][0-9]+)?)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

# Name of a metric -> what it counts, and in what parts of one.
_READ: Mapping[str, tuple[CounterFamily, int]] = {
    INTERRUPTIONS: (CounterFamily.INTERRUPTIONS, 1),
    RECOVERIES: (CounterFamily.RECOVERIES, 1),
    REMEDIATION_ATTEMPTS: (CounterFamily.ATTEMPTS, 1),
    f"{PHASES}_sum": (CounterFamily.MILLISECONDS, 1000),
    f"{PHASES}_bucket": (CounterFamily.PHASES, 1),
}


def exposed(content: str) -> CounterState:
    """What a text of `render` says was counted, and when (``until``); 0 and damaged lines are left out."""
    counts: dict[CounterFamily, dict[str, int]] = {}
    moments = {TIMESTAMP: 0.0, LAST_RECOVERY: 0.0}
    for line in content.splitlines():
        sample = _SAMPLE.fullmatch(line)
        if sample and sample[1] in moments:
            moments[sample[1]] = float(sample[3])
        elif sample and sample[1] in _READ:
            family, parts = _READ[sample[1]]
            series = " ".join(_unescaped(text) for _key, text in _LABEL.findall(sample[2] or ""))
            counts.setdefault(family, {})[series] = round(float(sample[3]) * parts)
    if CounterFamily.PHASES in counts:
        counts[CounterFamily.PHASES] = _by_bucket(counts[CounterFamily.PHASES])
    counted = {family: {name: n for name, n in series.items() if n} for family, series in counts.items()}
    counted = {family: series for family, series in counted.items() if series}
    return CounterState(counts=counted, until=moments[TIMESTAMP], recovered=moments[LAST_RECOVERY])


def _by_bucket(within: Mapping[str, int]) -> dict[str, int]:
    """What is in each bucket alone. Buckets of another version are left out: what is in them cannot be told apart."""
    bounds: dict[str, list[str]] = {}
    for name in within:
        phase, _space, bound = name.rpartition(" ")
        bounds.setdefault(phase, []).append(bound)
    alone = {}
    for phase in (phase for phase, found in bounds.items() if found == BOUNDS):
        below = 0
        for bound in BOUNDS:
            alone[f"{phase} {bound}"] = max(0, within[f"{phase} {bound}"] - below)
            below = within[f"{phase} {bound}"]
    return alone


def _one(name: str, kind: str, description: str, value: float) -> Family:
    return name, kind, description, [(name, {}, value)]


def _own(name: str, verdict: Diagnosis, value: float) -> Sample:
    return name, {"server": verdict.server}, value


def _line(name: str, labels: Labels, value: float) -> str:
    inner = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
    return f"{name}{{{inner}}} {value:.15g}" if inner else f"{name} {value:.15g}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", lambda found: "\n" if found[1] == "n" else found[1], text)
