# Copyright: (c) 2026, gpuswarm contributors
# SPDX-License-Identifier: Apache-2.0
"""How the fleet is: as data, and as a table for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import journal

HEAD = ("SERVER", "CLOUD", "CAPACITY", "AGE", "NODE", "OLLAMA", "VERDICT", "LAST RECOVERY")


def report(
    verdicts: Sequence[Mapping[str, Any]],
    journal_text: str,
    loop: str,
    unknown: str = "",
    cost: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Everything that status shows, as data.

    :param verdicts: ``Diagnosis.as_dict`` of each server.
    :param loop: how the recovery loop is, in words.
    :param unknown: why knowledge is partial, in words; empty when it is not.
    :param cost: this month's bill so far (`cost.status_of`), None: not known.
    :returns: ``servers`` (the verdicts, each with ``last_recovery`` or None there), ``loop``, ``unknown``,
        ``as_desired`` and ``cost``.
    """
    lines = journal.parse(journal_text)
    servers = []
    for verdict in verdicts:
        last = journal.last_recovery(lines, str(verdict["server"]))
        last_recovery = None
        if last is not None:
            last_recovery = {
                "started": last.started,
                "verdict": last.verdict,
                "result": last.result,
                "seconds": last.seconds,
                "phases": dict(last.phases),
            }
        servers.append({**verdict, "last_recovery": last_recovery})
    as_desired = not unknown and all(verdict["as_desired"] for verdict in verdicts)
    return {"servers": servers, "loop": loop, "unknown": unknown, "as_desired": as_desired, "cost": cost}


def table(data: Mapping[str, Any], now: float) -> list[str]:
    """Lines of a table with one row a server, columns padded to their widest cell, and further lines.

    :param data: what ``report`` returned.
    :param now: seconds since the epoch; the time since the last recovery is counted from it.
    """
    rows = [HEAD]
    rows += [
        (
            str(server["server"]),
            str(server["status"]),
            str(server["capacity_type"]).replace("_", "-") or "-",
            "-" if server["age"] is None else span(server["age"]),
            str(server["node_state"]),
            str(server["ollama"] or "-"),
            _verdict(server),
            _recovery(server["last_recovery"], now),
        )
        for server in data["servers"]
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return lines + [line for line in (f"recovery loop: {data['loop']}", data["unknown"]) if line]


def loop_state(timer: str, maintenance: str) -> str:
    """How the recovery loop is, in words.

    :param timer: ActiveState of its timer (systemd), empty when there is none.
    :param maintenance: what switches the loop off, in words; empty when nothing does.
    """
    state = timer or "not installed"
    return f"{state}, but in maintenance: {maintenance}" if maintenance else state


def span(seconds: float) -> str:
    """Seconds in the two largest units, e.g. "2d4h", "3h12m", "5m7s", "9s"."""
    left = max(0, int(seconds))
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        if left >= size or (unit == "s" and not parts):
            parts.append(f"{left // size}{unit}")
            left %= size
    return "".join(parts[:2])


def _verdict(verdict: Mapping[str, Any]) -> str:
    name = str(verdict["verdict"])
    return name if verdict["step"] == "none" and name == "healthy" else f"{name}: {verdict['reason']}"


def _recovery(last: Mapping[str, Any] | None, now: float) -> str:
    if last is None:
        return "-"
    ago = f"{span(now - last['started'])} ago"
    if last["seconds"] is None:
        return f"{ago}, running"
    return f"{ago}, {last['result']} in {last['seconds']:.0f} s"
