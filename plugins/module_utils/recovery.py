# Copyright: (c) 2026, gpuswarm contributors
# SPDX-License-Identifier: Apache-2.0
"""What a recovery came to. Pure: no I/O and no Ansible import."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

NO_ANSWER = "the module that restores servers ended without a word about it"


def restore_results(result: Mapping[str, Any], lost: Iterable[str]) -> dict[str, list[dict[str, Any]]]:
    """Sorts the servers that were to be restored by what came of it; none is left out.

    :param result: what the module ``selectel_fleet`` returned: ``servers``, each with ``error`` if it failed. One that
        failed as a whole, at the login for example, has only its ``msg``.
    :param lost: names of the servers that were to be restored.
    :returns: ``restored``: the module's results; ``failed``: the same, with ``name`` and ``error`` at least.
    """
    told = {str(server["name"]): dict(server) for server in result.get("servers") or []}
    error = str(result.get("msg") or NO_ANSWER)
    every = [told.get(name, {"name": name, "error": error}) for name in lost]
    return {
        "restored": [server for server in every if "error" not in server],
        "failed": [server for server in every if "error" in server],
    }
