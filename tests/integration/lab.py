# SPDX-License-Identifier: Apache-2.0
"""A cloud to work against, for the integration tests and the benchmark."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
LAB = REPOSITORY / "lab" / "lab"


@contextlib.contextmanager
def cloud() -> Iterator[dict[str, str]]:
    """The variables by which an ordinary member finds the cloud, also set in this process's environment.

    It is the one that OS_CLIENT_CONFIG_FILE and OS_CLOUD name; if they name none, the lab in its in-memory mode, which
    is raised and ended if it is not up.
    """
    started = False
    if "OS_CLIENT_CONFIG_FILE" not in os.environ:
        file = REPOSITORY / "build" / "lab-fake" / "env.sh"
        if not file.exists():
            subprocess.run([LAB, "--fake", "up"], check=True, timeout=900)
            started = True
        lines = [shlex.split(line) for line in file.read_text().splitlines()]
        os.environ.update(dict(words[1].split("=", 1) for words in lines if words[:1] == ["export"]))
    try:
        yield {name: os.environ[name] for name in ("OS_CLIENT_CONFIG_FILE", "OS_CLOUD")}
    finally:
        if started:
            subprocess.run([LAB, "--fake", "down"], check=True, timeout=120)
