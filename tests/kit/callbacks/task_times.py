# SPDX-License-Identifier: Apache-2.0
"""Appends how long each task took to the file that GPUSWARM_TASK_TIMES names, one JSON object a line."""

from __future__ import annotations

DOCUMENTATION = """
name: task_times
type: aggregate
short_description: Append how long each task took to a file
description:
  - One JSON object a line, with C(task) (role and name), C(at) (seconds since the epoch) and C(s) (seconds).
  - The file is what E(GPUSWARM_TASK_TIMES) names; nothing is done without it.
"""

import json
import os
import time
from typing import Any

from ansible.plugins.callback import CallbackBase


class CallbackModule(CallbackBase):
    """The callback, as Ansible looks for it."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "task_times"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self._path = os.environ.get("GPUSWARM_TASK_TIMES", "")
        self._task: tuple[str, float] | None = None

    def _switch(self, task: str | None) -> None:
        now = time.time()
        if self._task and self._path:
            name, began = self._task
            line = json.dumps({"task": name, "at": round(began, 3), "s": round(now - began, 3)}) + "\n"
            # One write: many runs append at the same time.
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                os.write(descriptor, line.encode())
            finally:
                os.close(descriptor)
        self._task = (task, now) if task else None

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:  # noqa: ARG002 (Ansible's)
        """The task before has ended."""
        self._switch(task.get_name())

    def v2_playbook_on_handler_task_start(self, task: Any) -> None:
        """The same of a handler."""
        self._switch(task.get_name())

    def v2_playbook_on_stats(self, stats: Any) -> None:  # noqa: ARG002 (Ansible's)
        """The last task has ended."""
        self._switch(None)
