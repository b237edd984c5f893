"""Metrics, read with Prometheus' own parser."""

from __future__ import annotations

from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from ansible_collections.gpuswarm.ollama.plugins.module_utils._core import journal
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.counters import (
    BUCKETS,
    CounterFamily,
    CounterState,
    advance,
)
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.diagnosis import Diagnosis
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.metrics import Cycle, exposed, render
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.vocabulary import Step, Verdict

CYCLE = Cycle(at=1_800_000_000.25, wall=0.15, cpu=0.11, maintenance=False, cloud=True, swarm=False)
VERDICTS = [
    Diagnosis("m", Verdict.HEALTHY, Step.NONE, "", "manager", "ACTIVE", age=5.5, capacity_type="on_demand"),
    Diagnosis("g1", Verdict.HEALTHY, Step.NONE, "", "gpu_worker", "ACTIVE", age=60.0, capacity_type="preemptible"),
    Diagnosis("g2", Verdict.HEALTHY, Step.NONE, "", "gpu_worker", "ACTIVE", age=61.0, capacity_type="preemptible"),
    Diagnosis(
        "g3", Verdict.DOCKER_DEAD, Step.REPORT, "", "gpu_worker", "ACTIVE", capacity_type="preemptible", attempts_left=0
    ),
    Diagnosis("g4", Verdict.LOST, Step.RESTORE, "", "gpu_worker"),
]

INTERRUPTIONS = CounterFamily.INTERRUPTIONS


def lines(*items: tuple[str, str, float, str]) -> list[dict[str, Any]]:
    return [journal.entry(phase, server, at, at, verdict=verdict) for phase, server, at, verdict in items]


HISTORY = lines(
    ("noticed", "g1", 100, "lost"),
    ("active", "g1", 103, ""),
    ("ready", "g1", 104, ""),
    ("healthy", "g1", 120, ""),
    ("done", "g1", 121, ""),
    ("noticed", "g3", 200, "docker_dead"),
    ("restart_docker", "g3", 201, ""),
    ("failed", "g3", 2500, ""),
    ("noticed", "g4", 3000, "lost"),
)
COUNTED = advance(None, CounterState(), HISTORY, 4000.0)


def read(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = list(text_string_to_metric_families(text))
    assert all(family.documentation for family in families)
    assert all(family.type != "unknown" for family in families)
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def test_present() -> None:
    samples = read(render(VERDICTS, CounterState(), CYCLE))
    key = (("capacity_type", "preemptible"), ("status", "ACTIVE"), ("verdict", "healthy"))
    assert samples["gpuswarm_servers", key] == 2
    assert samples["gpuswarm_server_age_seconds", (("server", "m"),)] == 5.5
    assert samples["gpuswarm_server_as_desired", (("server", "g1"),)] == 1
    assert samples["gpuswarm_server_as_desired", (("server", "g3"),)] == 0
    assert samples["gpuswarm_server_attempts_left", (("server", "g3"),)] == 0
    assert ("gpuswarm_server_attempts_left", (("server", "g1"),)) not in samples
    assert samples["gpuswarm_observed", (("source", "cloud"),)] == 1
    assert samples["gpuswarm_observed", (("source", "swarm"),)] == 0
    assert samples["gpuswarm_probe_timestamp_seconds", ()] == 1_800_000_000.25
    assert samples["gpuswarm_probe_cpu_seconds", ()] == 0.11


def test_past() -> None:
    samples = read(render(VERDICTS, COUNTED, CYCLE))
    assert samples["gpuswarm_interruptions_total", (("server", "g1"),)] == 1
    assert samples["gpuswarm_interruptions_total", (("server", "g4"),)] == 1
    assert samples["gpuswarm_recoveries_total", (("result", "done"), ("verdict", "lost"))] == 1
    assert samples["gpuswarm_recoveries_total", (("result", "failed"), ("verdict", "docker_dead"))] == 1
    assert samples["gpuswarm_remediation_attempts_total", (("remedy", "restart_docker"), ("server", "g3"))] == 1
    assert samples["gpuswarm_last_recovery_timestamp_seconds", ()] == 121


def test_histogram() -> None:
    samples = read(render(VERDICTS, COUNTED, CYCLE))
    name = "gpuswarm_recovery_phase_duration_seconds"
    buckets = {bound: samples[f"{name}_bucket", (("le", bound), ("phase", "active"))] for bound in ("2", "5", "+Inf")}
    assert buckets == {"2": 0, "5": 1, "+Inf": 1}
    assert samples[f"{name}_sum", (("phase", "total"),)] == 21
    assert samples[f"{name}_count", (("phase", "total"),)] == 1
    # what takes longer than the largest bound is in +Inf alone
    assert samples[f"{name}_bucket", (("le", str(BUCKETS[-1])), ("phase", "failed"))] == 0
    assert samples[f"{name}_bucket", (("le", "+Inf"), ("phase", "failed"))] == 1


def test_every_counter_is_there_from_the_start() -> None:
    """Prometheus' increase() over the first interruption of a server is 0 when its series is born with 1."""
    before, after = (read(render(VERDICTS, state, CYCLE)) for state in (CounterState(), COUNTED))
    counters = [key for key in after if key[0].endswith(("_total", "_bucket", "_sum", "_count"))]
    assert len(counters) > 100
    assert {before[key] for key in counters} == {0}
    assert {key[1][0][1] for key in after if key[0] == "gpuswarm_interruptions_total"} == {"g1", "g2", "g3", "g4"}


def test_what_was_counted_of_a_server_stays_when_it_goes() -> None:
    samples = read(render(VERDICTS[:2], COUNTED, CYCLE))
    assert samples["gpuswarm_interruptions_total", (("server", "g4"),)] == 1


def test_what_is_exposed_can_be_read_again() -> None:
    odd = lines(("noticed", 'a"b\\c\nd', 9, "lost"), ("reboot", 'a"b\\c\nd', 9.5, ""), ("done", 'a"b\\c\nd', 99999, ""))
    state = advance(COUNTED, CounterState(), [*HISTORY, *odd], 99999.0)
    found = exposed(render(VERDICTS, state, CYCLE))
    assert found.counts == state.counts
    assert (found.until, found.recovered) == (CYCLE.at, 99999)
    assert exposed("") == CounterState()


def test_what_is_damaged_in_it_is_left_out() -> None:
    whole = render(VERDICTS, COUNTED, CYCLE)
    older = whole.replace('le="9"', 'le="9.5"')  # buckets of another version
    assert CounterFamily.PHASES not in exposed(older).counts
    assert exposed(older).counts[INTERRUPTIONS] == COUNTED.counts[INTERRUPTIONS]
    torn = (
        whole[: whole.index("gpuswarm_remediation_attempts_total{")] + 'gpuswarm_interruptions_total{server="g1"} 1.2.3'
    )
    assert exposed(torn).counts[INTERRUPTIONS] == {"g1": 1, "g4": 1}


def test_labels_are_escaped() -> None:
    odd = Diagnosis('a"b\\c\nd', Verdict.HEALTHY, Step.NONE, "", "gpu_worker", "ACTIVE")
    assert read(render([odd], CounterState(), CYCLE))["gpuswarm_server_as_desired", (("server", 'a"b\\c\nd'),)] == 1
