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
  - Joins what the cloud says of the servers with what the swarm says of its nodes and tasks. Partial knowledge never
    leads to a step that changes anything.
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
    description: >-
      The result of C(docker_swarm_info) of community.docker with C(nodes), C(tasks), C(services) and
      C(verbose_output); nothing when Docker did not answer.
    type: dict
  ollama_service:
    description: Full name of the Ollama service.
    type: str
    required: true
  labels:
    description: Node labels that a GPU server must carry.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Diagnose
  ansible.builtin.set_fact:
    verdicts: >-
      {{ specs | gpuswarm.ollama.diagnose(servers=cloud.servers, swarm=swarm, ollama_service='gpuswarm_ollama') }}
"""

RETURN = r"""
_value:
  description: >-
    For each server C(server), C(role), C(verdict), C(step) (V(none), V(wait), V(restore), V(converge) or V(report)),
    C(reason), C(status), C(node_id), C(node_state), C(ollama) and C(stale_node_ids).
  type: list
  elements: dict
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.gpuswarm.ollama.plugins.module_utils import diagnosis
from ansible_collections.gpuswarm.ollama.plugins.module_utils import swarm as swarm_utils


def diagnose(
    specs: Sequence[Mapping[str, Any]],
    servers: Sequence[Mapping[str, Any]] | None = None,
    swarm: Mapping[str, Any] | None = None,
    ollama_service: str = "",
    labels: Mapping[str, str] | None = None,
) -> list[dict[str, Any]]:
    """The filter; see DOCUMENTATION."""
    known = bool(swarm) and "nodes" in (swarm or {})
    nodes = swarm_utils.nodes_from_api((swarm or {})["nodes"]) if known else None
    tasks = swarm_utils.tasks_from_api((swarm or {})["tasks"], (swarm or {})["services"]) if known else None
    verdicts = diagnosis.diagnose(specs, servers, nodes, tasks, ollama_service, labels)
    return [verdict.as_dict() for verdict in verdicts]


class FilterModule:
    """The filter, as Ansible looks for it."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Name and function."""
        return {"diagnose": diagnose}
