# SPDX-License-Identifier: Apache-2.0
"""What the cloud offers: turns the names in a spec into ids, before anything is created.

Lists are read once, and only when something has to be created: a healthy fleet costs none of it. A name that a list
does not have makes it be read once more a moment later: behind an API there are several replicas of database and cache,
and what was created just now is not in all of them at once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.errors import PreflightError, unknown
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.servers import Spec

from .cloud import Cloud

SECOND_LOOK = 1.0  # seconds until a list that lacks a name is read again

Items = list[dict[str, Any]]


@dataclass(frozen=True)
class Resolved:
    """The ids behind a spec's names."""

    flavor_id: str
    image_id: str
    network_id: str
    security_group_ids: tuple[str, ...] | None
    floating_network_id: str | None


def _flavors(cloud: Cloud) -> Items:
    return list(cloud.pages("compute", "/flavors", "flavors", "listing the flavors"))


def _images(cloud: Cloud) -> Items:
    return list(cloud.pages("image", "/images", "images", "listing the images"))


def _networks(cloud: Cloud) -> Items:
    return list(cloud.get("network", "/networks", "networks", "listing the networks"))


def _security_groups(cloud: Cloud) -> Items:
    path = "/security-groups?fields=id&fields=name"
    return list(cloud.get("network", path, "security_groups", "listing the security groups"))


def _key_pairs(cloud: Cloud) -> Items:
    pairs = cloud.get("compute", "/os-keypairs", "keypairs", "listing the key pairs")
    return [pair["keypair"] for pair in pairs]


def _zones(cloud: Cloud, service: str) -> Items:
    doing = f"listing the {service} availability zones"
    zones = cloud.get(service, "/os-availability-zone", "availabilityZoneInfo", doing)
    return [{"name": zone["zoneName"]} for zone in zones]


def _volume_types(cloud: Cloud) -> Items:
    return list(cloud.get("volume", "/types", "volume_types", "listing the volume types"))


# How each kind of thing is listed, by its name in messages
LISTS: dict[str, Callable[[Cloud], Items]] = {
    "flavor": _flavors,
    "image": _images,
    "availability zone": lambda cloud: _zones(cloud, "compute"),
    "network": _networks,
    "security group": _security_groups,
    "key pair": _key_pairs,
    "volume type": _volume_types,
    "volume availability zone": lambda cloud: _zones(cloud, "volume"),
}


class Catalogue:
    """Lists of flavors, images, networks and so on, each read only when it is needed."""

    def __init__(self, cloud: Cloud, assume_existing: Collection[str] = ()) -> None:
        """Args: assume_existing: names of what somebody else is about to create, which are taken as existing."""
        self._cloud = cloud
        self._assume_existing = frozenset(assume_existing)
        self._lists: dict[str, Items] = {}
        self._read_again: set[str] = set()
        self._lock = threading.RLock()

    def _list(self, what: str, *, again: bool = False) -> Items:
        """All things of a kind; `again` reads them anew, but only once in a run."""
        if what == "external network":
            return [n for n in self._list("network", again=again) if n.get("router:external")]
        with self._lock:
            stale = again and what not in self._read_again
            if stale:
                self._read_again.add(what)
                time.sleep(max(0.0, min(SECOND_LOOK, self._cloud.deadline.left())))
            if stale or what not in self._lists:
                self._lists[what] = LISTS[what](self._cloud)
            return self._lists[what]

    def _find(self, what: str, wanted: str, option: str, problems: list[str]) -> dict[str, Any]:
        """The item of that id or name; an empty dict, and a problem noted, if there is none or several."""
        found = _called(wanted, self._list(what))
        if not found and wanted in self._assume_existing:
            return {"id": "", "name": wanted, "subnets": [""]}
        found = found or _called(wanted, self._list(what, again=True))
        if len(found) == 1:
            return found[0]
        if found:
            ids = ", ".join(sorted(str(i.get("id")) for i in found))
            problems.append(
                f"{what} '{wanted}' is ambiguous: {len(found)} have that name. Set `{option}` to an id: {ids}"
            )
        else:
            where = f"region {self._cloud.region}" if self._cloud.region else ""
            names = (str(i.get("name") or "") for i in self._list(what))
            problems.append(unknown(what, wanted, names, option, where))
        return {}

    def security_group_ids(self, names: Sequence[str], problems: list[str]) -> tuple[str, ...]:
        """The ids of security groups given by name or id; what is unknown is noted in `problems`."""
        found = [self._find("security group", name, "security_groups", problems) for name in names]
        return tuple(str(item.get("id", "")) for item in found)

    def resolve(self, spec: Spec) -> Resolved:
        """The ids behind a spec's names.

        Raises:
            PreflightError: names every problem of the spec.
        """
        problems = spec.problems()
        if problems:
            raise PreflightError(problems)
        flavor = self._find("flavor", spec.flavor, "flavor", problems)
        image = self._find("image", spec.image, "image", problems)
        if image:
            problems += _image_problems(image, spec)
        zone = self._find("availability zone", spec.availability_zone, "availability_zone", problems)
        network = self._find("network", spec.network, "network", problems)
        if network and not network.get("subnets"):
            problems.append(f"network '{spec.network}' has no subnet, so a server would get no address: create one")
        if spec.key_name:
            self._find("key pair", spec.key_name, "key_name", problems)
        if spec.disk_type:
            self._find("volume type", spec.disk_type, "volume_type", problems)
        if zone or spec.volume_availability_zone:
            self._find("volume availability zone", spec.volume_zone, "volume_availability_zone", problems)
        groups = self.security_group_ids(spec.security_groups, problems) if spec.security_groups else None
        floating = self.floating_network_id(spec.floating_ip_network, problems) if spec.floating_ip_network else None
        if problems:
            raise PreflightError(problems)
        return Resolved(str(flavor["id"]), str(image["id"]), str(network["id"]), groups, floating)

    def floating_network_id(self, name: str, problems: list[str]) -> str:
        """The id of an external network given by name or id."""
        return str(self._find("external network", name, "floating_ip_network", problems).get("id", ""))


def _called(wanted: str, items: Items) -> Items:
    """The items of that id; if there is none, those of that name."""
    return [i for i in items if i.get("id") == wanted] or [i for i in items if i.get("name") == wanted]


def _image_problems(image: dict[str, Any], spec: Spec) -> list[str]:
    status = image.get("status")
    if status and status != "active":
        return [f"image '{spec.image}' is {status}, not active: take another one"]
    smallest = int(image.get("min_disk") or 0)
    if smallest > spec.volume_size:
        return [f"image '{spec.image}' wants a disk of {smallest} GiB, but `volume_size` is {spec.volume_size}"]
    return []
