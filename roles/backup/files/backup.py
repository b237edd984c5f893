# Copyright: (c) 2026, gpuswarm contributors
# SPDX-License-Identifier: Apache-2.0
"""Backups of the manager: backup.py make|restore|undo SETTINGS.

make: a backup. restore: dumps that a restore has left, into their services. undo: Docker and containers go on that a
killed backup has left standing still. The collections lie beside this file's directory; Python is started without its
site packages (-I -S), of which nothing is needed.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from types import FrameType

sys.path.insert(0, str(Path(__file__).resolve().parent / "collections" / "current"))

from ansible_collections.gpuswarm.ollama.plugins.module_utils._runtime import backup


def end(number: int, _frame: FrameType | None) -> None:
    """End in order, so that Docker goes on."""
    sys.exit(128 + number)


def say(line: str) -> None:
    """Tell the journal at once."""
    print(line, flush=True)


os.umask(0o077)
signal.signal(signal.SIGTERM, end)
sys.exit(backup.main(sys.argv[1], sys.argv[2], say))
