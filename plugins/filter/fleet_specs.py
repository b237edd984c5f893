# Copyright: (c) 2026, gpuswarm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: the desired fleet out of the role's variables."""

from __future__ import annotations

DOCUMENTATION = r"""
name: fleet_specs
short_description: Specifications of all servers of a fleet
version_added: 0.1.0
description:
  - Turns the few variables that describe a fleet into one specification for each server, as
    M(gpuswarm.ollama.selectel_fleet) takes them.
author:
  - gpuswarm contributors (@gpuswarm)
options:
  _input:
    description: >-
      The settings: C(name), C(network), C(key_name), C(capacity_memory), and C(manager) and C(gpu_workers) with
      C(flavor), C(image), C(zones), C(volume_size), C(volume_type), C(security_groups), C(preemptible),
      C(preemptible_tag), C(floating_ip_network), C(restart_stopped), C(alternatives), C(on_demand_fallback),
      C(tier_timeouts); C(gpu_workers) has C(count), too.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Names of the servers that the fleet shall have
  ansible.builtin.debug:
    msg: "{{ fleet_settings | gpuswarm.ollama.fleet_specs | map(attribute='name') }}"
"""

RETURN = r"""
_value:
  description: The specifications, the manager's first.
  type: list
  elements: dict
"""

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.gpuswarm.ollama.plugins.module_utils import fleet


def fleet_specs(settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The filter; see DOCUMENTATION."""
    try:
        return fleet.server_specs(settings)
    except fleet.FleetError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """The filter, as Ansible looks for it."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Name and function."""
        return {"fleet_specs": fleet_specs}
