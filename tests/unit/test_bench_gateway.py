"""What the gateway's benchmark makes of its measurements."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.gpuswarm.ollama.tests.bench.gateway import Row, goals, percentiles, table

GOOD = {"added_ms": {"p50": 0.1, "p95": 1.0, "p99": 3.0}, "worst_s": 1.2, "back_s": [6.0, 7.0], "memory_mb": 60.0}


def rows(ours: dict[str, Any], peer: dict[str, Any]) -> dict[str, Row]:
    return {"ours": Row("ours", **{**GOOD, **ours}), "peer": Row("peer", **{**GOOD, **peer})}


def test_percentiles() -> None:
    assert percentiles([float(number) for number in range(101)]) == {"p50": 50.0, "p95": 95.0, "p99": 99.0}


def test_as_good_as_the_limits_is_met() -> None:
    assert all(goal["met"] for goal in goals(rows({}, {})))


@pytest.mark.parametrize(
    ("ours", "peer", "missed"),
    [
        ({"added_ms": {"p50": 0, "p95": 2.1, "p99": 3}}, {}, ["a: latency added at p95 (ms)"]),
        ({"failed_before": 1}, {"failed_before": 1}, ["b: failed before the first byte"]),
        ({"failed_after": 1}, {}, ["b: failed after it, as good as peer"]),
        ({"worst_s": 1.6}, {"worst_s": 9}, ["b: worst latency (s)"]),
        ({"worst_s": 1.4}, {"worst_s": 1.3}, ["b: worst latency (s), as good as peer"]),
        ({"back_s": [9.0]}, {}, ["b: median until a returned node has traffic (s), as good as peer"]),
        ({"memory_mb": 101}, {"memory_mb": 300}, ["d: memory at 1000 open streams (MB)"]),
    ],
)
def test_what_is_missed_is_named(ours: dict[str, Any], peer: dict[str, Any], missed: list[str]) -> None:
    assert [goal["name"] for goal in goals(rows(ours, peer)) if not goal["met"]] == missed


def test_the_table_has_a_line_for_each_gateway() -> None:
    lines = table(rows({}, {})).splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| ours", "| peer"]
    assert len({line.count("|") for line in lines}) == 1
