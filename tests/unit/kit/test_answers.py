"""What clients asked, and the figures of what they got."""

from __future__ import annotations

import pytest

from tests.kit.answers import Answer, Figures, Log, question, upstreams

GOOD = Answer(1.0, 1.1, 2.0, complete=True, upstreams=("10.0.1.5",), status=200)
RETRIED = Answer(1.0, 2.5, 3.0, complete=True, upstreams=("10.0.1.5", "10.0.1.6"), status=200)
CUT = Answer(1.0, 1.2, 1.5, complete=False, upstreams=("10.0.1.5",), error="broken off", status=200)
FAILED = Answer(1.0, None, 1.2, complete=False, error="refused")


@pytest.mark.parametrize(
    ("answer", "failed", "cut", "server", "seconds"),
    [
        (GOOD, False, False, "10.0.1.5", 1.0),
        (RETRIED, False, False, "10.0.1.6", 2.0),
        (CUT, False, True, "10.0.1.5", 0.5),
        (FAILED, True, False, "", 0.2),
    ],
)
def test_an_answer(answer: Answer, failed: bool, cut: bool, server: str, seconds: float) -> None:
    assert (answer.failed, answer.cut, answer.server, round(answer.seconds, 3)) == (failed, cut, server, seconds)


@pytest.mark.parametrize(
    ("answers", "counts", "waits", "worst", "errors"),
    [
        ([], (0, 0, 0, 0, 0), [], 0.0, []),
        ([GOOD], (1, 1, 0, 0, 0), [0.1], 1.0, []),
        ([RETRIED, CUT, FAILED, FAILED, GOOD], (5, 2, 2, 1, 1), [0.1, 0.2, 1.5], 2.0, ["broken off", "refused"]),
    ],
)
def test_figures(
    answers: list[Answer], counts: tuple[int, ...], waits: list[float], worst: float, errors: list[str]
) -> None:
    found = Figures(answers)
    assert (found.asked, found.complete, found.failed, found.cut, found.retried) == counts
    assert ([round(wait, 3) for wait in found.waits], found.worst_s, found.errors) == (waits, worst, errors)


def test_a_log() -> None:
    log = Log()
    for answer in (GOOD, CUT, FAILED):
        log.answered(answer)
    log.answers().clear()  # a copy
    assert log.answers() == [GOOD, CUT, FAILED]
    assert log.lost() == [CUT, FAILED]


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", ()),
        ("10.0.1.5:11434", ("10.0.1.5",)),
        ("10.0.1.5:11434, 10.0.1.6:11434", ("10.0.1.5", "10.0.1.6")),
        ("10.0.1.5:11434 : 10.0.1.6:11434", ("10.0.1.5", "10.0.1.6")),
        ("[fd00::5]:11434", ("fd00::5",)),
        ("ollama", ("ollama",)),
        ("-", ()),
    ],
)
def test_upstreams(header: str, expected: tuple[str, ...]) -> None:
    assert upstreams(header) == expected


def test_a_question() -> None:
    assert question(4, model="other", stream=True, system="short") == {
        "model": "other",
        "prompt": "hello",
        "stream": True,
        "options": {"num_predict": 4},
        "system": "short",
    }
