# Copyright: (c) 2026, gpuswarm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: what is wrong with each server of the fleet."""

from __future__ import annotations

DOCUMENTATION = r"""
name: diagnose
short_description: What is wrong with each server of a fleet, and the next step
version_added: 0.1.0
description:
  - Joins what the cloud says of the servers with what the swarm says of its nodes and tasks, and with what logins to
    sick nodes found. Partial knowledge never leads to a step that changes anything.
  - What was tried before is read from the recovery journal. It decides about the next rung of the ladder, and about
    pauses.
author:
  - gpuswarm contributors (@gpuswarm)
options:
  _input:
    description: The specifications of the fleet (filter P(gpuswarm.ollama.fleet_specs#filter)).
    type: list
    elements: dict
    required: true
  servers:
    description: The servers (M(gpuswarm.ollama.selectel_server_info)); nothing when the cloud did not answer.
    type: list
    elements: dict
  swarm:
    description: The result of M(gpuswarm.ollama.swarm_info); nothing when Docker did not answer.
    type: dict
  settings:
    description:
      - C(service) (full name of the Ollama service), C(labels), C(limits), C(rotation), C(ladder), C(schedule) and
        C(timezone), as the role P(gpuswarm.ollama.recovery#role) makes them of its variables.
    type: dict
    required: true
  journal:
    description: Text of the recovery journal.
    type: str
    default: ""
  evidence:
    description: >-
      What logins found, by server, each a dictionary of C(ssh) (bool), C(docker) (V(answers), V(silent) or V(absent)),
      C(swarm) (the C(Swarm) part of C(docker info)) and C(ollama) (what the health check said last).
    type: dict
    default: {}
  gateway:
    description: Addresses that the gateway balances to; nothing when it was not asked.
    type: list
    elements: str
  now:
    description: The present, in seconds since the epoch; by default the controller's clock.
    type: float
"""

EXAMPLES = r"""
- name: Diagnose
  ansible.builtin.set_fact:
    verdicts: >-
      {{ specs | gpuswarm.ollama.diagnose(servers=cloud.servers, swarm=swarm,
         settings={'service': 'gpuswarm_ollama', 'labels': {'node.gpu': 'true'}}) }}
"""

RETURN = r"""
_value:
  description: >-
    For each server C(server), C(role), C(verdict), C(step) (V(none), V(wait), V(report), V(examine), V(restore),
    V(converge), V(release), V(restart_docker), V(reboot), V(replace), V(rotate), V(rest) or V(retire)), C(reason),
    C(status), C(node_id), C(node_state), C(ollama), C(stale_node_ids), C(tier), C(age) in seconds, C(attempts_left) on
    the ladder, C(not_before) in seconds since the epoch, C(surge) (whether it is the extra server for a rotation), and
    C(well) (whether it is as it is wanted to be now).
  type: list
  elements: dict
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.gpuswarm.ollama.plugins.module_utils import diagnosis, recovery
from ansible_collections.gpuswarm.ollama.plugins.module_utils import journal as journal_utils
from ansible_collections.gpuswarm.ollama.plugins.module_utils import swarm as swarm_utils


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
    """The filter; see DOCUMENTATION."""
    known = swarm if swarm and "nodes" in swarm else None
    nodes = swarm_utils.nodes_from_api(known["nodes"]) if known else None
    tasks = swarm_utils.tasks_from_api(known["tasks"], known["services"]) if known else None
    seen = diagnosis.Seen(
        servers=servers,
        nodes=nodes,
        tasks=tasks,
        now=time.time() if now is None else float(now),
        evidence={name: _evidence(found, nodes or []) for name, found in (evidence or {}).items()},
        gateway=gateway,
    )
    try:
        parsed = recovery.Settings.from_mapping(settings or {})
        verdicts = recovery.assess(specs, seen, parsed, journal_utils.parse(journal))
    except (ValueError, KeyError) as error:
        raise AnsibleFilterError(f"the recovery's settings are wrong: {error}") from error
    return [verdict.as_dict() for verdict in verdicts]


class FilterModule:
    """The filter, as Ansible looks for it."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Name and function."""
        return {"diagnose": diagnose}
