# Copyright: (c) 2026, gpuswarm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: what a server has to do to be a worker of the swarm."""

from __future__ import annotations

DOCUMENTATION = r"""
name: swarm_membership
short_description: What a server has to do to be a worker of the swarm
version_added: 0.1.0
description:
  - Compares what Docker says on the server with the nodes that the swarm's manager knows. A server may be a member of
    another or of a dead swarm, and then has to leave it first.
author:
  - gpuswarm contributors (@gpuswarm)
positional: nodes
options:
  _input:
    description: The C(Swarm) part of C(docker info) on the server.
    type: dict
    required: true
  nodes:
    description: >-
      The nodes that the manager lists (C(docker_swarm_info) of community.docker with C(nodes) and C(verbose_output)).
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Decide
  ansible.builtin.set_fact:
    membership: "{{ docker.host_info.Swarm | gpuswarm.ollama.swarm_membership(swarm.nodes) }}"
"""

RETURN = r"""
_value:
  description: C(action) is one of V(none), V(join), V(leave_and_join); C(reason) says why.
  type: dict
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import Any

from ansible_collections.gpuswarm.ollama.plugins.module_utils import swarm


def swarm_membership(local: Mapping[str, Any], nodes: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """The filter; see DOCUMENTATION."""
    return asdict(swarm.membership(local, swarm.nodes_from_api(nodes)))


class FilterModule:
    """The filter, as Ansible looks for it."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Name and function."""
        return {"swarm_membership": swarm_membership}
