"""How the demonstration shows what it saw: plain text, no control characters, readable in a log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from demo.model import Timeline
from tests.kit.answers import Answer, Figures


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Lay out rows under a header, columns as wide as their widest cell."""
    cells = [[str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def moment(seconds: float) -> str:
    """Format a time on the timeline.

    >>> moment(7.25)
    'T+7.2 s'
    """
    return "T+0" if seconds == 0 else f"T+{seconds:.1f} s"


def timeline_table(times: Timeline) -> str:
    """Show the steps in the order in which they happened, then those that did not."""
    rows = [(moment(epoch - times.preempted), label) for epoch, _, label in times.reached()]
    rows += [("-", label) for step, label in Timeline.STEPS if getattr(times, step) is None]
    return table(("when", "what"), rows)


def servers_table(servers: Sequence[Mapping[str, object]]) -> str:
    """Show every server with what cloud, swarm and Ollama say about it."""
    columns = ("name", "role", "address", "zone", "cloud", "node", "ollama")
    return table(columns, [[server.get(column, "-") or "-" for column in columns] for server in servers])


def load_summary(answers: Sequence[Answer], names: Mapping[str, str]) -> str:
    """Say what the clients asked for and got.

    Args:
        answers: All that was asked.
        names: Name of the server behind each overlay address.
    """
    found = Figures(answers)
    served = Counter(names.get(answer.server, answer.server) for answer in answers if answer.complete and answer.server)
    lines = [
        (
            f"{found.asked} answers asked for, {found.complete} got, {found.failed} failed before their first byte, "
            f"{found.cut} cut while running"
        )
    ]
    if waits := found.waits:
        lines.append(f"{found.retried} times the gateway went on to another server")
        lines.append(f"wait for the first token: median {waits[len(waits) // 2]:.3f} s, longest {waits[-1]:.2f} s")
    if served:
        lines.append("answered by: " + ", ".join(f"{name} {count}" for name, count in sorted(served.items())))
    return "\n".join(lines)
