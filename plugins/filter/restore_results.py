# Copyright: (c) 2026, gpuswarm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: what the restoring of servers came to."""

from __future__ import annotations

DOCUMENTATION = r"""
name: restore_results
short_description: Sort servers by what their restoring came to
version_added: 0.1.0
description:
  - A server of which the module says nothing, because it failed as a whole, counts as failed with the module's message.
author:
  - gpuswarm contributors (@gpuswarm)
positional: lost
options:
  _input:
    description: What M(gpuswarm.ollama.selectel_fleet) returned.
    type: dict
    required: true
  lost:
    description: Names of the servers that were to be restored.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Say what failed
  ansible.builtin.debug:
    msg: "{{ (result | gpuswarm.ollama.restore_results(['my-gpu-1'])).failed | map(attribute='error') }}"
"""

RETURN = r"""
_value:
  description: V(restored) and V(failed), each a list of the module's results for a server.
  type: dict
"""

from collections.abc import Callable
from typing import Any

from ansible_collections.gpuswarm.ollama.plugins.module_utils import recovery


class FilterModule:
    """The filter, as Ansible looks for it."""

    def filters(self) -> dict[str, Callable[..., dict[str, Any]]]:
        """Name and function."""
        return {"restore_results": recovery.restore_results}
