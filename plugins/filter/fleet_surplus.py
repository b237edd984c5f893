# Copyright: (c) 2026, gpuswarm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: servers of the fleet that are not wanted any more."""

from __future__ import annotations

DOCUMENTATION = r"""
name: fleet_surplus
short_description: GPU servers that exist and are not wanted any more
version_added: 0.1.0
description:
  - Compares the specifications of a fleet with the servers that exist. The manager is never surplus.
author:
  - gpuswarm contributors (@gpuswarm)
positional: servers
options:
  _input:
    description: The specifications (filter P(gpuswarm.ollama.fleet_specs#filter)).
    type: list
    elements: dict
    required: true
  servers:
    description: The servers that exist (M(gpuswarm.ollama.selectel_server_info)).
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Which servers go
  ansible.builtin.debug:
    msg: "{{ fleet_specs | gpuswarm.ollama.fleet_surplus(found.servers) }}"
"""

RETURN = r"""
_value:
  description: Names, the highest number first.
  type: list
  elements: str
"""

from collections.abc import Callable

from ansible_collections.gpuswarm.ollama.plugins.module_utils import fleet


class FilterModule:
    """The filter, as Ansible looks for it."""

    def filters(self) -> dict[str, Callable[..., list[str]]]:
        """Name and function."""
        return {"fleet_surplus": fleet.surplus}
