"""Threads beside a test: they end with it, and what goes wrong in them is not lost."""

from __future__ import annotations

import threading

import pytest

from tests.kit.waiting import until
from tests.kit.watching import Watcher, running, sampled


class Idle(Watcher):
    def __init__(self, *, broken: bool = False) -> None:
        super().__init__("idle")
        self.broken = broken
        self.ended = False

    def start(self) -> None:
        if self.broken:
            raise OSError("it cannot begin")
        super().start()

    def run(self) -> None:
        self.stopping.wait()
        self.ended = True


def test_threads_end_with_the_block() -> None:
    watchers = [Idle(), Idle()]
    with running(watchers):
        assert not any(watcher.ended for watcher in watchers)
    assert all(watcher.ended for watcher in watchers)


def test_threads_end_when_one_cannot_begin() -> None:
    first, broken, last = Idle(), Idle(broken=True), Idle()
    with pytest.raises(OSError, match="cannot begin"), running([first, broken, last]):
        pass
    assert (first.ended, last.ended) == (True, False)


def test_samples() -> None:
    names = iter(range(1000))
    with sampled(lambda: (next(names), threading.current_thread().name), 0.001) as seen:
        until("there are some", lambda: len(seen) >= 3)
    assert [number for number, _ in seen] == list(range(len(seen)))
    assert {name for _, name in seen} == {"sampler"}


def test_a_look_that_fails_is_told_at_the_end() -> None:
    begun = threading.Event()

    def look() -> None:
        begun.set()
        raise ValueError("damaged")

    with pytest.raises(ValueError, match="damaged"), sampled(look, 0):
        assert begun.wait(10)


def test_what_fails_meanwhile_comes_first() -> None:
    def look() -> None:
        raise ValueError("damaged")

    with pytest.raises(OSError, match="the test's own"), sampled(look, 0):
        raise OSError("the test's own")
