# SPDX-License-Identifier: Apache-2.0
"""Waiting for what nobody announces."""

from __future__ import annotations

import itertools
import subprocess
import time
from collections.abc import Callable, Iterable
from typing import TypeVar

import httpx

T = TypeVar("T")
# What a look at something that starts, moves or reboots may fail with.
TRANSIENT: tuple[type[Exception], ...] = (OSError, httpx.HTTPError, subprocess.SubprocessError)


class NotInTimeError(AssertionError):
    """What was waited for did not come; the message says what it was and what was seen last."""


def until(
    what: str,
    probe: Callable[[], T],
    seconds: float = 30,
    pause: float | Iterable[float] = 0.05,
    *,
    tolerate: tuple[type[Exception], ...] = TRANSIENT,
    show: Callable[[], str] | None = None,
) -> T:
    """Ask again and again until the answer is true.

    Args:
        what: What is waited for, in words for the error.
        probe: The question.
        seconds: How long to go on (default: 30).
        pause: Seconds between two questions, always the same or one after the other (default: 0.05).
        tolerate: Exceptions of ``probe`` that are no end (default: those of connections and commands).
        show: More for the error, asked for only then (default: nothing).

    Returns:
        The first answer that is true.

    Raises:
        NotInTimeError: There was none in time.
    """
    deadline = time.monotonic() + seconds
    pauses = itertools.repeat(pause) if isinstance(pause, int | float) else iter(pause)
    last: object = None
    asked = 0
    while True:
        asked += 1
        try:
            if value := probe():
                return value
            last = value
        except tolerate as error:
            last = error
        if time.monotonic() >= deadline:
            break
        time.sleep(next(pauses))
    more = ""
    if show:
        try:
            more = f"\n{show()}"
        except tolerate as error:  # it must not hide what was waited for
            more = f"\n(no more can be shown: {error})"
    raise NotInTimeError(f"not within {seconds:g} s: {what} (last of {asked}: {last!r}){more}")
