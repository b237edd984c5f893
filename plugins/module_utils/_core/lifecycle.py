# SPDX-License-Identifier: Apache-2.0
"""The decisions about a server's life.

* `next_action`: what brings this server back (or that nothing has to, or must not, be done);
* `evaluate_wait`: the result of a wait, from what was seen at each poll;
* `drift`: in what an existing server differs from its spec, and whether that can be corrected in place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from .errors import is_no_capacity
from .servers import (
    CAPACITY_TYPE,
    FLAVOR,
    FLEET,
    FORMER_DISKS,
    IMAGE,
    PREEMPTIBLE,
    ROLE,
    SHELVED_STATUSES,
    Server,
    Spec,
)
from .strategies import in_a_place


class Kind(StrEnum):
    """What is done to a server; the values are what modules return as `action`."""

    NONE = "none"
    CREATE = "create"
    UNSHELVE = "unshelve"
    START = "start"
    UNPAUSE = "unpause"
    RESUME = "resume"
    RESTORE = "restore"
    RECREATE = "recreate"
    WAIT = "wait"
    DELETE = "delete"
    REPORT = "report"
    UPDATE = "update"


@dataclass(frozen=True)
class Action:
    """One decision and why it was taken."""

    kind: Kind
    reason: str


NO_FAULT = "Nova gives no fault message"

# Statuses that Nova leaves by itself
TRANSITIONAL = frozenset(
    {"BUILD", "REBOOT", "HARD_REBOOT", "REBUILD", "RESIZE", "REVERT_RESIZE", "MIGRATING", "PASSWORD"}
)

# What each single-step action starts from
STARTS_FROM: dict[Kind, frozenset[str]] = {
    Kind.UNSHELVE: SHELVED_STATUSES,
    Kind.START: frozenset({"SHUTOFF"}),
    Kind.UNPAUSE: frozenset({"PAUSED"}),
    Kind.RESUME: frozenset({"SUSPENDED"}),
    Kind.RESTORE: frozenset({"SOFT_DELETED"}),
}

# Nova's action names
REQUEST: dict[Kind, str] = {
    Kind.UNSHELVE: "unshelve",
    Kind.START: "os-start",
    Kind.UNPAUSE: "unpause",
    Kind.RESUME: "resume",
    Kind.RESTORE: "restore",
}


def parse_time(text: str | None) -> datetime | None:
    """An OpenStack time stamp (UTC, with or without zone and fraction); None if there is none or it is damaged."""
    if not text:
        return None
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        return None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def _since(server: Server, now: datetime) -> str:
    changed = parse_time(server.updated_at)
    return f" for {max(0, int((now - changed).total_seconds()))} s" if changed else ""


# What is done at rest in each status; ERROR, SHUTOFF and what is not here need a closer look
_BY_STATUS: dict[str, Action] = {
    "ACTIVE": Action(Kind.NONE, "ACTIVE"),
    "PAUSED": Action(Kind.UNPAUSE, "PAUSED"),
    "SUSPENDED": Action(Kind.RESUME, "SUSPENDED"),
    "SOFT_DELETED": Action(Kind.RESTORE, "SOFT_DELETED: deleted, but not reclaimed yet"),
    "DELETED": Action(Kind.CREATE, "there is no such server"),
}


def next_action(server: Server | None, spec: Spec, now: datetime) -> Action:
    """The one action that brings a server to ACTIVE, by Nova's state table.

    Args:
        server: what the cloud says; None if there is no such server.
        spec: what it should be.
        now: the time, for the reason's text only.

    Returns:
        The action. `NONE`: it is as it should be. `WAIT`: Nova is at work. `REPORT`: leave it to a person.
    """
    if server is None:
        return Action(Kind.CREATE, "there is no such server")
    if server.task_state:
        return Action(Kind.WAIT, f"{server.status}, Nova is at work on it ({server.task_state}){_since(server, now)}")
    if server.status in TRANSITIONAL:
        return Action(Kind.WAIT, f"{server.status}{_since(server, now)}")
    return _BY_STATUS.get(server.status) or _at_rest(server, spec, now)


def _at_rest(server: Server, spec: Spec, now: datetime) -> Action:
    """The statuses whose treatment depends on more than themselves."""
    if server.status in SHELVED_STATUSES:
        what = "interrupted by the cloud or shelved by a person"
        return Action(Kind.UNSHELVE, f"{server.status}{_since(server, now)}: {what}")
    if server.status == "ERROR":
        return Action(Kind.RECREATE, f"ERROR: {server.fault or NO_FAULT}")
    if server.status != "SHUTOFF":
        return Action(Kind.REPORT, f"{server.status}: not a state to touch without a person")
    if spec.restart_stopped:
        return Action(Kind.START, "SHUTOFF, and restart_stopped is set")
    return Action(
        Kind.REPORT, "SHUTOFF: stopped by a person or from inside; start it, or set restart_stopped, to bring it back"
    )


class WaitResult(StrEnum):
    """The result of a wait."""

    WAIT = "wait"
    DONE = "done"
    SETTLED = "settled"  # at rest, but not where it was sent: decide again
    UNSURE = "unsure"  # at rest where it started; perhaps the request was not taken up yet
    NO_CAPACITY = "no_capacity"
    FAILED = "failed"
    GONE = "gone"


@dataclass(frozen=True)
class Poll:
    """One poll. `server` None: it was not there. `at`: seconds since the request was accepted."""

    server: Server | None
    at: float


# How long after an accepted request a server may stand still before that counts as an answer (seconds).
# Nova sets task_state before it answers 202; a layer in front of it might not.
GRACE = 3.0


def evaluate_wait(kind: Kind, seen: Sequence[Poll]) -> tuple[WaitResult, str]:
    """What the polls since a request say.

    "No capacity" has two forms: after a create, ERROR with a fault; after an unshelve, task_state goes back to
    nothing and the server silently stays shelved.

    Args:
        kind: what was requested (WAIT: nothing, somebody else's work is waited for).
        seen: every poll since, oldest first, at least one.

    Returns:
        The verdict and its reason.
    """
    last = seen[-1].server
    if last is None or last.status == "DELETED":
        return WaitResult.GONE, "it is gone"
    if last.task_state or (last.status in TRANSITIONAL and kind is not Kind.DELETE):
        return WaitResult.WAIT, last.status + (f"/{last.task_state}" if last.task_state else "")
    if kind is Kind.DELETE:
        return _evaluate_delete(last, seen[-1].at)
    if last.status == "ERROR":
        return _evaluate_error(kind, last.fault or NO_FAULT)
    if last.status in STARTS_FROM.get(kind, frozenset()):
        return _evaluate_standstill(kind, last.status, seen)
    return (WaitResult.DONE if last.status == "ACTIVE" else WaitResult.SETTLED), last.status


def _evaluate_delete(last: Server, at: float) -> tuple[WaitResult, str]:
    if last.status == "SOFT_DELETED":
        return WaitResult.SETTLED, last.status
    if last.status == "ERROR" and at >= GRACE:
        return WaitResult.FAILED, f"the delete ended in ERROR: {last.fault or NO_FAULT}"
    return WaitResult.WAIT, last.status


def _evaluate_error(kind: Kind, fault: str) -> tuple[WaitResult, str]:
    """A failed create is the end of it; after anything else, ERROR is where the next decision starts."""
    if kind is not Kind.WAIT and is_no_capacity(fault):
        return WaitResult.NO_CAPACITY, fault
    return (WaitResult.FAILED if kind is Kind.CREATE else WaitResult.SETTLED), fault


def _evaluate_standstill(kind: Kind, status: str, seen: Sequence[Poll]) -> tuple[WaitResult, str]:
    """It rests where it started: given up, or not begun?"""
    taken_up = any(s.server is not None and s.server.task_state for s in seen)
    waited = len(seen) >= 2 and seen[-1].at >= GRACE
    if kind is Kind.UNSHELVE and taken_up:
        return WaitResult.NO_CAPACITY, f"the unshelve was taken up and given up again, it stays {status}"
    if not waited:
        return WaitResult.UNSURE, status
    verdict = WaitResult.NO_CAPACITY if kind is Kind.UNSHELVE else WaitResult.FAILED
    return verdict, f"the {kind.value} was accepted, but it stays {status}"


@dataclass(frozen=True)
class Drift:
    """In what an existing server differs from its spec.

    Attributes:
        tags: tags to add.
        metadata: metadata to set.
        security_groups: the names to put on its port, None if they are as they should be.
        floating_ip: whether one is required and missing.
        former_disks: whether disks that it had in another place are still to be deleted.
        unchangeable: sentences about what only a re-create could change.
    """

    tags: tuple[str, ...] = ()
    metadata: dict[str, str] = field(default_factory=dict)
    security_groups: tuple[str, ...] | None = None
    floating_ip: bool = False
    former_disks: bool = False
    unchangeable: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Whether anything is to be corrected in place."""
        in_place = self.tags or self.metadata or self.security_groups is not None or self.floating_ip
        return bool(in_place or self.former_disks)

    def summary(self) -> str:
        """What is corrected, in words."""
        parts = []
        if self.tags:
            parts.append("tags " + ", ".join(self.tags))
        if self.metadata:
            parts.append("metadata " + ", ".join(sorted(self.metadata)))
        if self.security_groups is not None:
            parts.append("security groups")
        if self.floating_ip:
            parts.append("floating IP")
        done = ["set " + "; ".join(parts)] if parts else []
        if self.former_disks:
            done.append("delete its former disks")
        return ", ".join(done)


def drift(server: Server, spec: Spec) -> Drift:
    """Compares a server with its spec. Knows only what the server list contains, so it costs no API call.

    The tag that makes a server preemptible is special: the cloud reads it at creation only. It is put back when
    the server was created with it and lost it; it is never added to a server that was created without.

    A server in one of the places that the specification allows, or on demand where that is allowed, does not differ.
    """
    made_preemptible = server.metadata.get(CAPACITY_TYPE) == PREEMPTIBLE
    tags = [tag for tag in spec.tags if tag not in server.tags and tag != spec.preemptible_tag]
    unchangeable = []
    if spec.preemptible and not server.is_preemptible(spec.preemptible_tag):
        if made_preemptible:
            tags.insert(0, spec.preemptible_tag)
        elif not spec.on_demand_fallback:
            unchangeable.append("it is an on-demand server, but must be preemptible")
    elif not spec.preemptible and server.is_preemptible(spec.preemptible_tag):
        unchangeable.append("it is a preemptible server, but must be on-demand")
    wanted = {**spec.metadata, ROLE: spec.role}
    metadata = {k: v for k, v in wanted.items() if server.metadata.get(k) != v and k != FLEET}
    if not in_a_place(server, spec):
        unchangeable += _misplaced(server, spec)
    image = server.metadata.get(IMAGE)
    if spec.image and image and spec.image != image:
        unchangeable.append(f"it was created from the image {image}, but must be {spec.image}")
    settled = server.status == "ACTIVE" and not server.task_state
    groups = None
    if settled and spec.security_groups and set(spec.security_groups) != set(server.security_groups):
        groups = spec.security_groups
    return Drift(
        tags=tuple(tags),
        metadata=metadata,
        security_groups=groups,
        floating_ip=bool(settled and spec.floating_ip_network and not server.address(floating=True)),
        former_disks=bool(settled and FORMER_DISKS in server.metadata),
        unchangeable=tuple(unchangeable),
    )


def _misplaced(server: Server, spec: Spec) -> list[str]:
    """What is wrong about the place of a server that is in none of those allowed."""
    found = []
    if spec.flavor and server.flavor and spec.flavor not in (server.flavor, server.metadata.get(FLAVOR)):
        found.append(f"its flavor is {server.flavor}, but must be {spec.flavor}")
    zone = spec.availability_zone
    if zone and server.availability_zone and zone != server.availability_zone:
        found.append(f"it is in the availability zone {server.availability_zone}, but must be {zone}")
    return found
