# Copyright: (c) 2026, gpuswarm contributors
# SPDX-License-Identifier: Apache-2.0
"""What is wrong with each server of the fleet, and the one next step.

Joined are what the cloud says of the server, what the swarm says of its node and tasks, what the gateway balances to,
and, for nodes that look sick, what a login found (`Evidence`). Each may be missing. What is not known leads to waiting,
to an examination or to a report, never to a step that destroys something.

Which remedy is due for a sick node, and when, is `remediation`'s decision; which old one is rotated,
`rotation`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from . import lifecycle, rotation
from .fleet import ROLE_GPU_WORKER, ROLE_MANAGER, is_surge
from .servers import ON_DEMAND, PREEMPTIBLE, SHELVED_STATUSES, Server, Spec
from .swarm import (
    HOLD_LABEL,
    HOLD_RESTART,
    HOLD_ROTATION,
    HOLD_SCHEDULE,
    LIVE_TASK_STATES,
    UNKNOWN,
    Identity,
    Node,
    Task,
    has_registered,
    is_named,
    namesakes,
    node_of_server,
    runs_since,
    stale_nodes,
)
from .vocabulary import STEPS, SURGE_NEEDED, HealthCode, Step, Verdict

FAILED_TASK_STATES = frozenset({"failed", "rejected"})

# The cloud or a person is at work on it, or it is not known how it is.
_OTHERS_AT_WORK = frozenset(
    {Verdict.UNKNOWN, Verdict.IN_BUILD, Verdict.HELD, Verdict.DUPLICATE, Verdict.NEEDS_ATTENTION}
)

# What lifecycle says about a server: (kind of action, reason in words).
NextAction = Callable[..., tuple[str, str]]


@dataclass(frozen=True)
class Limits:
    """When something counts as wrong; all in seconds but ``failures``.

    Attributes:
        boot_grace: a node that is Down may come back by itself for so long after its server was started; within it,
            what the swarm says of the server's former life (a Ready node, a running task) is not believed.
        login_grace: a server may be silent for so long after it was started.
        healthy_timeout: Ollama may take so long to load its models.
        failures: so many failed Ollama tasks on a node within ``failure_window`` are no accident.
        balance_grace: a healthy task may be unknown to the gateway for so long.
        twin_grace: the node of a server that was replaced may go on being Ready for so long after its successor joined.
        rotation: when and whether servers are rotated.
    """

    boot_grace: float = 45.0
    login_grace: float = 300.0
    healthy_timeout: float = 900.0
    failures: int = 3
    failure_window: float = 900.0
    balance_grace: float = 30.0
    twin_grace: float = 120.0
    rotation: rotation.RotationPolicy = field(default_factory=rotation.RotationPolicy)


@dataclass(frozen=True)
class Evidence:
    """What a login to a server found.

    Attributes:
        ssh: whether the login worked.
        docker: "answers", "silent" or "absent" (not installed).
        membership: what `swarm.membership` says: "none" (it is a node of this swarm), "join" or "leave_and_join".
        membership_reason: why.
        node_id: the node of this swarm that it says it is; empty when it is none.
        ollama: what the health check of the last Ollama container said.
    """

    ssh: bool
    docker: str = "silent"
    membership: str = ""
    membership_reason: str = ""
    node_id: str = ""
    ollama: str = ""


@dataclass(frozen=True)
class Observation:
    """Everything that was observed.

    Attributes:
        servers: the cloud's view of the fleet, or None when the cloud did not answer.
        nodes: the swarm's nodes, or None when Docker did not answer or the swarm has no leader.
        tasks: the swarm's tasks, or None likewise.
        now: when, in epoch seconds.
        evidence: what logins found, by server; only sick nodes are examined.
        gateway: the addresses that the gateway balances to, or None when it was not asked.
        surge_failed: whether creating the surge server for a rotation failed a short time ago.
    """

    servers: Sequence[Mapping[str, Any]] | None
    nodes: Sequence[Node] | None
    tasks: Sequence[Task] | None
    now: float
    evidence: Mapping[str, Evidence] = field(default_factory=dict)
    gateway: Collection[str] | None = None
    surge_failed: bool = False


@dataclass(frozen=True)
class Finding:
    """What is wrong, the next step, and why in words; ``remedy`` is the first to try."""

    verdict: Verdict
    step: Step
    reason: str
    remedy: Step | None = None


@dataclass(frozen=True)
class Diagnosis:
    """What is wrong with one server."""

    server: str
    verdict: Verdict
    step: Step
    reason: str
    role: str = ""
    status: str = "ABSENT"
    node_id: str = ""
    node_state: str = "absent"
    ollama: str = "absent"
    stale_node_ids: list[str] = field(default_factory=list)
    capacity_type: str = ""
    stand_in: bool = False  # on demand, although it should be preemptible
    age: float | None = None  # seconds since the server was last started by the cloud
    remedy: Step | None = None
    attempts_left: int | None = None
    not_before: float = 0.0  # epoch seconds; while it lies ahead, the step is "wait"
    surge: bool = False  # whether it is the surge server for a rotation

    @property
    def as_desired(self) -> bool:
        """Whether the server is as it should be now."""
        return self.verdict in (Verdict.HEALTHY, Verdict.TOO_OLD) or (
            self.verdict == Verdict.RESTING and self.step == Step.NONE
        )

    def as_dict(self) -> dict[str, Any]:
        """The verdict as playbooks see it: plain values, with what the step means to them."""
        own = {"verdict": str(self.verdict), "step": str(self.step), "remedy": str(self.remedy or "")}
        return {**asdict(self), **own, "phase": str(STEPS[self.step].phase or ""), "as_desired": self.as_desired}


@dataclass(frozen=True)
class _View:
    """Everything that is known about one server."""

    spec: Mapping[str, Any]
    server: Mapping[str, Any] | None
    node: Node | None
    stale: Sequence[Node]
    duplicate: bool
    tasks: Sequence[Task]
    ollama: str
    evidence: Evidence | None
    started: float  # when the cloud started it; 0 when that is no matter any more (`Limits.boot_grace`) or not known
    age: float | None
    now: float


def lifecycle_decision(server: Mapping[str, Any] | None, spec: Mapping[str, Any], now: float) -> tuple[str, str]:
    """What lifecycle says about a server as modules return it (``Server.as_result``)."""
    view = None
    if server is not None:
        view = Server(
            id=str(server["id"]),
            name=str(server["name"]),
            status=str(server["status"]),
            task_state=server.get("task_state"),
            fault=server.get("fault"),
        )
    action = lifecycle.next_action(view, Spec.from_options(spec), datetime.fromtimestamp(now, UTC))
    return action.kind.value, action.reason


def diagnose(
    specs: Iterable[Mapping[str, Any]],
    seen: Observation,
    service: str,
    labels: Mapping[str, str] | None = None,
    limits: Limits | None = None,
    next_action: NextAction = lifecycle_decision,
) -> list[Diagnosis]:
    """One verdict for every server that the fleet should have, and for every other GPU server that exists.

    :param specs: the desired servers (``fleet.server_specs``); ``resting`` marks those that the schedule rests.
        The one of ``fleet.surge_specs`` may be among them; it gets a verdict only when it exists or is needed.
    :param seen: what was observed.
    :param service: full name of the Ollama service in the swarm.
    :param labels: the node labels that a GPU server must carry.
    :param limits: when something counts as wrong.
    :param next_action: the lifecycle decision for one server.
    """
    specs, limits = list(specs), limits or Limits()
    silence = _silence(specs, seen)
    names = {str(item["name"]) for item in [*specs, *(seen.servers or [])]}
    views = [_view(spec, seen, service, names, limits) for spec in specs]
    found = [_verdict(view, seen, silence, labels or {}, limits, next_action) for view in views]
    found += [] if silence else _surplus(specs, seen)
    return schedule_rotation(_cut_off(found), limits.rotation, seen.now, surge_failed=seen.surge_failed)


def _silence(specs: Sequence[Mapping[str, Any]], seen: Observation) -> str:
    """Why the cloud's list cannot be used; empty when it can.

    A list without the manager, while the manager's swarm answers, is the list of another project or region: taken at
    face value, it would cause every server to be created a second time.
    """
    if seen.servers is None:
        return "the cloud did not answer"
    manager = next((str(spec["name"]) for spec in specs if spec["role"] == ROLE_MANAGER), None)
    if manager and seen.nodes and all(server["name"] != manager for server in seen.servers):
        return f"the cloud does not list {manager}, whose swarm answers: its list is not believed"
    return ""


def _view(spec: Mapping[str, Any], seen: Observation, service: str, names: Collection[str], limits: Limits) -> _View:
    name = str(spec["name"])
    evidence = seen.evidence.get(name)
    same = [server for server in seen.servers or [] if server["name"] == name]
    server = same[0] if same else None
    identity = _identity(name, server, evidence)
    # Another server's node is not this one's, even if it was the last one at its address.
    others = [other for other in names if other != name]
    nodes = [node for node in seen.nodes or [] if not any(is_named(node, other) for other in others)]
    node = node_of_server(nodes, identity)
    if node and node.ready and evidence and evidence.membership in ("join", "leave_and_join"):
        node = None  # the server itself says that it is not this one
    own = [task for task in seen.tasks or [] if task.service == service]
    age = age_of(server, seen.now)
    fresh = identity.started if age is not None and age < limits.boot_grace else 0.0
    return _View(
        spec=spec,
        server=server,
        node=node,
        stale=stale_nodes(nodes, identity) if node else [],
        duplicate=len(same) > 1 or _two_nodes(nodes, identity, seen.now, limits),
        tasks=own,
        ollama=ollama_state(node, own, service, fresh) if spec["role"] == ROLE_GPU_WORKER else "",
        evidence=evidence,
        started=fresh,
        age=age,
        now=seen.now,
    )


def _identity(name: str, server: Mapping[str, Any] | None, evidence: Evidence | None = None) -> Identity:
    return Identity(
        name=name,
        address=str((server or {}).get("fixed_ip") or ""),
        node_id=evidence.node_id if evidence else "",
        started=started_at(server) or 0.0,
    )


def _two_nodes(nodes: Iterable[Node], identity: Identity, now: float, limits: Limits) -> bool:
    """Whether two machines seem to be nodes of one name, and nothing says which of them is the server.

    A server that was made anew a moment ago is no such case: the swarm has not noticed the end of its predecessor.
    """
    ready = [node for node in namesakes(nodes, identity) if node.ready]
    return len(ready) > 1 and not identity.node_id and now - max(node.created for node in ready) > limits.twin_grace


def started_at(server: Mapping[str, Any] | None) -> float | None:
    """When the cloud last started a server (epoch seconds); None when it does not say.

    Nova sets ``launched_at`` anew at every unshelve, and a preemptible server's day is counted from it.
    """
    started = lifecycle.parse_time(str((server or {}).get("launched_at") or ""))
    return None if started is None else started.timestamp()


def age_of(server: Mapping[str, Any] | None, now: float) -> float | None:
    """Seconds since the cloud last started a server; None when it does not say."""
    started = started_at(server)
    return None if started is None else now - started


def _verdict(
    view: _View, seen: Observation, silence: str, labels: Mapping[str, str], limits: Limits, next_action: NextAction
) -> Diagnosis:
    name, node, server = str(view.spec["name"]), view.node, view.server
    finding = Finding(Verdict.UNKNOWN, Step.REPORT, silence) if silence else _cloud_finding(view, next_action)
    if finding is None and seen.nodes is None:
        finding = Finding(Verdict.UNKNOWN, Step.REPORT, "the swarm's manager did not answer")
    if finding is None:
        finding = _node_finding(view, limits)
    if finding is None and node is not None and view.spec["role"] == ROLE_GPU_WORKER:
        finding = _worker_finding(view, node, labels, seen.gateway, limits)
    finding = finding or Finding(Verdict.HEALTHY, Step.NONE, "the node is ready")
    return Diagnosis(
        server=name,
        verdict=finding.verdict,
        step=finding.step,
        reason=finding.reason,
        role=str(view.spec["role"]),
        status="?" if silence else str(server["status"]) if server else "ABSENT",
        node_id=node.id if node else "",
        node_state=node.state if node else "absent",
        ollama=view.ollama,
        stale_node_ids=[stale.id for stale in view.stale],
        capacity_type=str((server or {}).get("capacity_type") or ""),
        stand_in=bool(view.spec.get("preemptible")) and (server or {}).get("capacity_type") == ON_DEMAND,
        age=view.age,
        remedy=finding.remedy,
        surge=is_surge(view.spec),
    )


def _cloud_finding(view: _View, next_action: NextAction) -> Finding | None:
    """What the cloud's state means; None when the cloud has nothing to do."""
    if view.duplicate:
        return Finding(
            Verdict.DUPLICATE,
            Step.REPORT,
            "there are two servers or two ready nodes of this name: remove the wrong one",
        )
    kind, reason = next_action(view.server, view.spec, view.now)
    if kind == "none":
        return None
    if kind == "wait":
        return Finding(Verdict.IN_BUILD, Step.WAIT, reason)
    if view.spec.get("resting") and (view.server is None or view.server["status"] in SHELVED_STATUSES):
        return Finding(Verdict.RESTING, Step.NONE, "the schedule does not need it now")
    if kind == "report":
        stopped = view.server is not None and view.server["status"] == "SHUTOFF"
        return Finding(Verdict.STOPPED if stopped else Verdict.NEEDS_ATTENTION, Step.REPORT, reason)
    return Finding(Verdict.LOST, Step.RESTORE, reason)


