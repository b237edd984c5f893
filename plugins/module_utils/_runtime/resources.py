# SPDX-License-Identifier: Apache-2.0
"""What belongs to a server: port, boot volume, floating IP.

Each carries the fleet's and the server's name, so what an interrupted run has made is found by the next one. Each is
found or created once, waited for, and undone if what it was made for is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any

from ansible_collections.gpuswarm.ollama.plugins.module_utils._clients.catalogue import Resolved
from ansible_collections.gpuswarm.ollama.plugins.module_utils._clients.cloud import at_most_one
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.errors import (
    FailedError,
    PreflightError,
    StateError,
    TimedOutError,
)
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.lifecycle import Drift
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.outcome import Outcome
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.servers import (
    FLEET,
    FORMER_DISKS,
    PORT,
    ROLE,
    SERVER,
    Server,
    Spec,
    description,
)
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.strategies import places

from .patience import Patience
from .run import Run

GOING = frozenset({"deleting", "error_deleting"})  # statuses of volumes that nobody gets any more
DETACH_TIMEOUT = 120.0  # seconds that a deleted server may take to release its volume and port


class Resources:
    """Port, boot volume and floating IP of one server."""

    def __init__(self, run: Run, spec: Spec, outcome: Outcome, patience: Patience) -> None:
        """Reads nothing yet.

        Args:
            run: what is known to all jobs.
            spec: what the server should be.
            outcome: the result of its job; a change is recorded there.
            patience: the time that there is.
        """
        self.run = run
        self.cloud = run.cloud
        self.spec = spec
        self.outcome = outcome
        self.patience = patience
        self.exists: dict[str, str] = {}  # what there is, as far as this run knows: kind and id
        self._made: list[Callable[[], None]] = []

    def begin(self) -> None:
        """From here on, what is made can be undone."""
        self._made = []

    def undo(self) -> None:
        """Deletes what was made since `begin`, the last first."""
        while self._made:
            self._made[-1]()
            self._made.pop()

    def port(self, want: Resolved) -> Mapping[str, Any]:
        """Its port: the one that there is, or a new one."""
        name, fleet = self.spec.name, self.run.fleet

        def find(fresh: bool = True) -> Mapping[str, Any] | None:
            return at_most_one(self.run.leftovers.of("port", name, fresh=fresh), "port", name, fleet)

        found = find(fresh=bool(self.outcome.tried))
        if found is not None:
            self.exists["port"] = str(found["id"])
            if found.get("network_id") != want.network_id:
                raise StateError(
                    f"{name}: its port {found['id']} is in another network than '{self.spec.network}'; "
                    "delete that port, or set `network` back"
                )
            return found
        body: dict[str, Any] = {
            "name": name,
            "network_id": want.network_id,
            "description": description(fleet, name),
        }
        if want.security_group_ids is not None:
            body["security_groups"] = list(want.security_group_ids)
        port = self.patience.once(lambda: self.cloud.create_port(name, body), find)
        self.outcome.changed = True
        self._now_exists("port", port, self.cloud.delete_port)
        return port

    def _now_exists(self, kind: str, made: Mapping[str, Any], delete: Callable[[str, str], None]) -> None:
        """Notes what this run has made, and how it is undone."""
        ident = str(made["id"])
        self.exists[kind] = ident

        def undo() -> None:
            delete(ident, self.spec.name)
            self.exists.pop(kind, None)

        self._made.append(undo)

    def volume(self, spec: Spec, want: Resolved) -> Mapping[str, Any]:
        """Its boot volume in a place: the one that there is, or a new one."""
        name, fleet, zone = spec.name, self.run.fleet, spec.volume_zone

        def find(fresh: bool = True) -> Mapping[str, Any] | None:
            found = self.run.leftovers.of("volume", name, fresh=fresh)
            alive = [v for v in found if v.get("status") not in GOING]
            here = [v for v in alive if v.get("availability_zone") in (zone, None, "")]
            return at_most_one(here, "volume", name, fleet)

        found = find(fresh=bool(self.outcome.tried))
        if found is not None and found.get("status") == "error" and found.get("bootable") != "true":
            # Never got its content: an earlier run's failed attempt
            self.cloud.delete_volume(str(found["id"]), name)
            self._await_volume_gone(str(found["id"]))
            found = None
        if found is not None:
            self.exists["volume"] = str(found["id"])
            return found
        body: dict[str, Any] = {
            "name": name,
            "description": f"boot volume of {name}",
            "size": spec.volume_size,
            "imageRef": want.image_id,
            "availability_zone": zone,
            "metadata": {FLEET: fleet, SERVER: name, ROLE: spec.role},
        }
        if spec.disk_type:
            body["volume_type"] = spec.disk_type
        volume = self.patience.once(lambda: self.cloud.create_volume(name, body), find)
        self.outcome.changed = True
        self._now_exists("volume", volume, self.cloud.delete_volume)
        return volume

    def former_disks(self, kept: Collection[str]) -> list[dict[str, Any]]:
        """Its boot volumes in the places that the specification allows, but for those that are kept."""
        zones = {place.volume_zone for place in places(self.spec)}
        if len(zones) == 1:
            return []  # where there is one zone, there is one disk
        every = self.run.leftovers.of("volume", self.spec.name, fresh=True)
        return [v for v in every if v["id"] not in kept and v.get("availability_zone") in zones]

    def floating_ip(self, network_id: str, port_id: str) -> None:
        """Points its floating IP, which is made if there is none, at its port."""
        name, fleet = self.spec.name, self.run.fleet

        def find(fresh: bool = True) -> Mapping[str, Any] | None:
            return at_most_one(self.run.leftovers.of("floating IP", name, fresh=fresh), "floating IP", name, fleet)

        found = find(fresh=bool(self.outcome.tried))
        if found is not None:
            self.exists["floating IP"] = str(found["id"])
            if found.get("port_id") != port_id:
                self.cloud.update_floating_ip(str(found["id"]), name, port_id)
                self.outcome.changed = True
            return
        body = {"floating_network_id": network_id, "port_id": port_id, "description": description(fleet, name)}
        made = self.patience.once(lambda: self.cloud.create_floating_ip(name, body), find)
        self.outcome.changed = True
        self._now_exists("floating IP", made, self.cloud.delete_floating_ip)

    def await_volume(self, volume_id: str) -> None:
        """Waits until the volume can be attached."""
        working = ("creating", "downloading")

        def state() -> str | None:
            volume = self.cloud.volume(volume_id)
            if volume is None:
                raise StateError(f"{self.spec.name}: its volume {volume_id} vanished while it was waited for")
            status = str(volume.get("status"))
            if status.startswith("error"):
                zone, kind = volume.get("availability_zone"), volume.get("volume_type")
                raise FailedError(
                    f"{self.spec.name}: the volume {volume_id} is in the status '{status}': Cinder could not make it. "
                    f"Check that the volume type '{kind}' exists in the zone {zone}, and the storage quota; "
                    "the next run replaces it"
                )
            return None if status == "available" else status

        left = self.patience.until(state, self.cloud.deadline.seconds)
        if left is not None:
            hint = (
                "Cinder still copies the image"
                if left in working
                else "a server still holds it, or its detachment failed"
            )
            raise TimedOutError(
                f"{self.spec.name}: the volume {volume_id} is still '{left}' ({hint}); run again, or look at "
                f"`openstack volume show {volume_id}`"
            )

    def _await_volume_gone(self, volume_id: str) -> None:
        def state() -> str | None:
            volume = self.cloud.volume(volume_id)
            status = str(volume.get("status")) if volume else None
            if status == "error_deleting":
                raise StateError(f"{self.spec.name}: the volume {volume_id} cannot be deleted (status {status})")
            return status

        left = self.patience.until(state, DETACH_TIMEOUT)
        if left is not None:
            raise TimedOutError(f"{self.spec.name}: the volume {volume_id} is still there ({left})")

    def await_port(self, port_id: str) -> None:
        """Waits until no server holds the port."""
        holder = self.patience.until(lambda: self._port_holder(port_id), DETACH_TIMEOUT)
        if holder is not None:
            raise StateError(
                f"{self.spec.name}: its port {port_id} is in use by {holder}, which does not carry the name of the "
                f"fleet '{self.run.fleet}'; free the port or delete that server"
            )

    def _port_holder(self, port_id: str) -> str | None:
        port = self.cloud.port(port_id)
        if port is None:
            raise StateError(f"{self.spec.name}: its port {port_id} vanished")
        return str(port.get("device_id")) if port.get("device_id") else None

    def port_id(self, server: Server) -> str:
        """The id of the port that it has."""
        known = server.metadata.get(PORT)
        if known:
            return known
        port = at_most_one(self.run.leftovers.of("port", server.name), "port", server.name, self.run.fleet)
        if port is None:
            raise StateError(
                f"{server.name}: no port carries the names of the fleet '{self.run.fleet}' and of this server"
            )
        return str(port["id"])

    def check_groups(self, server: Server, found: Drift) -> Drift:
        """Names may be ids, and Nova lists names: compares what is really on the port."""
        problems: list[str] = []
        wanted = self.run.catalogue.security_group_ids(found.security_groups or (), problems)
        if problems:
            raise PreflightError(problems)
        port = self.cloud.port(self.port_id(server)) or {}
        same = set(port.get("security_groups") or ()) == set(wanted)
        return replace(found, security_groups=None) if same else found

    def delete_volume(self, volume_id: str) -> None:
        """Deletes a volume as soon as nothing holds it, and waits until it is gone."""

        def held() -> str | None:
            volume = self.cloud.volume(volume_id)
            status = str(volume.get("status")) if volume else "available"
            return None if status in ("available", "error", "error_deleting") else status

        state = self.patience.until(held, DETACH_TIMEOUT)
        if state is not None:
            raise StateError(
                f"{self.spec.name}: the volume {volume_id} is still '{state}' and cannot be deleted; "
                f"see `openstack volume show {volume_id}`"
            )
        self.cloud.delete_volume(volume_id, self.spec.name)
        self._await_volume_gone(volume_id)

    def delete_former_disks(self, server: Server) -> None:
        """The server runs from a fresh disk in another place: those that it had before are of no use any more."""
        if server.volume_ids:
            for volume in self.former_disks(server.volume_ids):
                if not volume.get("attachments"):
                    self.delete_volume(str(volume["id"]))
            self.cloud.delete_metadata(server, FORMER_DISKS)
