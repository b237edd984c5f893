# Copyright: (c) 2026, gpuswarm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: the table that status.yml prints."""

from __future__ import annotations

DOCUMENTATION = r"""
name: status_table
short_description: One table that says how a fleet is
version_added: 0.1.0
description:
  - Sets verdicts, servers and the recovery journal side by side, one line a server.
author:
  - gpuswarm contributors (@gpuswarm)
options:
  _input:
    description: The verdicts (filter P(gpuswarm.ollama.diagnose#filter)).
    type: list
    elements: dict
    required: true
  servers:
    description: The servers (M(gpuswarm.ollama.selectel_server_info)).
    type: list
    elements: dict
    default: []
  journal:
    description: Text of the recovery journal.
    type: str
    default: ""
  now:
    description: The present, in seconds since the epoch.
    type: float
    required: true
"""

EXAMPLES = r"""
- name: Print the table
  ansible.builtin.debug:
    msg: "{{ verdicts | gpuswarm.ollama.status_table(servers=cloud.servers, now=now_epoch) }}"
"""

RETURN = r"""
_value:
  description: The lines of the table, its head first.
  type: list
  elements: str
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.gpuswarm.ollama.plugins.module_utils import status


def status_table(
    verdicts: Sequence[Mapping[str, Any]],
    servers: Sequence[Mapping[str, Any]] | None = None,
    journal: str = "",
    now: float = 0.0,
) -> list[str]:
    """The filter; see DOCUMENTATION."""
    return status.table(verdicts, servers or [], journal, float(now))


class FilterModule:
    """The filter, as Ansible looks for it."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Name and function."""
        return {"status_table": status_table}
