# Copyright: (c) 2026, gpuswarm contributors
# SPDX-License-Identifier: Apache-2.0
"""The desired fleet: from a few inventory variables to one specification per server.

The same answer is given to playbooks, to the recovery loop and to tests.
"""

from __future__ import annotations

import ipaddress
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .servers import PREEMPTIBLE_TAG
from .strategies import TIMEOUTS

ROLE_MANAGER = "manager"
ROLE_GPU_WORKER = "gpu_worker"

# Metadata of the surge server that the recovery loop creates while it rotates another; it deletes no server without it.
SURGE = "rotation_surge"

# What Nova, Docker and DNS all take as a host name (RFC 1123), with room for "-manager" and "-gpu-999" within 63.
_FLEET_NAME = re.compile(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?")

# A swarm of this kind has one manager that watches every server; 200 is far above what has been tried with it.
MAX_GPU_WORKERS = 200

_REQUIRED = ("flavor", "image", "zones", "volume_size", "network")


class FleetError(ValueError):
    """A variable that describes the fleet is missing or wrong; the message names it and the fix."""


def manager_name(fleet: str) -> str:
    """Name of the fleet's manager server."""
    return f"{fleet}-manager"


def gpu_worker_name(fleet: str, number: int) -> str:
    """Name of the fleet's GPU server with this number, counted from 1."""
    return f"{fleet}-gpu-{number}"


def server_specs(settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Specifications of all servers that the fleet should consist of, the manager first.

    :param settings: ``name``, ``network``, ``key_name``, ``capacity_memory`` (of the fleet) and ``manager`` and
        ``gpu_workers``: mappings with ``flavor``, ``image``, ``zones`` (list; servers are dealt to them in turn),
        ``volume_size`` (GiB), ``volume_type`` (``{zone}`` stands for the server's zone), ``security_groups``,
        ``preemptible``, ``preemptible_tag``, ``floating_ip_network``, ``restart_stopped``, ``alternatives`` (list of
        mappings with ``zone``, ``flavor`` or both), ``on_demand_fallback``, ``strategy_timeouts`` (seconds for each);
        ``gpu_workers`` has ``count`` as well, and ``overrides``: for the number of a GPU server a mapping with those of
        ``flavor``, ``image``, ``volume_size`` and ``zone`` that differ.
    :returns: one mapping per server with the option names of the module ``selectel_fleet``.
    :raises FleetError: a setting is missing or has a wrong value.
    """
    name = _fleet_name(settings.get("name"))
    gpu = _section(settings, "gpu_workers")
    count = _number(gpu, "count", "fleet_gpu_count", 0, MAX_GPU_WORKERS)
    overrides = _overrides(gpu)
    specs = [_spec(settings, "manager", manager_name(name), ROLE_MANAGER, 0)]
    specs += [
        {
            **_spec(settings, "gpu_workers", gpu_worker_name(name, number), ROLE_GPU_WORKER, number - 1),
            **overrides.get(number, {}),
        }
        for number in range(1, count + 1)
    ]
    return specs


def problems(settings: Mapping[str, Any]) -> list[str]:
    """Everything that is wrong with the fleet's variables and can be known without asking the cloud.

    :param settings: what `server_specs` takes, and ``admin_cidrs``, ``client_cidrs``, ``client_ports``,
        ``network_cidr``, ``network_pool`` (``start``, ``end``), ``network_dns``.
    :returns: one sentence for each mistake, which names the variable and the fix; empty if there is none.
    """
    found = []
    for check in (server_specs, _check_admins, _check_clients, _check_network):
        try:
            check(settings)
        except FleetError as error:
            found.append(str(error))
    return found


def surplus(specs: Iterable[Mapping[str, Any]], servers: Iterable[Mapping[str, Any]]) -> list[str]:
    """Names of GPU servers that exist and are no longer needed, the highest number first.

    The manager is never surplus: only a person removes it (``playbooks/destroy.yml``).
    """
    wanted = {spec["name"] for spec in specs}
    names = [
        str(server["name"])
        for server in servers
        if server.get("role") == ROLE_GPU_WORKER and server["name"] not in wanted
    ]
    return sorted(names, key=_natural, reverse=True)


def surge_specs(specs: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The surge server, which exists while another one is rotated: the next number, and otherwise like the last one.

    It is placed in the zone whose turn it is. When there is no room it does not become an on-demand server, which it is
    not worth, and the lack of room is not remembered: the server that is rotated then could not return to its place.

    :param specs: what `server_specs` returned, or of each at least the name and the role.
    :returns: one specification, or none when the fleet has no GPU server.
    """
    gpus = [spec for spec in specs if spec["role"] == ROLE_GPU_WORKER]
    if not gpus:
        return []
    stem, number = str(gpus[-1]["name"]).rsplit("-", 1)
    zones = list(dict.fromkeys(spec.get("availability_zone") for spec in gpus))
    own = {
        "name": f"{stem}-{int(number) + 1}",
        "availability_zone": zones[len(gpus) % len(zones)],
        "metadata": {SURGE: "true"},
        "on_demand_fallback": False,
        "capacity_memory": None,
    }
    return [{**gpus[-1], **own}]


def is_surge(item: Mapping[str, Any]) -> bool:
    """Whether a server or a specification is that of the surge server for a rotation."""
    return SURGE in (item.get("metadata") or {})


def ingress_rules(networks: Iterable[str], ports: Iterable[int]) -> list[dict[str, Any]]:
    """Security group rules that let networks (CIDR) reach TCP ports.

    :raises FleetError: a network is not in CIDR notation, which some clouds take and then never find again.
    """
    rules = []
    for network, port in itertools.product(networks, ports):
        try:
            prefix = ipaddress.ip_network(network)
        except ValueError as error:
            raise FleetError(
                f"{network!r} must be a network in CIDR notation such as 203.0.113.7/32: {error}"
            ) from error
        rules.append(
            {
                "protocol": "tcp",
                "ether_type": f"IPv{prefix.version}",
                "port_range_min": int(port),
                "port_range_max": int(port),
                "remote_ip_prefix": str(prefix),
            }
        )
    return rules


def _check_admins(settings: Mapping[str, Any]) -> None:
    networks = _networks(settings, "admin_cidrs", [22])
    if not networks:
        raise FleetError(
            "fleet_admin_cidrs is empty: nobody could log in to the servers. Set it to the networks that you work "
            'from, e.g. ["203.0.113.7/32"]'
        )


def _check_clients(settings: Mapping[str, Any]) -> None:
    ports = settings.get("client_ports")
    if not isinstance(ports, Sequence) or isinstance(ports, str):
        raise FleetError(f"fleet_client_ports is {ports!r}: it must be a list of TCP ports, e.g. [80]")
    for port in ports:
        _number({"port": port}, "port", "A port in fleet_client_ports", 1, 65535)
    _networks(settings, "client_cidrs", ports)


def _networks(settings: Mapping[str, Any], option: str, ports: Iterable[int]) -> list[dict[str, Any]]:
    """The rules for the networks in a variable; the error names it."""
    networks = settings.get(option)
    if not isinstance(networks, Sequence) or isinstance(networks, str):
        raise FleetError(f'fleet_{option} is {networks!r}: it must be a list of networks, e.g. ["203.0.113.7/32"]')
    try:
        return ingress_rules(networks, ports)
    except FleetError as error:
        raise FleetError(f"fleet_{option}: {error}") from error


def _check_network(settings: Mapping[str, Any]) -> None:
    """The network that is to be created, if one is."""
    cidr = settings.get("network_cidr")
    if not cidr:
        return
    try:
        network = ipaddress.ip_network(cidr)
    except ValueError as error:
        raise FleetError(
            f"fleet_network_cidr is {cidr!r}: it must be a network in CIDR notation such as 192.168.180.0/24: {error}"
        ) from error
    pool = settings.get("network_pool") or {}
    if pool and set(pool) != {"start", "end"}:
        raise FleetError(f"fleet_network_pool is {pool!r}: it must have both, start and end, or nothing at all")
    for key in pool:
        if _address(pool[key], f"fleet_network_pool.{key}") not in network:
            raise FleetError(f"fleet_network_pool.{key} is {pool[key]}, which is not in fleet_network_cidr ({network})")
    for server in settings.get("network_dns") or []:
        _address(server, "A name server in fleet_network_dns")


def _address(value: str, variable: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        return ipaddress.ip_address(value)
    except ValueError as error:
        raise FleetError(f"{variable} is {value!r}: it must be an IP address") from error


def _natural(name: str) -> tuple[Any, ...]:
    return tuple(int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name))


def _fleet_name(value: object) -> str:
    if not isinstance(value, str) or not _FLEET_NAME.fullmatch(value):
        raise FleetError(
            f"fleet_name is {value!r}: give the fleet a name of 1 to 40 lower-case letters, digits and dashes that "
            "starts with a letter (option `fleet` of the inventory file)"
        )
    return value


def _section(settings: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    section = settings.get(key)
    if not isinstance(section, Mapping):
        raise FleetError(f"the settings of the fleet have no section {key!r}")
    return section


def _variable(key: str, option: str) -> str:
    """The role's variable behind a setting, for messages."""
    if option == "network":
        return "fleet_network"
    prefix = "fleet_manager_" if key == "manager" else "fleet_gpu_"
    return prefix + option


def _number(section: Mapping[str, Any], option: str, variable: str, low: int, high: int) -> int:
    value = section.get(option)
    try:
        number = int(str(value))
    except ValueError:
        number = low - 1
    if isinstance(value, bool) or not low <= number <= high:
        raise FleetError(f"{variable} is {value!r}: it must be a whole number from {low} to {high}")
    return number


def _spec(settings: Mapping[str, Any], key: str, name: str, role: str, index: int) -> dict[str, Any]:
    section = dict(_section(settings, key))
    section["network"] = settings.get("network")
    for option in _REQUIRED:
        if section.get(option) in (None, "", [], {}):
            raise FleetError(f"{_variable(key, option)} is not set: it is needed to create {name}")
    zones = section["zones"]
    if isinstance(zones, str) or not all(isinstance(zone, str) and zone for zone in zones):
        raise FleetError(f"{_variable(key, 'zones')} is {zones!r}: it must be a list of availability zones")
    zone = zones[index % len(zones)]
    return {
        "name": name,
        "role": role,
        "flavor": section["flavor"],
        "image": section["image"],
        "availability_zone": zone,
        "network": settings["network"],
        "security_groups": list(section.get("security_groups") or []),
        "key_name": settings.get("key_name"),
        "volume_size": _number(section, "volume_size", _variable(key, "volume_size"), 1, 65536),
        "volume_type": section.get("volume_type") or None,
        "preemptible": bool(section.get("preemptible", False)),
        "preemptible_tag": section.get("preemptible_tag") or PREEMPTIBLE_TAG,
        "floating_ip_network": section.get("floating_ip_network") or None,
        "restart_stopped": bool(section.get("restart_stopped", False)),
        "alternatives": _alternatives(section, _variable(key, "alternatives")),
        "on_demand_fallback": bool(section.get("on_demand_fallback", False)),
        "strategy_timeouts": _timeouts(section, _variable(key, "strategy_timeouts")),
        "capacity_memory": settings.get("capacity_memory") or None,
    }


def _overrides(section: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    """What differs on single GPU servers, in the words of the module, by number."""
    words = {"zone": "availability_zone", "flavor": "flavor", "image": "image"}
    variable = "fleet_gpu_overrides"
    found = section.get("overrides") or {}
    if not isinstance(found, Mapping):
        raise FleetError(f"{variable} is {found!r}: it must be a mapping such as {{2: {{image: NAME}}}}")
    result: dict[int, dict[str, Any]] = {}
    for key, given in found.items():
        # A number in YAML is a string once it has been JSON.
        number = _number({"key": key}, "key", f"A key of {variable}", 1, MAX_GPU_WORKERS)
        one = f"{variable}[{number}]"
        own = dict(given) if isinstance(given, Mapping) else {}
        size = {}
        if "volume_size" in own:
            size["volume_size"] = _number(own, "volume_size", f"{one}.volume_size", 1, 65536)
            del own["volume_size"]
        if not (own or size) or (own and not _is_place(own, words)):
            raise FleetError(f"{one} is {given!r}: it must be a mapping with some of {', '.join(words)}, volume_size")
        result[number] = {**{words[name]: value for name, value in own.items()}, **size}
    return result


def _alternatives(section: Mapping[str, Any], variable: str) -> list[dict[str, str]]:
    """Other places, in the words of the module."""
    words = {"zone": "availability_zone", "flavor": "flavor"}
    found = section.get("alternatives") or []
    if isinstance(found, str | Mapping) or not all(_is_place(place, words) for place in found):
        raise FleetError(
            f"{variable} is {found!r}: it must be a list of places such as [{{zone: ru-7b, flavor: NAME}}]"
        )
    return [{words[key]: value for key, value in place.items()} for place in found]


def _is_place(place: object, words: Mapping[str, str]) -> bool:
    if not isinstance(place, Mapping) or not place or not set(place) <= set(words):
        return False
    return all(isinstance(value, str) and value for value in place.values())


def _timeouts(section: Mapping[str, Any], variable: str) -> dict[str, int]:
    """Seconds for each strategy."""
    found = section.get("strategy_timeouts") or {}
    if not isinstance(found, Mapping) or not set(found) <= {strategy.value for strategy in TIMEOUTS}:
        raise FleetError(f"{variable} is {found!r}: it must be seconds for some of {', '.join(TIMEOUTS)}")
    return {key: _number(found, key, f"{variable}.{key}", 1, 86400) for key in found}
