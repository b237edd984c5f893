# SPDX-License-Identifier: Apache-2.0
"""A run that dies at any of its writes, or loses the answer to one, is mended by the next."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.gpuswarm.ollama.plugins.module_utils import cloud as cloud_module
from ansible_collections.gpuswarm.ollama.plugins.module_utils.errors import LostAnswerError

from .conftest import Run, World

WRITES = 3  # of a create: port, volume, server


class Killed(BaseException):
    """What a kill looks like from inside: nothing after it is run."""


class Wire:
    """Stands between the module and the cloud, and breaks the k-th write."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, break_at: int, when: str, error: type[BaseException]) -> None:
        self.writes: list[str] = []
        original = cloud_module.Cloud.request

        def request(cloud: Any, service: str, method: str, path: str, **more: Any) -> Any:
            if method == "GET":
                return original(cloud, service, method, path, **more)
            self.writes.append(f"{method} {path}")
            hit = len(self.writes) == break_at
            if hit and when == "before":
                raise error(f"before {method} {path}")
            answer = original(cloud, service, method, path, **more)
            if hit:
                raise error(f"after {method} {path}")
            return answer

        monkeypatch.setattr(cloud_module.Cloud, "request", request)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("k", range(1, WRITES + 1))
def test_killed_while_creating(world: World, server: Run, monkeypatch: pytest.MonkeyPatch, k: int, when: str) -> None:
    spec = world.spec("killed")
    with monkeypatch.context() as patch:
        Wire(patch, k, when, Killed)
        with pytest.raises(Killed):
            server(**spec)
    did = server(**spec)
    assert (did.get("failed", False), did["server"]["status"]) == (False, "ACTIVE"), did
    assert world.counts(spec["name"]) == (1, 1, 1)
    assert server(**spec)["changed"] is False
    assert server(name=spec["name"], state="absent")["changed"] is True
    assert world.counts(spec["name"]) == (0, 0, 0)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("k", range(1, WRITES + 1))
def test_lost_answer_while_creating(
    world: World, server: Run, monkeypatch: pytest.MonkeyPatch, k: int, when: str
) -> None:
    spec = world.spec("lost")
    with monkeypatch.context() as patch:
        Wire(patch, k, when, LostAnswerError)
        did = server(**spec)
    assert (did.get("failed", False), did["server"]["status"]) == (False, "ACTIVE"), did
    assert world.counts(spec["name"]) == (1, 1, 1)
    assert server(**spec)["changed"] is False
    assert server(name=spec["name"], state="absent")["changed"] is True


@pytest.mark.parametrize("error", [Killed, LostAnswerError])
@pytest.mark.parametrize("when", ["before", "after"])
def test_unshelve(
    world: World, server: Run, monkeypatch: pytest.MonkeyPatch, when: str, error: type[BaseException]
) -> None:
    spec = world.spec("broken-unshelve")
    made = server(**spec)
    world.act(made["server"]["id"], "shelve", "SHELVED_OFFLOADED")
    with monkeypatch.context() as patch:
        Wire(patch, 1, when, error)
        if error is Killed:
            with pytest.raises(Killed):
                server(**spec)
        else:
            assert server(**spec)["server"]["status"] == "ACTIVE"
    did = server(**spec)
    assert (did["server"]["status"], did["server"]["id"]) == ("ACTIVE", made["server"]["id"]), did
    assert server(name=spec["name"], state="absent")["changed"] is True


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("k", [1, 2, 3])
def test_killed_while_deleting(world: World, server: Run, monkeypatch: pytest.MonkeyPatch, k: int, when: str) -> None:
    spec = world.spec("killed-delete")
    server(**spec)
    with monkeypatch.context() as patch:
        Wire(patch, k, when, Killed)
        with pytest.raises(Killed):
            server(name=spec["name"], state="absent")
    did = server(name=spec["name"], state="absent")
    assert not did.get("failed"), did
    assert world.counts(spec["name"]) == (0, 0, 0)
