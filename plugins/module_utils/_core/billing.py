# Copyright: (c) 2026, gpuswarm contributors
# SPDX-License-Identifier: Apache-2.0
"""What a cloud bills of the fleet: which objects, in which states, and for how many hours.

Selectel debits every clock hour, and of each resource the maximum that was in use at once within it (documentation,
"Cloud servers", "Payment"). What a shelved server keeps is its disk and its address. How another cloud counts is one
more row of `RULES`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import NamedTuple

from .servers import ON_DEMAND, SHELVED_STATUSES

SERVER = "server"
VOLUME = "volume"
FLOATING_IP = "floating_ip"
KINDS = (SERVER, VOLUME, FLOATING_IP)

RUNNING = "running"
STOPPED = "stopped"
SHELVED = "shelved"

HOUR = 3600  # seconds

_OFF = frozenset({"SHUTOFF", "SUSPENDED", "PAUSED", "SOFT_DELETED"})


@dataclass(frozen=True)
class BillingRules:
    """How a cloud counts.

    Attributes:
        states: states of a server in which its flavor is billed.
        maximum: whether the most that was in use at once within the hour is billed (True), or every object by itself.
    """

    states: frozenset[str]
    maximum: bool


RULES: Mapping[str, BillingRules] = {
    "selectel": BillingRules(states=frozenset({RUNNING, STOPPED}), maximum=True),
    # Every server from its creation to its deletion, whatever its state, by the hour begun.
    "existence": BillingRules(states=frozenset({RUNNING, STOPPED, SHELVED}), maximum=False),
    # Servers that are shut off or shelved are free.
    "running": BillingRules(states=frozenset({RUNNING}), maximum=False),
}


class Resource(NamedTuple):
    """What has one price.

    ``key`` is the flavor of a server or the type of a volume; ``capacity_type`` is empty except for servers, and an
    address has neither key nor zone.
    """

    kind: str
    key: str = ""
    capacity_type: str = ""
    zone: str = ""

    @property
    def on_demand(self) -> Resource:
        """The same at the ordinary price."""
        return self._replace(capacity_type=ON_DEMAND) if self.kind == SERVER else self

    def __str__(self) -> str:
        if self.kind == SERVER:
            return f"{self.key or 'flavor not known'} {self.capacity_type.replace('_', '-')} in {self.zone or '?'}"
        if self.kind == VOLUME:
            return f"disk {self.key or 'of the default type'} (GiB)"
        return "floating IP"


class Interval(NamedTuple):
    """So much of a resource was in use from one moment to another (epoch seconds, the end not included)."""

    resource: Resource
    id: str
    name: str
    quantity: int
    start: int
    end: int
    surge: bool = False


def server_state(status: str) -> str:
    """What a server's status means for the bill."""
    if status in SHELVED_STATUSES:
        return SHELVED
    return STOPPED if status in _OFF else RUNNING


def month_start(moment: int) -> int:
    """The beginning of the month (UTC) in which a moment lies; epoch seconds both."""
    return _month(moment, 0)


def month_end(moment: int) -> int:
    """The beginning of the next month."""
    return _month(moment, 1)


def _month(moment: int, later: int) -> int:
    at = datetime.fromtimestamp(moment, UTC)
    months = at.year * 12 + at.month - 1 + later
    return int(datetime(months // 12, months % 12 + 1, 1, tzinfo=UTC).timestamp())


def hours(start: int, end: int) -> range:
    """The clock hours (epoch hours) that a span of time touches; a moment touches its hour."""
    return range(start // HOUR, (max(end, start + 1) - 1) // HOUR + 1)


def grid(intervals: Iterable[Interval], rules: BillingRules, since: int, until: int) -> dict[Resource, dict[int, int]]:
    """How much of each resource is billed in each hour that begins in [since, until).

    :returns: by resource, by epoch hour, the quantity: servers, GiB, or addresses.
    """
    first, last = -(-since // HOUR), -(-until // HOUR)
    groups: dict[tuple[Resource, str], list[Interval]] = {}
    for item in intervals:
        groups.setdefault((item.resource, "" if rules.maximum else item.id), []).append(item)
    found: dict[Resource, dict[int, int]] = {}
    for (resource, _key), items in groups.items():
        billed = found.setdefault(resource, {})
        for hour, most in _most(items).items():
            if first <= hour < last:
                billed[hour] = billed.get(hour, 0) + most
    return {resource: billed for resource, billed in found.items() if billed}


def _most(items: Iterable[Interval]) -> dict[int, int]:
    """The most that was in use at once, by the hour."""
    changes: dict[int, int] = {}
    for item in items:
        changes[item.start] = changes.get(item.start, 0) + item.quantity
        end = max(item.end, item.start + 1)
        changes[end] = changes.get(end, 0) - item.quantity
    most: dict[int, int] = {}
    level = 0
    for moment, following in pairwise(sorted(changes)):
        level += changes[moment]
        if level > 0:
            for hour in hours(moment, following):
                most[hour] = max(most.get(hour, 0), level)
    return most
