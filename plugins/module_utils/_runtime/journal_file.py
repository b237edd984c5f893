# Copyright: (c) 2026, gpuswarm contributors
# SPDX-License-Identifier: Apache-2.0
"""The file that holds the recovery journal, and the one before its last rotation; the lines are `journal`'s.

The probe and a run may write at the same time. Whoever writes holds the file's own lock.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from . import state_files

# A recovery writes about 1 KiB; 1 MiB is some thousand recoveries, more than a year of three servers a day.
MAX_BYTES = 1 << 20
TRIES = 5  # to read both files, or to open one, with no rotation by somebody else meanwhile


def append(path: str, entries: Iterable[dict[str, Any]]) -> None:
    """Append lines and bring them to the disk; the file before the last rotation stays as ``path.1``.

    A line that was torn before, as by a power failure, is ended first, and stays alone.

    :raises OSError: they cannot be written.
    """
    text = "".join(json.dumps(line, sort_keys=True) + "\n" for line in entries)
    state_files.append(_open(path), text)


def _open(path: str) -> int:
    """The file, locked until it is closed; a full one is rotated first, unless somebody else has just done so."""
    for _try in range(TRIES):
        descriptor = state_files.open_to_append(path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            mine = os.fstat(descriptor)
            if _identity(path) == (mine.st_dev, mine.st_ino):
                if mine.st_size <= MAX_BYTES:
                    return descriptor
                Path(path).replace(f"{path}.1")
        except OSError:
            os.close(descriptor)
            raise
        os.close(descriptor)
    raise OSError(f"{path} is rotated again and again by somebody else: it must be left to the recovery loop")


def _identity(path: str) -> tuple[int, int] | None:
    """What tells a file from another one that takes its name; None if there is none."""
    try:
        found = os.stat(path)  # noqa: PTH116 - Path.stat costs more, in every cycle
    except OSError:
        return None
    return found.st_dev, found.st_ino


def read(path: str) -> str:
    """Text of a journal with the part before its last rotation; empty when there is none or it cannot be read."""
    text = ""
    for _try in range(TRIES):
        older = _identity(f"{path}.1")
        text = _text(f"{path}.1") + _text(path)
        if _identity(f"{path}.1") == older:
            break
    return text


def _text(path: str) -> str:
    text = state_files.text_of(path)
    return text if not text or text.endswith("\n") else text + "\n"
