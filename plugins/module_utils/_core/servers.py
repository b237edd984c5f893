# SPDX-License-Identifier: Apache-2.0
"""What a server should be (`Spec`) and what the cloud says it is (`Server`).

Everything in which Selectel differs from other OpenStack clouds is named here:

* an interruptible server is an ordinary one that was created with the tag `preemptible`;
* after its at most 24 hours it is SHELVED or SHELVED_OFFLOADED, which the control panel and some clients call EXPIRED.

(Selectel's documentation, "Cloud servers", "Preemptible cloud server".) The tag is configuration
(`preemptible_tag`), and no other cloud has a status EXPIRED, so neither harms elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

PREEMPTIBLE_TAG = "preemptible"
SHELVED_STATUSES = frozenset({"SHELVED", "SHELVED_OFFLOADED", "EXPIRED"})

ROLES = ("manager", "gpu_worker")

# Metadata keys. The first three say whose a resource is; the others remember what the API does not return
# about a server without further calls.
FLEET = "gpuswarm_fleet"
SERVER = "gpuswarm_server"
ROLE = "gpuswarm_role"
CAPACITY_TYPE = "gpuswarm_capacity_type"
FLAVOR = "gpuswarm_flavor"
IMAGE = "gpuswarm_image"
ZONE = "gpuswarm_zone"
PORT = "gpuswarm_port"
FORMER_DISKS = "gpuswarm_former_disks"  # "delete": the server has a fresh disk, and those that it had before go

PREEMPTIBLE = "preemptible"
ON_DEMAND = "on_demand"


@dataclass(frozen=True)
class Spec:
    """What one server of the fleet should be. Field names are the modules' option names.

    Attributes:
        volume_size: size of the boot volume in GiB.
        volume_availability_zone: Cinder's zone, if it is not called as Nova's.
        volume_type: `{zone}` in it stands for the availability zone.
        preemptible: whether the server gets `preemptible_tag`, that is: is cheap and can be interrupted.
        alternatives: other places, as mappings with some of availability_zone, flavor, volume_type and
            volume_availability_zone; what one leaves out is as in the specification itself.
        on_demand_fallback: whether an ordinary server is created when no place has room for a preemptible one.
        strategy_timeouts: seconds for each strategy, see `strategies.Strategy`.
        capacity_memory: path of the file that remembers which places had no room.
        restart_stopped: start a server that somebody stopped (status SHUTOFF).
    """

    name: str
    role: str = "gpu_worker"
    flavor: str = ""
    image: str = ""
    availability_zone: str = ""
    network: str = ""
    security_groups: tuple[str, ...] = ()
    key_name: str | None = None
    volume_size: int = 20
    volume_type: str | None = None
    volume_availability_zone: str | None = None
    preemptible: bool = False
    preemptible_tag: str = PREEMPTIBLE_TAG
    floating_ip_network: str | None = None
    restart_stopped: bool = False
    metadata: Mapping[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    user_data: str | None = None
    alternatives: tuple[Mapping[str, str], ...] = ()
    on_demand_fallback: bool = False
    strategy_timeouts: Mapping[str, int] = field(default_factory=dict)
    capacity_memory: str | None = None

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Spec:
        """A spec from a module's options; what is None takes the default, unknown keys are ignored."""
        known = {f.name for f in fields(cls)}
        values: dict[str, Any] = {k: v for k, v in options.items() if k in known and v is not None}
        for name in ("security_groups", "tags"):
            if name in values:
                values[name] = tuple(str(v) for v in values[name])
        if "alternatives" in values:
            values["alternatives"] = tuple(
                {str(k): str(v) for k, v in other.items() if v is not None} for other in values["alternatives"]
            )
        if "metadata" in values:
            values["metadata"] = {str(k): str(v) for k, v in values["metadata"].items()}
        return cls(**values)

    @property
    def capacity_type(self) -> str:
        """`preemptible` or `on_demand`."""
        return PREEMPTIBLE if self.preemptible else ON_DEMAND

    @property
    def volume_zone(self) -> str:
        """Cinder's availability zone for the boot volume."""
        return self.volume_availability_zone or self.availability_zone

    @property
    def disk_type(self) -> str | None:
        """Type of the boot volume."""
        return self.volume_type.replace("{zone}", self.availability_zone) if self.volume_type else None

    @property
    def all_tags(self) -> tuple[str, ...]:
        """The tags to create the server with."""
        return tuple(dict.fromkeys(((self.preemptible_tag,) if self.preemptible else ()) + self.tags))

    def problems(self) -> list[str]:
        """What is wrong with the spec itself, before any cloud is asked. Empty if nothing is."""
        found = [
            f"server '{self.name}': option `{option}` is required to create it"
            for option in ("flavor", "image", "availability_zone", "network")
            if not getattr(self, option)
        ]
        if self.role not in ROLES:
            found.append(f"server '{self.name}': `role` is '{self.role}', but must be one of {', '.join(ROLES)}")
        if any(seconds < 1 for seconds in self.strategy_timeouts.values()):
            found.append(
                f"server '{self.name}': `strategy_timeouts` are seconds, at least 1: {dict(self.strategy_timeouts)}"
            )
        if self.volume_size < 1:
            found.append(f"server '{self.name}': `volume_size` is {self.volume_size}, but must be at least 1 (GiB)")
        reserved = sorted(k for k in self.metadata if k.startswith("gpuswarm_"))
        if reserved:
            found.append(f"server '{self.name}': metadata keys that begin with gpuswarm_ are reserved: {reserved}")
        return found