def _node_finding(view: _View, limits: Limits) -> Finding | None:
    """What is wrong with the node of a server that runs; None when it is Ready."""
    node, evidence = view.node, view.evidence
    if node is not None and node.ready:
        return _former_life(view, node)
    if node is not None and node.state == UNKNOWN:
        return Finding(Verdict.NODE_UNKNOWN, Step.WAIT, "the manager was restarted and has not heard of the node yet")
    # Without an answer the wait is longer: a login may take minutes, a node that is known comes within seconds.
    silent = evidence is not None and (not evidence.ssh or evidence.docker == "silent")
    grace = limits.login_grace if silent else limits.boot_grace if node is not None and evidence is None else 0.0
    if view.age is not None and view.age < grace:
        return Finding(
            Verdict.BOOTING, Step.WAIT, f"its server was started {view.age:.0f} s ago, its node is not there yet"
        )
    if evidence is not None:
        return _examined(evidence)
    if node is None:
        return Finding(Verdict.NOT_IN_SWARM, Step.EXAMINE, "the server runs but is no node of the swarm")
    return Finding(Verdict.NODE_DOWN, Step.EXAMINE, f"the server runs but its node is {node.state}")


def _former_life(view: _View, node: Node) -> Finding | None:
    """What a Ready node means; None when it is what it seems to be.

    Only for `Limits.boot_grace`: by then the swarm has noticed, however much the cloud's clock differs.
    """
    if view.age is None or has_registered(node, view.started):
        return None
    return Finding(
        Verdict.BOOTING, Step.WAIT, f"its server was started {view.age:.0f} s ago, its node has not registered since"
    )


