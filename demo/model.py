"""What the demonstration observes, and what it concludes from that. No input or output here: every function is pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tests.kit.answers import Answer, Figures

# How long the gateway must have left an upstream alone before it counts as dropped, and how many answers it must have
# given meanwhile: without the second condition a stalled gateway would pass for one that has recovered.
DROPPED_QUIET_S = 2.0
DROPPED_MIN_ANSWERS = 3

# States of a task that only its node can have reported; earlier ones are the manager's plans.
TAKEN_ON = frozenset({"accepted", "preparing", "ready", "starting", "running"})


@dataclass(frozen=True)
class ServerSeen:
    """State of a server in the cloud, as its API told it.

    Attributes:
        epoch: When it was seen (seconds since 1970, like every ``epoch`` here).
        server: Name of the server.
        status: ``ACTIVE`` or anything else.
    """

    epoch: float
    server: str
    status: str


@dataclass(frozen=True)
class NodeSeen:
    """State of a swarm node, as the manager told it (``state`` is ``ready``, ``down``, ``unknown`` ...)."""

    epoch: float
    node_id: str
    hostname: str
    state: str


@dataclass(frozen=True)
class TaskSeen:
    """State of one task of the Ollama service, as the manager told it.

    Attributes:
        epoch: When it was seen.
        task_id: Swarm's id of the task: a restarted container is a new task.
        hostname: Host name of the task's node, empty while it has none.
        state: Swarm's state; ``running`` only once the health check has passed.
        addresses: Addresses of the task on its overlay networks, without prefix length.
    """

    epoch: float
    task_id: str
    hostname: str
    state: str
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True)
class JournalSeen:
    """One line of the recovery journal (``epoch`` is the journal's own)."""

    epoch: float
    phase: str
    server: str
    detail: str = ""


Observation = ServerSeen | NodeSeen | TaskSeen | JournalSeen


@dataclass(frozen=True)
class Before:
    """What is known about the victim before it is preempted: its tasks' ids and all overlay addresses they had."""

    task_ids: frozenset[str] = frozenset()
    addresses: frozenset[str] = frozenset()


@dataclass
class Timeline:
    """When what happened to the victim, in seconds since 1970; None for what has not (yet) happened."""

    preempted: float
    dropped: float | None = None
    noticed: float | None = None
    active: float | None = None
    ready: float | None = None
    healthy: float | None = None
    answers: float | None = None
    failure: str = ""
    notes: dict[str, str] = field(default_factory=dict)

    STEPS = (
        ("preempted", "preempted"),
        ("dropped", "gateway dropped it"),
        ("noticed", "noticed"),
        ("active", "server ACTIVE"),
        ("ready", "node Ready"),
        ("healthy", "Ollama healthy"),
        ("answers", "answers again"),
    )

    def reached(self) -> list[tuple[float, str, str]]:
        """List the steps that have happened, as (epoch, step, its label), in the order in which they happened."""
        times = [(getattr(self, step), step, label) for step, label in self.STEPS]
        return sorted(
            ((epoch, step, label) for epoch, step, label in times if epoch is not None), key=lambda item: item[0]
        )

    @property
    def complete(self) -> bool:
        """Whether every step has happened."""
        return all(getattr(self, step) is not None for step, _ in self.STEPS)

    def after(self, step: str) -> float | None:
        """Seconds from the preemption to a step, None if it has not happened."""
        epoch: float | None = getattr(self, step)
        return None if epoch is None else round(epoch - self.preempted, 2)


def known_before(observations: Iterable[Observation], victim: str) -> Before:
    """Collect what the victim's tasks were called, and under which addresses they answered, before it was preempted."""
    tasks = [item for item in observations if isinstance(item, TaskSeen) and item.hostname == victim]
    return Before(
        task_ids=frozenset(task.task_id for task in tasks),
        addresses=frozenset(address for task in tasks for address in task.addresses),
    )


def timeline(
    preempted: float,
    victim: str,
    before: Before,
    observations: Sequence[Observation],
    answers: Sequence[Answer],
) -> Timeline:
    """Put together what happened to the victim since it was preempted.

    A step counts only after the one that causes it: a node is still listed as ready for a while after its server died,
    and so are its tasks.

    Args:
        preempted: When the preemption was asked for.
        victim: Name of the preempted server, which is its host name too.
        before: What was known before, see :func:`known_before`.
        observations: All that was observed, in any order.
        answers: All that was asked, in any order.

    Returns:
        The timeline as far as it has come.
    """
    since = sorted((item for item in observations if item.epoch >= preempted), key=lambda item: item.epoch)
    journal = [item for item in since if isinstance(item, JournalSeen) and item.server == victim]
    result = Timeline(preempted=preempted, dropped=gateway_dropped(preempted, before.addresses, answers))
    result.noticed = _first(item.epoch for item in journal if item.phase == "noticed")
    failed = next((item for item in journal if item.phase == "failed"), None)
    if failed:
        result.failure = failed.detail or "the recovery journal says failed"
    result.active = _returned(
        (
            (item.epoch, item.status == "ACTIVE")
            for item in since
            if isinstance(item, ServerSeen) and item.server == victim
        ),
    )
    if result.active is None:
        return result
    fresh = [
        item
        for item in since
        if isinstance(item, TaskSeen) and item.hostname == victim and item.task_id not in before.task_ids
    ]
    result.ready = _ready(result.active, victim, since, journal, fresh)
    running = [item for item in fresh if item.state == "running"]
    result.healthy = _first(item.epoch for item in running)
    addresses = {address for item in running for address in item.addresses}
    result.answers = _first(
        answer.first
        for answer in sorted(answers, key=lambda answer: answer.ended)
        if answer.first is not None
        and answer.asked > preempted
        and result.active <= answer.first
        and answer.server in addresses
    )
    return result


def _first(epochs: Iterable[float]) -> float | None:
    return next(iter(epochs), None)


def _returned(states: Iterable[tuple[float, bool]]) -> float | None:
    """Return when a state came true again after it had been seen false."""
    left = False
    for epoch, good in states:
        if not good:
            left = True
        elif left:
            return epoch
    return None


def _ready(
    active: float,
    victim: str,
    since: Sequence[Observation],
    journal: Sequence[JournalSeen],
    fresh: Sequence[TaskSeen],
) -> float | None:
    """Return when the victim's node came back to the swarm.

    A server that comes back within the swarm's heartbeat time-out never leaves ``ready``: then the journal tells, or a
    new task that its node has taken on.
    """
    states = [
        (item.epoch, item.state == "ready") for item in since if isinstance(item, NodeSeen) and item.hostname == victim
    ]
    candidates = [
        _returned(states),
        *(item.epoch for item in journal if item.phase == "ready"),
        *(item.epoch for item in fresh if item.state in TAKEN_ON),
    ]
    return min((epoch for epoch in candidates if epoch is not None and epoch >= active), default=None)


def gateway_dropped(preempted: float, addresses: frozenset[str], answers: Sequence[Answer]) -> float | None:
    """Find when the gateway stopped trying a dead upstream.

    A stream that ran when the upstream died says nothing about that, for it may hang for a while; a request that was
    under way and then went on to another upstream does.

    Args:
        preempted: When the upstream was to die.
        addresses: Its addresses.
        answers: All answers, which name the upstreams that the gateway tried.

    Returns:
        When the last request for which the gateway still tried it went on (at least ``preempted``), or None while that
        is not certain: too little time, or too few answers, have passed since.
    """
    late = [answer for answer in answers if answer.asked >= preempted]
    moved = [answer for answer in answers if answer.asked < preempted and not addresses.issuperset(answer.upstreams)]
    tries = [answer.first or answer.ended for answer in (*late, *moved) if addresses.intersection(answer.upstreams)]
    last = max((preempted, *tries))
    good = [answer for answer in late if answer.asked >= last and answer.complete]
    if len(good) < DROPPED_MIN_ANSWERS or max(answer.ended for answer in good) - last < DROPPED_QUIET_S:
        return None
    return last


def figures(
    times: Timeline, answers: Sequence[Answer], site_s: float, site_again_changed: int
) -> dict[str, float | int | None]:
    """Compute the figures of build/demo.json.

    Args:
        times: The timeline.
        answers: All that was asked.
        site_s: How long the first run of site.yml took, in seconds.
        site_again_changed: How many tasks its second run changed.

    Returns:
        The figures; times are seconds since the preemption, None for what did not happen.
    """
    asked = Figures(answers)
    return {
        "requests_total": asked.asked,
        "requests_failed": asked.failed,
        "streams_cut": asked.cut,
        "detect_s": times.after("noticed"),
        "active_s": times.after("active"),
        "ready_s": times.after("ready"),
        "healthy_s": times.after("healthy"),
        "first_token_s": times.after("answers"),
        "site_s": round(site_s, 1),
        "site_again_changed": site_again_changed,
    }


def shortcomings(times: Timeline, result: Mapping[str, float | int | None]) -> list[str]:
    """List what keeps the demonstration from having succeeded, in plain words; empty when all of it happened."""
    found = [f"not seen: {label}" for step, label in Timeline.STEPS if getattr(times, step) is None]
    if times.failure:
        found.append(f"the recovery reported a failure: {times.failure}")
    if result["requests_failed"]:
        found.append(
            f"{result['requests_failed']} of {result['requests_total']} requests failed before their first byte"
        )
    if not result["requests_total"]:
        found.append("no client got to ask anything")
    if result["site_again_changed"]:
        found.append(
            f"the second run of site.yml changed {result['site_again_changed']} things, and should have changed none"
        )
    return found
