# SPDX-License-Identifier: Apache-2.0
"""Small files that hold state between runs."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path


def replace_file(path: Path, text: str, mode: int = 0o600) -> None:
    """Writes a file as a whole: a reader finds the old one or the new one.

    Args:
        path: the file; its directory is created if it is missing, for its owner only.
        text: its content; surrogates are the bytes that they stand for.
        mode: its permissions.

    Raises:
        OSError: it cannot be written; the old one is still there.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)  # 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
            os.fchmod(file.fileno(), mode)
        Path(name).replace(path)
    except OSError:
        Path(name).unlink()
        raise


def replace_private(path: Path, text: str) -> None:
    """Writes a file as a whole, readable by its owner only; a place that cannot be written to is no error."""
    with contextlib.suppress(OSError):
        replace_file(path, text)