def _examined(evidence: Evidence) -> Finding:
    """What a login to a server says whose node is not Ready."""
    if not evidence.ssh:
        return Finding(
            Verdict.UNREACHABLE, Step.ESCALATE, "the cloud says ACTIVE, but it cannot be logged in to", Step.REBOOT
        )
    if evidence.docker == "silent":
        return Finding(
            Verdict.DOCKER_DEAD, Step.ESCALATE, "Docker does not answer on it, though a login does", Step.RESTART_DOCKER
        )
    if evidence.docker == "absent":
        return Finding(Verdict.NOT_SET_UP, Step.CONVERGE, "Docker is not installed on it")
    if evidence.membership == "none":
        words = "Docker answers on it, but the manager does not hear its node"
        return Finding(Verdict.PARTITIONED, Step.ESCALATE, words, Step.RESTART_DOCKER)
    verdict = Verdict.FOREIGN_SWARM if evidence.membership == "leave_and_join" else Verdict.NOT_IN_SWARM
    return Finding(verdict, Step.CONVERGE, evidence.membership_reason or "it is in no swarm")


def _worker_finding(
    view: _View, node: Node, labels: Mapping[str, str], gateway: Collection[str] | None, limits: Limits
) -> Finding:
    """What is wrong with a GPU server whose node is Ready."""
    missing = sorted(key for key, value in labels.items() if node.labels.get(key) != value)
    if missing:
        return Finding(Verdict.LABELS_MISSING, Step.CONVERGE, f"the node lacks the labels {', '.join(missing)}")
    if view.spec.get("resting"):
        return Finding(Verdict.RESTING, Step.REST, "the schedule does not need it now")
    if node.availability != "active" or HOLD_LABEL in node.labels:
        return _held(view, node, limits)
    if view.ollama != "running":
        return _ollama_finding(view, node, limits)
    task = next(task for task in view.tasks if task.node_id == node.id and runs_since(task, view.started))
    unknown = gateway is not None and task.addresses and not set(task.addresses) & set(gateway)
    if unknown and view.now - task.since > limits.balance_grace:
        words = "its Ollama is healthy, but the gateway does not know it: force an update of the Ollama service"
        return Finding(Verdict.NOT_BALANCED, Step.REPORT, words)
    return Finding(Verdict.HEALTHY, Step.NONE, "the node is ready and its Ollama task runs")


