# Copyright: (c) 2026, gpuswarm contributors
# SPDX-License-Identifier: Apache-2.0
"""The ledger: what the fleet has that is billed and since when, one JSON object a line.

Each line says that from some moment on an object (server, volume, floating IP) is billed as ``what``, or is gone. A
line is written only when that has changed. The moment is Nova's or Cinder's own where they tell it; otherwise it lies
between two observations, and the line has both: what is between them is shown as estimated, and never guessed.

All moments are epoch seconds of the cloud's clock. A damaged line is skipped, not an error: what it said differs from
what the next observation finds, and is written again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from .billing import FLOATING_IP, KINDS, RUNNING, SERVER, SHELVED, STOPPED, VOLUME, BillingRules, Interval, Resource
from .billing import server_state as state_of
from .fleet import is_surge
from .servers import FLEET, owner
from .servers import SERVER as OF_SERVER

GAP = "gap"

# Who told the moment: the cloud, or nobody, so that it lies between two observations.
CLOUD = "cloud"
OBSERVED = "observed"

# Longest time between two observations that is no gap, in seconds. A run of the recovery, during which the probe does
# not look, may last as long.
LONGEST_PAUSE = 1800

# Nova's actions after which a server is in a state; those that begin to use the flavor count from their request, and
# those that end it count from their end. Others (reboot, rebuild, resize) leave the state as it is.
_BEGINS = {"create": RUNNING, "unshelve": RUNNING, "start": RUNNING, "restore": RUNNING, "resume": RUNNING}
_ENDS = {"shelve": SHELVED, "shelveOffload": SHELVED, "stop": STOPPED, "suspend": STOPPED, "delete": ""}
_ENDED_BY = {"unshelve": SHELVED, "start": STOPPED, "resume": STOPPED}


@dataclass(frozen=True)
class Line:
    """One line.

    Attributes:
        kind: server, volume, floating_ip, or gap: a time in which nobody observed the cloud.
        id: the cloud's; ``name``: of the server that it is or belongs to.
        earliest: the first moment at which it may have become so; ``latest``: the last. Equal if the moment is known.
        what: what is billed; None: it is gone.
        source: who told the moment.
    """

    kind: str
    id: str
    name: str
    earliest: int
    latest: int
    what: Mapping[str, Any] | None
    source: str = CLOUD

    def dump(self, written: float) -> str:
        """The line's text.

        :param written: now, by the manager's clock, for people.
        """
        return json.dumps(
            {
                "written": iso(int(written)),
                "kind": self.kind,
                "id": self.id,
                "name": self.name,
                "earliest": iso(self.earliest),
                "latest": iso(self.latest),
                "what": self.what,
                "source": self.source,
            }
        )


@dataclass(frozen=True)
class InstanceAction:
    """One of Nova's instance actions: when it was asked for and when its last event ended, and whether it failed."""

    name: str
    start: int
    end: int
    failed: bool = False


@dataclass(frozen=True)
class Span:
    """The time between two observations, in epoch seconds.

    Attributes:
        seen: when it was last observed, and the cloud was not at work on it; 0: never.
        now: the present observation.
        created: when the object was created, for one that is new; 0: not known.
    """

    seen: int
    now: int
    created: int = 0


Objects = dict[tuple[str, str], Line]


def parse(text: str) -> list[Line]:
    """The lines that can be read, oldest first."""
    lines = []
    for row in text.splitlines():
        try:
            data = json.loads(row)
            if data["kind"] not in (*KINDS, GAP) or not (data["what"] is None or isinstance(data["what"], dict)):
                continue
            earliest, latest = moment(data["earliest"]), moment(data["latest"])
            lines.append(
                Line(data["kind"], data["id"], data["name"], earliest, latest, data["what"], str(data["source"]))
            )
        except (ValueError, KeyError, TypeError):
            continue
    return lines


def last_lines(lines: Iterable[Line]) -> Objects:
    """The last line of each object that is there."""
    found: Objects = {}
    for line in lines:
        if line.what is None:
            found.pop((line.kind, line.id), None)
        elif line.kind != GAP:
            found[line.kind, line.id] = line
    return found


