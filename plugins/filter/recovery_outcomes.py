# Copyright: (c) 2026, gpuswarm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: what a run of the recovery has come to."""

from __future__ import annotations

DOCUMENTATION = r"""
name: recovery_outcomes
short_description: What a run of the recovery has come to for each server
version_added: 0.1.0
description:
  - Adds C(outcome) to each verdict. A server that was healthy during the run and is on its way to be so again has not
    failed.
author:
  - gpuswarm contributors (@gpuswarm)
options:
  _input:
    description: Verdicts of the filter P(gpuswarm.ollama.diagnose#filter), from the end of the run.
    type: list
    elements: dict
    required: true
  healthy:
    description: Names of the servers whose Ollama the run has seen healthy.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Show what failed
  ansible.builtin.debug:
    msg: "{{ outcomes | selectattr('outcome', 'equalto', 'failed') | map(attribute='server') }}"
  vars:
    outcomes: "{{ verdicts | gpuswarm.ollama.recovery_outcomes(healthy=['my-gpu-1']) }}"
"""

RETURN = r"""
_value:
  description: The verdicts, each with C(outcome), which is V(done), V(running) or V(failed).
  type: list
  elements: dict
"""

from collections.abc import Callable
from typing import Any

from ansible_collections.gpuswarm.ollama.plugins.module_utils import recovery


class FilterModule:
    """The filter, as Ansible looks for it."""

    def filters(self) -> dict[str, Callable[..., list[dict[str, Any]]]]:
        """Name and function."""
        return {"recovery_outcomes": recovery.outcomes}