def _held(view: _View, node: Node, limits: Limits) -> Finding:
    """The diagnosis of a node that gets no tasks, or that was drained by this collection."""
    hold = node.labels.get(HOLD_LABEL, "")
    if node.availability == "active":
        return Finding(Verdict.DRAINING, Step.RELEASE, f"the node works, but still carries the label {HOLD_LABEL}")
    if hold == HOLD_ROTATION and view.age is not None and view.age >= limits.rotation.age_limit:
        return Finding(Verdict.DRAINING, Step.ROTATE, "it was drained for its rotation, which has not ended")
    if hold in (HOLD_ROTATION, HOLD_SCHEDULE, HOLD_RESTART):
        return Finding(Verdict.DRAINING, Step.RELEASE, f"it was drained ({hold}), and is needed again")
    words = f"the node's availability is {node.availability}: a person holds it, it gets no tasks"
    return Finding(Verdict.HELD, Step.NONE, words)


def _ollama_finding(view: _View, node: Node, limits: Limits) -> Finding:
    """Why a Ready node that should work has no running Ollama task."""
    if not view.tasks:
        return Finding(Verdict.OLLAMA_MISSING, Step.REPORT, "the swarm has no task of the Ollama service: run site.yml")
    here = [task for task in view.tasks if task.node_id == node.id]
    # What died with the server, and is reported when it comes back, says nothing about the node.
    window = limits.failure_window if view.age is None else min(limits.failure_window, view.age - limits.boot_grace)
    failed = [task for task in here if task.state in FAILED_TASK_STATES and view.now - task.since <= window]
    live = [task for task in here if task.desired == "running" and task.state in LIVE_TASK_STATES]
    hanging = [task for task in live if task.since and view.now - task.since > limits.healthy_timeout]
    if hanging:
        words = f"its Ollama task has been {hanging[0].state} for {view.now - hanging[0].since:.0f} s"
        return _sick_ollama(view.evidence, words, "")
    if len(failed) >= limits.failures:
        words = f"{len(failed)} Ollama tasks failed on it within {limits.failure_window:.0f} s"
        return _sick_ollama(view.evidence, words, max(failed, key=lambda task: task.since).error)
    if view.ollama != "absent":
        return Finding(Verdict.OLLAMA_STARTING, Step.WAIT, f"the node is ready, its Ollama task is {view.ollama}")
    waiting = [task.error for task in view.tasks if not task.node_id and task.desired == "running" and task.error]
    why = waiting[0] if waiting else "the swarm has not placed one yet"
    return Finding(Verdict.OLLAMA_MISSING, Step.WAIT, f"the node is ready, but has no Ollama task: {why}")


