# Copyright: (c) 2026, gpuswarm contributors
# SPDX-License-Identifier: Apache-2.0
"""How the fleet is, as a table for people. Pure: no I/O and no Ansible import."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from . import journal

HEAD = ("SERVER", "CLOUD", "TIER", "AGE", "NODE", "OLLAMA", "VERDICT", "LAST RECOVERY")


def table(
    verdicts: Sequence[Mapping[str, Any]], servers: Sequence[Mapping[str, Any]], journal_text: str, now: float
) -> list[str]:
    """Lines of a table with one row a server, columns padded to their widest cell.

    :param now: seconds since the epoch; ages are counted from it.
    """
    by_name = {str(server["name"]): server for server in servers}
    lines = journal.parse(journal_text)
    rows = [HEAD]
    for verdict in verdicts:
        name = str(verdict["server"])
        rows.append(
            (
                name,
                str(verdict["status"]),
                _tier(by_name.get(name)),
                age((by_name.get(name) or {}).get("launched_at"), now),
                str(verdict["node_state"]),
                str(verdict["ollama"] or "-"),
                _verdict(verdict),
                _recovery(journal.last_recovery(lines, name), now),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def age(since: object, now: float) -> str:
    """Time since an ISO 8601 moment, as "3h12m"; "-" when it is not known."""
    try:
        start = datetime.fromisoformat(str(since))
    except ValueError:
        return "-"
    if start.tzinfo is None:
        start = start.replace(tzinfo=UTC)  # Nova's launched_at is UTC and does not say so
    return span(now - start.timestamp())


def span(seconds: float) -> str:
    """Seconds in the two largest units, e.g. "2d4h", "3h12m", "5m7s", "9s"."""
    left = max(0, int(seconds))
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        if left >= size or (unit == "s" and not parts):
            parts.append(f"{left // size}{unit}")
            left %= size
    return "".join(parts[:2])


def _tier(server: Mapping[str, Any] | None) -> str:
    if server is None:
        return "-"
    return "preemptible" if server.get("preemptible") else "on-demand"


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
