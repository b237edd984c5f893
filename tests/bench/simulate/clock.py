# SPDX-License-Identifier: Apache-2.0
"""A clock that stands still until something is due, and processes that wait on it."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Generator, Sequence
from typing import TypeVar

T = TypeVar("T")
# A process yields the seconds that it waits, and returns a result.
Process = Generator[int, None, T]

POLL = 2  # seconds between two looks of one who waits for others


class Clock:
    """Time in whole epoch seconds. What is due at the same second happens in the order in which it was asked for."""

    def __init__(self, now: int) -> None:
        self.now = now
        self._due: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0

    def at(self, moment: int, call: Callable[[], None]) -> None:
        """Calls something at a moment, or now if that is over."""
        self._count += 1
        heapq.heappush(self._due, (max(moment, self.now), self._count, call))

    def run(self, until: int) -> None:
        """Lets everything happen that is due before a moment, which is then now."""
        while self._due and self._due[0][0] < until:
            self.now, _, call = heapq.heappop(self._due)
            call()
        self.now = until

    def spawn(self, process: Process[T], done: Callable[[T], None] = lambda _: None) -> None:
        """Begins a process now; ``done`` gets its result."""

        def go_on() -> None:
            try:
                seconds = next(process)
            except StopIteration as stop:
                done(stop.value)
            else:
                self.at(self.now + seconds, go_on)

        go_on()

    def together(self, processes: Sequence[Process[T]]) -> Process[list[T]]:
        """Processes side by side; their results when the last has ended."""
        results: dict[int, T] = {}
        for index, process in enumerate(processes):
            self.spawn(process, lambda result, index=index: results.__setitem__(index, result))  # type: ignore[misc]
        while len(results) < len(processes):
            yield POLL
        return [results[index] for index in range(len(processes))]
