# SPDX-License-Identifier: Apache-2.0
"""How long the steps for one server may take, and how they are waited for."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from ansible_collections.gpuswarm.ollama.plugins.module_utils._clients.cloud import Deadline
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.errors import LostAnswerError, UnreachableError

from .watch import delays

CHECKS = (0.5, 1.0, 2.0)  # seconds before each check for what was made although the answer was lost

T = TypeVar("T")


class Patience:
    """The time that there is for one server: what the run has left, or less while one strategy is tried."""

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline
        self._until = float("inf")  # monotonic seconds at which the present strategy is given up
        self.limit = deadline.seconds  # the time-out that applies, for messages

    def left(self) -> float:
        """Seconds left for what is being done."""
        return min(self._deadline.left(), self._until - time.monotonic())

    @contextlib.contextmanager
    def limited(self, seconds: float | None) -> Iterator[None]:
        """Gives what is inside so many seconds; None: as many as the run has left."""
        if seconds is not None and seconds < self._deadline.left():
            self._until, self.limit = time.monotonic() + seconds, seconds
        try:
            yield
        finally:
            self._until, self.limit = float("inf"), self._deadline.seconds

    def until(self, ready: Callable[[], str | None], seconds: float) -> str | None:
        """Polls until `ready` gives None; the last answer if it never does."""
        end = time.monotonic() + min(seconds, max(0.0, self.left()))
        state: str | None = None
        for delay in delays():
            state = ready()
            left = end - time.monotonic()
            if state is None or left <= 0:
                break
            time.sleep(min(delay, left))
        return state

    def once(self, create: Callable[[], T], find: Callable[[], T | None]) -> T:
        """Creates something; if the answer is lost, checks whether it is there before it is requested again."""
        lost: LostAnswerError | None = None
        for _attempt in range(3):
            try:
                return create()
            except LostAnswerError as error:
                lost = error
            for delay in CHECKS:
                time.sleep(max(0.0, min(delay, self.left())))
                found = find()
                if found is not None:
                    return found
        raise UnreachableError(f"{lost}; it was looked for and is not there")
