# SPDX-License-Identifier: Apache-2.0
"""From servers to inventory hosts: addresses, groups, filters. Pure, and plain data only, so that it can be cached."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .servers import PREEMPTIBLE_TAG, Server

ROLE_GROUPS = {"manager": "manager", "gpu_worker": "gpu_workers"}


def entry(server: Server, tag: str = PREEMPTIBLE_TAG) -> dict[str, Any]:
    """What the inventory keeps of a server: the hostvar `selectel` and all addresses."""
    return {
        "selectel": server.as_result(tag),
        "addresses": [
            {"network": a.network, "ip": a.ip, "version": a.version, "floating": a.floating} for a in server.addresses
        ],
    }


def choose(
    addresses: Sequence[Mapping[str, Any]], kind: str, network: str | None = None, version: int | None = None
) -> str | None:
    """The address for `ansible_host`; None if there is none of the wanted kind.

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


def groups(selectel: Mapping[str, Any]) -> list[str]:
    """The groups of a host, by role, status, zone and tier."""
    found = [ROLE_GROUPS[selectel["role"]]] if selectel["role"] in ROLE_GROUPS else []
    found.append(f"status_{str(selectel['status']).lower()}")
    if selectel["availability_zone"]:
        found.append(f"zone_{selectel['availability_zone']}")
    found.append(f"tier_{selectel['tier']}")
    return found


def matches(selectel: Mapping[str, Any], filters: Mapping[str, Any]) -> bool:
    """Whether every filter's field has the wanted value, or one of them."""
    for key, wanted in filters.items():
        have = selectel.get(key)
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
        by_name.setdefault(server["selectel"]["name"], []).append(str(server["selectel"]["id"]))
    return ((name, ids) for name, ids in by_name.items() if len(ids) > 1)
