# SPDX-License-Identifier: Apache-2.0
"""What the cloud offers: turns the names in a spec into ids, before anything is created.

Everything is read once, and only when something has to be created: a healthy fleet costs none of it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from .cloud import Cloud
from .errors import PreflightError, unknown
from .servers import Spec


@dataclass(frozen=True)
class Resolved:
    """The ids behind a spec's names."""

    flavor_id: str
    image_id: str
    network_id: str
    security_group_ids: tuple[str, ...] | None
    floating_network_id: str | None


class Catalogue:
    """Lists of flavors, images, networks and so on, each read at most once."""

    def __init__(self, cloud: Cloud, pending: Collection[str] = ()) -> None:
        """Args: pending: names of what somebody else is about to create, which are taken as existing."""
        self._cloud = cloud
        self._pending = frozenset(pending)
        self._lists: dict[str, list[dict[str, Any]]] = {}
        self._lock = threading.RLock()

    def _list(self, key: str, read: Callable[[], Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
        with self._lock:
            if key not in self._lists:
                self._lists[key] = list(read())
            return self._lists[key]

    def _flavors(self) -> list[dict[str, Any]]:
        return self._list(
            "flavors", lambda: list(self._cloud.pages("compute", "/flavors", "flavors", "listing the flavors"))
        )

    def _images(self) -> list[dict[str, Any]]:
        return self._list("images", lambda: list(self._cloud.pages("image", "/images", "images", "listing the images")))

    def _networks(self) -> list[dict[str, Any]]:
        return self._list(
            "networks", lambda: self._cloud.get("network", "/networks", "listing the networks")["networks"]
        )

    def _security_groups(self) -> list[dict[str, Any]]:
        path = "/security-groups?fields=id&fields=name"
        return self._list(
            "groups", lambda: self._cloud.get("network", path, "listing the security groups")["security_groups"]
        )

    def _keys(self) -> list[dict[str, Any]]:
        def read() -> list[dict[str, Any]]:
            pairs = self._cloud.get("compute", "/os-keypairs", "listing the key pairs")["keypairs"]
            return [pair["keypair"] for pair in pairs]

        return self._list("keys", read)

    def _zones(self, service: str) -> list[dict[str, Any]]:
        def read() -> list[dict[str, Any]]:
            data = self._cloud.get(service, "/os-availability-zone", f"listing the {service} availability zones")
            return [{"name": zone["zoneName"]} for zone in data["availabilityZoneInfo"]]

        return self._list(f"zones {service}", read)

    def _volume_types(self) -> list[dict[str, Any]]:
        return self._list(
            "types", lambda: self._cloud.get("volume", "/types", "listing the volume types")["volume_types"]
        )

    def _find(
        self, what: str, wanted: str, items: Sequence[dict[str, Any]], option: str, problems: list[str]
    ) -> dict[str, Any]:
        """The item of that id or name; an empty dict, and a problem noted, if there is none or several."""
        found = [i for i in items if i.get("id") == wanted] or [i for i in items if i.get("name") == wanted]
        if len(found) == 1:
            return found[0]
        if not found and wanted in self._pending:
            return {"id": "", "name": wanted, "subnets": [""]}
        if found:
            ids = ", ".join(sorted(str(i.get("id")) for i in found))
            problems.append(
                f"{what} '{wanted}' is ambiguous: {len(found)} have that name. Set `{option}` to an id: {ids}"
            )
        else:
            where = f"region {self._cloud.region}" if self._cloud.region else ""
            problems.append(unknown(what, wanted, (str(i.get("name") or "") for i in items), option, where))
        return {}

    def security_group_ids(self, names: Sequence[str], problems: list[str]) -> tuple[str, ...]:
        """The ids of security groups given by name or id; what is unknown is noted in `problems`."""
        items = self._security_groups()
        found = [self._find("security group", name, items, "security_groups", problems) for name in names]
        return tuple(str(item.get("id", "")) for item in found)

    def resolve(self, spec: Spec) -> Resolved:
        """The ids behind a spec's names.

        Raises:
            PreflightError: names every problem of the spec.
        """
        problems = spec.problems()
        if problems:
            raise PreflightError(problems)
        flavor = self._find("flavor", spec.flavor, self._flavors(), "flavor", problems)
        image = self._find("image", spec.image, self._images(), "image", problems)
        if image:
            problems += _image_problems(image, spec)
        self._find("availability zone", spec.availability_zone, self._zones("compute"), "availability_zone", problems)
        network = self._find("network", spec.network, self._networks(), "network", problems)
        if network and not network.get("subnets"):
            problems.append(f"network '{spec.network}' has no subnet, so a server would get no address: create one")
        if spec.key_name:
            self._find("key pair", spec.key_name, self._keys(), "key_name", problems)
        self._volume(spec, problems)
        groups = self.security_group_ids(spec.security_groups, problems) if spec.security_groups else None
        floating = self._floating_network(spec, problems)
        if problems:
            raise PreflightError(problems)
        return Resolved(str(flavor["id"]), str(image["id"]), str(network["id"]), groups, floating)

    def _volume(self, spec: Spec, problems: list[str]) -> None:
        if spec.volume_type:
            self._find("volume type", spec.volume_type, self._volume_types(), "volume_type", problems)
        if spec.volume_availability_zone or any(z["name"] == spec.volume_zone for z in self._zones("compute")):
            self._find(
                "volume availability zone",
                spec.volume_zone,
                self._zones("volume"),
                "volume_availability_zone",
                problems,
            )

    def floating_network_id(self, name: str, problems: list[str]) -> str:
        """The id of an external network given by name or id."""
        external = [n for n in self._networks() if n.get("router:external")]
        network = self._find("external network", name, external, "floating_ip_network", problems)
        return str(network.get("id", ""))

    def _floating_network(self, spec: Spec, problems: list[str]) -> str | None:
        return self.floating_network_id(spec.floating_ip_network, problems) if spec.floating_ip_network else None


def _image_problems(image: dict[str, Any], spec: Spec) -> list[str]:
    status = image.get("status")
    if status and status != "active":
        return [f"image '{spec.image}' is {status}, not active: take another one"]
    smallest = int(image.get("min_disk") or 0)
    if smallest > spec.volume_size:
        return [f"image '{spec.image}' wants a disk of {smallest} GiB, but `volume_size` is {spec.volume_size}"]
    return []
