# Copyright: (c) 2026, gpuswarm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: backups of a fleet that are to be removed."""

from __future__ import annotations

DOCUMENTATION = r"""
name: surplus_backups
short_description: Backups of a fleet that are to be removed after a new one was made
version_added: 0.1.0
description:
  - Picks the oldest backups of one fleet. Other fleets' backups, other files, and the new backup are never among them.
author:
  - gpuswarm contributors (@gpuswarm)
positional: fleet, keep, made
options:
  _input:
    description: Paths of files.
    type: list
    elements: str
    required: true
  fleet:
    description: Name of the fleet.
    type: str
    required: true
  keep:
    description: How many of the fleet's backups stay, the new one among them; at least 1.
    type: int
    required: true
  made:
    description: Path or name of the new backup.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Which backups go
  ansible.builtin.debug:
    msg: "{{ found.files | map(attribute='path') | gpuswarm.ollama.surplus_backups('demo', 7, backup_file) }}"
"""

RETURN = r"""
_value:
  description: Paths, the youngest first.
  type: list
  elements: str
"""

from collections.abc import Callable, Iterable

from ansible.errors import AnsibleFilterError

from ansible_collections.gpuswarm.ollama.plugins.module_utils import backups


def surplus_backups(paths: Iterable[str], fleet: str, keep: int, made: str) -> list[str]:
    """The filter; see DOCUMENTATION."""
    try:
        return backups.surplus(list(paths), fleet, keep, made)
    except ValueError as error:
        raise AnsibleFilterError(f"surplus_backups: {error}") from error


class FilterModule:
    """The filter, as Ansible looks for it."""

    def filters(self) -> dict[str, Callable[..., list[str]]]:
        """Name and function."""
        return {"surplus_backups": surplus_backups}