def _sick_ollama(evidence: Evidence | None, words: str, error: str) -> Finding:
    """What to do about an Ollama that does not become healthy; ``error``: what Docker says of its last task."""
    said = (evidence.ollama if evidence else "") or error
    reason = f"{words}: {said}" if said else words
    if evidence is None:
        return Finding(Verdict.OLLAMA_UNHEALTHY, Step.EXAMINE, reason)
    if not evidence.ssh:
        return Finding(
            Verdict.OLLAMA_UNHEALTHY, Step.REPORT, f"{reason}; it cannot be logged in to, although its node is ready"
        )
    if f"{HealthCode.NOT_LOADED}:" in said:
        # No remedy brings a model that cannot be pulled; the container goes on trying with growing pauses.
        return Finding(Verdict.MODELS_MISSING, Step.REPORT, reason)
    verdict = Verdict.OLLAMA_ON_CPU if f"{HealthCode.ON_CPU}:" in said else Verdict.OLLAMA_UNHEALTHY
    return Finding(verdict, Step.ESCALATE, reason, Step.RESTART_DOCKER)


def _surplus(specs: Sequence[Mapping[str, Any]], seen: Observation) -> list[Diagnosis]:
    """GPU servers that exist and are not in the inventory. Only a person's site.yml deletes them."""
    wanted = {str(spec["name"]) for spec in specs}
    verdicts = []
    for server in seen.servers or []:
        name = str(server["name"])
        if server.get("role") == ROLE_GPU_WORKER and name not in wanted:
            node = node_of_server(seen.nodes or [], _identity(name, server))
            verdicts.append(
                Diagnosis(
                    server=name,
                    verdict=Verdict.SURPLUS,
                    step=Step.REPORT,
                    reason="the inventory does not have it: site.yml takes it away",
                    role=ROLE_GPU_WORKER,
                    status=str(server["status"]),
                    node_id=node.id if node else "",
                    node_state=node.state if node else "absent",
                    ollama="",
                    capacity_type=str(server.get("capacity_type") or ""),
                )
            )
    return verdicts


