# Copyright: (c) 2026, gpuswarm contributors
# SPDX-License-Identifier: Apache-2.0
"""The file that holds what was counted, beside the journal that it is counted from; the meaning is `counters`'."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.gpuswarm.ollama.plugins.module_utils._core import counters, metrics

from . import state_files

AGAIN = "the counts are made from the journal and from the metrics that were shown last"


def count(path: str, shown: str, lines: Sequence[Mapping[str, Any]], now: float) -> tuple[counters.CounterState, str]:
    """Count what is new in the journal, and save the state before anybody is shown it.

    :param path: of the state; empty: none is kept.
    :param shown: path of the metrics' file, as it was written last.
    :param lines: the journal, oldest first.
    :param now: epoch seconds.
    :returns: the state, and what went wrong, in words; empty when nothing did.
    """
    exposed = metrics.exposed(state_files.text_of(shown))
    before: counters.CounterState | None = None
    said = ""
    try:
        before = counters.load(Path(path).read_text(encoding="utf-8")) if path else None
    except FileNotFoundError:
        if lines or exposed.counts:
            said = f"there is no {path} (state of the counters): {AGAIN}"
    except (OSError, ValueError) as error:
        said = f"{path} (state of the counters) cannot be read: {error}; {AGAIN}"
    state = counters.advance(before, exposed, lines, now)
    if path and state != before:
        try:
            state_files.replace(path, counters.dump(state), durable=True)
        except OSError as error:
            said = "; ".join(filter(None, [said, f"the state of the counters cannot be written to {path}: {error}"]))
    return state, said
