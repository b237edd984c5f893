# Copyright: (c) 2026, gpuswarm contributors
# SPDX-License-Identifier: Apache-2.0
"""What of a fleet's network, router, SSH key and security groups is missing or different."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

KEY_PAIR = "key pair"
NETWORK = "network"
SUBNET = "subnet"
ROUTER = "router"

Items = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Wanted:
    """What a fleet has.

    :param network: name of the network, its subnet and its router; with an empty ``cidr`` they are somebody else's.
    :param pool: first and last address that servers get, empty where all of them do.
    :param security_groups: rules by the group's name, each as the module ``openstack.cloud.security_group`` takes it.
    """

    key_name: str
    public_key: str
    network: str
    cidr: str = ""
    pool: tuple[str, str] = ("", "")
    dns: tuple[str, ...] = ()
    external_network: str = ""
    security_groups: Mapping[str, Items] = field(default_factory=dict)


@dataclass(frozen=True)
class Found:
    """What the cloud lists; ``ports`` are those of routers."""

    key_pairs: Items = field(default_factory=tuple)
    networks: Items = field(default_factory=tuple)
    subnets: Items = field(default_factory=tuple)
    routers: Items = field(default_factory=tuple)
    ports: Items = field(default_factory=tuple)
    security_groups: Items = field(default_factory=tuple)


def missing(wanted: Wanted, found: Found) -> list[str]:
    """What has to be created or changed. Something of which there are several is listed too: its maker says so."""
    result = []
    pairs = _named(found.key_pairs, wanted.key_name)
    if len(pairs) != 1 or _key(str(pairs[0].get("public_key"))) != _key(wanted.public_key):
        result.append(KEY_PAIR)
    if not wanted.cidr:
        return result
    networks = _named(found.networks, wanted.network)
    if len(networks) != 1:
        return [*result, NETWORK, SUBNET, ROUTER]
    subnets = [
        subnet for subnet in _named(found.subnets, wanted.network) if subnet.get("network_id") == networks[0]["id"]
    ]
    if len(subnets) != 1 or not _is_wanted(subnets[0], wanted):
        result.append(SUBNET)
    if len(subnets) != 1 or not _leads_out(subnets[0], wanted, found):
        result.append(ROUTER)
    return result


def different_groups(wanted: Wanted, found: Found) -> list[str]:
    """Names of the security groups that are missing, exist several times, or have other rules."""
    names = {group["id"]: str(group["name"]) for group in found.security_groups}
    result = []
    for name, rules in wanted.security_groups.items():
        groups = _named(found.security_groups, name)
        there = {_there(rule, names) for group in groups for rule in group["security_group_rules"]}
        if len(groups) != 1 or there != {_asked_for(rule) for rule in rules}:
            result.append(name)
    return result


def _rule(direction: Any, ether_type: Any, protocol: Any, ports: tuple[Any, Any], remote: Any) -> tuple[str, ...]:
    return (str(direction), str(ether_type), str(protocol or "any"), *(str(port or "") for port in ports), str(remote))


def _asked_for(rule: Mapping[str, Any]) -> tuple[str, ...]:
    """A rule as the module takes it, in a form that can be compared."""
    return _rule(
        rule.get("direction") or "ingress",
        rule.get("ether_type") or "IPv4",
        rule.get("protocol"),
        (rule.get("port_range_min"), rule.get("port_range_max")),
        rule.get("remote_group") or rule.get("remote_ip_prefix") or "",
    )


def _there(rule: Mapping[str, Any], names: Mapping[str, str]) -> tuple[str, ...]:
    """The same of a rule as the cloud lists it; it knows other groups by their ids."""
    group = rule.get("remote_group_id")
    return _rule(
        rule.get("direction"),
        rule.get("ethertype"),
        rule.get("protocol"),
        (rule.get("port_range_min"), rule.get("port_range_max")),
        names.get(group, group) if group else rule.get("remote_ip_prefix") or "",
    )


def _named(items: Items, name: str) -> list[Mapping[str, Any]]:
    return [item for item in items if item.get("name") == name]


def _key(text: str) -> list[str]:
    """Type and key, without the comment."""
    return text.split()[:2]


def _is_wanted(subnet: Mapping[str, Any], wanted: Wanted) -> bool:
    pools = [(pool.get("start"), pool.get("end")) for pool in subnet.get("allocation_pools") or ()]
    return (
        subnet.get("cidr") == wanted.cidr
        and (wanted.pool == ("", "") or pools == [wanted.pool])
        and (not wanted.dns or tuple(subnet.get("dns_nameservers") or ()) == wanted.dns)
    )


def _leads_out(subnet: Mapping[str, Any], wanted: Wanted, found: Found) -> bool:
    """Whether the one router of the fleet leads from its subnet to the external network."""
    routers = _named(found.routers, wanted.network)
    outside = {
        network["id"] for network in found.networks if wanted.external_network in (network["id"], network.get("name"))
    }
    if len(routers) != 1 or (routers[0].get("external_gateway_info") or {}).get("network_id") not in outside:
        return False
    return any(
        port.get("device_id") == routers[0]["id"]
        and any(address.get("subnet_id") == subnet["id"] for address in port.get("fixed_ips") or ())
        for port in found.ports
    )
