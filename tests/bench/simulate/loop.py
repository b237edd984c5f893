# SPDX-License-Identifier: Apache-2.0
"""The recovery loop under a simulated clock: the product decides, this carries out.

What is decided is decided by the product: `recovery.assess` (diagnosis, rotation, schedule, remediation), the choice
of strategies (`StrategyChoice`) with its memory of capacity, `lifecycle.next_action`, `recovery.outcomes`, the ledger.
Here stands only the order in which the probe, ``recover.yml`` and the job of one server ask for it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from random import Random
from typing import Any, cast

from ansible_collections.gpuswarm.ollama.plugins.module_utils._core import (
    fleet,
    journal,
    ledger,
    plan,
    recovery,
    remediation,
    swarm,
)
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.billing import HOUR, SERVER, VOLUME
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.diagnosis import Diagnosis, Evidence, Observation
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.errors import CloudError, NoCapacityError
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.lifecycle import Kind, next_action
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.outcome import Outcome
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.servers import (
    ON_DEMAND,
    PREEMPTIBLE_TAG,
    SHELVED_STATUSES,
    Server,
    Spec,
)
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.strategies import Candidate, Strategy, places
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.vocabulary import (
    STEPS,
    Phase,
    Step,
    Verdict,
    WorkList,
)
from ansible_collections.gpuswarm.ollama.plugins.module_utils._runtime import capacity, probe
from ansible_collections.gpuswarm.ollama.plugins.module_utils._runtime.job import BY_STRATEGY, MAX_STEPS
from ansible_collections.gpuswarm.ollama.plugins.module_utils._runtime.run import Run
from ansible_collections.gpuswarm.ollama.plugins.module_utils._runtime.strategy_choice import StrategyChoice
from tests.bench.simulate.clock import POLL, Clock, Process
from tests.bench.simulate.world import FLEET, Machine, World, volumes

CYCLE = 5  # seconds (recovery_interval)
RESTLESS = 15  # seconds until the next cycle while something passes by itself
PASSING = frozenset({Verdict.BOOTING, Verdict.NODE_DOWN, Verdict.NOT_IN_SWARM, Verdict.IN_BUILD})
EXAMINATION = 5  # seconds
REJOIN, HEALTHY = 45, 900  # recovery_rejoin_timeout, recovery_healthy_timeout


class SimulationError(Exception):
    """The loop decided something that the simulation cannot carry out."""


class _Memory:
    """The memory of pools without room, with the product's own pauses, and jitter that is the same in every run."""

    def __init__(self, clock: Clock, seed: int) -> None:
        self._clock = clock
        self._random = Random(seed)  # noqa: S311
        self._entries: dict[object, capacity.CapacityEntry] = {}

    def no_room(self, pool: object) -> float:
        entry = self._entries.get(pool)
        return max(0.0, entry.until - self._clock.now) if entry else 0.0

    def failed(self, pool: object) -> None:
        before = self._entries.get(pool)
        self._entries[pool] = capacity.remembered(before, self._clock.now, self._random.random)

    def had_room(self, pool: object) -> None:
        self._entries.pop(pool, None)


class _Leftovers:
    """The volumes of the fake cloud, as jobs ask for them."""

    def __init__(self, world: World) -> None:
        self._world = world

    def of(self, kind: str, server: str) -> list[dict[str, Any]]:
        if kind != "volume":
            return []
        mine = [disk for disk in self._world.disks if disk.server == server and disk.gone is None]
        return [{"status": "available", "availability_zone": disk.zone} for disk in mine]


class _Deadline:
    """A run has time enough: what the fake cloud is asked for takes less than any time-out."""

    def left(self) -> float:
        return 900.0


class _Run:
    """What a job's choice of strategies knows of its run."""

    class _Cloud:
        deadline = _Deadline()

    def __init__(self, world: World, seed: int) -> None:
        self.cloud = self._Cloud()
        self.leftovers = _Leftovers(world)
        self.memories: dict[str | None, _Memory] = {None: _Memory(world.clock, seed)}
        self._of_fleet = _Memory(world.clock, seed)

    def begin(self) -> None:
        """A new run: what has no file forgets."""
        self.memories = {None: _Memory(self.memories[None]._clock, 0)}

    def memory(self, spec: Spec) -> _Memory:
        return self._of_fleet if spec.capacity_memory else self.memories[None]


