# Copyright: (c) 2026, gpuswarm contributors
# SPDX-License-Identifier: Apache-2.0
"""The file that holds the ledger, and what was known when it was last written; the lines are `ledger`'s.

The state beside it spares reading the whole ledger every few seconds. It is made from the ledger again when it is
missing, damaged, or of another length of the ledger than there is: a program that is killed leaves both in order.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.gpuswarm.ollama.plugins.module_utils._core import ledger
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.billing import FLOATING_IP, VOLUME

from . import state_files


@dataclass
class LedgerState:
    """What is known between two observations; moments are epoch seconds of the cloud's clock, 0: never.

    Attributes:
        objects: the last line of everything that is there.
        looked: when the cloud was last observed.
        rested: by a server's id, when it was last observed, the cloud was not at work on it, and the ledger agreed.
        listed: when volumes and addresses were last listed; ``list_at``: when they are to be again.
        ask_at: when the cloud is asked again after it did not answer.
        metrics: what the metrics were last made from.
    """

    objects: ledger.Objects = field(default_factory=dict)
    looked: int = 0
    listed: int = 0
    list_at: int = 0
    ask_at: int = 0
    metrics: str = ""
    rested: dict[str, int] = field(default_factory=dict)


_NUMBERS = ("looked", "listed", "list_at", "ask_at")


def append(path: str, lines: Sequence[ledger.Line], written: float) -> None:
    """Append lines and bring them to the disk. A line that was torn before is ended first, and stays alone.

    :raises OSError: they cannot be written.
    """
    text = "".join(line.dump(written) + "\n" for line in lines)
    state_files.append(state_files.open_to_append(path), text)


def size(path: str) -> int:
    """Bytes of the ledger; 0 if there is none."""
    try:
        return Path(path).stat().st_size
    except OSError:
        return 0


def load(path: str) -> LedgerState:
    """What is known, from the state or else from the ledger.

    The moments in a state that is older than the ledger are still true: it was observed then.
    """
    state: LedgerState | None = None
    try:
        data: Any = json.loads(Path(f"{path}.state").read_text(encoding="utf-8"))
        looked, listed, list_at, ask_at = (int(data[name]) for name in _NUMBERS)
        rested = {str(one): int(at) for one, at in data["rested"].items()}
        state = LedgerState({}, looked, listed, list_at, ask_at, str(data["metrics"]), rested)
        if data["size"] == size(path):
            lines = ledger.parse("\n".join(data["lines"]))
            if len(lines) == len(data["lines"]):
                state.objects = ledger.last_lines(lines)
                return state
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        state = None
    lines = ledger.parse(state_files.text_of(path))
    if state is None:
        assets = [line.latest for line in lines if line.kind in (VOLUME, FLOATING_IP)]
        state = LedgerState(looked=max((line.latest for line in lines), default=0))
        # Listed at least when the last line was written; if never, not before the ledger began.
        state.listed = max(assets, default=min((line.latest for line in lines), default=0))
    # A line may be missing: everything is looked at again.
    state.objects, state.list_at = ledger.last_lines(lines), 0
    return state


def save(path: str, state: LedgerState) -> None:
    """Replace the state as a whole. It need not survive a power failure.

    :raises OSError: it cannot be written.
    """
    data = {
        "size": size(path),
        "lines": [line.dump(0) for line in state.objects.values()],
        "metrics": state.metrics,
        "rested": state.rested,
        **{name: getattr(state, name) for name in _NUMBERS},
    }
    state_files.replace(f"{path}.state", json.dumps(data))
