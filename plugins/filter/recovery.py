# Copyright: (c) 2026, gpuswarm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters of the recovery loop: what is wrong, the result of a run, what is shipped to the manager.

Each is documented in the file of its name.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.gpuswarm.ollama.plugins.module_utils._core import diagnosis, plan, recovery, status
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core import journal as journal_utils
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core import swarm as swarm_utils
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.cost import status_of

OUTPUTS = ("table", "json")


def collection_path(name: str) -> str:
    """Where a collection is installed on the controller."""
    try:
        package = importlib.import_module(f"ansible_collections.{name}")
    except ImportError as error:
        raise AnsibleFilterError(
            f"the collection {name} is not installed here: run ansible-galaxy collection install -r requirements.yml"
        ) from error
    return str(next(iter(package.__path__)))


def _evidence(found: Mapping[str, Any], nodes: Sequence[swarm_utils.Node]) -> diagnosis.Evidence:
    local = found.get("swarm") or {}
    membership = swarm_utils.membership(local, nodes) if local else None
    return diagnosis.Evidence(
        ssh=bool(found.get("ssh")),
        docker=str(found.get("docker") or "silent"),
        membership=membership.action if membership else "",
        membership_reason=membership.reason if membership else "",
        node_id=str(local.get("NodeID") or "") if membership and membership.action == "none" else "",
        ollama=str(found.get("ollama") or ""),
    )


def diagnose(
    specs: Sequence[Mapping[str, Any]],
    servers: Sequence[Mapping[str, Any]] | None = None,
    swarm: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    journal: str = "",
    evidence: Mapping[str, Mapping[str, Any]] | None = None,
    gateway: Sequence[str] | None = None,
    now: float | None = None,
) -> list[dict[str, Any]]:
    """What is wrong with each server, and the next step."""
    known = swarm if swarm and "nodes" in swarm else None
    nodes = swarm_utils.nodes_from_api(known["nodes"]) if known else None
    tasks = swarm_utils.tasks_from_api(known["tasks"], known["services"]) if known else None
    seen = diagnosis.Observation(
        servers=servers,
        nodes=nodes,
        tasks=tasks,
        now=time.time() if now is None else float(now),
        evidence={name: _evidence(found, nodes or []) for name, found in (evidence or {}).items()},
        gateway=gateway,
    )
    try:
        parsed = recovery.RecoverySettings.from_mapping(settings or {})
        verdicts = recovery.assess(specs, seen, parsed, journal_utils.parse(journal))
    except (ValueError, KeyError) as error:
        raise AnsibleFilterError(f"the recovery's settings are wrong: {error}") from error
    return [verdict.as_dict() for verdict in verdicts]


def status_report(
    verdicts: Sequence[Mapping[str, Any]],
    output: str = "table",
    journal: str = "",
    timer: str = "",
    maintenance: str = "",
    unknown: str = "",
    cost: Mapping[str, Any] | None = None,
) -> Any:
    """How the fleet is and what it costs, as a table or as data."""
    if output not in OUTPUTS:
        raise AnsibleFilterError(f"status_output is {output!r}: it must be one of {', '.join(OUTPUTS)}")
    bill: Mapping[str, Any] | None = None
    lines: list[str] = []
    if cost:
        recoveries = journal_utils.recoveries(journal_utils.parse(journal))
        given = {**cost["prices"], "read_balance": cost["balance"]}
        bill, lines = status_of(cost["ledger"], given, cost["specs"], recoveries, int(time.time()))
    data = status.report(verdicts, journal, status.loop_state(timer, maintenance), unknown, bill)
    return data if output == "json" else status.table(data, time.time()) + lines


class FilterModule:
    """The filters, as Ansible looks for them."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Names and functions."""
        return {
            "collection_path": collection_path,
            "diagnose": diagnose,
            "recovery_outcomes": recovery.outcomes,
            "restore_results": plan.restore_results,
            "status_report": status_report,
        }
