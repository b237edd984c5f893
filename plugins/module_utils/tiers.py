# SPDX-License-Identifier: Apache-2.0
"""The ways in which a lost server can come back, in the order in which they are tried: pure.

1. unshelve: the same server, disk and addresses;
2. recreate: a new server on the same disk and port, where the disk is;
3. alternative: another zone (with a fresh disk) or flavor of the specification's list;
4. on_demand: an ordinary server, in the same order of places.

A way whose pool is known to have no room is passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from .servers import FLAVOR, SHELVED_STATUSES, Server, Spec


class Tier(StrEnum):
    """The kinds of ways; the values are the keys of the option `tier_timeouts`."""

    UNSHELVE = "unshelve"
    RECREATE = "recreate"
    ALTERNATIVE = "alternative"
    ON_DEMAND = "on_demand"


# Seconds that a way may take. A GPU server is usable about three minutes after it was asked for; what is created anew
# may have to wait for its volume to be filled from the image as well.
TIMEOUTS: Mapping[Tier, int] = {
    Tier.UNSHELVE: 300,
    Tier.RECREATE: 600,
    Tier.ALTERNATIVE: 600,
    Tier.ON_DEMAND: 600,
}


@dataclass(frozen=True)
class Pool:
    """What has room or has not: servers of one flavor in one zone, of one price."""

    zone: str
    flavor: str
    price: str

    def __str__(self) -> str:
        """For messages, and as a key in the memory of capacity."""
        return f"{self.flavor} in {self.zone} ({self.price})"


@dataclass(frozen=True)
class Way:
    """One way: the specification with the place, flavor and price that this way would give it."""

    tier: Tier
    spec: Spec
    seconds: int

    @property
    def pool(self) -> Pool:
        """Where it needs room."""
        return Pool(self.spec.availability_zone, self.spec.flavor, self.spec.tier)

    @property
    def key(self) -> tuple[bool, Pool]:
        """Two ways with one key ask the cloud for the same thing."""
        return self.tier is Tier.UNSHELVE, self.pool

    def __str__(self) -> str:
        """For messages."""
        return f"{self.tier.value.replace('_', '-')}, {self.pool}"


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


def seconds(spec: Spec, tier: Tier) -> int:
    """The time-out of a kind of way."""
    return spec.tier_timeouts.get(tier) or TIMEOUTS[tier]


def present_way(server: Server, spec: Spec) -> Way:
    """The way that a server which is shelved, or on its way, is on."""
    own = replace(
        spec,
        availability_zone=server.availability_zone or spec.availability_zone,
        flavor=server.metadata.get(FLAVOR) or server.flavor or spec.flavor,
        preemptible=server.is_preemptible(spec.preemptible_tag),
    )
    tier = Tier.UNSHELVE if server.status in SHELVED_STATUSES else Tier.RECREATE
    return Way(tier, own, seconds(spec, tier))


def ways(server: Server | None, spec: Spec, disk_zones: Collection[str]) -> list[Way]:
    """Every way in which the server can come back, best first.

    Args:
        server: what there is; None if nothing.
        spec: what it should be.
        disk_zones: where (Cinder's zones) there are boot volumes of its.
    """
    found = [present_way(server, spec)] if server and server.status in SHELVED_STATUSES else []
    ordered = sorted(places(spec), key=lambda p: p.volume_zone not in disk_zones)  # keeps the order of equals
    for place in ordered:
        same = place.volume_zone in disk_zones or (not disk_zones and place == places(spec)[0])
        tier = Tier.RECREATE if same else Tier.ALTERNATIVE
        found.append(Way(tier, place, seconds(spec, tier)))
    if spec.preemptible and spec.on_demand_fallback:
        limit = seconds(spec, Tier.ON_DEMAND)
        found += [Way(Tier.ON_DEMAND, replace(place, preemptible=False), limit) for place in ordered]
    return found


def choose(
    candidates: Sequence[Way], tried: Collection[tuple[bool, Pool]], no_room: Callable[[Pool], float]
) -> tuple[Way | None, list[tuple[Way, float]]]:
    """The next way to try, and those passed over before it with the seconds until they may be tried again.

    Args:
        candidates: in order.
        tried: keys of the ways that have failed in this run.
        no_room: seconds for which a pool is known to have no room, 0 if nothing is known.
    """
    passed: list[tuple[Way, float]] = []
    for way in candidates:
        if way.key in tried:
            continue
        pause = no_room(way.pool)
        if pause <= 0:
            return way, passed
        passed.append((way, pause))
    return None, passed
