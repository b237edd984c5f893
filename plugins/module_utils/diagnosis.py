# Copyright: (c) 2026, gpuswarm contributors
# SPDX-License-Identifier: Apache-2.0
"""What is wrong with each server of the fleet, and the one next step. Pure: no I/O, no clock and no Ansible import.

Joined are what the cloud says of the server, what the swarm says of its node and tasks, what the gateway balances to,
and, for nodes that look sick, what a login found (`Evidence`). Each may be missing. What is not known leads to waiting,
to looking closer or to a report, never to a step that destroys something.

Which rung of the ladder is due for a sick node, and when, is `escalation`'s decision; which old one is rotated,
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

# Steps of a verdict.
NONE = "none"
WAIT = "wait"
REPORT = "report"  # a person has to look
EXAMINE = "examine"  # log in and look, then diagnose again
RESTORE = "restore"  # the cloud has to act: unshelve, create, start ...
CONVERGE = "converge"  # the roles set the server up again
RELEASE = "release"  # the node was drained by this collection, and may work again
ESCALATE = "escalate"  # the ladder: `escalation` puts one of its rungs in the place of this
ROTATE = "rotate"  # drain it, and give it a new life
REST = "rest"  # drain it and shelve it: the schedule wants fewer servers now
RETIRE = "retire"  # drain it and delete it with its disk and its node: it was there for a rotation

HEALTHY = "healthy"  # the verdict that nothing is wrong

# Rungs of the ladder, the mildest first.
RESTART_DOCKER = "restart_docker"
REBOOT = "reboot"
REPLACE = "replace"
RUNGS = (RESTART_DOCKER, REBOOT, REPLACE)

# What the Ollama role's health check says (roles/ollama/files/healthcheck.sh).
SAYS_ON_CPU = "not wholly in the GPU's memory"
SAYS_NO_MODEL = "is not loaded"

FAILED_TASK_STATES = frozenset({"failed", "rejected"})

# What lifecycle says about a server: (kind of action, reason in words).
Decide = Callable[..., tuple[str, str]]


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
    rotation: rotation.Policy = field(default_factory=rotation.Policy)


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
class Seen:
    """Everything that was observed.

    Attributes:
        servers: the cloud's view of the fleet, or None when the cloud did not answer.
        nodes: the swarm's nodes, or None when Docker did not answer or the swarm has no leader.
        tasks: the swarm's tasks, or None likewise.
        now: when, in epoch seconds.
        evidence: what logins found, by server; only sick nodes are looked at.
        gateway: the addresses that the gateway balances to, or None when it was not asked.
        surge_failed: whether the extra server for a rotation could not be had a short time ago.
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
    """What is wrong, the next step, and why in words; ``rung`` is where the ladder begins."""

    verdict: str
    step: str
    reason: str
    rung: str = ""


@dataclass(frozen=True)
class Verdict:
    """What is wrong with one server."""

    server: str
    verdict: str
    step: str
    reason: str
    role: str = ""
    status: str = "ABSENT"
    node_id: str = ""
    node_state: str = "absent"
    ollama: str = "absent"
    stale_node_ids: list[str] = field(default_factory=list)
    tier: str = ""
    stand_in: bool = False  # on demand, although preemptible is wanted
    age: float | None = None  # seconds since the server was last started by the cloud
    rung: str = ""
    attempts_left: int | None = None
    not_before: float = 0.0  # epoch seconds; while it lies ahead, the step is "wait"
    surge: bool = False  # whether it is the extra server for a rotation

    @property
    def well(self) -> bool:
        """Whether the server is as it is wanted to be now."""
        return self.verdict in (HEALTHY, "too_old") or (self.verdict == "resting" and self.step == NONE)

    def as_dict(self) -> dict[str, Any]:
        """The verdict as playbooks see it."""
        return {**asdict(self), "well": self.well}


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
    action = lifecycle.decide(view, Spec.from_options(spec), datetime.fromtimestamp(now, UTC))
    return action.kind.value, action.reason


def diagnose(
    specs: Iterable[Mapping[str, Any]],
    seen: Seen,
    service: str,
    labels: Mapping[str, str] | None = None,
    limits: Limits | None = None,
    decide: Decide = lifecycle_decision,
) -> list[Verdict]:
    """One verdict for every server that the fleet shall have, and for every GPU server that it has besides.

    :param specs: the desired servers (``fleet.server_specs``); ``resting`` marks those that the schedule does not want.
        The one of ``fleet.surge_specs`` may be among them; it gets a verdict only when it exists or is wanted.
    :param seen: what was observed.
    :param service: full name of the Ollama service in the swarm.
    :param labels: the node labels that a GPU server must carry.
    :param limits: when something counts as wrong.
    :param decide: the lifecycle decision for one server.
    """
    specs, limits = list(specs), limits or Limits()
    silence = _silence(specs, seen)
    names = {str(item["name"]) for item in [*specs, *(seen.servers or [])]}
    views = [_view(spec, seen, service, names, limits) for spec in specs]
    found = [_verdict(view, seen, silence, labels or {}, limits, decide) for view in views]
    found += [] if silence else _surplus(specs, seen)
    return rotation_of(_cut_off(found), limits.rotation, surge_failed=seen.surge_failed)


