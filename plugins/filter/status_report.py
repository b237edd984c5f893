# Copyright: (c) 2026, gpuswarm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: how a fleet is, as data or as the table that status.yml prints."""

from __future__ import annotations

DOCUMENTATION = r"""
name: status_report
short_description: How a fleet is, as data or as a table
version_added: 0.1.0
description:
  - Joins the verdicts with the recovery journal and the state of the recovery loop.
author:
  - gpuswarm contributors (@gpuswarm)
options:
  _input:
    description: The verdicts (filter P(gpuswarm.ollama.diagnose#filter)).
    type: list
    elements: dict
    required: true
  output:
    description: V(table) gives lines for people, V(json) the same as data.
    type: str
    choices: [table, json]
    default: table
  journal:
    description: Text of the recovery journal.
    type: str
    default: ""
  timer:
    description: State of the loop's timer, as systemd calls it; empty when there is none.
    type: str
    default: ""
  maintenance:
    description: What switches the loop off, in words; empty when nothing does.
    type: str
    default: ""
  unknown:
    description: Why knowledge is partial, in words; empty when it is not.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Print the table
  ansible.builtin.debug:
    msg: "{{ verdicts | gpuswarm.ollama.status_report(journal=journal_text, timer='active') }}"
"""

RETURN = r"""
_value:
  description:
    - With O(output=table) a list of lines, the table's head first.
    - With O(output=json) a dictionary of C(servers) (the verdicts, each with C(last_recovery)), C(loop), C(unknown) and
      C(well) (whether every server is as it is wanted to be).
  type: raw
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.gpuswarm.ollama.plugins.module_utils import status

OUTPUTS = ("table", "json")


def status_report(
    verdicts: Sequence[Mapping[str, Any]],
    output: str = "table",
    journal: str = "",
    timer: str = "",
    maintenance: str = "",
    unknown: str = "",
) -> Any:
    """The filter; see DOCUMENTATION."""
    if output not in OUTPUTS:
        raise AnsibleFilterError(f"status_output is {output!r}: one of {', '.join(OUTPUTS)} is wanted")
    told = status.report(verdicts, journal, status.loop_state(timer, maintenance), unknown)
    return told if output == "json" else status.table(told, time.time())


class FilterModule:
    """The filter, as Ansible looks for it."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Name and function."""
        return {"status_report": status_report}
