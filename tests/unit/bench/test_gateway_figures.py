"""What the gateway's benchmark makes of its measurements."""

from __future__ import annotations

from typing import Any

import pytest

from tests.bench.gateway import (
    Question,
    Row,
    Target,
    goals,
    percentiles,
    table,
    upstreams_of,
)

GOOD = {
    "added_ms": {"p50": 0.1, "p95": 1.0, "p99": 3.0},
    "worst_s": 1.2,
    "back_s": [6.0, 7.0],
    "memory_mb": 60.0,
    "hung_s": 13.0,
    "impolite_ratio": 1.2,
}


def rows(ours: dict[str, Any], peer: dict[str, Any]) -> dict[str, Row]:
    return {"ours": Row("ours", **{**GOOD, **ours}), "peer": Row("peer", **{**GOOD, **peer})}


def test_percentiles() -> None:
    assert percentiles([float(number) for number in range(101)]) == {"p50": 50.0, "p95": 95.0, "p99": 99.0}


def test_as_good_as_the_limits_is_met() -> None:
    assert all(goal.met for goal in goals(rows({}, {})))


@pytest.mark.parametrize(
    ("ours", "peer", "missed"),
    [
        ({"added_ms": {"p50": 0, "p95": 2.1, "p99": 3}}, {}, ["a: latency added at p95 (ms)", "added p95, ms"]),
        ({"added_ms": {"p50": 0, "p95": 1.1, "p99": 3}}, {}, ["added p95, ms"]),
        ({"unanswered": 1}, {"unanswered": 9}, ["abandoned: questions unanswered within 5 s"]),
        ({"failed_before": 1}, {"failed_before": 1}, ["b: failed before the first byte"]),
        ({"failed_after": 1}, {}, ["b: failed after it, as good as peer"]),
        ({"worst_s": 1.6}, {"worst_s": 9}, ["b: worst latency (s)"]),
        ({"worst_s": 1.4}, {"worst_s": 1.3}, ["b: worst latency (s), as good as peer"]),
        ({"back_s": [9.0]}, {}, ["b: median until a returned node has traffic (s), as good as peer"]),
        ({"memory_mb": 101}, {"memory_mb": 300}, ["d: memory at 1000 open streams (MB)"]),
        ({"hung_s": 15.1}, {}, ["hung: seconds until out of traffic"]),
        ({"impolite_failures": 1}, {"impolite_failures": 9}, ["rude: polite client's failures"]),
        ({"impolite_ratio": 1.21}, {"impolite_ratio": 2}, ["rude: polite client's p95, ratio"]),
    ],
)
def test_what_is_missed_is_named(ours: dict[str, Any], peer: dict[str, Any], missed: list[str]) -> None:
    assert [goal.name for goal in goals(rows(ours, peer)) if not goal.met] == missed


def test_the_table_has_a_line_for_each_gateway() -> None:
    lines = table(rows({}, {})).splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| ours", "| peer"]
    assert len({line.count("|") for line in lines}) == 1


@pytest.mark.parametrize(
    ("header", "tried"),
    [
        ("X-Served-By: 10.0.0.2:11434", ("10.0.0.2",)),
        ("x-served-by: 10.0.0.2:11434, 10.0.0.3:11434 : 10.0.0.4:11434", ("10.0.0.2", "10.0.0.3", "10.0.0.4")),
        ("x-litellm-model-api-base: http://10.0.0.5:11434", ("10.0.0.5",)),
        ("Server: nginx", ()),
    ],
)
def test_who_was_tried_is_known_by_the_header(header: str, tried: tuple[str, ...]) -> None:
    assert upstreams_of(f"HTTP/1.1 200 OK\r\nDate: today\r\n{header}\r\n\r\n") == tried


@pytest.mark.parametrize(
    ("openai", "stream", "end"),
    [
        (False, False, b'{"response":"","done":true}'),
        (False, True, b'{"response":"","done":true}'),
        (True, False, b'{"choices":[{"finish_reason":"length"}]}'),
        (True, True, b"data: [DONE]"),
    ],
)
def test_an_answer_is_whole_with_its_end(openai: bool, stream: bool, end: bytes) -> None:
    target = Target("peer", "10.0.0.2", 8080, openai=openai)
    question = Question(8, stream=stream)
    assert question.is_answered(target, b"data: x\n" + end)
    assert not question.is_answered(target, b"data: x\n")
    assert (b'"max_tokens": 8' if openai else b'"num_predict": 8') in question.bytes_for(target)
