"""How the demonstration shows what it saw: plain text, no control characters, readable in a log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from demo.model import Answer, Timeline


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Lay out rows under a header, columns as wide as their widest cell."""
    cells = [[str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    lines = [
        f"{len(answers)} answers asked for, {got} got, {failed} failed before their first byte, {cut} cut while running"
    ]
    if waits:
        lines.append(f"{retried} times the gateway went on to another server")
        lines.append(f"wait for the first token: median {waits[len(waits) // 2]:.3f} s, longest {waits[-1]:.2f} s")
    if served:
        lines.append("answered by: " + ", ".join(f"{name} {count}" for name, count in sorted(served.items())))
    return "\n".join(lines)
