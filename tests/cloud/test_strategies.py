# SPDX-License-Identifier: Apache-2.0
"""The strategies when the first one fails, against real Nova."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.gpuswarm.ollama.plugins.module_utils._runtime import watch
from tests.cloud.conftest import OTHER_ZONE, ZONE, Run, World, together, users_of

SAME = ("fixed_ip", "port_id")


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    return tmp_path / "state" / "capacity.json"


@pytest.fixture(scope="module")
def pool(world: World, request: pytest.FixtureRequest) -> Iterator[dict[str, dict[str, Any]]]:
    """A shelved server for each test that wants one."""
    specs = {
        test: world.spec(
            f"lost-{number}",
            availability_zone=OTHER_ZONE,
            volume_type="fast.{zone}",
            alternatives=[{"availability_zone": ZONE}],
        )
        for number, test in enumerate(users_of("lost", request))
    }
    with together(world, specs) as servers:
        world.shelve([one["server"]["id"] for one in servers.values()])
        yield servers


@pytest.fixture
def lost(pool: dict[str, dict[str, Any]], memory: Path, request: pytest.FixtureRequest) -> dict[str, Any]:
    """A shelved server in the zone that is going to be without room; the other zone is its alternative."""
    mine = pool[request.node.name]
    return {"spec": {**mine["spec"], "capacity_memory": str(memory)}, "server": mine["server"]}


def full(memory: Path, zone: str, capacity_type: str = "preemptible", seconds: float = 900) -> None:
    """Lets the memory say that a zone had no room."""
    entries = json.loads(memory.read_text())
    (known,) = [key for key in entries if OTHER_ZONE in key and "(preemptible)" in key]
    key = known.replace(OTHER_ZONE, zone).replace("(preemptible)", f"({capacity_type})")
    entries[key] = {"failures": 1, "until": time.time() + seconds}
    memory.write_text(json.dumps(entries))


def test_another_zone(
    world: World, server: Run, lost: dict[str, Any], memory: Path, zone_without_room: Callable[[], None]
) -> None:
    spec, before = lost["spec"], lost["server"]
    did = server(**spec)
    assert (did["changed"], did["action"], did["server"]["status"]) == (True, "recreate", "ACTIVE"), did
    assert (did["server"]["availability_zone"], did["capacity_type"]) == (ZONE, "preemptible")
    assert {k: did["server"][k] for k in SAME} == {k: before[k] for k in SAME}
    assert did["server"]["volume_id"] != before["volume_id"]
    assert [(t["strategy"], t["availability_zone"], t["error_kind"]) for t in did["tried"]] == [
        ("unshelve", OTHER_ZONE, "no_capacity")
    ]
    # The disk in the other zone is gone, and nothing says any more that it is to go
    (volume,) = world.volumes(spec["name"])
    assert (volume["id"], volume["availability_zone"], volume["volume_type"]) == (
        did["server"]["volume_id"],
        ZONE,
        f"fast.{ZONE}",
    )
    assert "gpuswarm_former_disks" not in world.servers(spec["name"])[0]["metadata"]
    assert world.counts(spec["name"]) == (1, 1, 1)
    assert memory.stat().st_mode & 0o777 == 0o600

    zone_without_room()
    for check in (True, False):
        again = server(check=check, **spec)
        assert (again["changed"], again["action"], again["api_calls"]) == (False, "none", 1), again
        assert (again["warnings"], again["tried"]) == ([], [])


def test_on_demand_and_back(
    world: World, server: Run, lost: dict[str, Any], memory: Path, zone_without_room: Callable[[], None]
) -> None:
    spec, before = {**lost["spec"], "alternatives": [], "on_demand_fallback": True}, lost["server"]
    failed = server(**{**spec, "on_demand_fallback": False})
    assert (failed["failed"], failed["error_kind"]) == (True, "no_capacity"), failed
    zone_without_room()  # for preemptible servers there still is none, says the memory
    would = server(check=True, **spec)
    assert (would["changed"], would["action"]) == (True, "recreate"), would
    assert would["diff"]["after"][spec["name"]]["capacity_type"] == "on_demand"
    did = server(**spec)
    assert (did["changed"], did["capacity_type"], did["server"]["status"]) == (True, "on_demand", "ACTIVE"), did
    assert world.servers(spec["name"])[0]["tags"] == []
    for kept in (*SAME, "volume_id"):
        assert did["server"][kept] == before[kept]
    assert world.counts(spec["name"]) == (1, 1, 1)

    again = server(**spec)
    assert (again["changed"], again["action"], again["capacity_type"], again["warnings"]) == (
        False,
        "none",
        "on_demand",
        [],
    )

    # Back to preemptible only when it is asked for, and not while there is no room for it
    for check in (True, False):
        stays = server(check=check, return_to_preemptible=True, **spec)
        assert (stays["changed"], stays["server"]["id"]) == (False, did["server"]["id"]), stays
        assert "stays on demand" in stays["warnings"][0]
    memory.unlink()
    would = server(check=True, return_to_preemptible=True, **spec)
    assert (would["changed"], would["action"]) == (True, "recreate"), would
    back = server(return_to_preemptible=True, **spec)
    assert (back["changed"], back["action"], back["capacity_type"]) == (True, "recreate", "preemptible"), back
    assert world.servers(spec["name"])[0]["tags"] == ["preemptible"]
    for kept in (*SAME, "volume_id"):
        assert back["server"][kept] == before[kept]
    assert server(return_to_preemptible=True, **spec)["changed"] is False


def test_return_that_finds_no_room_ends_on_demand(
    world: World, server: Run, lost: dict[str, Any], memory: Path, zone_without_room: Callable[[], None]
) -> None:
    spec = {**lost["spec"], "on_demand_fallback": True}
    assert server(**{**spec, "alternatives": [], "on_demand_fallback": False})["failed"]
    full(memory, ZONE)
    there = server(**spec)  # both zones without room for preemptible ones, the server's own without any
    assert (there["capacity_type"], there["server"]["availability_zone"]) == ("on_demand", ZONE), there
    assert [t["strategy"] for t in there["tried"]] == ["on_demand"]
    memory.unlink()
    zone_without_room()
    assert world.counts(spec["name"]) == (1, 1, 1)
    back = server(return_to_preemptible=True, **spec)
    assert (back["capacity_type"], back["server"]["availability_zone"]) == ("preemptible", ZONE), back
    assert back["server"]["volume_id"] == there["server"]["volume_id"]


def test_no_room_anywhere(
    world: World, server: Run, lost: dict[str, Any], memory: Path, zone_without_room: Callable[[], None]
) -> None:
    spec = {**lost["spec"], "alternatives": []}
    server(**spec)
    full(memory, ZONE)
    spec = lost["spec"]
    for check in (True, False):
        did = server(check=check, **spec)
        assert (did["failed"], did["error_kind"], did["changed"]) == (True, "no_capacity", False), did
        for words in (OTHER_ZONE, ZONE, "tried again in", lost["server"]["id"], "SHELVED_OFFLOADED"):
            assert words in did["msg"]
        assert did["tried"] == []
    # Nothing was asked of Nova: the server is as it was
    (there,) = world.servers(spec["name"])
    assert (there["id"], there["status"]) == (lost["server"]["id"], "SHELVED_OFFLOADED")
    assert world.counts(spec["name"]) == (1, 1, 1)
    memory.write_text("damaged")
    zone_without_room()
    did = server(**spec)
    assert (did["action"], did["server"]["id"]) == ("unshelve", lost["server"]["id"]), did
    assert json.loads(memory.read_text() if memory.read_text() != "damaged" else "{}") == {}


def test_an_unshelve_that_hangs_is_given_up(
    world: World, server: Run, lost: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, before = {**lost["spec"], "strategy_timeouts": {"unshelve": 1}}, lost["server"]
    look = watch.Watcher.read

    def hangs(watcher: Any, server_id: str, *more: Any) -> Any:
        found = look(watcher, server_id, *more)
        if found and found.id == before["id"]:
            return replace(found, status="SHELVED_OFFLOADED", task_state="spawning")
        return found

    monkeypatch.setattr(watch.Watcher, "read", hangs)
    did = server(**spec)
    assert (did["server"]["status"], did["server"]["availability_zone"]) == ("ACTIVE", OTHER_ZONE), did
    assert did["server"]["id"] != before["id"]
    for kept in (*SAME, "volume_id"):
        assert did["server"][kept] == before[kept]
    assert [(t["strategy"], t["error_kind"]) for t in did["tried"]] == [("unshelve", "timeout")]
    assert world.counts(spec["name"]) == (1, 1, 1)


@pytest.mark.parametrize(
    ("alternative", "words"),
    [
        ({"availability_zone": "ru-7z"}, ["`alternatives`: availability zone 'ru-7z'", "volume type 'fast.ru-7z'"]),
        ({"flavor": "none"}, ["`alternatives`: flavor 'none'"]),
    ],
)
@pytest.mark.usefixtures("short_pauses")
def test_a_wrong_alternative_is_refused_at_the_creation(
    world: World, server: Run, alternative: dict[str, str], words: list[str]
) -> None:
    spec = world.spec("wrong-alternative", volume_type="fast.{zone}", alternatives=[alternative])
    did = server(**spec)
    assert (did["failed"], did["error_kind"]) == (True, "preflight"), did
    for word in [*words, "nothing was created"]:
        assert word in did["msg"]
    assert world.counts(spec["name"]) == (0, 0, 0)
