# Copyright: (c) 2026, gpuswarm contributors
# SPDX-License-Identifier: Apache-2.0
"""Starts the recovery's service at once when the swarm says that a node is down.

Otherwise the timer would, with the next cycle. It decides nothing: the service's own probe does. When Docker ends the
stream, this ends too, and systemd starts it again.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "collections" / "current"))

from ansible_collections.gpuswarm.ollama.plugins.module_utils._clients import docker

SERVICE = "gpuswarm-recover.service"


def main() -> None:
    """Listen until Docker ends the stream."""
    for event in docker.node_events():
        name = docker.went_down(event)
        if name:
            print(f"{name} is down: starting a cycle", flush=True)
            subprocess.run(["/usr/bin/systemctl", "start", "--no-block", SERVICE], check=False, timeout=30)  # noqa: S603


try:
    main()
except OSError as error:
    sys.exit(f"Docker does not answer: {error}")
