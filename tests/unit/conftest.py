# SPDX-License-Identifier: Apache-2.0
"""What several unit tests stand on."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest


@pytest.fixture
def engine() -> Iterator[int]:
    """A process in Docker's place."""
    with subprocess.Popen(["sleep", "600"]) as process:
        try:
            yield process.pid
        finally:
            process.kill()
