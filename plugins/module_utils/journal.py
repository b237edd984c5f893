# Copyright: (c) 2026, gpuswarm contributors
# SPDX-License-Identifier: Apache-2.0
"""The recovery journal: what happened to which server, one JSON object a line, for people and for metrics.

Nothing is decided from it: state is observed, not remembered. A damaged line is therefore skipped, not an error.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

# Phases in the order in which a recovery goes through them.
PHASES = ("noticed", "restoring", "active", "ready", "healthy", "done", "failed")

# A recovery writes about 1 KiB; 1 MiB is some thousand recoveries, more than a year of three servers a day.
MAX_BYTES = 1 << 20


def entry(
    phase: str, server: str, epoch: float, monotonic: float, run: str = "", detail: str = "", cause: str = ""
) -> dict[str, Any]:
    """One line of the journal.

    :param epoch: wall clock in seconds, for people; ``monotonic``: seconds that no clock step disturbs, for durations.
    :param run: identifies the run of the playbook that wrote it.
    :raises ValueError: the phase is not one of ``PHASES``.
    """
    if phase not in PHASES:
        raise ValueError(f"phase is {phase!r}: one of {', '.join(PHASES)} is wanted")
    return {
        "time": datetime.fromtimestamp(epoch, tz=UTC).isoformat(timespec="milliseconds"),
        "epoch": round(epoch, 3),
        "monotonic": round(monotonic, 3),
        "run": run,
        "phase": phase,
        "server": server,
        "cause": cause,
        "detail": detail,
    }


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


def parse(text: str) -> list[dict[str, Any]]:
    """The lines of a journal that can be read, oldest first."""
    lines = []
    for line in text.splitlines():
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict) and {"phase", "server", "epoch"} <= value.keys():
            lines.append(value)
    return lines


def last_recovery(lines: Iterable[dict[str, Any]], server: str) -> dict[str, Any] | None:
    """The server's latest recovery: ``started`` (epoch), ``seconds`` (or None while it runs) and ``result``."""
    latest: dict[str, Any] | None = None
    for line in lines:
        if line["server"] != server:
            continue
        if line["phase"] == "noticed":
            latest = {"started": line["epoch"], "seconds": None, "result": "running", "cause": line.get("cause", "")}
        elif latest and line["phase"] in ("done", "failed"):
            latest["seconds"] = round(line["epoch"] - latest["started"], 1)
            latest["result"] = line["phase"]
    return latest
