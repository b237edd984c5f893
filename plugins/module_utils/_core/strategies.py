# SPDX-License-Identifier: Apache-2.0
"""The strategies that bring a lost server back, in the order in which they are tried.

1. unshelve: the same server, disk and addresses;
2. recreate: a new server on the same disk and port, where the disk is;
3. alternative: another zone (with a fresh disk) or flavor of the specification's list;
4. on_demand: an ordinary server, in the same order of places.

A strategy whose pool is known to have no room is passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from .servers import FLAVOR, SHELVED_STATUSES, Server, Spec


class Strategy(StrEnum):
    """How a server can come back; the values are the keys of the option `strategy_timeouts`."""

    UNSHELVE = "unshelve"
    RECREATE = "recreate"
    ALTERNATIVE = "alternative"
    ON_DEMAND = "on_demand"


# Seconds that a strategy may take. A GPU server is usable about three minutes after it was requested; what is created
# anew may have to wait for its volume to be filled from the image as well.
TIMEOUTS: Mapping[Strategy, int] = {
    Strategy.UNSHELVE: 300,
    Strategy.RECREATE: 600,
    Strategy.ALTERNATIVE: 600,
    Strategy.ON_DEMAND: 600,
}


@dataclass(frozen=True)
class Pool:
    """What has room or has not: servers of one flavor in one zone, of one capacity type."""

    zone: str
    flavor: str
    capacity_type: str

    def __str__(self) -> str:
        """For messages, and as a key in the memory of capacity."""
        return f"{self.flavor} in {self.zone} ({self.capacity_type})"


@dataclass(frozen=True)
class Candidate:
    """A strategy that may be tried: the specification with the place, flavor and capacity type that it would have."""

    strategy: Strategy
    spec: Spec
    seconds: int

    @property
    def pool(self) -> Pool:
        """Where it needs room."""
        return Pool(self.spec.availability_zone, self.spec.flavor, self.spec.capacity_type)

    @property
    def key(self) -> tuple[bool, Pool]:
        """Two candidates with one key ask the cloud for the same thing."""
        return self.strategy is Strategy.UNSHELVE, self.pool

    def __str__(self) -> str:
        """For messages."""
        return f"{self.strategy.value.replace('_', '-')}, {self.pool}"


def places(spec: Spec) -> list[Spec]:
    """The specification in each place that it allows, its own first."""
    found: dict[tuple[str, str], Spec] = {}
    for other in ({}, *spec.alternatives):
        changes: dict[str, Any] = {k: v for k, v in other.items() if v}
        place = replace(spec, **changes)
        found.setdefault((place.availability_zone, place.flavor), place)
    return list(found.values())


def in_a_place(server: Server, spec: Spec) -> bool:
    """Whether the server is in one of the places that the specification allows."""
    flavors = (server.flavor, server.metadata.get(FLAVOR))
    return any(p.flavor in flavors and server.availability_zone in ("", p.availability_zone) for p in places(spec))


def seconds(spec: Spec, strategy: Strategy) -> int:
    """The time-out of a strategy."""
    return spec.strategy_timeouts.get(strategy) or TIMEOUTS[strategy]


def current_candidate(server: Server, spec: Spec) -> Candidate:
    """What a server that is shelved, or is being started, comes back by."""
    own = replace(
        spec,
        availability_zone=server.availability_zone or spec.availability_zone,
        flavor=server.metadata.get(FLAVOR) or server.flavor or spec.flavor,
        preemptible=server.is_preemptible(spec.preemptible_tag),
    )
    strategy = Strategy.UNSHELVE if server.status in SHELVED_STATUSES else Strategy.RECREATE
    return Candidate(strategy, own, seconds(spec, strategy))


def candidates(server: Server | None, spec: Spec, disk_zones: Collection[str]) -> list[Candidate]:
    """Everything that can bring the server back, best first.

    Args:
        server: what there is; None if nothing.
        spec: what it should be.
        disk_zones: where (Cinder's zones) there are its boot volumes.
    """
    found = [current_candidate(server, spec)] if server and server.status in SHELVED_STATUSES else []
    ordered = sorted(places(spec), key=lambda p: p.volume_zone not in disk_zones)  # keeps the order of equals
    for place in ordered:
        same = place.volume_zone in disk_zones or (not disk_zones and place == places(spec)[0])
        strategy = Strategy.RECREATE if same else Strategy.ALTERNATIVE
        found.append(Candidate(strategy, place, seconds(spec, strategy)))
    if spec.preemptible and spec.on_demand_fallback:
        limit = seconds(spec, Strategy.ON_DEMAND)
        found += [Candidate(Strategy.ON_DEMAND, replace(place, preemptible=False), limit) for place in ordered]
    return found


def choose(
    found: Sequence[Candidate], tried: Collection[tuple[bool, Pool]], no_room: Callable[[Pool], float]
) -> tuple[Candidate | None, list[tuple[Candidate, float]]]:
    """The next candidate to try, and those passed over before it with the seconds until they may be tried again.

    Args:
        found: the candidates, in order.
        tried: keys of the candidates that have failed in this run.
        no_room: seconds for which a pool is known to have no room, 0 if nothing is known.
    """
    passed: list[tuple[Candidate, float]] = []
    for candidate in found:
        if candidate.key in tried:
            continue
        pause = no_room(candidate.pool)
        if pause <= 0:
            return candidate, passed
        passed.append((candidate, pause))
    return None, passed
