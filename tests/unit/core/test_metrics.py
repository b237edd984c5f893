"""Metrics, read with Prometheus' own parser."""

from __future__ import annotations

from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from ansible_collections.gpuswarm.ollama.plugins.module_utils._core import journal
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.diagnosis import Diagnosis
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.metrics import BUCKETS, Cycle, render
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
    samples = read(render(VERDICTS, [], CYCLE))
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
    samples = read(render(VERDICTS, HISTORY, CYCLE))
    assert samples["gpuswarm_interruptions_total", (("server", "g1"),)] == 1
    assert samples["gpuswarm_interruptions_total", (("server", "g4"),)] == 1
    assert samples["gpuswarm_recoveries_total", (("result", "done"), ("verdict", "lost"))] == 1
    assert samples["gpuswarm_recoveries_total", (("result", "failed"), ("verdict", "docker_dead"))] == 1
    assert samples["gpuswarm_remediation_attempts_total", (("remedy", "restart_docker"), ("server", "g3"))] == 1
    assert samples["gpuswarm_last_recovery_timestamp_seconds", ()] == 121


def test_histogram() -> None:
    samples = read(render(VERDICTS, HISTORY, CYCLE))
    name = "gpuswarm_recovery_phase_duration_seconds"
    buckets = {bound: samples[f"{name}_bucket", (("le", bound), ("phase", "active"))] for bound in ("2", "5", "+Inf")}
    assert buckets == {"2": 0, "5": 1, "+Inf": 1}
    assert samples[f"{name}_sum", (("phase", "total"),)] == 21
    assert samples[f"{name}_count", (("phase", "total"),)] == 1
    # what takes longer than the largest bound is in +Inf alone
    assert samples[f"{name}_bucket", (("le", str(BUCKETS[-1])), ("phase", "failed"))] == 0
    assert samples[f"{name}_bucket", (("le", "+Inf"), ("phase", "failed"))] == 1


def test_labels_are_escaped() -> None:
    odd = Diagnosis('a"b\\c\nd', Verdict.HEALTHY, Step.NONE, "", "gpu_worker", "ACTIVE")
    assert read(render([odd], [], CYCLE))["gpuswarm_server_as_desired", (("server", 'a"b\\c\nd'),)] == 1
