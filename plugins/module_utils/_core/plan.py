# Copyright: (c) 2026, gpuswarm contributors
# SPDX-License-Identifier: Apache-2.0
"""What a run of the recovery loop has to do, and the results of what it did."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .diagnosis import Diagnosis
from .vocabulary import STEPS, Step

NO_ANSWER = "the module that restores servers ended without a word about it"

# Steps for which recover.yml has something to do.
ACTING = frozenset(step for step in Step if STEPS[step].acts)


def worth_a_run(verdicts: Iterable[Diagnosis]) -> list[str]:
    """Why the recovery should run, one reason a server; empty when it should not."""
    reasons = []
    for verdict in verdicts:
        if verdict.step in ACTING:
            reasons.append(f"{verdict.server}: {verdict.verdict}, {verdict.reason} -> {verdict.step}")
        if verdict.stale_node_ids:
            reasons.append(f"{verdict.server}: its node was replaced, {', '.join(verdict.stale_node_ids)} can go")
    return reasons


def restore_results(result: Mapping[str, Any], lost: Iterable[str]) -> dict[str, list[dict[str, Any]]]:
    """Sorts the servers that were to be restored by the result; none is left out.

    :param result: what the module ``selectel_fleet`` returned: ``servers``, each with ``error`` if it failed. A run
        that failed as a whole, at the login for example, has only its ``msg``.
    :param lost: names of the servers that were to be restored.
    :returns: ``restored``: the module's results; ``failed``: the same, with ``name`` and ``error`` at least.
    """
    by_name = {str(server["name"]): dict(server) for server in result.get("servers") or []}
    error = str(result.get("msg") or NO_ANSWER)
    every = [by_name.get(name, {"name": name, "error": error}) for name in lost]
    return {
        "restored": [server for server in every if "error" not in server],
        "failed": [server for server in every if "error" in server],
    }
