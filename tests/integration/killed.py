# SPDX-License-Identifier: Apache-2.0
"""``python killed.py MODULE K before|after < OPTIONS.json``: runs a module and kills the process at its K-th write.

A write is a request that changes something. With K = 0 the module runs to its end. The last line of the output is the
list of writes, as JSON.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any
from unittest import mock

from ansible_collections.gpuswarm.ollama.plugins.module_utils import cloud as cloud_module
from ansible_collections.gpuswarm.ollama.tests.integration.conftest import run_module


def main() -> None:
    """Entry point."""
    name, at, when = sys.argv[1], int(sys.argv[2]), sys.argv[3]
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

    with mock.patch.object(cloud_module.Cloud, "request", killed_request):
        result = run_module(name, **json.load(sys.stdin))
    print(json.dumps(writes))
    sys.exit(1 if result.get("failed") else 0)


if __name__ == "__main__":
    main()
