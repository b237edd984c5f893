# SPDX-License-Identifier: Apache-2.0
"""Runs a module in a process of its own, and kills that process at a write.

A write is a request that changes something. The processes are forked from one that has imported all of it once.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping
from multiprocessing import forkserver
from pathlib import Path
from typing import Any
from unittest import mock

from ansible_collections.gpuswarm.ollama.plugins.module_utils._clients import cloud as cloud_module
from tests.cloud.conftest import PLUGINS, run_module

LIMIT = 600  # seconds; a guard against hanging
MODULES = ("selectel_server", "selectel_fleet")
for _name in MODULES:
    importlib.import_module(f"{PLUGINS}.modules.{_name}")


def _run(name: str, at: int, when: str, options: Mapping[str, Any], env: Mapping[str, str], output: Path) -> None:
    """The process: ends with 0 if the module came to its end without a failure, or is killed."""
    os.environ.update(env)
    writes: list[str] = []
    request = cloud_module.Cloud.request

    def killed_request(cloud: Any, service: str, method: str, path: str, **more: Any) -> Any:
        if method == "GET":
            return request(cloud, service, method, path, **more)
        writes.append(f"{method} {path}")
        hit = len(writes) == at
        if hit and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        answer = request(cloud, service, method, path, **more)
        if hit:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    with (
        output.open("w") as file,
        contextlib.redirect_stdout(file),
        contextlib.redirect_stderr(file),
        mock.patch.object(cloud_module.Cloud, "request", killed_request),
    ):
        result = run_module(name, **options)
        print(json.dumps(writes))
    sys.exit(1 if result.get("failed") else 0)


class Runner:
    """Starts the processes; can be used from several threads."""

    def __init__(self) -> None:
        """Starts the process that the others are forked from."""
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([__name__])
        # Python 3.11 imports what is to be preloaded before it has this process's path
        with mock.patch.dict(os.environ, PYTHONPATH=os.pathsep.join(filter(None, sys.path))):
            forkserver.ensure_running()

    def run(self, name: str, at: int, when: str, options: Mapping[str, Any], output: Path) -> int:
        """Runs a module.

        Args:
            name: the module's.
            at: at which write the process is killed, counted from 1; 0: at none.
            when: "before" or "after" that write.
            options: the module's.
            output: file for what the process says; the last line is the list of writes, as JSON.

        Returns:
            The exit status; minus the signal's number if one ended the process.
        """
        arguments = (name, at, when, options, dict(os.environ), output)
        process = self._context.Process(target=_run, args=arguments, daemon=True)
        process.start()
        process.join(LIMIT)
        status = process.exitcode
        if status is None:
            process.kill()
            raise TimeoutError(f"{name} has not ended after {LIMIT} s: {output.read_text()}")
        return status
