"""The benchmark of the cost: some of its histories in every run of the tests, and that its goals can be missed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.gpuswarm.ollama.plugins.module_utils._core import ledger, prices
from tests.bench.cost import Result, Rotations, compare, goals, in_memory, lost_lines, rotations, shown_as_zero


@pytest.fixture
def memory() -> Iterator[Path]:
    with in_memory() as name:
        yield Path(name)


DRAW = random.Random(1)  # noqa: S311 - histories, no secrets


def test_random_histories_are_billed_as_an_independent_count_has_them(memory: Path) -> None:
    exact = 0
    for seed in range(16):
        one, history, text = compare(seed, memory)
        assert one.differing == 0, f"seed {seed}"
        assert shown_as_zero(seed, text) == 0, f"seed {seed}"
        assert one.hours > 0
        exact += history.exact
    assert 0 < exact < 16


def test_a_count_that_is_wrong_is_found(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = ledger.server_lines

    def late(*arguments: Any) -> list[ledger.Line]:
        return [
            ledger.Line(line.kind, line.id, line.name, line.earliest + 900, line.latest + 900, line.what)
            for line in right(*arguments)
        ]

    monkeypatch.setattr(ledger, "server_lines", late)
    assert sum(compare(seed, memory)[0].differing for seed in range(4)) > 0


def test_what_passes_for_free_is_found(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = {seed: compare(seed, memory)[2] for seed in range(4)}
    monkeypatch.setattr(
        prices.Money, "add", lambda self, amount, currency, _: self.amounts.update({currency: amount or Decimal(0)})
    )
    assert sum(shown_as_zero(seed, text) for seed, text in texts.items()) > 0


def test_killed_writers_lose_nothing(tmp_path: Path) -> None:
    lost, lines = lost_lines(3, tmp_path, DRAW)
    assert (lost, lines > 0) == (0, True)


def test_rotations_begin_with_the_hour() -> None:
    by_the_hour = rotations(2, DRAW, full_hour=True)
    assert 0 < by_the_hour.rotations == by_the_hour.surge_hours
    assert by_the_hour.oldest < 86400


def test_goals() -> None:
    assert [(item.value, item.met) for item in goals(Result())] == [(None, False)] * 4
    good = Result(histories=1, lost=0, by_the_hour=Rotations(3, 3, 0.0))
    assert [item.met for item in goals(good)] == [True] * 4
    bad = Result(histories=1, differing=1, shown_as_zero=2, lost=1, by_the_hour=Rotations(3, 4, 0.0))
    assert [item.value for item in goals(bad)] == [1, 2, 1, 1.333]
    assert not any(item.met for item in goals(bad))
    assert [item.name for item in goals(good)] == [
        "hours differing from an independent count",
        "unknown shown as zero",
        "ledger lines lost after SIGKILL",
        "rotation by the hour, cost ratio",
    ]