@dataclass(frozen=True)
class Address:
    """One address of a server, as Nova lists it."""

    network: str
    ip: str
    version: int
    floating: bool


_STATUS = {"SOFT_DELETE": "SOFT_DELETED"}  # some versions and clients spell it as the vm_state


@dataclass(frozen=True)
class Server:
    """One view of a Nova server."""

    id: str
    name: str
    status: str
    task_state: str | None = None
    availability_zone: str = ""
    addresses: tuple[Address, ...] = ()
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    flavor: str = ""
    security_groups: tuple[str, ...] = ()
    volume_ids: tuple[str, ...] = ()
    created_at: str = ""
    updated_at: str = ""
    launched_at: str | None = None
    fault: str | None = None
    locked: bool = False

    @classmethod
    def from_api(cls, data: Mapping[str, Any]) -> Server:
        """From an element of `GET /servers/detail`; what an older cloud leaves out stays empty."""
        addresses = tuple(
            Address(
                network=str(network),
                ip=str(entry.get("addr", "")),
                version=int(entry.get("version", 4)),
                floating=entry.get("OS-EXT-IPS:type") == "floating",
            )
            for network, entries in (data.get("addresses") or {}).items()
            for entry in entries
        )
        flavor = data.get("flavor") or {}
        fault = data.get("fault") or {}
        metadata = {str(k): str(v) for k, v in (data.get("metadata") or {}).items()}
        return cls(
            id=str(data["id"]),
            name=str(data.get("name") or ""),
            status=_STATUS.get(status := str(data.get("status") or "UNKNOWN").upper(), status),
            task_state=data.get("OS-EXT-STS:task_state") or None,
            # Nova forgets the zone of a server that is on no host
            availability_zone=str(data.get("OS-EXT-AZ:availability_zone") or metadata.get(ZONE, "")),
            addresses=addresses,
            tags=tuple(sorted(str(tag) for tag in data.get("tags") or ())),
            metadata=metadata,
            flavor=str(flavor.get("original_name") or flavor.get("id") or ""),
            security_groups=tuple(sorted({str(g.get("name")) for g in data.get("security_groups") or ()})),
            volume_ids=tuple(str(v["id"]) for v in data.get("os-extended-volumes:volumes_attached") or ()),
            created_at=str(data.get("created") or ""),
            updated_at=str(data.get("updated") or ""),
            launched_at=data.get("OS-SRV-USG:launched_at"),
            fault=str(fault.get("message")) if fault else None,
            locked=bool(data.get("locked")),
        )

    @property
    def fleet(self) -> str | None:
        """The fleet it belongs to; None for a server that is nobody's here."""
        return self.metadata.get(FLEET)

    @property
    def role(self) -> str:
        """`manager`, `gpu_worker` or empty."""
        return self.metadata.get(ROLE, "")

    def address(self, *, floating: bool, version: int | None = None, network: str | None = None) -> str | None:
        """Its first address of a kind, IPv4 before IPv6; None if there is none."""
        found = [
            a
            for a in self.addresses
            if a.floating == floating and version in (None, a.version) and network in (None, a.network) and a.ip
        ]
        found.sort(key=lambda a: a.version)
        return found[0].ip if found else None

    def is_preemptible(self, tag: str = PREEMPTIBLE_TAG) -> bool:
        """Whether it carries the tag that makes it interruptible."""
        return tag in self.tags

    def capacity_type(self, tag: str = PREEMPTIBLE_TAG) -> str:
        """`preemptible` or `on_demand`."""
        return PREEMPTIBLE if self.is_preemptible(tag) else ON_DEMAND

    def as_result(self, tag: str = PREEMPTIBLE_TAG) -> dict[str, Any]:
        """What modules return and what the inventory's hostvar `gpuswarm` holds. Contains no secret."""
        return {
            "id": self.id or None,
            "name": self.name,
            "role": self.role,
            "status": self.status,
            "task_state": self.task_state,
            "availability_zone": self.availability_zone,
            "flavor": self.flavor,
            "fixed_ip": self.address(floating=False),
            "floating_ip": self.address(floating=True),
            "tags": list(self.tags),
            "metadata": dict(self.metadata),
            "created_at": self.created_at,
            "launched_at": self.launched_at,
            "volume_id": self.volume_ids[0] if self.volume_ids else None,
            "port_id": self.metadata.get(PORT),
            "preemptible": self.is_preemptible(tag),
            "capacity_type": self.capacity_type(tag),
            "fault": self.fault,
        }

    def with_status(self, status: str) -> Server:
        """The same server, settled in another status (for the simulation of check mode)."""
        return replace(self, status=status, task_state=None, fault=None)


