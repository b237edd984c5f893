# SPDX-License-Identifier: Apache-2.0
"""What clients ask the gateway, how it went, and the figures of that. No input or output here."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

# The one that the lab's image and the bed's servers have.
MODEL = "tiny"


def question(
    tokens: int = 8, *, model: str = MODEL, prompt: str = "hello", stream: bool = False, **more: Any
) -> dict[str, Any]:
    """Make the body of a request to ``/api/generate``, for at most so many tokens, by default in one piece."""
    return {"model": model, "prompt": prompt, "stream": stream, "options": {"num_predict": tokens}, **more}


@dataclass(frozen=True)
class Answer:
    """How one request ended; all times in seconds of one clock.

    Attributes:
        asked: When it was sent.
        first: When its first token came; None if it never did.
        ended: When it was over.
        complete: Whether it ended as it should.
        upstreams: Addresses that the gateway tried, in order, without ports; the last one answered.
        error: What went wrong, empty if nothing did.
        status: HTTP status, 0 if there was none.
    """

    asked: float
    first: float | None
    ended: float
    complete: bool
    upstreams: tuple[str, ...] = ()
    error: str = ""
    status: int = 0

    @property
    def failed(self) -> bool:
        """Whether it ended without a single token."""
        return self.first is None

    @property
    def cut(self) -> bool:
        """Whether it began and was broken off."""
        return self.first is not None and not self.complete

    @property
    def seconds(self) -> float:
        """How long it took to its end."""
        return self.ended - self.asked

    @property
    def server(self) -> str:
        """Address of the server that answered, empty if the gateway named none."""
        return self.upstreams[-1] if self.upstreams else ""


class Figures:
    """What clients got.

    Attributes:
        asked: Number of answers asked for. ``complete``: of those that were whole; ``failed``: that ended without a
            token; ``cut``: that began and were broken off; ``retried``: that another server had been asked for before.
        waits: Seconds to the first token, the shortest first.
        worst_s: Seconds that the longest answer took.
        errors: Different errors, sorted.
    """

    def __init__(self, answers: Sequence[Answer]) -> None:
        self.asked = len(answers)
        self.complete = sum(answer.complete for answer in answers)
        self.failed = sum(answer.failed for answer in answers)
        self.cut = sum(answer.cut for answer in answers)
        self.retried = sum(len(answer.upstreams) > 1 for answer in answers)
        self.waits = sorted(answer.first - answer.asked for answer in answers if answer.first is not None)
        self.worst_s = max((answer.seconds for answer in answers), default=0.0)
        self.errors = sorted({answer.error for answer in answers if answer.error})


def upstreams(header: str) -> tuple[str, ...]:
    """Read the gateway's ``X-Served-By`` header.

    >>> upstreams("10.0.1.5:11434, 10.0.1.6:11434")
    ('10.0.1.5', '10.0.1.6')
    """
    # nginx separates upstreams of one group by a comma, of an internal redirect by a colon between spaces.
    parts = re.split(r"\s*,\s*|\s+:\s+", header.strip())
    return tuple(part.rsplit(":", 1)[0].strip("[]") for part in parts if part and part != "-")


class Log:
    """The answers so far; threads add to it, others read copies."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answers: list[Answer] = []

    def answered(self, answer: Answer) -> None:
        """Add an answer."""
        with self._lock:
            self._answers.append(answer)

    def answers(self) -> list[Answer]:
        """Copy what was answered."""
        with self._lock:
            return list(self._answers)

    def lost(self) -> list[Answer]:
        """Copy those that were not whole."""
        return [answer for answer in self.answers() if not answer.complete]