class Loop:
    """The manager."""

    def __init__(
        self,
        world: World,
        specs: Sequence[Mapping[str, Any]],
        settings: recovery.RecoverySettings,
        seed: int,
        rest: int,
    ) -> None:
        """Begins to observe now.

        Args:
            world: which is observed.
            specs: the servers that should be (`fleet.server_specs`).
            settings: what the decisions depend on.
            seed: of the jitter of pauses.
            rest: seconds after which it is asked what time alone has made due, while nothing happens; a divisor of the
                hour, so that it is asked at each full hour, when `rotation.opening` opens.
        """
        self.rest = rest
        self.world, self.clock, self.specs, self.settings = world, world.clock, specs, settings
        self.run = _Run(world, seed)
        self.journal: list[dict[str, Any]] = []
        self.ledger = _Ledger(world)
        self.runs = 0
        self.rotations = 0
        self.began = self.clock.now
        self._last: dict[str, journal.Recovery] | None = None
        self._due = 0
        self._at_work = False
        self._manager = _manager(specs, self.clock.now)
        self._listed: tuple[int, list[dict[str, Any]]] = (-1, [])
        self._pause(0)

    # -- the probe ------------------------------------------------------------------------------------------------

    def notice(self) -> None:
        """Something has changed: the next cycle sees it, which comes within five seconds."""
        if not self._at_work:
            self._pause(CYCLE)

    def _pause(self, seconds: float) -> None:
        """The next cycle, unless one comes before."""
        ticks = -(-(self.clock.now + int(seconds) - self.began) // CYCLE)
        if seconds == CYCLE:
            ticks = (self.clock.now - self.began) // CYCLE + 1
        moment = self.began + ticks * CYCLE
        if self._due <= self.clock.now or moment < self._due:
            self._due = moment
            self.clock.at(moment, lambda: self._cycle(moment))

    def _cycle(self, moment: int) -> None:
        if self._at_work or moment != self._due:
            return
        self._due = 0
        verdicts = self._assess()
        now, last = self.clock.now, self._last_recoveries()
        self._write(*probe._closed(verdicts, last, now))
        reasons = plan.worth_a_run(verdicts)
        for verdict in verdicts:
            if verdict.step in plan.ACTING - {Step.EXAMINE}:
                self._journal(Phase.NOTICED, verdict.server, remediation.PROBE_RUN, str(verdict.verdict))
        self._head_start(verdicts, last)
        # The probe leaves this to the next cycle that has nothing to do, and has no line of a server that was made and
        # deleted in runs that followed each other at once. Here the bill is to be right.
        self.ledger.keep(self.servers())
        if reasons:
            self._at_work = True
            self.clock.spawn(self._recover(), lambda _: self._done())
            return
        self._pause(self._rest(verdicts))

    def _rest(self, verdicts: Sequence[Diagnosis]) -> float:
        """How long nothing but an event can make something due."""
        now = self.clock.now
        seconds = RESTLESS if any(v.verdict in PASSING for v in verdicts) else self.rest - now % self.rest
        paused = [v.not_before - now for v in verdicts if v.not_before > now]
        return max(CYCLE, min([seconds, *paused]))

    def _head_start(self, verdicts: Sequence[Diagnosis], last: Mapping[str, journal.Recovery]) -> None:
        for verdict in verdicts:
            machine = self.world.machines.get(verdict.server)
            failed = verdict.server in last and last[verdict.server].result == "failed"
            if verdict.step != Step.RESTORE or machine is None or machine.status not in SHELVED_STATUSES or failed:
                continue
            if not machine.task_state:
                self._journal(Phase.RESTORE, verdict.server, remediation.PROBE_RUN)
                self.world.unshelve(machine)

    def _done(self) -> None:
        self._at_work = False
        self._pause(CYCLE)

    # -- observation ----------------------------------------------------------------------------------------------

    def servers(self) -> list[dict[str, Any]]:
        """The cloud's list, as modules return it."""
        if self._listed[0] != self.world.version:
            there = sorted(self.world.machines.values(), key=lambda machine: machine.name)
            listed = [self._manager, *(machine.shown().as_result(PREEMPTIBLE_TAG) for machine in there)]
            self._listed = (self.world.version, listed)
        return self._listed[1]

    def _assess(self, evidence: Mapping[str, Evidence] | None = None) -> list[Diagnosis]:
        nodes = [swarm.Node("node-manager", str(self._manager["name"]), swarm.READY, role="manager")]
        nodes += self.world.nodes.values()
        seen = Observation(
            self.servers(), nodes, list(self.world.tasks.values()), float(self.clock.now), evidence or {}
        )
        return recovery.assess(self.specs, seen, self.settings, self.journal)

    def _evidence(self, verdict: Diagnosis) -> Evidence:
        machine = self.world.machines.get(verdict.server)
        if machine is None or not machine.booted:
            return Evidence(ssh=False)
        node_id = machine.disk.node_id
        if not node_id:
            return Evidence(ssh=True, docker="absent")
        return Evidence(ssh=True, docker="answers", membership="none", node_id=node_id)

    # -- recover.yml ----------------------------------------------------------------------------------------------

    def _recover(self) -> Process[None]:
        world = self.world
        self.runs += 1
        self.run.begin()
        run = f"run-{self.runs}"
        yield world.draw("run", "run")
        verdicts = self._assess()
        sick = [verdict for verdict in verdicts if verdict.step == Step.EXAMINE]
        if sick:
            yield EXAMINATION
            for verdict in sick:
                self._journal(Phase.EXAMINED, verdict.server, run)
            verdicts = self._assess({verdict.server: self._evidence(verdict) for verdict in sick})
        gpus = {v.server: v for v in verdicts if v.role == fleet.ROLE_GPU_WORKER}
        lists = {work: [name for name, v in gpus.items() if work in STEPS[v.step].lists] for work in WorkList}
        lists[WorkList.DRAIN] = [name for name in lists[WorkList.DRAIN] if gpus[name].node_state == swarm.READY]
        for name in sorted({name for work in WorkList if work != WorkList.EXAMINE for name in lists[work]}):
            self._journal(Phase.NOTICED, name, run, str(gpus[name].verdict))
        for name, verdict in gpus.items():
            phase = STEPS[verdict.step].phase
            if verdict.step in (Step.RESTART_DOCKER, Step.REBOOT, Step.REPLACE):
                raise SimulationError(f"{name}: {verdict.step}, {verdict.reason}")
            if phase and verdict.step != Step.EXAMINE:
                self._journal(phase, name, run)
        for name in lists[WorkList.DRAIN]:
            yield from self._drain_and_stop(gpus[name])
        for name in lists[WorkList.REMOVE]:
            yield from self._remove_surge(gpus[name], run)
        turn = any(v.step == Step.ROTATE for v in gpus.values())
        self.rotations += turn
        every = [*self.specs, *fleet.surge_specs(self.specs)]
        wanted = [Spec.from_options(spec) for spec in every if spec["name"] in lists[WorkList.RESTORE]]
        outcomes = yield from self.clock.together([self._bring_up(spec, returns=turn) for spec in wanted])
        results = [{"name": o.name, **({"error": str(o.error)} if o.error else {})} for o in outcomes]
        sorted_out = plan.restore_results({"servers": results}, lists[WorkList.RESTORE])
        restored, failed = ([str(one["name"]) for one in sorted_out[key]] for key in ("restored", "failed"))
        for name in restored:
            self._journal(Phase.ACTIVE, name, run)
        for name in failed:
            self._journal(Phase.FAILED, name, run)
            if gpus[name].surge:
                yield from self._delete(name)
        rejoin = restored + lists[WorkList.REJOIN]
        healthy = yield from self.clock.together([self._rejoin(gpus[name], run) for name in rejoin])
        touched = [name for name in gpus if name in {*rejoin, *lists[WorkList.DRAIN], *lists[WorkList.REMOVE]}]
        self._record(touched, failed, [name for name in healthy if name], run)

    def _record(self, touched: Sequence[str], failed: Sequence[str], healthy: Sequence[str], run: str) -> None:
        verdicts = self._assess()
        for verdict in verdicts:
            for node_id in verdict.stale_node_ids:
                self.world.remove_node(node_id)
        for outcome in recovery.outcomes([verdict.as_dict() for verdict in verdicts], healthy):
            coming = outcome["surge"] and outcome["step"] == Step.WAIT
            ended = outcome["outcome"] != "running" and not coming
            if ended and outcome["server"] in touched and outcome["server"] not in failed:
                self._journal(str(outcome["outcome"]), outcome["server"], run)

    def _drain_and_stop(self, verdict: Diagnosis) -> Process[None]:
        hold = swarm.HOLD_SCHEDULE if verdict.step == Step.REST else swarm.HOLD_ROTATION
        yield from self.world.drain(verdict.node_id, hold)
        machine = self.world.machines.get(verdict.server)
        stops = verdict.step == Step.REST or (verdict.step == Step.ROTATE and not verdict.stand_in)
        if stops and machine is not None:
            yield from self.world.stop(machine, "shelve")

    def _remove_surge(self, verdict: Diagnosis, run: str) -> Process[None]:
        yield from self._delete(verdict.server)
        self._journal(Phase.DONE, verdict.server, run)

    def _delete(self, name: str) -> Process[None]:
        machine = self.world.machines.get(name)
        if machine is not None:
            while machine.task_state:
                yield POLL
            yield from self.world.stop(machine, "delete")
            self.world.remove_node(machine.disk.node_id)
        self.world.delete_disks(name, None)

    def _rejoin(self, verdict: Diagnosis, run: str) -> Process[str]:
        """Until its Ollama is healthy: its name; empty if it has not become so."""
        world, machine = self.world, self.world.machines.get(verdict.server)
        if machine is None:
            return ""
        yield from self._until(machine, swarm.READY, REJOIN if machine.disk.node_id else 0)
        if not self._has_come(machine, swarm.READY):
            for _look in range(300 // POLL):
                if machine.booted:
                    break
                yield POLL
            life = machine.life
            yield world.draw("set_up", machine.name)
            if not machine.booted or machine.life != life:
                return ""
            if not machine.disk.node_id:
                world.join(machine)
            if not self._has_come(machine, swarm.READY):
                return ""
        if swarm.HOLD_LABEL in world.nodes[machine.disk.node_id].labels:
            world.activate(machine)
        self._journal(Phase.READY, machine.name, run)
        if verdict.surge:
            return ""
        yield from self._until(machine, "running", HEALTHY)
        if not self._has_come(machine, "running"):
            return ""
        self._journal(Phase.HEALTHY, machine.name, run)
        return machine.name

    def _has_come(self, machine: Machine, state: str) -> bool:
        node = self.world.nodes.get(machine.disk.node_id)
        task = self.world.tasks.get(machine.disk.node_id)
        identity = swarm.Identity(machine.name, "", machine.disk.node_id, float(machine.launched))
        return swarm.has_come(
            state, identity, [node] if node else [], [task] if task else [], task.service if task else ""
        )

    def _until(self, machine: Machine, state: str, seconds: int) -> Process[None]:
        for _look in range(seconds // POLL):
            if self._has_come(machine, state):
                return
            yield POLL

    # -- the job of one server ------------------------------------------------------------------------------------

    def _bring_up(self, spec: Spec, *, returns: bool) -> Process[Outcome]:
        outcome = Outcome(name=spec.name, capacity_type=spec.capacity_type)
        choice = StrategyChoice(cast(Run, self.run), spec, outcome)
        try:
            server = self._server(spec.name)
            if returns and server is not None and _may_return(server, spec):
                candidate = choice.to_preemptible(server)
                if candidate is not None:
                    yield from self._attempt(choice, candidate, spec)
            for _step in range(MAX_STEPS + 4 * len(places(spec))):
                server = self._server(spec.name)
                action = next_action(server, spec, datetime.fromtimestamp(self.clock.now, UTC))
                if action.kind in (Kind.NONE, Kind.REPORT):
                    break
                if action.kind is Kind.WAIT:
                    yield POLL
                    yield from self._rests(spec.name)
                elif action.kind in BY_STRATEGY:
                    yield from self._attempt(choice, choice.next(server), spec)
                else:
                    raise SimulationError(f"{spec.name}: {action.kind}, {action.reason}")
            machine = self.world.machines.get(spec.name)
            if machine is not None and machine.status == "ACTIVE":
                self.world.delete_disks(spec.name, machine.disk)
        except CloudError as error:
            outcome.error = error
        return outcome

    def _server(self, name: str) -> Server | None:
        machine = self.world.machines.get(name)
        return machine.shown() if machine else None

    def _rests(self, name: str) -> Process[None]:
        """Until the cloud is not at work on it."""
        while (machine := self.world.machines.get(name)) is not None and machine.task_state:
            yield POLL

    def _attempt(self, choice: StrategyChoice, candidate: Candidate, spec: Spec) -> Process[None]:
        world, machine = self.world, self.world.machines.get(spec.name)
        if candidate.strategy is Strategy.UNSHELVE and machine is not None:
            world.unshelve(machine)
        else:
            if machine is not None:
                yield from world.stop(machine, "delete")
            disk = world.disk_of(spec.name, candidate.spec.volume_zone)
            machine = world.create(candidate.spec, disk or world.new_disk(candidate.spec))
        yield from self._rests(spec.name)
        if machine.status == "ACTIVE":
            choice.worked(candidate)
        elif machine.status == "ERROR" or candidate.strategy is Strategy.UNSHELVE:
            choice.give_up(machine.shown(), candidate, NoCapacityError(f"{spec.name}: no capacity"))

    # -- journal --------------------------------------------------------------------------------------------------

    def _journal(self, phase: str, server: str, run: str, verdict: str = "") -> None:
        self._write(journal.entry(phase, server, self.clock.now, 0.0, run=run, verdict=verdict))

    def _write(self, *lines: dict[str, Any]) -> None:
        """Decisions look back no further than the window, so what is older goes from time to time."""
        since = self.clock.now - self.settings.remediation.window
        if self.journal and self.journal[0]["epoch"] < since - HOUR:
            self.journal = [line for line in self.journal if line["epoch"] >= since]
        self.journal += lines
        if lines:
            self._last = None

    def _last_recoveries(self) -> dict[str, journal.Recovery]:
        """Of the last two hours: a recovery that goes on is noticed again every few minutes."""
        if self._last is None:
            since = bisect_left(self.journal, float(self.clock.now - 2 * HOUR), key=lambda line: float(line["epoch"]))
            self._last = journal.last_recoveries(self.journal[since:])
        return self._last


class _Ledger:
    """The ledger, kept as `ledger_keeper` does it, with the product's own lines."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.lines: list[ledger.Line] = []
        self._objects: ledger.Objects = {}
        self._rested: dict[str, int] = {}
        self._resting: list[str] = []
        self._looked = self._listed = 0
        self._hour = self._version = -1

    def keep(self, servers: Sequence[Mapping[str, Any]]) -> None:
        """Writes down what has changed."""
        now = self.world.clock.now
        if (self.world.version, now // HOUR) == (self._version, self._hour):
            self._looked = now
            self._rested |= dict.fromkeys(self._resting, now)
            return
        self._version, self._hour = self.world.version, now // HOUR
        lines: list[ledger.Line] = []
        machines = {m.id: m for m in [*self.world.past, *self.world.machines.values()]}
        for one, name, what in ledger.changed_servers(servers, self._objects):
            before = self._objects.get((SERVER, one))
            machine = machines.get(one)
            actions = [] if machine is None else machine.actions
            created = machine.created if machine else self._looked or now
            span = ledger.Span(self._rested.get(one, 0) if before else self._looked, now, created)
            lines += ledger.server_lines(one, name, what, before, actions, span)
        lines += ledger.asset_lines(VOLUME, volumes(self.world), self._objects, self._listed, now)
        self._looked = self._listed = now
        self.lines += lines
        self._objects = ledger.last_lines([*self._objects.values(), *lines])
        self._resting = [str(server["id"]) for server in servers if ledger.at_rest(server)]
        self._rested |= dict.fromkeys(self._resting, now)
        self._rested = {one: at for one, at in self._rested.items() if (SERVER, one) in self._objects}

    def text(self) -> str:
        """The file."""
        return "\n".join(line.dump(line.latest) for line in self.lines)


def _may_return(server: Server, spec: Spec) -> bool:
    return spec.preemptible and not server.is_preemptible() and server.status == "ACTIVE" and not server.task_state


def _manager(specs: Sequence[Mapping[str, Any]], now: int) -> dict[str, Any]:
    """The server that the loop runs on, which nothing happens to."""
    (options,) = [spec for spec in specs if spec["role"] == fleet.ROLE_MANAGER]
    spec = Spec.from_options(options)
    return {
        "id": spec.name,
        "name": spec.name,
        "role": spec.role,
        "status": "ACTIVE",
        "task_state": None,
        "availability_zone": spec.availability_zone,
        "flavor": spec.flavor,
        "fixed_ip": "10.0.0.2",
        "metadata": {"gpuswarm_fleet": FLEET},
        "launched_at": datetime.fromtimestamp(now, UTC).isoformat(),
        "capacity_type": ON_DEMAND,
    }