def _cut_off(verdicts: list[Diagnosis]) -> list[Diagnosis]:
    """When no GPU server that runs can be reached, the manager is likelier to be cut off than all to be sick."""
    running = [
        v for v in verdicts if v.role == ROLE_GPU_WORKER and v.status == "ACTIVE" and v.verdict != Verdict.SURPLUS
    ]
    silent = {v.server for v in running if v.verdict == Verdict.UNREACHABLE}
    if len(running) < 2 or len(silent) < len(running):
        return verdicts
    reason = f"none of the {len(running)} servers that run can be reached: the manager itself seems to be cut off"
    return [
        replace(v, verdict=Verdict.CUT_OFF, step=Step.REPORT, reason=reason, remedy=None) if v.server in silent else v
        for v in verdicts
    ]


def schedule_rotation(
    verdicts: list[Diagnosis], policy: rotation.RotationPolicy, now: float, *, surge_failed: bool = False
) -> list[Diagnosis]:
    """Marks the servers that are too old; at most one of them gets the step "rotate".

    If there is to be a surge server, it comes first and goes last. It is not waited for when it cannot be created or
    does not come in time.

    :param now: epoch seconds; with a surge server rotations begin just after a full hour.
    :param surge_failed: whether creating the surge server failed a short time ago.
    """
    surge = next((v for v in verdicts if v.surge), None)
    own = [v for v in verdicts if v.role == ROLE_GPU_WORKER and not v.surge]
    workers = [v for v in own if v.verdict not in (Verdict.SURPLUS, Verdict.RESTING, Verdict.HELD)]
    ages = [
        rotation.Age(v.server, v.age, v.capacity_type == PREEMPTIBLE, v.stand_in) for v in workers if v.age is not None
    ]
    unhealthy = {v.server for v in workers if v.verdict != Verdict.HEALTHY}
    calm = not unhealthy
    there = surge is not None and (bool(surge.node_id) or surge.status not in ("ABSENT", "?"))
    chance = rotation.opening(policy, now, surge_exists=there)
    due = {choice.server: choice.reason for choice in rotation.due(ages, policy, chance)}
    first = next(iter(due), None)
    in_time = any(age.server == first and age.age < policy.latest for age in ages)
    given_up = surge_failed or bool(policy.forced) or not in_time
    awaited = surge if surge is not None and not given_up and _may_come(surge) else None
    chosen = first if calm and not awaited else None
    before = f"{awaited.server} comes first" if awaited else "another one's turn is first"
    alone = f"; without {surge.server}, which cannot be created" if surge and surge.verdict != Verdict.HEALTHY else ""
    marked = []
    for verdict in verdicts:
        if verdict is surge:
            marked += _surge_diagnosis(verdict, calm=calm, turn=bool(first or policy.forced), awaited=bool(awaited))
        elif verdict.step == Step.ROTATE and unhealthy - {verdict.server}:
            marked.append(
                replace(verdict, step=Step.RELEASE, reason="its rotation is given up while others are not healthy")
            )
        elif verdict.server not in due or verdict.verdict != Verdict.HEALTHY:
            marked.append(verdict)
        elif verdict.server == chosen:
            reason = due[verdict.server] + ("" if policy.forced else alone)
            marked.append(replace(verdict, verdict=Verdict.TOO_OLD, step=Step.ROTATE, reason=reason))
        else:
            why = before if calm else "not while others are not healthy"
            marked.append(
                replace(verdict, verdict=Verdict.TOO_OLD, step=Step.WAIT, reason=f"{due[verdict.server]}: {why}")
            )
    return marked