def moment(text: str) -> int:
    """Epoch seconds of a time in ISO 8601; one without a zone is UTC, as Nova writes it.

    :raises ValueError: it is none.
    """
    at = datetime.fromisoformat(text)
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp())


def iso(epoch: int) -> str:
    """A moment (epoch seconds) in ISO 8601, in UTC."""
    return datetime.fromtimestamp(epoch, UTC).isoformat().replace("+00:00", "Z")


def quantity(line: Line) -> int:
    """How much is billed from this line on: GiB of a volume, one of all else."""
    return int((line.what or {}).get("size") or 1) if line.kind == VOLUME else 1


# ---------------------------------------------------------------- what there is


def billed_server(server: Mapping[str, Any]) -> dict[str, Any] | None:
    """What is billed of a server (`Server.as_result`); None while that is not certain.

    A server that was never launched, as one for which there is no room, is not counted.
    """
    if not server.get("launched_at") and server["status"] in ("BUILD", "ERROR"):
        return None
    what = {
        "state": state_of(str(server["status"])),
        "flavor": server["flavor"],
        "capacity_type": server["capacity_type"],
        "zone": server["availability_zone"],
        "launched": str(server.get("launched_at") or ""),
    }
    return what | {"surge": True} if is_surge(server) else what


def at_rest(server: Mapping[str, Any]) -> bool:
    """Whether the cloud is not at work on it, so that what it is is all that it was asked to be."""
    return not server.get("task_state") and server["status"] != "BUILD"


def changed_servers(
    servers: Sequence[Mapping[str, Any]], known: Objects
) -> list[tuple[str, str, dict[str, Any] | None]]:
    """The servers that are not as the ledger has them: id, name, and what is billed now, or None if it is gone."""
    there = {str(server["id"]): server for server in servers}
    found: list[tuple[str, str, dict[str, Any] | None]] = []
    for one, server in there.items():
        what = billed_server(server)
        line = known.get((SERVER, one))
        if what is not None and (line is None or line.what != what):
            found.append((one, str(server["name"]), what))
    found += [(one, line.name, None) for (kind, one), line in known.items() if kind == SERVER and one not in there]
    return found


def asset_lines(kind: str, there: Iterable[Mapping[str, Any]], known: Objects, seen: int, now: int) -> list[Line]:
    """New lines of volumes or addresses.

    :param there: each with ``id``, ``name``, ``what`` and ``created`` (epoch seconds, None: not known).
    :param seen: when they were listed before; 0: never.
    """
    lines = []
    ids = set()
    for item in there:
        one, name, what = str(item["id"]), str(item["name"]), item["what"]
        ids.add(one)
        before = known.get((kind, one))
        if before is None and item.get("created"):
            lines.append(Line(kind, one, name, item["created"], item["created"], what))
        elif before is None or before.what != what:
            lines.append(_observed(kind, one, name, what, before, Span(seen, now)))
    gone = [line for (of, one), line in known.items() if of == kind and one not in ids]
    return lines + [_observed(kind, line.id, line.name, None, line, Span(seen, now)) for line in gone]


def _observed(kind: str, one: str, name: str, what: Mapping[str, Any] | None, before: Line | None, span: Span) -> Line:
    earliest = max(span.seen, before.latest if before else 0) or span.now
    return Line(kind, one, name, earliest, max(earliest, span.now), what, OBSERVED)


