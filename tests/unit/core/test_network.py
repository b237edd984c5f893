"""What of a fleet's surroundings is missing, as a table: one thing at a time is taken away or changed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.network import (
    KEY_PAIR,
    NETWORK,
    ROUTER,
    SUBNET,
    Found,
    Wanted,
    different_groups,
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


NODE = {
    "id": "g1",
    "name": "demo-node",
    "security_group_rules": [
        {"direction": "egress", "ethertype": "IPv4", "protocol": None, "remote_ip_prefix": None},
        {
            "direction": "ingress",
            "ethertype": "IPv4",
            "protocol": "tcp",
            "port_range_min": 2377,
            "port_range_max": 2377,
            "remote_group_id": "g1",
        },
    ],
}
DOOR = {
    "id": "g2",
    "name": "demo-gateway",
    "security_group_rules": [
        {
            "direction": "ingress",
            "ethertype": "IPv6",
            "protocol": "tcp",
            "port_range_min": 443,
            "port_range_max": 443,
            "remote_ip_prefix": "::/0",
        }
    ],
}
GROUPS: dict[str, list[dict[str, Any]]] = {
    "demo-node": [
        {"direction": "egress", "ether_type": "IPv4"},
        {"protocol": "tcp", "port_range_min": 2377, "port_range_max": 2377, "remote_group": "demo-node"},
    ],
    "demo-gateway": [
        {
            "protocol": "tcp",
            "port_range_min": 443,
            "port_range_max": 443,
            "ether_type": "IPv6",
            "remote_ip_prefix": "::/0",
        }
    ],
}


def with_rule(group: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The group, its last rule changed."""
    rules = group["security_group_rules"]
    return {**group, "security_group_rules": [*rules[:-1], {**rules[-1], **changes}]}


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ([NODE, DOOR], []),
        ([], ["demo-node", "demo-gateway"]),
        ([NODE], ["demo-gateway"]),
        ([NODE, NODE, DOOR], ["demo-node"]),
        ([with_rule(NODE, remote_group_id="another"), DOOR], ["demo-node"]),
        ([with_rule(NODE, port_range_max=2378), DOOR], ["demo-node"]),
        ([with_rule(NODE, protocol="udp"), DOOR], ["demo-node"]),
        ([NODE, with_rule(DOOR, remote_ip_prefix="2001:db8::/32")], ["demo-gateway"]),
        ([NODE, with_rule(DOOR, ethertype="IPv4")], ["demo-gateway"]),
        # Rules that are not listed are deleted, and one that a person has deleted comes back.
        ([NODE, {**DOOR, "security_group_rules": []}], ["demo-gateway"]),
        ([{**NODE, "security_group_rules": NODE["security_group_rules"][1:]}, DOOR], ["demo-node"]),
    ],
)
def test_different_groups(groups: list[dict[str, Any]], expected: list[str]) -> None:
    wanted = replace(WANTED, security_groups=GROUPS)
    assert different_groups(wanted, replace(ALL, security_groups=groups)) == expected
