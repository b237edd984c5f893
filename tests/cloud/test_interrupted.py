# SPDX-License-Identifier: Apache-2.0
"""A run that is killed right before or right after any of its writes is mended by the next.

Every case is run once to its end, to see which writes there are. Then, for each of them, a server of its own is led to
the same point and the process killed there. One run over all of them has to put everything right.

What happens when the answer to a write is lost, with the process alive, is in test_faults.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.cloud.conftest import OTHER_ZONE, ZONE, World, run_module
from tests.cloud.kill_points import Runner

Specs = list[dict[str, Any]]
SIDE_BY_SIDE = 6  # processes; what they do is mostly waiting
# A process that is killed before a write leaves the cloud as one that is killed after the previous write, but for time.
MOMENTS = pytest.mark.parametrize("when", ["after", pytest.param("before", marks=pytest.mark.thorough)])


@pytest.fixture(scope="module")
def runner() -> Runner:
    return Runner()


def fleet(world: World, specs: Specs, **options: Any) -> dict[str, Any]:
    did = run_module("selectel_fleet", fleet=world.fleet, servers=specs, timeout=400, **options)
    assert not did.get("failed"), did
    return did


@dataclass(frozen=True)
class Case:
    """What is interrupted.

    Attributes:
        writes: the writes that it consists of, as a check that the case is the one that was meant.
        prepare: leads the servers to where the case begins.
        changes: options of the interrupted run and of the one that mends it.
        spec: more of the servers' specifications.
        keeps: whether the servers are the same ones afterwards.
    """

    writes: list[str]
    prepare: Callable[[World, Specs], None]
    changes: dict[str, Any]
    spec: dict[str, Any]
    keeps: bool = False


def nothing(world: World, specs: Specs) -> None:
    """They do not exist."""


def made(world: World, specs: Specs) -> None:
    fleet(world, specs)


def shelved(world: World, specs: Specs) -> None:
    world.shelve([did["server"]["id"] for did in fleet(world, specs)["servers"]])


def gone(world: World, specs: Specs) -> None:
    ids = {did["server"]["id"] for did in fleet(world, specs)["servers"]}
    for one in ids:
        world.nova.delete(f"/servers/{one}")
    world.until(lambda: ids.isdisjoint(server["id"] for server in world.servers()), "the servers are gone")


def on_demand(world: World, specs: Specs) -> None:
    fleet(world, [{**spec, "preemptible": False} for spec in specs])


def untagged(world: World, specs: Specs) -> None:
    for did in fleet(world, specs)["servers"]:
        world.nova.delete(f"/servers/{did['server']['id']}/tags", microversion="2.72")
        body = {"metadata": {"k": "other"}}
        world.nova.post(f"/servers/{did['server']['id']}/metadata", json=body, microversion="2.72")


PRESENT: dict[str, Any] = {"state": "present"}
CASES = {
    "create": Case(["POST /ports", "POST /volumes", "POST /servers"], nothing, PRESENT, {}),
    "create with a floating IP": Case(
        ["POST /ports", "POST /volumes", "POST /floatingips", "POST /servers"],
        nothing,
        PRESENT,
        {"floating_ip_network": "external-network"},
    ),
    "create again": Case(["POST /servers"], gone, PRESENT, {}),
    "unshelve": Case(["POST /servers/ID/action"], shelved, PRESENT, {}, keeps=True),
    "update": Case(
        ["PUT /servers/ID/tags/preemptible", "PUT /servers/ID/tags/x", "POST /servers/ID/metadata"],
        untagged,
        PRESENT,
        {"tags": ["x"], "metadata": {"k": "v"}},
        keeps=True,
    ),
    "return to preemptible": Case(
        ["DELETE /servers/ID", "POST /servers"], on_demand, {**PRESENT, "return_to_preemptible": True}, {}
    ),
    "delete": Case(["DELETE /servers/ID", "DELETE /ports/ID", "DELETE /volumes/ID"], made, {"state": "absent"}, {}),
}
MOVE = Case(
    [
        "POST /servers/ID/action",
        "DELETE /servers/ID",
        "POST /volumes",
        "POST /servers",
        "DELETE /volumes/ID",
        "DELETE /servers/ID/metadata/gpuswarm_former_disks",
    ],
    shelved,
    PRESENT,
    {
        "availability_zone": OTHER_ZONE,
        "volume_type": "fast.{zone}",
        "alternatives": [{"availability_zone": ZONE}],
    },
)


def pattern(write: str) -> str:
    """A write without the ids in it."""
    return "/".join("ID" if len(part) == 36 and part.count("-") == 4 else part for part in write.split("/"))


def interrupt(
    world: World,
    runner: Runner,
    directory: Path,
    name: str,
    case: Case,
    when: str,
    before_the_kill: Callable[[], None] = lambda: None,
) -> Specs:
    """Kills a process at every write of the case, and mends it all; the specifications."""
    moments = [(0, "never"), *((k + 1, when) for k in range(len(case.writes)))]
    specs = [world.spec(f"{name.replace(' ', '-')}-{k}-{moment}", **case.spec) for k, moment in moments]
    case.prepare(world, specs)
    before = {server["name"]: server["id"] for server in world.servers()}
    before_the_kill()

    outputs = [directory / f"{k}-{moment}" for k, moment in moments]

    def run(number: int) -> int:
        k, moment = moments[number]
        options = {"fleet": world.fleet, "timeout": 400, **specs[number], **case.changes}
        return runner.run("selectel_server", k, moment, options, outputs[number])

    assert run(0) == 0, outputs[0].read_text()
    assert [pattern(write) for write in json.loads(outputs[0].read_text().splitlines()[-1])] == case.writes
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        for number, status in enumerate(pool.map(run, range(1, len(moments))), start=1):
            assert status == -signal.SIGKILL, outputs[number].read_text()

    fleet(world, specs, **case.changes)
    names = [spec["name"] for spec in specs]
    if case.changes["state"] == "absent":
        world.nothing_left(names)
    else:
        assert world.counts_of(names) == dict.fromkeys(names, (1, 1, 1))
    again = fleet(world, specs, **case.changes)
    assert again["changed"] is False, again
    if case.keeps:
        after = {server["name"]: server["id"] for server in world.servers()}
        assert {s["name"]: after[s["name"]] for s in specs} == {s["name"]: before[s["name"]] for s in specs}
    return specs


def remove(world: World, specs: Specs) -> None:
    fleet(world, specs, state="absent")
    world.nothing_left([spec["name"] for spec in specs])
    assert not world.floating_ips()


@MOMENTS
@pytest.mark.parametrize("name", CASES)
def test_killed(world: World, runner: Runner, tmp_path: Path, name: str, when: str) -> None:
    specs = interrupt(world, runner, tmp_path, name, CASES[name], when)
    assert len(world.floating_ips()) == (len(specs) if "floating_ip_network" in CASES[name].spec else 0)
    remove(world, specs)


@MOMENTS
def test_killed_on_the_way_to_another_zone(
    world: World, runner: Runner, tmp_path: Path, request: pytest.FixtureRequest, when: str
) -> None:
    specs = interrupt(world, runner, tmp_path, "move", MOVE, when, lambda: request.getfixturevalue("zone_without_room"))
    assert {server["OS-EXT-AZ:availability_zone"] for s in specs for server in world.servers(s["name"])} == {ZONE}
    assert {volume["availability_zone"] for s in specs for volume in world.volumes(s["name"])} == {ZONE}
    remove(world, specs)
