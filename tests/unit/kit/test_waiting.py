"""Waiting: the first true answer, what is tolerated on the way, and what the error shows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest

from tests.kit.waiting import NotInTimeError, until


def answers(*values: object) -> Callable[[], object]:
    """A probe that answers, or fails, with one after another, and goes on with the last."""
    left: Iterator[object] = iter(values)
    last: object = None

    def probe() -> object:
        nonlocal last
        last = next(left, last)
        if isinstance(last, Exception):
            raise last
        return last

    return probe


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["here"], "here"),
        ([None, 0, "", [], "here"], "here"),
        ([OSError("refused"), TimeoutError(), "here"], "here"),
    ],
)
def test_the_first_true_answer_is_returned(values: list[object], expected: object) -> None:
    assert until("something", answers(*values), 5, 0) == expected


def test_it_is_asked_once_more_than_there_are_pauses_however_short_the_time() -> None:
    assert until("something", answers("at once"), 0) == "at once"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([""], r"not within 0.05 s: the cat \(last of \d+: ''\)"),
        ([OSError("refused")], r"not within 0.05 s: the cat \(last of \d+: OSError\('refused'\)\)"),
    ],
)
def test_the_error_names_what_was_waited_for_and_the_last_answer(values: list[object], words: str) -> None:
    with pytest.raises(NotInTimeError, match=words):
        until("the cat", answers(*values), 0.05, 0.01)


def test_what_is_not_tolerated_is_raised() -> None:
    with pytest.raises(OSError, match="refused"):
        until("the cat", answers(OSError("refused"), "here"), tolerate=())
    with pytest.raises(ValueError, match="damaged"):
        until("the cat", answers(ValueError("damaged"), "here"))


def test_pauses_come_one_after_another() -> None:
    pauses = iter([0.0, 0.0, 0.0])
    assert until("the cat", answers(0, 0, "here"), 5, pauses) == "here"
    assert list(pauses) == [0.0]


def broken() -> str:
    raise OSError("no route")


@pytest.mark.parametrize(
    ("show", "end"), [(lambda: "the journal", "\nthe journal"), (broken, "\n(no more can be shown: no route)")]
)
def test_what_is_shown_hides_nothing(show: Callable[[], str], end: str) -> None:
    with pytest.raises(NotInTimeError, match=r"the cat \(last of \d+: False\)" + re.escape(end)):
        until("the cat", answers(False), 0, show=show)
