# Copyright: (c) 2026, gpuswarm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: what is wrong with the variables of a fleet."""

from __future__ import annotations

DOCUMENTATION = r"""
name: fleet_problems
short_description: What is wrong with the variables of a fleet
version_added: 0.1.0
description:
  - Checks the variables that describe a fleet, as far as that can be done without asking the cloud.
author:
  - gpuswarm contributors (@gpuswarm)
options:
  _input:
    description: >-
      The settings: those of the filter P(gpuswarm.ollama.fleet_specs#filter), and C(admin_cidrs), C(client_cidrs),
      C(client_ports), C(network_cidr), C(network_pool) and C(network_dns).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Check the variables
  ansible.builtin.assert:
    that: problems | length == 0
    fail_msg: "{{ problems | join('. ') }}"
  vars:
    problems: "{{ fleet_settings | gpuswarm.ollama.fleet_problems }}"
"""

RETURN = r"""
_value:
  description: One sentence for each mistake, which names the variable and the fix.
  type: list
  elements: str
"""

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.gpuswarm.ollama.plugins.module_utils import fleet


class FilterModule:
    """The filter, as Ansible looks for it."""

    def filters(self) -> dict[str, Callable[[Mapping[str, Any]], list[str]]]:
        """Name and function."""
        return {"fleet_problems": fleet.problems}
