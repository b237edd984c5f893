# SPDX-License-Identifier: Apache-2.0
"""From servers to inventory hosts: addresses, groups, filters. Plain data only, so that it can be cached."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .servers import PREEMPTIBLE_TAG, Server

ROLE_GROUPS = {"manager": "manager", "gpu_worker": "gpu_workers"}


def entry(server: Server, tag: str = PREEMPTIBLE_TAG) -> dict[str, Any]:
    """What the inventory keeps of a server: the hostvar `gpuswarm` and all addresses."""
    return {
        "gpuswarm": server.as_result(tag),
        "addresses": [
            {"network": a.network, "ip": a.ip, "version": a.version, "floating": a.floating} for a in server.addresses
        ],
    }


def choose(
    addresses: Sequence[Mapping[str, Any]], kind: str, network: str | None = None, version: int | None = None
) -> str | None:
    """The address for `ansible_host`; None if there is none of the requested kind.

    Args:
        addresses: all addresses of a server.
        kind: floating_or_fixed, fixed or floating.
        network: only addresses of this network.
        version: only addresses of this IP version.
    """
    found = [
        a
        for a in addresses
        if a["ip"]
        and network in (None, a["network"])
        and version in (None, a["version"])
        and (kind == "floating_or_fixed" or a["floating"] == (kind == "floating"))
    ]
    found.sort(key=lambda a: (not a["floating"], a["version"]))
    return str(found[0]["ip"]) if found else None


def groups(server: Mapping[str, Any]) -> list[str]:
    """The groups of a host, by role, status, zone and capacity type."""
    found = [ROLE_GROUPS[server["role"]]] if server["role"] in ROLE_GROUPS else []
    found.append(f"status_{str(server['status']).lower()}")
    if server["availability_zone"]:
        found.append(f"zone_{server['availability_zone']}")
    found.append(f"capacity_type_{server['capacity_type']}")
    return found


def matches(server: Mapping[str, Any], filters: Mapping[str, Any]) -> bool:
    """Whether every filter's field has the requested value, or one of them."""
    for key, wanted in filters.items():
        have = server.get(key)
        values = wanted if isinstance(wanted, (list, tuple)) else [wanted]
        if isinstance(have, list):
            if not set(map(str, values)) & set(map(str, have)):
                return False
        elif have not in values and str(have) not in [str(v) for v in values]:
            return False
    return True


def repeated(servers: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, list[str]]]:
    """Names that several servers have, each with the ids."""
    by_name: dict[str, list[str]] = {}
    for server in servers:
        by_name.setdefault(server["gpuswarm"]["name"], []).append(str(server["gpuswarm"]["id"]))
    return ((name, ids) for name, ids in by_name.items() if len(ids) > 1)