def _silence(specs: Sequence[Mapping[str, Any]], seen: Seen) -> str:
    """Why the cloud's list cannot be used; empty when it can.

    A list without the manager, while the manager's swarm answers, is the list of another project or region: taken at
    its word it would have every server created a second time.
    """
    if seen.servers is None:
        return "the cloud did not answer"
    manager = next((str(spec["name"]) for spec in specs if spec["role"] == ROLE_MANAGER), None)
    if manager and seen.nodes and all(server["name"] != manager for server in seen.servers):
        return f"the cloud does not list {manager}, whose swarm answers: its list is not believed"
    return ""


def _view(spec: Mapping[str, Any], seen: Seen, service: str, names: Collection[str], limits: Limits) -> _View:
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
    view: _View, seen: Seen, silence: str, labels: Mapping[str, str], limits: Limits, decide: Decide
) -> Verdict:
    name, node, server = str(view.spec["name"]), view.node, view.server
    finding = Finding("unknown", REPORT, silence) if silence else _cloud_finding(view, decide)
    if finding is None and seen.nodes is None:
        finding = Finding("unknown", REPORT, "the swarm's manager did not answer")
    if finding is None:
        finding = _node_finding(view, limits)
    if finding is None and node is not None and view.spec["role"] == ROLE_GPU_WORKER:
        finding = _worker_finding(view, node, labels, seen.gateway, limits)
    finding = finding or Finding(HEALTHY, NONE, "the node is ready")
    return Verdict(
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
        tier=str((server or {}).get("tier") or ""),
        stand_in=bool(view.spec.get("preemptible")) and (server or {}).get("tier") == ON_DEMAND,
        age=view.age,
        rung=finding.rung,
        surge=is_surge(view.spec),
    )


def _cloud_finding(view: _View, decide: Decide) -> Finding | None:
    """What the cloud's state means; None when the cloud has nothing to do."""
    if view.duplicate:
        return Finding(
            "duplicate", REPORT, "there are two servers or two ready nodes of this name: remove the wrong one"
        )
    kind, reason = decide(view.server, view.spec, view.now)
    if kind == "none":
        return None
    if kind == "wait":
        return Finding("in_build", WAIT, reason)
    if view.spec.get("resting") and (view.server is None or view.server["status"] in SHELVED_STATUSES):
        return Finding("resting", NONE, "the schedule does not want it now")
    if kind == "report":
        stopped = view.server is not None and view.server["status"] == "SHUTOFF"
        return Finding("stopped" if stopped else "needs_attention", REPORT, reason)
    return Finding("lost", RESTORE, reason)


def _node_finding(view: _View, limits: Limits) -> Finding | None:
    """What is wrong with the node of a server that runs; None when it is Ready."""
    node, evidence = view.node, view.evidence
    if node is not None and node.ready:
        return _former_life(view, node)
    if node is not None and node.state == UNKNOWN:
        return Finding("node_unknown", WAIT, "the manager was restarted and has not heard of the node yet")
    # Without an answer the wait is longer: a login may take minutes, a node that is known comes within seconds.
    silent = evidence is not None and (not evidence.ssh or evidence.docker == "silent")
    grace = limits.login_grace if silent else limits.boot_grace if node is not None and evidence is None else 0.0
    if view.age is not None and view.age < grace:
        return Finding("booting", WAIT, f"its server was started {view.age:.0f} s ago, its node is not there yet")
    if evidence is not None:
        return _examined(evidence)
    if node is None:
        return Finding("not_in_swarm", EXAMINE, "the server runs but is no node of the swarm")
    return Finding("node_down", EXAMINE, f"the server runs but its node is {node.state}")


def _former_life(view: _View, node: Node) -> Finding | None:
    """What a Ready node means; None when it is what it seems to be.

    Only for `Limits.boot_grace`: by then the swarm has noticed, however much the cloud's clock differs.
    """
    if view.age is None or has_registered(node, view.started):
        return None
    return Finding("booting", WAIT, f"its server was started {view.age:.0f} s ago, its node has not registered since")


