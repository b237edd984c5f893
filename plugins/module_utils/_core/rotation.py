# Copyright: (c) 2026, gpuswarm contributors
# SPDX-License-Identifier: Apache-2.0
"""Which servers have to be given a new life before the cloud ends the old one.

A preemptible server lives 24 hours at most (Selectel's documentation, "Preemptible cloud server"). Servers that were
created together would end together, so besides the one that nears its limit, one of two of nearly the same age is due
early.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

HOUR = 3600.0  # seconds
OPEN_FOR = 600.0  # seconds after a full hour in which a rotation may begin: it then ends within the hour


@dataclass(frozen=True)
class RotationPolicy:
    """When a server is due.

    Attributes:
        enabled: whether servers are rotated at all.
        max_age: seconds that the cloud lets a preemptible server live.
        margin: seconds before that at which it is due.
        forced: name of a server that an operator wants rotated now; empty for none.
        surge: whether the fleet gets a surge server first (`fleet.surge_specs`).
        full_hour: whether rotations with a surge server begin just after a full hour, which are billed whole.
        return_after: age in seconds from which an on-demand server in the place of a preemptible one is due; 0: never.
    """

    enabled: bool = False
    max_age: float = 86400.0
    margin: float = 3600.0
    forced: str = ""
    surge: bool = False
    full_hour: bool = True
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
class Opening:
    """When rotations may begin: the cloud bills the surge server for every clock hour that it is seen in.

    Attributes:
        may_begin: whether one may begin now: an hour has just begun, or the surge server is there already.
        ahead: seconds until there is the next chance; who would be due before it is due now.
    """

    may_begin: bool = True
    ahead: float = 0.0


@dataclass(frozen=True)
class Choice:
    """A server that is due, and why."""

    server: str
    reason: str


def opening(policy: RotationPolicy, now: float, *, surge_exists: bool) -> Opening:
    """Whether a rotation may begin now (epoch seconds), by the cost of its surge server."""
    if not (policy.surge and policy.full_hour):
        return Opening()
    into = now % HOUR
    return Opening(may_begin=surge_exists or into < OPEN_FOR, ahead=HOUR - into)


def due(ages: Iterable[Age], policy: RotationPolicy, chance: Opening | None = None) -> list[Choice]:
    """The servers that are due, the oldest first; of those of nearly the same age one is due early.

    With N servers and an age limit of L, ages should lie L/N apart. Two that are less than half of that apart are
    spread: the older goes as soon as the youngest of all has reached L/N, so that no two rotations follow closer than
        L/N.

    :param chance: when rotations may begin; None: at any time. A server for which half of the margin is over does not
        wait for it.
    """
    ages, chance = list(ages), chance or Opening()
    if policy.forced:
        return [Choice(age.server, "an operator asked for it") for age in ages if age.server == policy.forced]
    mortal = sorted((age for age in ages if age.preemptible), key=lambda age: (-age.age, age.server))
    if not policy.enabled:
        return []
    limit = policy.age_limit
    # With lives of an hour or two, not all the time.
    last = max(limit - chance.ahead, limit / 2) if chance.may_begin else policy.latest
    choices = [
        Choice(age.server, f"it is {age.age:.0f} s old, and is ended by the cloud at {policy.max_age:.0f} s")
        for age in mortal
        if age.age >= last
    ]
    return choices or (_too_close(mortal, limit) if chance.may_begin else []) or _stand_ins(ages, policy)


def _too_close(mortal: Sequence[Age], limit: float) -> list[Choice]:
    """One of those that would end together."""
    if not mortal or mortal[-1].age < limit / len(mortal):
        return []
    for older, younger in pairwise(mortal):
        if older.age - younger.age < limit / len(mortal) / 2:
            return [Choice(older.server, f"it is as old as {younger.server}, and both would end together")]
    return []


def _stand_ins(ages: Iterable[Age], policy: RotationPolicy) -> list[Choice]:
    """On-demand servers in the place of preemptible ones, for which there may be room again."""
    if not policy.return_after:
        return []
    return [
        Choice(age.server, f"it has been on demand for {age.age:.0f} s, and preemptible is needed again")
        for age in ages
        if age.stand_in and age.age >= policy.return_after
    ]
