# SPDX-License-Identifier: Apache-2.0
"""The fake cloud and the fake swarm: they do what they are asked and what a trace does to them, and know what was true.

Preemptible servers have the room that the trace says; ordinary ones always find room, which is an assumption. What the
cloud answers has the shape that the product's clients give it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from ansible_collections.gpuswarm.ollama.plugins.module_utils._core import fleet
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.ledger import InstanceAction
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.servers import (
    PREEMPTIBLE_TAG,
    SHELVED_STATUSES,
    Address,
    Server,
    Spec,
    server_metadata,
)
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.swarm import DOWN, HOLD_LABEL, READY, Node, Task
from tests.bench.simulate.clock import Clock, Process
from tests.bench.simulate.trace import Trace

FLEET, SERVICE = "demo", "gpuswarm_ollama"
NO_ROOM = "No valid host was found. There are not enough hosts available."


@dataclass(frozen=True)
class Timings:
    """How long things take: seconds from and to, drawn evenly.

    A GPU server at Selectel is usable about three minutes after it was asked for (`strategies.TIMEOUTS`); models of
    20 GB come from a mirror or the manager's cache at 50 to 150 MB/s. The rest is what the lab showed, rounded up.
    """

    refusal: tuple[int, int] = (5, 20)  # until the cloud says that there is no room
    unshelve: tuple[int, int] = (90, 180)
    create: tuple[int, int] = (120, 240)
    shelve: tuple[int, int] = (10, 30)
    delete: tuple[int, int] = (5, 15)
    boot: tuple[int, int] = (15, 40)  # from ACTIVE to a Ready node
    set_up: tuple[int, int] = (90, 240)  # a fresh disk, by the roles
    load: tuple[int, int] = (20, 60)  # models from its own disk
    download: tuple[int, int] = (150, 420)  # and from elsewhere
    heartbeats: tuple[int, int] = (10, 20)  # until the swarm sees that a node is gone
    run: tuple[int, int] = (6, 12)  # for Ansible to start and to observe
    drain: tuple[int, int] = (5, 90)  # for running answers to end


@dataclass
class Disk:
    """A boot volume."""

    id: str
    server: str
    zone: str
    size: int
    created: int
    node_id: str = ""  # the node that its server is; empty: not set up
    models: bool = False
    gone: int | None = None


@dataclass
class Machine:
    """One server, as it really is."""

    id: str
    spec: Spec
    disk: Disk
    created: int
    status: str = "BUILD"
    task_state: str | None = "scheduling"
    fault: str | None = None
    launched: int = 0
    life: int = 0  # counts the times that it was started or ended: what was begun in another life does not go on
    placed: bool = False  # on a host
    booted: bool = False  # a login works
    begun: int = 0  # since when it is billed, if it comes up
    spans: list[tuple[int, int]] = field(default_factory=list)  # in which it was billed: the truth
    actions: list[InstanceAction] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The server's name."""
        return self.spec.name

    def shown(self) -> Server:
        """As the cloud lists it."""
        return Server(
            id=self.id,
            name=self.name,
            status=self.status,
            task_state=self.task_state,
            availability_zone=self.spec.availability_zone,
            addresses=(Address("demo", f"10.0.0.{10 + int(self.name.rpartition('-')[2])}", 4, floating=False),),
            tags=(PREEMPTIBLE_TAG,) if self.spec.preemptible else (),
            metadata=server_metadata(self.spec, FLEET),
            flavor=self.spec.flavor,
            created_at=text_of(self.created),
            launched_at=text_of(self.launched) if self.launched else None,
            fault=self.fault,
        )


