# SPDX-License-Identifier: Apache-2.0
"""One list call answers all who wait."""

from __future__ import annotations

import contextlib
import threading
import time
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ansible_collections.gpuswarm.ollama.plugins.module_utils._clients.cloud import Cloud
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.servers import Server
from ansible_collections.gpuswarm.ollama.plugins.module_utils._runtime import watch
from ansible_collections.gpuswarm.ollama.plugins.module_utils._runtime.watch import (
    FIRST_POLL,
    LONGEST_POLL,
    Watcher,
    delays,
)

NAMES = [f"server-{number}" for number in range(6)]
LONG_AGO, IN_FUTURE = 0.0, float("inf")  # monotonic seconds
OLD = 3600.0  # seconds


class Counted:
    """A cloud in which every server of `NAMES` but the last is listed; counts what is asked of it."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def servers(self) -> list[Server]:
        self.asked.append("list")
        return [Server(id=name, name=name, status="BUILD") for name in NAMES[:-1]]

    def server(self, server_id: str) -> Server | None:
        self.asked.append(server_id)
        return None


def watched(waiting: int) -> tuple[Watcher, list[str], contextlib.ExitStack]:
    """A watcher with so many that wait, and what it asks for."""
    cloud = Counted()
    watcher, stack = Watcher(cast("Cloud", cast("Any", cloud))), contextlib.ExitStack()
    for _ in range(waiting):
        stack.enter_context(watcher.waiting())
    return watcher, cloud.asked, stack


def test_one_who_waits_alone_reads_one_server() -> None:
    watcher, asked, _ = watched(1)
    watcher.read(NAMES[0], LONG_AGO, OLD)
    watcher.read(NAMES[0], LONG_AGO, OLD)
    assert asked == [NAMES[0], NAMES[0]]


def test_one_list_serves_all_who_wait() -> None:
    watcher, asked, _ = watched(len(NAMES))
    threads = [threading.Thread(target=watcher.read, args=(name, LONG_AGO, OLD)) for name in NAMES[:-1]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert asked == ["list"]


def test_those_who_ask_while_a_list_is_read_share_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the API is, there are not as many lists as there are servers."""
    watcher, asked, _ = watched(len(NAMES))
    begun, go_on = threading.Event(), threading.Event()
    every = Counted.servers

    def slow(cloud: Counted) -> list[Server]:
        begun.set()
        go_on.wait()
        return every(cloud)

    monkeypatch.setattr(Counted, "servers", slow)
    questions: list[float] = []

    def clock() -> float:
        questions.append(time.monotonic())
        return questions[-1]

    monkeypatch.setattr(watch, "time", SimpleNamespace(monotonic=clock))
    threads = [threading.Thread(target=watcher.read, args=(name, LONG_AGO, 0.0)) for name in NAMES[:-1]]
    threads[0].start()
    begun.wait()
    for thread in threads[1:]:
        thread.start()
    while len(questions) < len(threads) + 1:  # each has asked, and the first list has begun
        time.sleep(0.001)
    go_on.set()
    for thread in threads:
        thread.join()
    assert asked == ["list"] * 2


def test_a_list_that_is_too_old_is_read_again() -> None:
    watcher, asked, _ = watched(2)
    watcher.read(NAMES[0], LONG_AGO, OLD)
    watcher.read(NAMES[0], IN_FUTURE, OLD)  # older than what is waited for
    watcher.read(NAMES[0], LONG_AGO, -1.0)  # older than it may be
    assert asked == ["list"] * 3


def test_what_the_list_leaves_out_is_read() -> None:
    watcher, asked, _ = watched(2)
    assert watcher.read(NAMES[-1], LONG_AGO, OLD) is None
    assert asked == ["list", NAMES[-1]]


def test_when_the_others_have_ended_the_last_reads_its_own_server() -> None:
    watcher, asked, stack = watched(2)
    stack.close()
    with watcher.waiting():
        watcher.read(NAMES[0], LONG_AGO, OLD)
    assert asked == [NAMES[0]]


def test_polls_are_quick_at_first_then_patient() -> None:
    first = [delay for delay, _ in zip(delays(), range(20), strict=False)]
    assert first[0] == FIRST_POLL
    assert first == sorted(first)
    assert first[-1] == LONGEST_POLL