def owned_by_fleet(servers: Sequence[Server], fleet: str) -> list[Server]:
    """The servers that carry the fleet's name, sorted by name."""
    return sorted((s for s in servers if s.fleet == fleet), key=lambda s: (s.name, s.created_at, s.id))


def server_metadata(spec: Spec, fleet: str, port_id: str | None = None) -> dict[str, str]:
    """The metadata to create a server with."""
    own = {
        FLEET: fleet,
        ROLE: spec.role,
        CAPACITY_TYPE: spec.capacity_type,
        FLAVOR: spec.flavor,
        IMAGE: spec.image,
        ZONE: spec.availability_zone,
    }
    if port_id:
        own[PORT] = port_id
    return {**spec.metadata, **own}


def description(fleet: str, server: str) -> str:
    """The description by which a port or a floating IP is known as ours.

    Neutron sets it in the same call that creates the thing, which it does not do with tags.
    """
    return f"{FLEET}={fleet} {SERVER}={server}"


def owner(text: str | None) -> tuple[str, str] | None:
    """(fleet, server) out of a description; None if it is not ours.

    >>> owner(description("demo", "gpu-1"))
    ('demo', 'gpu-1')
    """
    words = dict(word.split("=", 1) for word in (text or "").split() if "=" in word)
    if FLEET in words and SERVER in words:
        return words[FLEET], words[SERVER]
    return None


def simulated(spec: Spec, fleet: str) -> Server:
    """What a server would look like once created, for check mode."""
    return Server(
        id="",
        name=spec.name,
        status="ACTIVE",
        availability_zone=spec.availability_zone,
        tags=tuple(sorted(spec.all_tags)),
        metadata=server_metadata(spec, fleet),
        flavor=spec.flavor,
        security_groups=tuple(sorted(spec.security_groups)),
    )