def _examined(evidence: Evidence) -> Finding:
    """What a login to a server says whose node is not Ready."""
    if not evidence.ssh:
        return Finding("unreachable", ESCALATE, "the cloud says ACTIVE, but it cannot be logged in to", REBOOT)
    if evidence.docker == "silent":
        return Finding("docker_dead", ESCALATE, "Docker does not answer on it, though a login does", RESTART_DOCKER)
    if evidence.docker == "absent":
        return Finding("not_set_up", CONVERGE, "Docker is not installed on it")
    if evidence.membership == "none":
        words = "Docker answers on it, but the manager does not hear its node"
        return Finding("partitioned", ESCALATE, words, RESTART_DOCKER)
    verdict = "foreign_swarm" if evidence.membership == "leave_and_join" else "not_in_swarm"
    return Finding(verdict, CONVERGE, evidence.membership_reason or "it is in no swarm")


def _worker_finding(
    view: _View, node: Node, labels: Mapping[str, str], gateway: Collection[str] | None, limits: Limits
) -> Finding:
    """What is wrong with a GPU server whose node is Ready."""
    missing = sorted(key for key, value in labels.items() if node.labels.get(key) != value)
    if missing:
        return Finding("labels_missing", CONVERGE, f"the node lacks the labels {', '.join(missing)}")
    if view.spec.get("resting"):
        return Finding("resting", REST, "the schedule does not want it now")
    if node.availability != "active" or HOLD_LABEL in node.labels:
        return _held(view, node, limits)
    if view.ollama != "running":
        return _ollama_finding(view, node, limits)
    task = next(task for task in view.tasks if task.node_id == node.id and runs_since(task, view.started))
    unknown = gateway is not None and task.addresses and not set(task.addresses) & set(gateway)
    if unknown and view.now - task.since > limits.balance_grace:
        words = "its Ollama is healthy, but the gateway does not know it: force an update of the Ollama service"
        return Finding("not_balanced", REPORT, words)
    return Finding(HEALTHY, NONE, "the node is ready and its Ollama task runs")


def _held(view: _View, node: Node, limits: Limits) -> Finding:
    """What is to become of a node that gets no tasks, or that was drained by this collection."""
    hold = node.labels.get(HOLD_LABEL, "")
    if node.availability == "active":
        return Finding("draining", RELEASE, f"the node works, but still carries the label {HOLD_LABEL}")
    if hold == HOLD_ROTATION and view.age is not None and view.age >= limits.rotation.age_limit:
        return Finding("draining", ROTATE, "it was drained for its rotation, which has not ended")
    if hold in (HOLD_ROTATION, HOLD_SCHEDULE):
        return Finding("draining", RELEASE, f"it was drained ({hold}), and is wanted again")
    words = f"the node's availability is {node.availability}: a person holds it, it gets no tasks"
    return Finding("held", NONE, words)


def _ollama_finding(view: _View, node: Node, limits: Limits) -> Finding:
    """Why a Ready node that shall work has no running Ollama task."""
    if not view.tasks:
        return Finding("ollama_missing", REPORT, "the swarm has no task of the Ollama service: run site.yml")
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
        return Finding("ollama_starting", WAIT, f"the node is ready, its Ollama task is {view.ollama}")
    waiting = [task.error for task in view.tasks if not task.node_id and task.desired == "running" and task.error]
    why = waiting[0] if waiting else "the swarm has not placed one yet"
    return Finding("ollama_missing", WAIT, f"the node is ready, but has no Ollama task: {why}")


def _sick_ollama(evidence: Evidence | None, words: str, error: str) -> Finding:
    """What to do about an Ollama that does not become healthy; ``error``: what Docker says of its last task."""
    said = (evidence.ollama if evidence else "") or error
    reason = f"{words}: {said}" if said else words
    if evidence is None:
        return Finding("ollama_unhealthy", EXAMINE, reason)
    if not evidence.ssh:
        return Finding("ollama_unhealthy", REPORT, f"{reason}; it cannot be logged in to, although its node is ready")
    if SAYS_NO_MODEL in said:
        # No rung brings a model that cannot be pulled; the container goes on trying with growing pauses.
        return Finding("models_missing", REPORT, reason)
    return Finding("ollama_on_cpu" if SAYS_ON_CPU in said else "ollama_unhealthy", ESCALATE, reason, RESTART_DOCKER)


def _surplus(specs: Sequence[Mapping[str, Any]], seen: Seen) -> list[Verdict]:
    """GPU servers that exist and are not in the inventory. Only a person's site.yml deletes them."""
    wanted = {str(spec["name"]) for spec in specs}
    verdicts = []
    for server in seen.servers or []:
        name = str(server["name"])
        if server.get("role") == ROLE_GPU_WORKER and name not in wanted:
            node = node_of_server(seen.nodes or [], _identity(name, server))
            verdicts.append(
                Verdict(
                    server=name,
                    verdict="surplus",
                    step=REPORT,
                    reason="the inventory does not have it: site.yml takes it away",
                    role=ROLE_GPU_WORKER,
                    status=str(server["status"]),
                    node_id=node.id if node else "",
                    node_state=node.state if node else "absent",
                    ollama="",
                    tier=str(server.get("tier") or ""),
                )
            )
    return verdicts


