# Copyright: (c) 2026, gpuswarm contributors
# SPDX-License-Identifier: Apache-2.0
"""Which backups of a fleet are kept."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

BACKUP = re.compile(r"(?P<fleet>.+)-(?P<made>[0-9]{8}T[0-9]{6}Z)\.tar\.gz(\.age)?")


def surplus(paths: list[str], fleet: str, keep: int, made: str) -> list[str]:
    """Backups that are to be removed after a new one was made.

    :param paths: files of a directory that other fleets' backups and anything else may lie in, too.
    :param fleet: name of the fleet; no other fleet's backup is ever among the result.
    :param keep: how many of the fleet's backups stay, the new one among them; at least 1.
    :param made: path or name of the new backup, which stays whatever the clock said.
    :returns: paths, the youngest first.
    :raises ValueError: ``keep`` is less than 1.
    """
    if keep < 1:
        raise ValueError(f"keep must be at least 1, and is {keep}")
    found = ((path, BACKUP.fullmatch(PurePosixPath(path).name)) for path in paths)
    others = [
        (match["made"], path)
        for path, match in found
        if match and match["fleet"] == fleet and match[0] != PurePosixPath(made).name
    ]
    return [path for _moment, path in sorted(others, reverse=True)[keep - 1 :]]
