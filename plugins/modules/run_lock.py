#!/usr/bin/python
# Copyright: (c) 2026, gpuswarm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Take or give back the lock that lets one run at a time work on a fleet."""

from __future__ import annotations

DOCUMENTATION = r"""
module: run_lock
short_description: One run at a time on a fleet
version_added: 0.1.0
description:
  - Takes or gives back the lock of a fleet, a file on its manager. Whoever finds it taken gets RV(held=true) and the
    RV(holder).
  - A run on the manager itself holds the lock exactly as long as its C(ansible-playbook) process lives, however it
    ends.
  - A run from another machine has no process on the manager, so it holds the lock for O(lease) seconds and takes it
    again as it goes on.
author:
  - gpuswarm contributors (@gpuswarm)
options:
  path:
    description: The lock file. Its directory is created if missing.
    type: path
    default: /run/gpuswarm/lock.json
  run:
    description: Identifies the run. The same run may take the lock again.
    type: str
    required: true
  what:
    description: What the run is, in a few words, for whoever finds the lock taken.
    type: str
    default: a run
  local:
    description: Whether the run is a process on the machine where this module is executed.
    type: bool
    default: false
  lease:
    description: Seconds until the lock of a run from another machine ends by itself.
    type: int
    default: 900
  wait:
    description: Seconds to wait for a lock that somebody else holds, asking again every second.
    type: int
    default: 0
  state:
    description: Whether to take the lock or to give it back. Giving back a lock that another run holds does nothing.
    type: str
    choices: [acquired, released]
    default: acquired
attributes:
  check_mode:
    description: Can run in check mode and report whether the lock is free, without taking it.
    support: full
  diff_mode:
    description: A lock is no configuration, so there is nothing to show.
    support: none
"""

EXAMPLES = r"""
- name: End the play when another run is at work
  gpuswarm.ollama.run_lock:
    run: "{{ recovery_run }}"
    what: recover.yml
    local: true
  register: lock

- name: End the play
  ansible.builtin.meta: end_play
  when: lock.held
"""

RETURN = r"""
held:
  description: Whether somebody else holds the lock.
  type: bool
  returned: always
holder:
  description: Who holds the lock, in words.
  type: str
  returned: when O(state=acquired) and somebody else holds it
"""

import os
import time
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.gpuswarm.ollama.plugins.module_utils._runtime import lock


def _playbook_process() -> tuple[int, int]:
    """The outermost ancestor that is an Ansible command: it lives as long as the run."""
    pid = os.getpid()
    found = 0
    while pid > 1:
        try:
            words = Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8", errors="replace").split("\0")
            if any(Path(word).name.startswith("ansible") for word in words[:3]):
                found = pid
            pid = lock.process(pid)[0]
        except OSError:
            break
    found = found or os.getppid()
    return found, lock.process(found)[1]


def _holder(params: dict[str, object], now: float, boot_id: str) -> lock.Holder:
    pid, started = _playbook_process() if params["local"] else (0, 0)
    return lock.Holder(
        run=str(params["run"]),
        what=str(params["what"]),
        since=now,
        pid=pid,
        started=started,
        boot_id=boot_id,
        expires=0.0 if pid else now + int(str(params["lease"])),
    )


def _attempt(params: dict[str, object], check_mode: bool, boot_id: str) -> tuple[bool, str]:
    """Once: (is it held by somebody else, by whom)."""
    now = time.time()
    wanted = _holder(params, now, boot_id) if params["state"] == "acquired" else None
    other = lock.claim(Path(str(params["path"])), str(params["run"]), wanted, now, check_mode=check_mode)
    return (True, lock.describe(other, now)) if other else (False, "")


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "default": lock.PATH},
            "run": {"type": "str", "required": True},
            "what": {"type": "str", "default": "a run"},
            "local": {"type": "bool", "default": False},
            "lease": {"type": "int", "default": 900},
            "wait": {"type": "int", "default": 0},
            "state": {"type": "str", "choices": ["acquired", "released"], "default": "acquired"},
        },
        supports_check_mode=True,
    )
    deadline = time.monotonic() + module.params["wait"]
    try:
        boot_id = lock.boot_id()
        while True:
            held, holder = _attempt(module.params, module.check_mode, boot_id)
            if not held or module.params["state"] == "released" or time.monotonic() >= deadline:
                break
            time.sleep(1)
    except OSError as error:
        module.fail_json(msg=f"the lock {module.params['path']} cannot be used: {error}")
    module.exit_json(changed=False, held=held, **({"holder": holder} if held else {}))


if __name__ == "__main__":
    main()