def _may_come(surge: Diagnosis) -> bool:
    """Whether the surge server is not healthy yet, but may become so without a person and without a remedy."""
    return surge.verdict not in (Verdict.HEALTHY, Verdict.HELD) and surge.step not in (
        Step.ESCALATE,
        Step.ROTATE,
        Step.REPORT,
    )


def _surge_diagnosis(surge: Diagnosis, *, calm: bool, turn: bool, awaited: bool) -> list[Diagnosis]:
    """The diagnosis of the surge server; no verdict when it neither exists nor is needed.

    :param calm: whether all others are healthy.
    :param turn: whether one of them is to be rotated.
    :param awaited: whether the rotation waits for the surge server.
    """
    if not surge.node_id and surge.status in ("ABSENT", "?"):
        return [replace(surge, reason=SURGE_NEEDED)] if calm and awaited else []
    if awaited or surge.verdict in _OTHERS_AT_WORK:
        return [surge]
    if calm and not turn:
        reason = "it was there for a rotation; nothing is to be rotated now, and all others are healthy"
        return [replace(surge, verdict=Verdict.SURGE_UNNEEDED, step=Step.REMOVE_SURGE, reason=reason, remedy=None)]
    if surge.verdict == Verdict.HEALTHY:
        return [surge]
    words = f"{surge.reason}; it was there for a rotation, and goes when all others are healthy"
    return [replace(surge, verdict=Verdict.SURGE_UNNEEDED, step=Step.WAIT, reason=words, remedy=None)]


def ollama_state(node: Node | None, tasks: Iterable[Task], service: str, started: float = 0.0) -> str:
    """State of the Ollama task on a node: "absent", "lost" (it died with its server) or the task's own state.

    Swarm keeps reporting "running" for the tasks of a dead node, so a task is only believed together with its node, and
    if it runs since the server was started.

    :param started: when that was (epoch seconds); 0 when it does not matter.
    """
    if node is None:
        return "absent"
    live = [
        task
        for task in tasks
        if task.node_id == node.id
        and task.service == service
        and task.desired == "running"
        and task.state in LIVE_TASK_STATES
    ]
    if not live:
        return "absent"
    if not has_registered(node, started):
        return "lost"
    if any(runs_since(task, started) for task in live):
        return "running"
    return next((task.state for task in live if task.state != "running"), "lost")
