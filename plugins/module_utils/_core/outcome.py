# SPDX-License-Identifier: Apache-2.0
"""The result of a run for each server, and how modules return it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .errors import CloudError
from .lifecycle import Kind
from .servers import Server
from .strategies import Candidate


@dataclass(frozen=True)
class Attempt:
    """A candidate that was tried and failed."""

    candidate: Candidate
    error: CloudError

    def as_result(self) -> dict[str, Any]:
        """What the modules return for it."""
        pool = self.candidate.pool
        return {
            "strategy": self.candidate.strategy.value,
            "availability_zone": pool.zone,
            "flavor": pool.flavor,
            "preemptible": self.candidate.spec.preemptible,
            "error_kind": self.error.kind,
            "error": str(self.error),
        }


@dataclass
class Outcome:
    """The result of a run for one server."""

    name: str
    action: Kind = Kind.NONE
    reason: str = ""
    changed: bool = False
    before: Server | None = None
    after: Server | None = None
    capacity_type: str | None = None
    tag: str = "preemptible"
    warnings: list[str] = field(default_factory=list)
    error: CloudError | None = None
    removed: list[str] = field(default_factory=list)
    tried: list[Attempt] = field(default_factory=list)

    def as_result(self) -> dict[str, Any]:
        """What the modules return for the server."""
        result: dict[str, Any] = {
            "name": self.name,
            "action": self.action.value,
            "reason": self.reason,
            "capacity_type": self.capacity_type,
            "changed": self.changed,
            "tried": [attempt.as_result() for attempt in self.tried],
            "server": self.after.as_result(self.tag) if self.after else None,
        }
        if self.error is not None:
            result["error"] = str(self.error)
            result["error_kind"] = self.error.kind
        return result

    def diff(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """What was, and what is (or, in check mode, would be), reduced to what a reader compares."""
        before, after = _shown(self.before, self.tag), _shown(self.after, self.tag)
        if self.removed:
            before["kept for it"] = self.removed
        return before, after


def _shown(server: Server | None, tag: str) -> dict[str, Any]:
    if server is None:
        return {"status": "absent"}
    state = {"status": server.status}
    if server.task_state:
        state["task_state"] = server.task_state
    return {
        **state,
        "id": server.id or "(known once created)",
        "availability_zone": server.availability_zone,
        "flavor": server.flavor,
        "capacity_type": server.capacity_type(tag),
        "fixed_ip": server.address(floating=False),
        "floating_ip": server.address(floating=True),
        "tags": list(server.tags),
        "metadata": dict(server.metadata),
        "security_groups": list(server.security_groups),
    }
