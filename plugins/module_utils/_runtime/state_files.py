# Copyright: (c) 2026, gpuswarm contributors
# SPDX-License-Identifier: Apache-2.0
"""The files that the recovery loop keeps on the manager: read, appended to, and replaced as a whole.

Each has one writer at a time. `files.replace_file` is for those that have several, and imports too much for the probe.
"""

from __future__ import annotations

import os
from pathlib import Path


def text_of(path: str) -> str:
    """Text of a file; empty when there is none or it cannot be read."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def open_to_append(path: str) -> int:
    """A descriptor for `append`; the file is made if it is missing.

    :raises OSError: it cannot be opened.
    """
    return os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)


def append(descriptor: int, text: str) -> None:
    """Append whole lines, bring them to the disk, and close the file.

    A line that was torn before, as by a power failure, is ended first, and stays alone.

    :param descriptor: of `open_to_append`.
    :raises OSError: they cannot be written.
    """
    with os.fdopen(descriptor, "rb+", buffering=0) as stream:
        size = stream.seek(0, os.SEEK_END)
        if size:
            stream.seek(size - 1)
            text = text if stream.read(1) == b"\n" else "\n" + text
        left = text.encode()
        while left:
            left = left[stream.write(left) :]
        os.fsync(stream.fileno())


def replace(path: str, text: str, *, everybody: bool = False, durable: bool = False) -> None:
    """Replace a file as a whole: whoever reads it, a backup too, finds the old one or the new one.

    :param everybody: whether everybody may read it, whatever the umask is.
    :param durable: whether it is on the disk before it takes the old one's place.
    :raises OSError: it cannot be written.
    """
    fresh = f"{path}.new"
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        if everybody:
            os.fchmod(stream.fileno(), 0o644)
        stream.write(text)
        stream.flush()
        if durable:
            os.fsync(stream.fileno())
    Path(fresh).replace(path)