def text_of(moment: int) -> str:
    """As Nova writes it."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class World:
    """Cloud and swarm under one clock."""

    def __init__(self, clock: Clock, trace: Trace, timings: Timings, max_age: int, seed: int) -> None:
        """Does the trace's events, each at its moment from now on.

        Args:
            clock: whose now is the trace's beginning.
            trace: what happens to preemptible servers.
            timings: how long things take.
            max_age: seconds that the cloud lets a preemptible server live.
            seed: of the random numbers.
        """
        self.clock, self.timings, self.max_age, self.seed = clock, timings, max_age, seed
        self.room: dict[str, int] = {}
        self.machines: dict[str, Machine] = {}  # those that exist, by name
        self.past: list[Machine] = []
        self.disks: list[Disk] = []
        self.nodes: dict[str, Node] = {}
        self.tasks: dict[str, Task] = {}  # by node
        self.serving: set[str] = set()  # servers whose Ollama answers
        self.served: list[tuple[int, int]] = []  # how many, from each moment on
        self.version = 0  # counts changes of what the cloud lists
        self._watcher: Callable[[], None] = lambda: None
        self.preempted = 0
        self._draws: dict[tuple[str, str], int] = {}
        self._numbers = 0
        for zone, points in trace.room.items():
            self.room[zone] = points[0][1]
            for at, number in points[1:]:
                clock.at(clock.now + at, lambda zone=zone, number=number: self._set_room(zone, number))  # type: ignore[misc]
        for at, number in trace.preemptions:
            clock.at(clock.now + at, lambda number=number: self._end_one(number))  # type: ignore[misc]

    def draw(self, what: str, name: str) -> int:
        """How long it takes this time; the same in every policy for the same server and turn."""
        turn = self._draws[what, name] = self._draws.get((what, name), 0) + 1
        low, high = getattr(self.timings, what)
        return random.Random(f"{self.seed} {what} {name} {turn}").randint(low, high)  # noqa: S311

    def number(self) -> int:
        """One that was not used before."""
        self._numbers += 1
        return self._numbers

    def watch(self, call: Callable[[], None]) -> None:
        """Calls something whenever there is something new to observe."""
        self._watcher = call

    def _changed(self, *, cloud: bool = True) -> None:
        self.version += cloud
        serving = {name for name, machine in self.machines.items() if self._serves(machine)}
        if serving != self.serving:
            self.serving = serving
            self.served.append((self.clock.now, len(serving)))
        self._watcher()

    def _serves(self, machine: Machine) -> bool:
        node = self.nodes.get(machine.disk.node_id)
        task = self.tasks.get(machine.disk.node_id)
        up = machine.status == "ACTIVE" and machine.booted and machine.task_state != "shelving"
        return bool(up and node and node.availability == "active" and task and task.state == "running")

    # -- room -----------------------------------------------------------------------------------------------------

    def has_room(self, spec: Spec) -> bool:
        """Whether another such server can be placed."""
        zone = spec.availability_zone
        return not spec.preemptible or len(self._placed(zone)) < self.room.get(zone, 0)

    def _placed(self, zone: str) -> list[Machine]:
        there = [m for m in self.machines.values() if m.placed and m.spec.preemptible]
        return [machine for machine in there if machine.spec.availability_zone == zone]

    def _set_room(self, zone: str, number: int) -> None:
        self.room[zone] = number
        self._squeeze(zone)

    def _squeeze(self, zone: str) -> None:
        """Ends servers that there is no room for any more; one that is on its way up is ended when it is up."""
        up = [machine for machine in self._placed(zone) if machine.status == "ACTIVE"]
        for machine in self._shuffled(zone, up)[: max(0, len(self._placed(zone)) - self.room.get(zone, 0))]:
            self.preempt(machine)

    def _end_one(self, number: int) -> None:
        machine = self.machines.get(fleet.gpu_worker_name(FLEET, number))
        if machine and machine.placed and machine.status == "ACTIVE" and machine.spec.preemptible:
            self.preempt(machine)

    def _shuffled(self, zone: str, machines: list[Machine]) -> list[Machine]:
        draw = random.Random(f"{self.seed} {zone} {self.clock.now}")  # noqa: S311
        return draw.sample(machines, len(machines))

    def preempt(self, machine: Machine) -> None:
        """The cloud ends a preemptible server, without notice."""
        self.preempted += 1
        self.clock.spawn(self._stopping(machine, "shelve", self.draw("shelve", machine.name)))

    # -- what can be asked for ------------------------------------------------------------------------------------

    def create(self, spec: Spec, disk: Disk) -> Machine:
        """Asks for a server."""
        machine = Machine(f"{spec.name}-{self.number()}", spec, disk, self.clock.now)
        self.machines[spec.name] = machine
        self.clock.spawn(self._starting(machine, "create"))
        return machine

    def unshelve(self, machine: Machine) -> None:
        """Asks for a shelved server to be started; as Nova, not for one that is at work."""
        if machine.status in SHELVED_STATUSES and not machine.task_state:
            machine.task_state = "unshelving"
            self.clock.spawn(self._starting(machine, "unshelve"))

    def stop(self, machine: Machine, action: str) -> Process[None]:
        """Asks for a server to be shelved or deleted, and waits for it."""
        if action == "delete" or (machine.status == "ACTIVE" and not machine.task_state):
            yield from self._stopping(machine, action, self.draw(action, machine.name))

    def new_disk(self, spec: Spec) -> Disk:
        """A volume with nothing on it but the image."""
        disk = Disk(f"disk-{self.number()}", spec.name, spec.volume_zone, spec.volume_size, self.clock.now)
        self.disks.append(disk)
        return disk

    def disk_of(self, name: str, zone: str) -> Disk | None:
        """The server's volume in a zone."""
        return next((d for d in self.disks if d.server == name and d.zone == zone and d.gone is None), None)

    def delete_disks(self, name: str, kept: Disk | None) -> None:
        """Deletes the server's volumes but one."""
        for disk in self.disks:
            if disk.server == name and disk is not kept and disk.gone is None:
                disk.gone = self.clock.now
        self._changed()

    def existing(self, machine: Machine) -> None:
        """Puts in a server that is up and healthy since the beginning, as after `site`; it counts from now."""
        machine.disk.models = True
        machine.actions.append(InstanceAction("create", self.clock.now, self.clock.now))
        self.machines[machine.name] = machine
        machine.placed = machine.booted = True
        machine.begun = self.clock.now
        self._active(machine)
        self.join(machine)
        self._set_task(machine, "running")

    # -- what becomes of it ---------------------------------------------------------------------------------------

    def _starting(self, machine: Machine, action: str) -> Process[None]:
        machine.life += 1
        life, asked = machine.life, self.clock.now
        self._changed()
        # The scheduler decides at once; that it found nothing is told later.
        machine.placed = self.has_room(machine.spec)
        yield self.draw(action if machine.placed else "refusal", machine.name)
        if machine.life != life:
            return
        machine.task_state = None
        machine.actions.append(InstanceAction(action, asked, self.clock.now))
        if machine.placed:
            machine.begun = asked
            self._active(machine)
            return
        if action == "create":
            machine.status, machine.fault = "ERROR", NO_ROOM
        self._changed()

    def _active(self, machine: Machine) -> None:
        machine.status, machine.task_state, machine.launched = "ACTIVE", None, self.clock.now
        life = machine.life
        if machine.spec.preemptible:
            self.clock.at(self.clock.now + self.max_age, lambda: self._expire(machine, life))
        if not machine.booted:
            self.clock.spawn(self._booting(machine))
        self._changed()
        if machine.spec.preemptible:
            self._squeeze(machine.spec.availability_zone)

    def _expire(self, machine: Machine, life: int) -> None:
        if machine.life == life and machine.status == "ACTIVE":
            self.preempt(machine)

    def _stopping(self, machine: Machine, action: str, seconds: int) -> Process[None]:
        asked, billed = self.clock.now, machine.placed and machine.status == "ACTIVE"
        # A second one does not end it twice: the first owns the life.
        machine.life += 1
        machine.task_state = "shelving" if action == "shelve" else "deleting"
        machine.placed = machine.booted = False
        self.clock.spawn(self._losing(machine.disk.node_id, machine))
        self._changed()
        yield seconds
        machine.actions.append(InstanceAction(action, asked, self.clock.now))
        if billed:
            machine.spans.append((machine.begun, self.clock.now))
        machine.task_state = None
        machine.status = "SHELVED_OFFLOADED" if action == "shelve" else "DELETED"
        if action == "delete":
            self.past.append(machine)
            del self.machines[machine.name]
        self._changed()

    # -- the swarm ------------------------------------------------------------------------------------------------

    def _losing(self, node_id: str, machine: Machine) -> Process[None]:
        """The swarm sees that a node is gone."""
        yield self.draw("heartbeats", machine.name)
        node = self.nodes.get(node_id)
        owner = self.machines.get(machine.name)
        back = owner is not None and owner.disk.node_id == node_id and owner.booted
        if node is not None and not back:
            self.nodes[node_id] = replace(node, state=DOWN)
            self.tasks.pop(node_id, None)
            self._changed(cloud=False)

    def _booting(self, machine: Machine) -> Process[None]:
        life = machine.life
        yield self.draw("boot", machine.name)
        if machine.life != life:
            return
        machine.booted = True
        node = self.nodes.get(machine.disk.node_id)
        if node is not None:
            self.nodes[node.id] = replace(node, state=READY, updated=self.clock.now)
            self.place(machine)
        self._changed(cloud=False)

    def join(self, machine: Machine) -> None:
        """Makes a new node of a server that was set up."""
        node_id = machine.disk.node_id = f"node-{self.number()}"
        address = machine.shown().address(floating=False) or ""
        now = self.clock.now
        self.nodes[node_id] = Node(node_id, machine.name, READY, address=address, created=now, updated=now)
        self.place(machine)

    def place(self, machine: Machine) -> None:
        """Swarm places a task on a node that may have one."""
        node = self.nodes[machine.disk.node_id]
        if node.ready and node.availability == "active" and machine.booted:
            self._set_task(machine, "starting")
            self.clock.spawn(self._loading(machine))

    def _loading(self, machine: Machine) -> Process[None]:
        life, task = machine.life, self.tasks[machine.disk.node_id]
        yield self.draw("load" if machine.disk.models else "download", machine.name)
        if machine.life == life and self.tasks.get(machine.disk.node_id) is task:
            machine.disk.models = True
            self._set_task(machine, "running")

    def _set_task(self, machine: Machine, state: str) -> None:
        node_id, now = machine.disk.node_id, self.clock.now
        self.tasks[node_id] = Task(f"task-{self.number()}", SERVICE, node_id, state, "running", float(now))
        self._changed(cloud=False)

    def drain(self, node_id: str, hold: str) -> Process[None]:
        """Drains a node; its running answers end."""
        node = self.nodes[node_id]
        self.nodes[node_id] = replace(node, availability="drain", labels={**node.labels, HOLD_LABEL: hold})
        self._changed(cloud=False)
        yield self.draw("drain", node.hostname)
        self.tasks.pop(node_id, None)
        self._changed(cloud=False)

    def activate(self, machine: Machine) -> None:
        """Sets a drained node to active again."""
        node = self.nodes[machine.disk.node_id]
        labels = {key: value for key, value in node.labels.items() if key != HOLD_LABEL}
        self.nodes[node.id] = replace(node, availability="active", labels=labels)
        self.place(machine)
        self._changed(cloud=False)

    def remove_node(self, node_id: str) -> None:
        """Removes a node."""
        self.nodes.pop(node_id, None)
        self.tasks.pop(node_id, None)
        self._changed(cloud=False)

    # -- the truth ------------------------------------------------------------------------------------------------

    def billed(self, until: int) -> list[tuple[Machine, int, int]]:
        """Every time in which a server was billed."""
        found = []
        for machine in [*self.past, *self.machines.values()]:
            spans = list(machine.spans)
            up = machine.placed and machine.status == "ACTIVE"
            ending = machine.task_state in ("shelving", "deleting")
            if up or (ending and machine.launched > (spans[-1][1] if spans else 0)):
                spans.append((machine.begun, until))
            found += [(machine, start, min(end, until)) for start, end in spans]
        return found


def volumes(world: World) -> list[Mapping[str, Any]]:
    """The volumes as ``ledger.volumes_of`` gives them."""
    return [
        {
            "id": disk.id,
            "name": disk.server,
            "created": disk.created,
            "what": {"size": disk.size, "type": f"fast.{disk.zone}", "zone": disk.zone},
        }
        for disk in world.disks
        if disk.gone is None
    ]
