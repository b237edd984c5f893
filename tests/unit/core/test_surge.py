"""The surge server for a rotation: it comes first, goes last, and nothing ever waits for it in vain."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pytest

from ansible_collections.gpuswarm.ollama.plugins.module_utils._core import recovery
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.diagnosis import Diagnosis, Evidence, Observation
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.fleet import SURGE
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.recovery import RecoverySettings
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.swarm import HOLD_LABEL, Node, Task

NOW = 1_800_000_000.0
SERVICE = "gpuswarm_ollama"
LABELS = {"node.gpu": "true"}
HELD = {**LABELS, HOLD_LABEL: "rotation"}
NAMES = ("demo-gpu-1", "demo-gpu-2", "demo-gpu-3")
EXTRA = "demo-gpu-4"
SPECS = [{"name": name, "role": "gpu_worker"} for name in NAMES]
SETTINGS = RecoverySettings.from_mapping(
    {"service": SERVICE, "labels": LABELS, "rotation": {"enabled": True, "surge": True}}
)

YOUNG = (75000.0, 45000.0, 15000.0)  # nobody is due
DUE = (82800.0, 45000.0, 15000.0)  # the first one is, and has time
TWO_DUE = (83000.0, 82900.0, 15000.0)
LATE = (84600.0, 45000.0, 15000.0)  # half of its margin is over


@dataclass
class World:
    """What there is; servers that are not told otherwise are healthy."""

    ages: Sequence[float] = YOUNG
    status: dict[str, str] = field(default_factory=dict)  # ABSENT: there is no such server
    state: dict[str, str] = field(default_factory=lambda: {EXTRA: "absent"})  # of nodes
    availability: dict[str, str] = field(default_factory=dict)
    labels: dict[str, dict[str, str]] = field(default_factory=dict)
    tasks: dict[str, str] = field(default_factory=lambda: {EXTRA: "absent"})
    mark: dict[str, str] = field(default_factory=lambda: {SURGE: "true"})
    evidence: dict[str, Evidence] = field(default_factory=dict)
    cloud: bool = True

    def __post_init__(self) -> None:
        self.status.setdefault(EXTRA, "ABSENT")

    def seen(self) -> Observation:
        ages = {**dict(zip(NAMES, self.ages, strict=True)), EXTRA: 600.0}
        servers = [
            {
                "id": name,
                "name": name,
                "role": "gpu_worker",
                "capacity_type": "preemptible",
                "status": self.status.get(name, "ACTIVE"),
                "metadata": self.mark if name == EXTRA else {},
                "launched_at": datetime.fromtimestamp(NOW - age, UTC).isoformat(),
            }
            for name, age in ages.items()
            if self.status.get(name) != "ABSENT"
        ]
        nodes = [
            Node(
                name,
                name,
                self.state.get(name, "ready"),
                self.availability.get(name, "active"),
                labels=self.labels.get(name, LABELS),
            )
            for name in ages
            if self.state.get(name) != "absent"
        ]
        tasks = [
            Task(name, SERVICE, name, self.tasks.get(name, "running"), "running", NOW - min(60.0, age))
            for name, age in ages.items()
            if self.tasks.get(name) != "absent"
        ]
        return Observation(servers if self.cloud else None, nodes, tasks, NOW, self.evidence)


def present(task: str = "running", state: str = "ready", status: str = "ACTIVE", **more: Any) -> World:
    """The surge server is there."""
    return World(status={EXTRA: status}, state={EXTRA: state}, tasks={EXTRA: task}, **more)


def assess(world: World, settings: RecoverySettings = SETTINGS, failed: float | None = None) -> dict[str, Diagnosis]:
    lines = [] if failed is None else [{"phase": "failed", "server": EXTRA, "epoch": NOW - failed}]
    return {verdict.server: verdict for verdict in recovery.assess(SPECS, world.seen(), settings, lines)}


def steps(world: World, settings: RecoverySettings = SETTINGS, failed: float | None = None) -> tuple[str, str]:
    """The steps of the oldest server and of the surge server; "-" when there is no verdict about that."""
    found = assess(world, settings, failed)
    return found[NAMES[0]].step, found[EXTRA].step if EXTRA in found else "-"


@pytest.mark.parametrize(
    ("world", "oldest", "extra"),
    [
        (World(YOUNG), "none", "-"),
        # it comes first
        (World(DUE), "wait", "restore"),
        (present(status="BUILD", state="absent", task="absent", ages=DUE), "wait", "wait"),
        (present(state="absent", task="absent", ages=DUE), "wait", "examine"),
        (present(task="absent", labels={EXTRA: {}}, ages=DUE), "wait", "converge"),
        (present(task="starting", ages=DUE), "wait", "wait"),
        (present(ages=DUE), "rotate", "none"),
        (present(ages=TWO_DUE), "rotate", "none"),
        # it stays while the rotation goes on, a killed one too
        (present(ages=DUE, labels={NAMES[0]: HELD}, availability={NAMES[0]: "drain"}), "rotate", "none"),
        (World(DUE, {NAMES[0]: "SHELVED", EXTRA: "ACTIVE"}, {NAMES[0]: "down"}, tasks={}), "restore", "none"),
        (World(YOUNG, {NAMES[0]: "SHELVED", EXTRA: "ACTIVE"}, {NAMES[0]: "down"}, tasks={}), "restore", "none"),
        (World(YOUNG, {EXTRA: "ACTIVE"}, {}, tasks={NAMES[0]: "starting"}), "wait", "none"),
        # it goes last
        (present(ages=YOUNG), "none", "remove_surge"),
        (
            present(ages=YOUNG, labels={EXTRA: HELD}, availability={EXTRA: "drain"}, task="absent"),
            "none",
            "remove_surge",
        ),
        (present(ages=YOUNG, status="ABSENT", state="down"), "none", "remove_surge"),  # killed before its node went
        (present(ages=YOUNG, status="SHELVED", state="down"), "none", "remove_surge"),
        (present(ages=YOUNG, status="ERROR", state="absent", task="absent"), "none", "remove_surge"),
        # it was about to go when another one became due
        (present(ages=DUE, labels={EXTRA: HELD}, availability={EXTRA: "drain"}, task="absent"), "wait", "release"),
        (present(ages=DUE, status="SHELVED", state="down"), "wait", "restore"),
        # what cannot be created is not waited for: no remedy, no person, and not until the end of the margin
        (present(ages=DUE, status="SHUTOFF", state="down"), "rotate", "wait"),
        (present(ages=DUE, availability={EXTRA: "drain"}), "rotate", "none"),  # a person holds it
        (World(LATE), "rotate", "-"),
        (present(ages=LATE, task="starting"), "rotate", "wait"),
        (present(ages=LATE), "rotate", "none"),
        (
            present(ages=DUE, state="down", evidence={EXTRA: Evidence(ssh=True, docker="silent")}),
            "rotate",
            "wait",
        ),
        # an incident: no rotation, and no surge server that nobody needs now
        (World(DUE, {NAMES[1]: "SHELVED"}), "wait", "-"),
        (World(DUE, {NAMES[1]: "SHELVED", EXTRA: "ACTIVE"}, {}, tasks={}), "wait", "none"),
        (World(YOUNG, {NAMES[1]: "SHELVED", EXTRA: "ACTIVE"}, {}, tasks={}), "none", "none"),
        (World(YOUNG, {NAMES[1]: "SHELVED", EXTRA: "SHELVED"}, {EXTRA: "down"}, tasks={}), "none", "wait"),
        # a person is at work on it, or the cloud
        (present(ages=YOUNG, availability={EXTRA: "drain"}), "none", "none"),
        (present(ages=YOUNG, status="RESCUE"), "none", "report"),
        (present(ages=YOUNG, status="BUILD", state="absent", task="absent"), "none", "wait"),
        # partial knowledge
        (World(DUE, cloud=False), "report", "-"),
        (present(ages=YOUNG, cloud=False), "report", "report"),
        # a server of that name which the loop has not made
        (present(ages=YOUNG, mark={}), "none", "report"),
        (present(ages=DUE, mark={}), "rotate", "report"),
    ],
)
def test_surge_first(world: World, oldest: str, extra: str) -> None:
    assert steps(world) == (oldest, extra)


@pytest.mark.parametrize(
    ("world", "ago", "oldest", "extra"),
    [
        (World(DUE), 1, "rotate", "-"),
        (World(DUE), 3600, "rotate", "-"),
        (World(DUE), 3601, "wait", "restore"),  # another rotation: it is tried again
        (World(YOUNG), 1, "none", "-"),
        (present(ages=DUE, task="starting"), 60, "rotate", "wait"),
        (present(ages=DUE), 60, "rotate", "none"),  # it has come after all
        (present(ages=DUE, status="ERROR", state="absent", task="absent"), 60, "rotate", "wait"),
        (present(ages=YOUNG, status="ERROR", state="absent", task="absent"), 60, "none", "remove_surge"),
        (present(ages=YOUNG), 5, "none", "wait"),  # its deletion failed: a pause
    ],
)
def test_after_a_failure_the_rotation_goes_on_without_it(world: World, ago: float, oldest: str, extra: str) -> None:
    assert steps(world, failed=ago) == (oldest, extra)
    found = assess(world, failed=ago)[NAMES[0]]
    assert ("without demo-gpu-4" in found.reason) == (oldest == "rotate" and world.tasks.get(EXTRA) != "running")


def test_a_person_who_rotates_one_waits_for_nothing_and_takes_nothing_away() -> None:
    forced = replace(SETTINGS.limits.rotation, forced=NAMES[0])
    settings = replace(SETTINGS, limits=replace(SETTINGS.limits, rotation=forced))
    assert steps(World(YOUNG), settings) == ("rotate", "-")
    assert steps(present(ages=YOUNG), settings) == ("rotate", "none")
    assert steps(present(ages=YOUNG, task="starting"), settings) == ("rotate", "wait")


@pytest.mark.parametrize("rotation", [{"enabled": True}, {"enabled": False, "surge": True}])
def test_without_it_nothing_is_different(rotation: dict[str, Any]) -> None:
    settings = RecoverySettings.from_mapping({"service": SERVICE, "labels": LABELS, "rotation": rotation})
    assert EXTRA not in assess(World(DUE), settings)
    assert assess(present(ages=YOUNG), settings)[EXTRA].verdict == "surplus"  # site.yml takes it away


def test_a_schedule_does_not_count_it() -> None:
    night = [{"from": "00:00", "to": "23:59", "count": 1}, {"from": "23:59", "to": "00:00", "count": 1}]
    settings = replace(SETTINGS, schedule=night)
    asleep = dict.fromkeys(NAMES[1:], "SHELVED")
    down = dict.fromkeys(NAMES[1:], "down")
    assert steps(World(DUE, asleep, {**down, EXTRA: "absent"}), settings) == ("wait", "restore")
    assert steps(World(DUE, {**asleep, EXTRA: "ACTIVE"}, down, tasks={}), settings) == ("rotate", "none")
    assert steps(World(YOUNG, {**asleep, EXTRA: "ACTIVE"}, down, tasks={}), settings) == ("none", "remove_surge")


def test_it_is_told_apart_and_not_well_when_it_should_be_gone() -> None:
    found = assess(present(ages=YOUNG))
    assert [v.server for v in found.values() if v.surge] == [EXTRA]
    assert (found[EXTRA].verdict, found[EXTRA].as_desired) == ("surge_unneeded", False)
    assert assess(present(ages=DUE))[EXTRA].as_desired


def by_itself(world: World) -> None:
    """What happens without the loop: nodes of servers that run come back, and Swarm places what can be placed."""
    for name in (*NAMES, EXTRA):
        runs = world.status.get(name, "ACTIVE") == "ACTIVE"
        if world.state.get(name) != "absent":
            world.state[name] = "ready" if runs else "down"
        wanted = (
            world.availability.get(name, "active") == "active"
            and LABELS.items() <= world.labels.get(name, LABELS).items()
        )
        world.tasks[name] = "running" if wanted and world.state[name] == "ready" else "absent"


def work(world: World, name: str, step: str) -> Iterator[None]:
    """One step of the loop, in the pieces between which it may be killed."""
    if step == "examine":
        world.evidence = {name: Evidence(ssh=True, docker="absent")}
        step = assess(world)[name].step
        world.evidence = {}
    if step in ("rotate", "remove_surge"):
        world.availability[name], world.labels[name] = "drain", HELD
        yield
    if step == "remove_surge":
        world.status[name] = "ABSENT"
        yield
        world.state[name] = "absent"
        yield
    if step == "rotate":
        world.status[name] = "SHELVED"
        yield
    if step in ("restore", "rotate"):
        if world.status[name] == "ABSENT":
            world.state[name] = "absent"
        world.status[name] = "ACTIVE"
        if name in NAMES:
            world.ages = [0.0 if other == name else age for other, age in zip(NAMES, world.ages, strict=True)]
        yield
    if step in ("restore", "rotate", "release", "converge"):
        world.state[name], world.labels[name], world.availability[name] = "ready", LABELS, "active"
        yield


@pytest.mark.parametrize("ages", [DUE, TWO_DUE])
@pytest.mark.parametrize("killed_at", range(1, 24))
def test_a_rotation_that_is_killed_anywhere_ends_and_as_many_as_ever_are_healthy(
    ages: tuple[float, ...], killed_at: int
) -> None:
    world, pieces, seen = World(ages), 0, set()
    for _tick in range(30):
        by_itself(world)
        for verdict in assess(world).values():
            for _ in work(world, verdict.server, verdict.step):
                by_itself(world)
                seen.add(verdict.step)
                assert list(world.tasks.values()).count("running") >= len(NAMES)
                pieces += 1
                if pieces == killed_at:
                    break
            if pieces == killed_at:
                pieces += 1
                break
    assert {"restore", "rotate", "remove_surge"} <= seen
    assert {name: (v.verdict, v.step) for name, v in assess(world).items()} == dict.fromkeys(NAMES, ("healthy", "none"))
    assert world.status[EXTRA] == "ABSENT"
    assert world.state[EXTRA] == "absent"
