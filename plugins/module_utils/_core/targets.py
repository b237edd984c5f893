# Copyright: (c) 2026, gpuswarm contributors
# SPDX-License-Identifier: Apache-2.0
"""Which servers Prometheus is to scrape: those that there should be, not those that there are.

Service discovery by the swarm drops a task a few seconds after its node has died, so the target is gone just when it
should be red. A server that the fleet should have stays a target, whether it is there or not.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from .diagnosis import Diagnosis
from .vocabulary import Verdict

# The schedule does not need it now, or the inventory does not have it any more.
UNNEEDED = frozenset({Verdict.RESTING, Verdict.SURPLUS, Verdict.SURGE_UNNEEDED})


def file_sd(verdicts: Iterable[Diagnosis], servers: Iterable[Mapping[str, Any]]) -> str:
    """Text of a file for Prometheus' ``file_sd_configs``, one group for every server, sorted by name.

    A target is an address without a port, as several exporters run on a server: each job adds its own
    (``relabel_configs``). A server that has no address now is called by its name. The labels ``server`` and ``role``
    stay the same whatever its address becomes.

    :param verdicts: of every server that there should be, and of others.
    :param servers: as modules return them.
    """
    addresses: dict[str, str] = {}
    for server in servers:
        addresses.setdefault(str(server["name"]), str(server.get("fixed_ip") or ""))
    wanted = {verdict.server: verdict for verdict in verdicts if verdict.verdict not in UNNEEDED}
    groups = [
        {"targets": [_host(addresses.get(name) or name)], "labels": {"server": name, "role": wanted[name].role}}
        for name in sorted(wanted)
    ]
    return json.dumps(groups, indent=1) + "\n"


def _host(address: str) -> str:
    """An address as the host in a URL."""
    return f"[{address}]" if ":" in address else address