def _cut_off(verdicts: list[Verdict]) -> list[Verdict]:
    """When no GPU server that runs can be reached, the manager is likelier to be cut off than all to be sick."""
    running = [v for v in verdicts if v.role == ROLE_GPU_WORKER and v.status == "ACTIVE" and v.verdict != "surplus"]
    silent = {v.server for v in running if v.verdict == "unreachable"}
    if len(running) < 2 or len(silent) < len(running):
        return verdicts
    reason = f"none of the {len(running)} servers that run can be reached: the manager itself seems to be cut off"
    return [
        replace(v, verdict="cut_off", step=REPORT, reason=reason, rung="") if v.server in silent else v
        for v in verdicts
    ]


def rotation_of(verdicts: list[Verdict], policy: rotation.Policy, *, surge_failed: bool = False) -> list[Verdict]:
    """Marks the servers that are too old; at most one of them gets the step "rotate".

    If there is to be an extra server, it comes first and goes last. It is not waited for when it cannot be had or does
    not come in time.

    :param surge_failed: whether the extra server could not be had a short time ago.
    """
    extra = next((v for v in verdicts if v.surge), None)
    own = [v for v in verdicts if v.role == ROLE_GPU_WORKER and not v.surge]
    workers = [v for v in own if v.verdict not in ("surplus", "resting", "held")]
    ages = [rotation.Age(v.server, v.age, v.tier == PREEMPTIBLE, v.stand_in) for v in workers if v.age is not None]
    ill = {v.server for v in workers if v.verdict != HEALTHY}
    calm = not ill
    due = {choice.server: choice.reason for choice in rotation.due(ages, policy)}
    first = next(iter(due), None)
    in_time = any(age.server == first and age.age < policy.latest for age in ages)
    given_up = surge_failed or bool(policy.forced) or not in_time
    awaited = extra if extra is not None and not given_up and _may_come(extra) else None
    chosen = first if calm and not awaited else None
    before = f"{awaited.server} comes first" if awaited else "another one's turn is first"
    alone = f"; without {extra.server}, which cannot be had" if extra and extra.verdict != HEALTHY else ""
    marked = []
    for verdict in verdicts:
        if verdict is extra:
            marked += _surge(verdict, calm=calm, turn=bool(first or policy.forced), awaited=bool(awaited))
        elif verdict.step == ROTATE and ill - {verdict.server}:
            marked.append(
                replace(verdict, step=RELEASE, reason="its rotation is given up while others are not healthy")
            )
        elif verdict.server not in due or verdict.verdict != HEALTHY:
            marked.append(verdict)
        elif verdict.server == chosen:
            reason = due[verdict.server] + ("" if policy.forced else alone)
            marked.append(replace(verdict, verdict="too_old", step=ROTATE, reason=reason))
        else:
            why = before if calm else "not while others are not healthy"
            marked.append(replace(verdict, verdict="too_old", step=WAIT, reason=f"{due[verdict.server]}: {why}"))
    return marked


def _may_come(extra: Verdict) -> bool:
    """Whether the extra server is not healthy yet, but may become so without a person and without the ladder."""
    return extra.verdict not in (HEALTHY, "held") and extra.step not in (ESCALATE, ROTATE, REPORT)


def _surge(extra: Verdict, *, calm: bool, turn: bool, awaited: bool) -> list[Verdict]:
    """What is to become of the extra server; no verdict when there is none and none is wanted.

    :param calm: whether all others are healthy.
    :param turn: whether one of them is to be rotated.
    :param awaited: whether the rotation waits for the extra server.
    """
    if not extra.node_id and extra.status in ("ABSENT", "?"):
        return [replace(extra, reason="one server more is wanted for a rotation")] if calm and awaited else []
    # The cloud or a person is at work on it, or it is not known how it is.
    if awaited or extra.verdict in ("unknown", "in_build", "held", "duplicate", "needs_attention"):
        return [extra]
    if calm and not turn:
        reason = "it was there for a rotation; nothing is to be rotated now, and all others are healthy"
        return [replace(extra, verdict="spare", step=RETIRE, reason=reason, rung="")]
    if extra.verdict == HEALTHY:
        return [extra]
    words = f"{extra.reason}; it was there for a rotation, and goes when all others are healthy"
    return [replace(extra, verdict="spare", step=WAIT, reason=words, rung="")]


def ollama_state(node: Node | None, tasks: Iterable[Task], service: str, started: float = 0.0) -> str:
    """State of the Ollama task on a node: "absent", "lost" (it died with its server) or the task's own state.

    Swarm goes on saying "running" for the tasks of a dead node, so a task is only believed together with its node, and
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
