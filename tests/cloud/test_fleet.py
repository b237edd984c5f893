# SPDX-License-Identifier: Apache-2.0
"""selectel_fleet: many servers at once, on few API calls."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.gpuswarm.ollama.plugins.module_utils._runtime import watch
from tests.cloud.conftest import OTHER_ZONE, Run, World, run_module

COUNT = 6


@pytest.fixture(scope="module")
def specs(world: World) -> Iterator[list[dict[str, Any]]]:
    """Some servers that are ACTIVE, in two zones."""
    found = [
        world.spec(f"many-{i}", availability_zone=OTHER_ZONE if i % 2 else "ru-7a", tags=["t"]) for i in range(COUNT)
    ]
    would = run_module("selectel_fleet", fleet=world.fleet, servers=found, check=True)
    assert [s["action"] for s in would["servers"]] == ["create"] * COUNT, would
    assert len(would["diff"]["after"]) == COUNT
    assert not world.servers(found[0]["name"])
    did = run_module("selectel_fleet", fleet=world.fleet, servers=found, timeout=240)
    assert [s["action"] for s in did["servers"]] == ["create"] * COUNT, did
    assert [s["name"] for s in did["servers"]] == [s["name"] for s in found]
    yield found
    gone = run_module("selectel_fleet", fleet=world.fleet, servers=found, state="absent", timeout=240)
    assert [s["action"] for s in gone["servers"]] == ["delete"] * COUNT, gone


def test_nothing_to_do_costs_one_call(specs: list[dict[str, Any]], fleet: Run) -> None:
    for check in (True, False):
        did = fleet(servers=specs, check=check)
        assert (did["changed"], did["api_calls"]) == (False, 1), did
        assert did["diff"] == {"before": {}, "after": {}}
    cold = fleet(servers=specs, token_cache="")
    assert cold["api_calls"] == 2


def test_info(specs: list[dict[str, Any]], world: World) -> None:
    found = run_module("selectel_server_info", fleet=world.fleet)
    names = [s["name"] for s in found["servers"]]
    assert names == sorted(names)
    assert {s["name"] for s in specs} <= set(names)
    assert (found["changed"], found["api_calls"]) == (False, 1)
    (one,) = run_module("selectel_server_info", fleet=world.fleet, name=specs[1]["name"])["servers"]
    assert (one["name"], one["availability_zone"]) == (specs[1]["name"], OTHER_ZONE)
    assert run_module("selectel_server_info", fleet="no-such-fleet")["servers"] == []


def test_all_are_brought_back_side_by_side(
    specs: list[dict[str, Any]], world: World, fleet: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {s["name"]: s for s in run_module("selectel_server_info", fleet=world.fleet)["servers"]}
    world.shelve([before[spec["name"]]["id"] for spec in specs])
    looks: list[str] = []
    look = watch.Watcher.read

    def counted(watcher: watch.Watcher, server_id: str, *more: float) -> Any:
        looks.append(server_id)
        return look(watcher, server_id, *more)

    monkeypatch.setattr(watch.Watcher, "read", counted)
    did = fleet(servers=specs)
    assert [s["action"] for s in did["servers"]] == ["unshelve"] * COUNT, did
    assert {s["name"]: s["server"]["id"] for s in did["servers"]} == {s["name"]: before[s["name"]]["id"] for s in specs}
    # One list for all who wait, not one read for each at every poll. The other calls: a list, and an action for each
    assert did["api_calls"] - 1 - COUNT < len(looks), (did["api_calls"], len(looks))


def test_one_bad_specification_keeps_the_others_from_being_created(
    specs: list[dict[str, Any]], world: World, fleet: Run
) -> None:
    server = world.servers(specs[0]["name"])[0]
    world.act(server["id"], "shelve", "SHELVED_OFFLOADED")
    bad, good = world.spec("bad-one", flavor="none"), world.spec("good-one")
    did = fleet(servers=[specs[0], good, bad])
    assert did["failed"]
    assert did["error_kind"] == "preflight"
    assert "flavor 'none'" in did["msg"]
    assert "2 of 3 servers failed" in did["msg"]
    assert did["msg"].count("flavor 'none'") == 1
    assert [s["action"] for s in did["servers"]] == ["unshelve", "report", "report"]
    assert world.counts(good["name"]) == world.counts(bad["name"]) == (0, 0, 0)
    assert world.servers(specs[0]["name"])[0]["status"] == "ACTIVE"


def test_twice_the_same_name(world: World, fleet: Run) -> None:
    spec = world.spec("twin")
    did = fleet(servers=[spec, spec])
    assert did["failed"]
    assert spec["name"] in did["msg"]
    assert world.counts(spec["name"]) == (0, 0, 0)


def test_absent_of_nothing(fleet: Run, world: World) -> None:
    assert fleet(servers=[{"name": f"{world.fleet}-never"}], state="absent")["changed"] is False
    nothing = run_module("selectel_fleet", fleet="no-such-fleet", state="absent")
    assert (nothing["changed"], nothing["servers"]) == (False, [])
