# SPDX-License-Identifier: Apache-2.0
"""The strategies: which there are, in which order, and which are passed over."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.lifecycle import drift
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.servers import (
    CAPACITY_TYPE,
    FLAVOR,
    FLEET,
    FORMER_DISKS,
    ROLE,
    ZONE,
    Server,
    Spec,
)
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.strategies import (
    Candidate,
    Pool,
    Strategy,
    candidates,
    choose,
    current_candidate,
    in_a_place,
    places,
)


def spec(**changes: Any) -> Spec:
    options = {"flavor": "f", "availability_zone": "a", "volume_type": "fast.{zone}", "preemptible": True, **changes}
    return Spec.from_options({"name": "s", **options})


def server(status: str, **changes: Any) -> Server:
    values = {"availability_zone": "a", "flavor": "f", "tags": ("preemptible",), **changes}
    return Server(id="1", name="s", status=status, **values)


def shown(found: list[Candidate]) -> list[str]:
    return [
        f"{one.strategy} {one.spec.availability_zone}/{one.spec.flavor}{'' if one.spec.preemptible else ' ordinary'}"
        for one in found
    ]


B, G = {"availability_zone": "b"}, {"flavor": "g"}
BOTH = [B, G]


@pytest.mark.parametrize(
    ("there", "changes", "disks", "expected"),
    [
        (None, {}, [], ["recreate a/f"]),
        (None, {"preemptible": False}, ["a"], ["recreate a/f ordinary"]),
        (None, {"alternatives": BOTH}, [], ["recreate a/f", "alternative b/f", "alternative a/g"]),
        # The disk decides: where it is comes first, another flavor there keeps it, too
        (None, {"alternatives": BOTH}, ["a"], ["recreate a/f", "recreate a/g", "alternative b/f"]),
        (None, {"alternatives": BOTH}, ["b"], ["recreate b/f", "alternative a/f", "alternative a/g"]),
        (None, {"alternatives": BOTH}, ["a", "b"], ["recreate a/f", "recreate b/f", "recreate a/g"]),
        # One zone for disks, whatever the servers' zones are: the disk comes along
        (None, {"alternatives": [B], "volume_availability_zone": "nova"}, ["nova"], ["recreate a/f", "recreate b/f"]),
        ("ERROR", {"alternatives": [B]}, ["a"], ["recreate a/f", "alternative b/f"]),
        ("SHELVED_OFFLOADED", {}, ["a"], ["unshelve a/f", "recreate a/f"]),
        ("SHELVED", {"alternatives": [B]}, ["a"], ["unshelve a/f", "recreate a/f", "alternative b/f"]),
        (
            "EXPIRED",
            {"alternatives": [B], "on_demand_fallback": True},
            ["a"],
            ["unshelve a/f", "recreate a/f", "alternative b/f", "on_demand a/f ordinary", "on_demand b/f ordinary"],
        ),
        # There is nothing more ordinary than an ordinary server
        (None, {"preemptible": False, "on_demand_fallback": True}, [], ["recreate a/f ordinary"]),
        # Twice the same place is once
        (None, {"alternatives": [{"availability_zone": "a"}, B, B]}, [], ["recreate a/f", "alternative b/f"]),
    ],
)
def test_ways(there: str | None, changes: dict[str, Any], disks: list[str], expected: list[str]) -> None:
    found = candidates(server(there) if there else None, spec(**changes), disks)
    assert shown(found) == expected


def test_a_shelved_server_is_unshelved_where_it_is_and_as_what_it_is() -> None:
    there = server("SHELVED_OFFLOADED", availability_zone="b", tags=(), metadata={FLAVOR: "g"})
    first = candidates(there, spec(alternatives=BOTH), ["b"])[0]
    assert first.strategy is Strategy.UNSHELVE
    assert first.pool == Pool("b", "g", "on_demand")


def test_a_place_has_a_volume_type_of_its_own() -> None:
    found = places(spec(alternatives=[B, {"availability_zone": "c", "volume_type": "slow"}]))
    assert [place.disk_type for place in found] == ["fast.a", "fast.b", "slow"]
    assert spec(volume_type=None).disk_type is None


def test_time_outs() -> None:
    changed = spec(alternatives=[B], on_demand_fallback=True, strategy_timeouts={"unshelve": 7, "on_demand": 9})
    found = candidates(server("SHELVED"), changed, ["a"])
    assert [one.seconds for one in found] == [7, 600, 600, 9, 9]


@pytest.mark.parametrize(
    ("status", "metadata", "tags", "strategy", "pool"),
    [
        ("SHELVED_OFFLOADED", {}, ("preemptible",), Strategy.UNSHELVE, Pool("a", "f", "preemptible")),
        ("BUILD", {}, ("preemptible",), Strategy.RECREATE, Pool("a", "f", "preemptible")),
        ("BUILD", {FLAVOR: "g"}, (), Strategy.RECREATE, Pool("a", "g", "on_demand")),
    ],
)
def test_the_way_that_a_server_is_on(
    status: str, metadata: dict[str, str], tags: tuple[str, ...], strategy: Strategy, pool: Pool
) -> None:
    one = current_candidate(server(status, metadata=metadata, tags=tags), spec())
    assert (one.strategy, one.pool) == (strategy, pool)


FOUND = candidates(server("SHELVED"), spec(alternatives=[B], on_demand_fallback=True), ["a"])
A_POOL, B_POOL = Pool("a", "f", "preemptible"), Pool("b", "f", "preemptible")


@pytest.mark.parametrize(
    ("tried", "full", "chosen", "passed"),
    [
        ([], {}, "unshelve", []),
        ([(True, A_POOL)], {}, "recreate", []),
        # No room for the unshelve is no room for a new server of the same kind
        ([(True, A_POOL)], {A_POOL: 60}, "alternative", ["recreate"]),
        ([], {A_POOL: 60}, "alternative", ["unshelve", "recreate"]),
        ([], {A_POOL: 60, B_POOL: 5}, "on_demand", ["unshelve", "recreate", "alternative"]),
        ([one.key for one in FOUND], {}, None, []),
    ],
)
def test_choice(tried: list[tuple[bool, Pool]], full: dict[Pool, float], chosen: str | None, passed: list[str]) -> None:
    one, over = choose(FOUND, tried, lambda pool: full.get(pool, 0.0))
    assert (one.strategy.value if one else None) == chosen
    assert [other.strategy.value for other, _pause in over] == passed


AS_MADE = {FLEET: "fleet", ROLE: "gpu_worker", CAPACITY_TYPE: "preemptible", ZONE: "b", FLAVOR: "f"}


@pytest.mark.parametrize(
    ("zone", "flavor", "alternatives", "inside"),
    [
        ("a", "f", [], True),
        ("", "f", [], True),
        ("b", "f", [], False),
        ("b", "f", [B], True),
        ("a", "g", [G], True),
        ("b", "g", BOTH, False),  # either, not both
        ("b", "g", [{**B, **G}], True),
    ],
)
def test_a_server_in_an_allowed_place_does_not_differ(
    zone: str, flavor: str, alternatives: list[dict[str, str]], inside: bool
) -> None:
    there = server("ACTIVE", availability_zone=zone, flavor=flavor, metadata={**AS_MADE, FLAVOR: flavor})
    wanted = spec(alternatives=alternatives)
    assert in_a_place(there, wanted) is inside
    assert bool(drift(there, wanted).unchangeable) is not inside


def test_on_demand_does_not_differ_where_it_is_allowed() -> None:
    there = server("ACTIVE", tags=(), metadata={**AS_MADE, CAPACITY_TYPE: "on_demand"})
    assert "on-demand" in drift(there, spec()).unchangeable[0]
    allowed = drift(there, spec(on_demand_fallback=True))
    assert not allowed
    assert not allowed.unchangeable


def test_former_disks_are_drift_once_the_server_is_at_rest() -> None:
    marked = {**AS_MADE, FORMER_DISKS: "delete"}
    found = drift(server("ACTIVE", metadata=marked), spec())
    assert found.summary() == "delete its former disks"
    assert not drift(server("BUILD", metadata=marked), spec())


def test_a_time_out_of_nothing_is_refused() -> None:
    assert any("strategy_timeouts" in problem for problem in spec(strategy_timeouts={"unshelve": 0}).problems())