def volumes_of(fleet: str, found: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The fleet's volumes out of `GET /volumes/detail`, as ``asset_lines`` takes them."""
    return [
        {
            "id": item["id"],
            "name": str((item.get("metadata") or {}).get(OF_SERVER) or item.get("name") or ""),
            "created": moment(str(item["created_at"])) if item.get("created_at") else None,
            "what": {
                "size": int(item["size"]),
                "type": str(item.get("volume_type") or ""),
                "zone": str(item.get("availability_zone") or ""),
            },
        }
        for item in found
        # One that could not be created is no disk.
        if (item.get("metadata") or {}).get(FLEET) == fleet and item.get("status") not in ("creating", "error")
    ]


def addresses_of(fleet: str, found: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The fleet's addresses out of `GET /floatingips`, as ``asset_lines`` takes them."""
    mine = [(item, owner(item.get("description"))) for item in found]
    return [
        {
            "id": item["id"],
            "name": whose[1],
            "created": moment(str(item["created_at"])) if item.get("created_at") else None,
            "what": {"address": str(item.get("floating_ip_address") or "")},
        }
        for item, whose in mine
        if whose is not None and whose[0] == fleet
    ]


def actions_of(found: Iterable[Mapping[str, Any]]) -> list[InstanceAction]:
    """Nova's answer to `GET /servers/ID/os-instance-actions`."""
    actions = []
    for item in found:
        start = moment(str(item["start_time"]))
        end = moment(str(item["updated_at"])) if item.get("updated_at") else start
        actions.append(InstanceAction(str(item["action"]), start, max(start, end), item.get("message") == "Error"))
    return actions


# ---------------------------------------------------------------- what happened meanwhile


def server_lines(
    one: str,
    name: str,
    what: Mapping[str, Any] | None,
    before: Line | None,
    actions: Sequence[InstanceAction] | None,
    span: Span,
) -> list[Line]:
    """New lines of a server, from what it was, what it is, and what Nova says was done to it in between.

    :param what: what is billed now, None: it is gone; ``before``: its last line, None: it is new.
    :param actions: Nova's; None: Nova does not have them.
    :returns: none for a server that is not in the list and that Nova knows of no end of: a list may be a part.
    """
    old: Mapping[str, Any] = (before.what or {}) if before else {}
    steps = _steps(actions or (), before, what, span)
    if what is None and actions is not None and not any(state == "" for state, *_rest in steps):
        return []
    lines: list[Line] = []
    state, at = str(old.get("state") or ""), before.latest if before else 0
    for new, first, last in steps:
        earliest, latest = max(first, at), max(last, at)
        own = what if what is not None and (new == RUNNING or not old) else old
        # Not launched when it is now: if no more than this line is written, the rest is found to be missing.
        passing = {**own, "state": new} if own is old else {**own, "state": new, "launched": ""}
        lines.append(Line(SERVER, one, name, earliest, latest, passing if new else None))
        state, at = new, latest
    if state != (what["state"] if what is not None else ""):
        lines.append(_unexplained(one, name, what, at, span))
    elif what is not None and lines:
        lines[-1] = replace(lines[-1], what=what)
    elif what is not None:
        lines += _hidden(one, name, old, what, max(span.seen, at), span.now)
    return lines


def unasked(one: str, name: str, what: Mapping[str, Any] | None, span: Span) -> list[Line]:
    """The line of a new server that runs, while Nova cannot be asked: it may be gone when Nova can be."""
    if what is None or what["state"] != RUNNING or not span.created:
        return []
    return [Line(SERVER, one, name, span.created, max(span.created, _launched(what)), what, OBSERVED)]


def _steps(
    actions: Iterable[InstanceAction], before: Line | None, what: Mapping[str, Any] | None, span: Span
) -> list[tuple[str, int, int]]:
    """The states that a server went through: state (empty: gone), earliest and latest moment of the change to it.

    Nova refuses to unshelve what is not shelved, and records no action then. Where a beginning follows another one, the
    first has failed, or the end between them was not recorded: it ran from the second on, and perhaps before.
    """
    moves = _moves(actions, before, span)
    steps: list[tuple[str, int, int]] = []
    state = str((before.what or {}).get("state") or "") if before else ""
    at = max(span.seen, before.latest if before else 0)
    for index, (action, new, when) in enumerate(moves):
        following = moves[index + 1] if index + 1 < len(moves) else None
        if new != RUNNING:
            # Asked for again, it had failed.
            if new != state and not (following and following[0].name == action.name):
                # A preemption that was not recorded would be hidden by the deletion after it.
                steps.append((new, min(at, when) if not new and state == RUNNING else when, when))
                state = new
            continue
        if following is None and not _came_up(action, what):
            continue
        if state == RUNNING:
            steps.append((_ENDED_BY.get(action.name, SHELVED), min(at, when), when))
        # A deletion proves nothing of what was before, others refuse a server that is not up.
        if following is not None and following[1] in (RUNNING, ""):
            steps.append((RUNNING, when, following[2]))
            state, at = SHELVED, following[2]
        else:
            steps.append((RUNNING, when, when))
            state, at = RUNNING, when
    return steps


def _moves(actions: Iterable[InstanceAction], before: Line | None, span: Span) -> list[tuple[InstanceAction, str, int]]:
    """The actions that may have changed the state since: each with the state that it leads to, and when."""
    moves = []
    for action in sorted(actions, key=lambda item: (item.start, item.end)):
        state = _BEGINS.get(action.name, _ENDS.get(action.name))
        if state is None or action.failed:
            continue
        when = action.start if action.name in _BEGINS else action.end
        if before is not None:
            recorded = when < before.latest or (when == before.latest and state == (before.what or {}).get("state"))
            # When it was last observed it was at rest, and as before: what had ended by then did not change it.
            if recorded or action.end < span.seen:
                continue
        moves.append((action, state, when))
    return moves


def _came_up(action: InstanceAction, what: Mapping[str, Any] | None) -> bool:
    """Whether the last attempt to bring a server up succeeded."""
    if what is None or what["state"] == RUNNING:
        return True
    return action.name != "start" and _launched(what) >= action.start


def _launched(what: Mapping[str, Any]) -> int:
    """When Nova last launched it; 0: not told."""
    return moment(str(what["launched"])) if what["launched"] else 0


def _unexplained(one: str, name: str, what: Mapping[str, Any] | None, at: int, span: Span) -> Line:
    """A change that Nova has no action for."""
    if at == 0 and span.created:
        return Line(SERVER, one, name, span.created, span.created, what)
    earliest = max(span.seen, at) or span.now
    latest = max(span.now, earliest)
    if what is not None and what["state"] == RUNNING and _launched(what):
        # It was asked for before it was launched.
        latest = min(latest, max(earliest, _launched(what)))
    return Line(SERVER, one, name, earliest, latest, what, OBSERVED)


def _hidden(one: str, name: str, old: Mapping[str, Any], new: Mapping[str, Any], earliest: int, now: int) -> list[Line]:
    """It is in the same state, but not otherwise the same, and Nova tells nothing about it."""
    launched = _launched(new)
    if new["state"] == RUNNING and earliest < launched <= now and old.get("launched") != new["launched"]:
        # It was launched again: it may have been off before that.
        return [
            Line(SERVER, one, name, earliest, launched, {**old, "state": SHELVED}, OBSERVED),
            Line(SERVER, one, name, launched, launched, new),
        ]
    return [Line(SERVER, one, name, earliest, max(earliest, now), new, OBSERVED)]


# ---------------------------------------------------------------- what is billed


def intervals(lines: Iterable[Line], rules: BillingRules, now: int, *, certain: bool) -> list[Interval]:
    """What was in use from when to when.

    :param now: until when what is there now counts.
    :param certain: only what was certainly in use (True), or all that may have been (False).
    """
    objects: dict[tuple[str, str], list[Line]] = {}
    for line in lines:
        if line.kind != GAP:
            objects.setdefault((line.kind, line.id), []).append(line)
    found = []
    for own in objects.values():
        resources = [billed_resource(line, rules) for line in own]
        for index, line in enumerate(own):
            resource = resources[index]
            if resource is None:
                continue
            following = own[index + 1] if index + 1 < len(own) else None
            # Where the same may be billed before and after, it is one object all the same.
            start = line.latest if certain or (index and resources[index - 1] == resource) else line.earliest
            end = now if following is None else following.earliest if certain else following.latest
            if start < end:
                surge = bool((line.what or {}).get("surge"))
                found.append(Interval(resource, line.id, line.name, quantity(line), start, end, surge))
    return found


def billed_resource(line: Line, rules: BillingRules) -> Resource | None:
    """What is billed from this line on; None: nothing."""
    what = line.what
    if what is None or line.kind == GAP:
        return None
    if line.kind == SERVER:
        if what.get("state") not in rules.states:
            return None
        return Resource(SERVER, str(what.get("flavor")), str(what.get("capacity_type")), str(what.get("zone")))
    if line.kind == VOLUME:
        return Resource(VOLUME, str(what.get("type") or ""), "", str(what.get("zone") or ""))
    return Resource(FLOATING_IP)
