# Copyright: (c) 2026, gpuswarm contributors
# SPDX-License-Identifier: Apache-2.0
"""The file that holds the recovery journal, and the one before its last rotation; the lines are `journal`'s."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

# A recovery writes about 1 KiB; 1 MiB is some thousand recoveries, more than a year of three servers a day.
MAX_BYTES = 1 << 20


def append(path: str, entries: Iterable[dict[str, Any]]) -> None:
    """Append lines and bring them to the disk; the file before the last rotation stays as ``path.1``."""
    file = Path(path)
    if file.exists() and file.stat().st_size > MAX_BYTES:
        file.replace(f"{path}.1")
    text = "".join(json.dumps(line, sort_keys=True) + "\n" for line in entries)
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
    with os.fdopen(descriptor, "a", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())


def read(path: str) -> str:
    """Text of a journal with the part before its last rotation; empty when there is none or it cannot be read."""
    parts = []
    for name in (f"{path}.1", path):
        try:
            parts.append(Path(name).read_text(encoding="utf-8", errors="replace"))
        except OSError:
            continue
    return "".join(parts)
