# Copyright: (c) 2026, gpuswarm contributors
# SPDX-License-Identifier: Apache-2.0
"""Which servers have to be given a new life before the cloud ends the old one. Pure: no I/O, no clock.

A preemptible server lives 24 hours at most (Selectel's documentation, "Preemptible cloud server"). Servers that were
created together would end together, so besides the one that nears its limit, one of two of nearly the same age is due
early.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Policy:
    """When a server is due.

    Attributes:
        enabled: whether servers are rotated at all.
        max_age: seconds that the cloud lets a preemptible server live.
        margin: seconds before that at which it is due.
        forced: name of a server that a person wants to have rotated now; empty for none.
        surge: whether the fleet gets one server more first (`fleet.surge_specs`).
        return_after: age in seconds from which an on-demand server in the place of a preemptible one is due; 0: never.
    """

    enabled: bool = False
    max_age: float = 86400.0
    margin: float = 3600.0
    forced: str = ""
    surge: bool = False
    return_after: float = 3600.0

    @property
    def age_limit(self) -> float:
        """Age in seconds at which a server is due."""
        return max(0.0, self.max_age - self.margin)

    @property
    def latest(self) -> float:
        """Age in seconds from which a server is not kept waiting for another one."""
        return self.age_limit + self.margin / 2


@dataclass(frozen=True)
class Age:
    """How old a server is, in seconds, whether its life is limited, and whether it should be but is not."""

    server: str
    age: float
    preemptible: bool
    stand_in: bool = False


@dataclass(frozen=True)
class Choice:
    """A server that is due, and why."""

    server: str
    reason: str


def due(ages: Iterable[Age], policy: Policy) -> list[Choice]:
    """The servers that are due, the oldest first; of those of nearly the same age one is due early.

    With N servers and an age limit of L, ages shall lie L/N apart. Two that are less than half of that apart are
    spread: the older goes as soon as the youngest of all has reached L/N, so that no two rotations follow closer than
        L/N.
    """
    ages = list(ages)
    if policy.forced:
        return [Choice(age.server, "a person asked for it") for age in ages if age.server == policy.forced]
    mortal = sorted((age for age in ages if age.preemptible), key=lambda age: (-age.age, age.server))
    if not policy.enabled:
        return []
    limit = policy.age_limit
    choices = [
        Choice(age.server, f"it is {age.age:.0f} s old, and is ended by the cloud at {policy.max_age:.0f} s")
        for age in mortal
        if age.age >= limit
    ]
    return choices or _too_close(mortal, limit) or _stand_ins(ages, policy)


def _too_close(mortal: Sequence[Age], limit: float) -> list[Choice]:
    """One of those that would end together."""
    if not mortal or mortal[-1].age < limit / len(mortal):
        return []
    for older, younger in pairwise(mortal):
        if older.age - younger.age < limit / len(mortal) / 2:
            return [Choice(older.server, f"it is as old as {younger.server}, and both would end together")]
    return []


def _stand_ins(ages: Iterable[Age], policy: Policy) -> list[Choice]:
    """On-demand servers in the place of preemptible ones, for which there may be room again."""
    if not policy.return_after:
        return []
    return [
        Choice(age.server, f"it has been on demand for {age.age:.0f} s, and preemptible is wanted again")
        for age in ages
        if age.stand_in and age.age >= policy.return_after
    ]
