# Copyright: (c) 2026, gpuswarm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: the server that a fleet has besides while one is rotated."""

from __future__ import annotations

DOCUMENTATION = r"""
name: fleet_surge
short_description: The server that a fleet has besides while one is rotated
version_added: 0.1.0
description:
  - Makes the specification of one GPU server more, with the next number. It is like the last one, but in the zone whose
    turn it is, and marked by metadata.
author:
  - gpuswarm contributors (@gpuswarm)
options:
  _input:
    description: The specifications of the fleet (filter P(gpuswarm.ollama.fleet_specs#filter)).
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Name of the extra server
  ansible.builtin.debug:
    msg: "{{ fleet_specs | gpuswarm.ollama.fleet_surge | map(attribute='name') }}"
"""

RETURN = r"""
_value:
  description: The specification; empty when the fleet has no GPU server.
  type: list
  elements: dict
"""

from collections.abc import Callable
from typing import Any

from ansible_collections.gpuswarm.ollama.plugins.module_utils import fleet


class FilterModule:
    """The filter, as Ansible looks for it."""

    def filters(self) -> dict[str, Callable[..., list[dict[str, Any]]]]:
        """Name and function."""
        return {"fleet_surge": fleet.surge_specs}
