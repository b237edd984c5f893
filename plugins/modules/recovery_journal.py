#!/usr/bin/python
# Copyright: (c) 2026, gpuswarm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Append to the recovery journal."""

from __future__ import annotations

DOCUMENTATION = r"""
module: recovery_journal
short_description: Journal what happened to a server
version_added: 0.1.0
description:
  - Appends one line for each server to the recovery journal, a file of JSON lines on the manager, with wall clock and
    monotonic time.
author:
  - gpuswarm contributors (@gpuswarm)
options:
  path:
    description: The journal. Its directory is created if missing.
    type: path
    default: /var/lib/gpuswarm/journal.jsonl
  phase:
    description: The phase that the servers have reached.
    type: str
    required: true
    choices:
      - noticed
      - examined
      - restart_docker
      - reboot
      - replace
      - rotate
      - rest
      - remove_surge
      - restore
      - active
      - ready
      - healthy
      - done
      - failed
  servers:
    description: Names of the servers.
    type: list
    elements: str
    required: true
  causes:
    description: Why, in words, by the server's name.
    type: dict
    default: {}
  verdicts:
    description: What diagnosis calls it, by the server's name.
    type: dict
    default: {}
  detail:
    description: More about it, in words.
    type: str
    default: ""
  run:
    description: Identifies the run that writes.
    type: str
    default: ""
attributes:
  check_mode:
    description: Writes nothing in check mode.
    support: full
  diff_mode:
    description: A journal is no configuration, so there is nothing to show.
    support: none
"""

EXAMPLES = r"""
- name: Journal that a server was lost
  gpuswarm.ollama.recovery_journal:
    phase: noticed
    servers: [gpuswarm-gpu-2]
    causes:
      gpuswarm-gpu-2: the cloud says SHELVED_OFFLOADED
"""

RETURN = r"""
entries:
  description: The lines that were appended.
  type: list
  elements: dict
  returned: always
"""

import time
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.gpuswarm.ollama.plugins.module_utils._core import journal
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.vocabulary import Phase
from ansible_collections.gpuswarm.ollama.plugins.module_utils._runtime import journal_file


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "default": "/var/lib/gpuswarm/journal.jsonl"},
            "phase": {
                "type": "str",
                "required": True,
                "choices": [str(phase) for phase in Phase],
            },
            "servers": {"type": "list", "elements": "str", "required": True},
            "causes": {"type": "dict", "default": {}},
            "verdicts": {"type": "dict", "default": {}},
            "detail": {"type": "str", "default": ""},
            "run": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    params = module.params
    epoch, monotonic = time.time(), time.monotonic()
    entries = [
        journal.entry(
            params["phase"],
            server,
            epoch,
            monotonic,
            run=params["run"],
            detail=params["detail"],
            cause=str(params["causes"].get(server, "")),
            verdict=str(params["verdicts"].get(server, "")),
        )
        for server in params["servers"]
    ]
    if not module.check_mode:
        try:
            Path(params["path"]).parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            journal_file.append(params["path"], entries)
        except OSError as error:
            module.fail_json(msg=f"the journal {params['path']} cannot be written: {error}")
    module.exit_json(changed=False, entries=entries)


if __name__ == "__main__":
    main()
