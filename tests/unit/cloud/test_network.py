"""What of a fleet's surroundings is missing, as a table: one thing at a time is taken away or changed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.gpuswarm.ollama.plugins.module_utils.network import (
    KEY_PAIR,
    NETWORK,
    ROUTER,
    SUBNET,
    Found,
    Wanted,
    missing,
)

WANTED = Wanted(
    key_name="demo-operator",
    public_key="ssh-ed25519 AAAA me@here",
    network="demo",
    cidr="10.0.0.0/24",
    pool=("10.0.0.20", "10.0.0.99"),
    dns=("10.0.0.2",),
    external_network="outside",
)
PAIR = {"name": "demo-operator", "public_key": "ssh-ed25519 AAAA another comment\n"}
NET = {"id": "n", "name": "demo"}
OUTSIDE = {"id": "o", "name": "outside"}
SUB: dict[str, Any] = {
    "id": "s",
    "name": "demo",
    "network_id": "n",
    "cidr": "10.0.0.0/24",
    "allocation_pools": [{"start": "10.0.0.20", "end": "10.0.0.99"}],
    "dns_nameservers": ["10.0.0.2"],
}
WAY: dict[str, Any] = {"id": "r", "name": "demo", "external_gateway_info": {"network_id": "o"}}
PORT: dict[str, Any] = {"device_id": "r", "fixed_ips": [{"subnet_id": "s", "ip_address": "10.0.0.1"}]}
ALL = Found(key_pairs=[PAIR], networks=[OUTSIDE, NET], subnets=[SUB], routers=[WAY], ports=[PORT])


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (ALL, []),
        (Found(), [KEY_PAIR, NETWORK, SUBNET, ROUTER]),
        (replace(ALL, key_pairs=[]), [KEY_PAIR]),
        (replace(ALL, key_pairs=[{**PAIR, "public_key": "ssh-ed25519 BBBB"}]), [KEY_PAIR]),
        (replace(ALL, networks=[OUTSIDE]), [NETWORK, SUBNET, ROUTER]),
        (replace(ALL, networks=[OUTSIDE, NET, {"id": "m", "name": "demo"}]), [NETWORK, SUBNET, ROUTER]),
        (replace(ALL, subnets=[]), [SUBNET, ROUTER]),
        (replace(ALL, subnets=[{**SUB, "network_id": "other"}]), [SUBNET, ROUTER]),
        (replace(ALL, subnets=[{**SUB, "cidr": "10.0.1.0/24"}]), [SUBNET]),
        (replace(ALL, subnets=[{**SUB, "allocation_pools": []}]), [SUBNET]),
        (replace(ALL, subnets=[{**SUB, "dns_nameservers": []}]), [SUBNET]),
        (replace(ALL, routers=[]), [ROUTER]),
        (replace(ALL, routers=[{**WAY, "external_gateway_info": None}]), [ROUTER]),
        (replace(ALL, routers=[{**WAY, "external_gateway_info": {"network_id": "n"}}]), [ROUTER]),
        (replace(ALL, ports=[]), [ROUTER]),
        (replace(ALL, ports=[{**PORT, "device_id": "another"}]), [ROUTER]),
        (replace(ALL, ports=[{**PORT, "fixed_ips": [{"subnet_id": "another"}]}]), [ROUTER]),
    ],
)
def test_missing(found: Found, expected: list[str]) -> None:
    assert missing(WANTED, found) == expected


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (replace(WANTED, pool=("", ""), dns=()), []),  # then the subnet's may be any
        (replace(WANTED, external_network="o"), []),  # by its id
        (replace(WANTED, external_network="elsewhere"), [ROUTER]),
        (replace(WANTED, cidr="", network="somebody's"), []),
        (replace(WANTED, cidr="", key_name="another"), [KEY_PAIR]),
    ],
)
def test_what_is_wanted_decides(wanted: Wanted, expected: list[str]) -> None:
    assert missing(wanted, ALL) == expected
