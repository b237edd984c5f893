# SPDX-License-Identifier: Apache-2.0
"""Threads that look, or ask, again and again while other things happen."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Generic, TypeVar

T = TypeVar("T")


class Watcher:
    """A thread that runs until it is told to stop; ``ends_within_s``: how long that may take."""

    ends_within_s = 5.0

    def __init__(self, name: str) -> None:
        self.stopping = threading.Event()
        self._thread = threading.Thread(target=self.run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Ask it to end, and wait for that."""
        self.stopping.set()
        if self._thread.ident:
            self._thread.join(timeout=self.ends_within_s)

    def run(self) -> None:
        """Do the work until ``stopping`` is set."""
        raise NotImplementedError


@contextmanager
def running(watchers: Sequence[Watcher]) -> Iterator[None]:
    """Start threads, and stop them whatever happens."""
    try:
        for watcher in watchers:
            watcher.start()
        yield
    finally:
        for watcher in watchers:
            watcher.stopping.set()
        for watcher in watchers:
            watcher.stop()


class _Sampler(Watcher, Generic[T]):
    ends_within_s = 60.0

    def __init__(self, look: Callable[[], T], pause_s: float) -> None:
        super().__init__("sampler")
        self.look = look
        self.pause_s = pause_s
        self.seen: list[T] = []
        self.failure: Exception | None = None

    def run(self) -> None:
        try:
            while not self.stopping.wait(self.pause_s):
                self.seen.append(self.look())
        except Exception as error:  # noqa: BLE001 (whatever it is, the test has to see it)
            self.failure = error


@contextmanager
def sampled(look: Callable[[], T], pause_s: float) -> Iterator[list[T]]:
    """Collect what ``look`` says every so many seconds meanwhile; its exception is raised at the end."""
    sampler = _Sampler(look, pause_s)
    with running([sampler]):
        yield sampler.seen
    if sampler.failure:
        raise sampler.failure
