# SPDX-License-Identifier: Apache-2.0
"""Whether the bill is what the cloud would send: random histories of a fleet, counted twice.

Run by ``make bench-cost``; needs nothing but Python. The ledger is kept by the product's own code in front of a
simulated cloud, which remembers what really was. Observations are interrupted, the program is killed between any two of
its writes, the manager's clock steps, attempts fail, the cloud is silent. The second count goes through the history by
another way: it asks for every hour at which moment of it most was in use.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

from ansible_collections.gpuswarm.ollama.plugins.module_utils._clients.ledger_sources import UntoldError
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core import (
    billing,
    cost,
    diagnosis,
    ledger,
    prices,
    rotation,
    vocabulary,
)
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.billing import HOUR, Resource
from ansible_collections.gpuswarm.ollama.plugins.module_utils._runtime import ledger_keeper
from tests.bench.goals import Goal, goal, machine, told
from tests.kit.paths import BUILD, ROOT

RESULT = BUILD / "bench" / "cost.json"
HISTORIES = 1000
KILLS = 40
START = 1_796_083_200  # 2026-12-01T00:00:00Z
SPAN = 60 * HOUR
RULES = billing.RULES["selectel"]
ZONES, FLAVORS, TYPES = ("ru-7a", "ru-7b"), ("GL10", "GL20"), ("preemptible", "on_demand")
NEVER = 1 << 40
CYCLE = 5  # seconds between two looks of the probe
# What may be done to a server in each state, and what it leads to.
_MOVES = {
    "running": ("shelve", "shelve", "shelve", "stop", "delete"),
    "stopped": ("start", "start", "shelve", "delete"),
    "shelved": ("unshelve", "unshelve", "unshelve", "delete"),
}
_STATES = {
    "shelve": ("shelved", "SHELVED_OFFLOADED"),
    "stop": ("stopped", "SHUTOFF"),
    "start": ("running", "ACTIVE"),
    "unshelve": ("running", "ACTIVE"),
}


def text_of(moment: int) -> str:
    """As Nova writes it."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S.000000")


@dataclass
class Life:
    """One server, as it really was: when it was in use, and what Nova tells of it."""

    id: str
    name: str
    resource: Resource
    spans: list[tuple[int, int]] = field(default_factory=list)  # in use, from and to
    actions: list[tuple[str, int, int]] = field(default_factory=list)
    statuses: list[tuple[int, str, int]] = field(default_factory=list)  # from when, which, launched
    busy: list[tuple[int, int]] = field(default_factory=list)  # task_state
    born: int = 0
    gone: int = NEVER


@dataclass
class Thing:
    """A volume or an address."""

    id: str
    name: str
    resource: Resource
    quantity: int
    born: int
    gone: int = NEVER
    created: bool = True  # whether the cloud says when it was created


class SimulatedCloud:
    """A cloud with the truth about a fleet, asked at a moment that the caller sets."""

    def __init__(self, lives: Sequence[Life], things: Sequence[Thing]) -> None:
        self.lives, self.things = lives, things
        self.now = START
        self.silent = False
        self.listed: set[str] = set()  # things that it has told of

    def servers(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for life in self.lives:
            if not life.born <= self.now < life.gone:
                continue
            status, launched = next((s, at) for begun, s, at in reversed(life.statuses) if begun <= self.now)
            busy = any(start <= self.now < end for start, end in life.busy)
            found.append(
                {
                    "id": life.id,
                    "name": life.name,
                    "status": status,
                    "task_state": "busy" if busy else None,
                    "flavor": life.resource.key,
                    "capacity_type": life.resource.capacity_type,
                    "availability_zone": life.resource.zone,
                    "created_at": text_of(life.born)[:19] + "Z",
                    "launched_at": text_of(launched) if launched else None,
                    "metadata": {},
                }
            )
        return found

    def actions(self, server_id: str) -> list[dict[str, Any]] | None:
        self._ask()
        (life,) = [life for life in self.lives if life.id == server_id]
        return [
            {"action": name, "start_time": text_of(start), "updated_at": text_of(min(end, self.now)), "message": None}
            for name, start, end in life.actions
            if start <= self.now
        ]

    def volumes(self) -> list[dict[str, Any]]:
        self._ask()
        return [
            {
                "id": thing.id,
                "status": "in-use",
                "size": thing.quantity,
                "volume_type": thing.resource.key,
                "availability_zone": thing.resource.zone,
                "created_at": text_of(thing.born) if thing.created else None,
                "metadata": {"gpuswarm_fleet": "demo", "gpuswarm_server": thing.name},
            }
            for thing in self._there(billing.VOLUME)
        ]

    def floating_ips(self) -> list[dict[str, Any]]:
        self._ask()
        return [
            {
                "id": thing.id,
                "description": f"gpuswarm_fleet=demo gpuswarm_server={thing.name}",
                "floating_ip_address": "203.0.113.7",
                "created_at": text_of(thing.born) + "Z" if thing.created else None,
            }
            for thing in self._there(billing.FLOATING_IP)
        ]

    def _there(self, kind: str) -> list[Thing]:
        found = [t for t in self.things if t.resource.kind == kind and t.born <= self.now < t.gone]
        self.listed |= {thing.id for thing in found}
        return found

    def _ask(self) -> None:
        if self.silent:
            raise UntoldError("it is silent")


class History:
    """A random history of a fleet, and the moments at which it is observed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 - histories, no secrets
        # Whether Nova has an action for every preemption, and whether the state beside the ledger gets lost.
        self.recorded, self.lossy = seed % 4 != 0, seed % 5 == 0
        self.lives: list[Life] = []
        self.things: list[Thing] = []
        self.moments: set[int] = set()
        for number in range(self.random.randint(1, 3)):
            self._slot(f"demo-gpu-{number + 1}")
        for number in range(self.random.randint(0, 3)):
            self._thing(number)
        self.cloud = SimulatedCloud(self.lives, self.things)
        self.gaps = [
            (begin, begin + self.random.choice((20, 600, 3 * HOUR, 12 * HOUR)))
            for begin in (START + self.random.randrange(SPAN) for _ in range(self.random.choice((0, 0, 0, 1, 4))))
        ]

    @property
    def exact(self) -> bool:
        """Whether the cloud tells enough for the bill of the servers to be exact."""
        return self.recorded and not self.lossy and not self.gaps

    def _slot(self, name: str) -> None:
        """One server after the other, as the loop creates them anew."""
        at = START + self.random.randrange(2 * HOUR)
        while at < START + SPAN:
            at = self._life(name, at) + self.random.choice((1, 30, 400, 5000))

    def _life(self, name: str, at: int) -> int:
        """One server; when it was deleted, or the end of everything."""
        draw = self.random
        resource = Resource(billing.SERVER, draw.choice(FLAVORS), draw.choice(TYPES), draw.choice(ZONES))
        life = Life(f"{name}-{len(self.lives)}", name, resource, born=at)
        self.lives.append(life)
        launched = at + draw.choice((1, 20, 200))
        life.actions.append(("create", at, launched))
        life.statuses += [(at, "BUILD", 0), (launched, "ACTIVE", launched)]
        life.busy.append((at, launched))
        self._watch(launched)
        state, begun, now = "running", at, launched
        while True:
            now = self._later(now)
            if now >= START + SPAN:
                life.spans += [(begun, NEVER)] if state != "shelved" else []
                return START + SPAN
            what = draw.choice(_MOVES[state])
            if what == "unshelve":
                for _attempt in range(draw.randint(0, 2)):
                    # No room: the request leads to nothing.
                    life.actions.append((what, now, now + 5))
                    life.busy.append((now, now + 5))
                    self._watch(now, now + 6)
                    now += draw.choice((30, 300, 2000))
            ended = now + draw.choice((0, 3, 15))
            if what == "shelve" and not self.recorded and state == "running":
                ended = now  # the cloud took it, and tells nobody
            else:
                life.actions.append((what, now, ended))
                life.busy.append((now, ended))
            self._watch(now, ended)
            if what in ("shelve", "delete") and state != "shelved":
                life.spans.append((begun, ended))
            if what == "delete":
                life.gone = ended
                return ended
            if what == "unshelve":
                begun, launched = now, ended
            state, status = _STATES[what]
            life.statuses.append((ended, status, launched))
            now = ended

    def _later(self, at: int) -> int:
        """Some time later, often just beside a full hour."""
        later = at + 1 + int(self.random.expovariate(1 / self.random.choice((300, 2 * HOUR, 10 * HOUR))))
        if self.random.random() < 0.4:
            later = max(at + 1, (later // HOUR + 1) * HOUR + self.random.randint(-3, 3))
        return later

    def _thing(self, number: int) -> None:
        draw = self.random
        born = START + draw.randrange(SPAN)
        kind = draw.choice((billing.VOLUME, billing.FLOATING_IP))
        key, zone = ("fast.ru-7a", "ru-7a") if kind == billing.VOLUME else ("", "")
        size = draw.choice((10, 100)) if kind == billing.VOLUME else 1
        gone = self._later(born) if draw.random() < 0.5 else NEVER
        self.things.append(
            Thing(
                f"{kind}-{number}", "demo-gpu-1", Resource(kind, key, "", zone), size, born, gone, draw.random() < 0.8
            )
        )
        self._watch(born)

    def _watch(self, *moments: int) -> None:
        """The probe looks every five seconds: it looked just before, and it will just after."""
        for moment in moments:
            self.moments |= {moment - self.random.randint(1, 5), moment + self.random.randint(0, 4)}

    def observations(self) -> Iterator[int]:
        """When it is observed, at the end for certain."""
        every = set(range(START, START + SPAN, 1500)) | {at for at in self.moments if START <= at < START + SPAN}
        for at in sorted(every):
            if not any(begin <= at < end for begin, end in self.gaps):
                yield at
        yield START + SPAN

    def seen(self, observed: Sequence[int]) -> set[str]:
        """What was there when somebody looked; of anything else nobody knows."""
        up = {
            life.id: next((at for _, status, at in life.statuses if status == "ACTIVE"), NEVER) for life in self.lives
        }
        servers = {life.id for life in self.lives if any(up[life.id] <= at < life.gone for at in observed)}
        return servers | self.cloud.listed

    def truth(self, seen: set[str], until: int) -> dict[Resource, dict[int, int]]:
        """The second count: for each hour the moment of it at which most was in use."""
        uses = [
            (life.resource, 1, start, min(end, until))
            for life in self.lives
            if life.id in seen
            for start, end in life.spans
        ]
        uses += [
            (thing.resource, thing.quantity, thing.born, min(thing.gone, until))
            for thing in self.things
            if thing.id in seen
        ]
        found: dict[Resource, dict[int, int]] = {}
        for resource in {use[0] for use in uses}:
            own = [use for use in uses if use[0] == resource]
            for hour in range(START // HOUR, (until - 1) // HOUR + 1):
                moments = {hour * HOUR} | {start for _, _, start, _ in own if start // HOUR == hour}
                most = max(sum(n for _, n, start, end in own if start <= at < end) for at in moments)
                if most:
                    found.setdefault(resource, {})[hour] = most
        return found


def keep_ledger(history: History, folder: Path) -> tuple[str, list[int]]:
    """What the product writes down of a history, with everything that can happen to it; and when it looked."""
    path = folder / "ledger.jsonl"
    for old in folder.iterdir():
        old.unlink()
    draw, cloud, observed, step = history.random, history.cloud, [], 0
    config = {"ledger": str(path), "fleet": "demo"}

    def look(at: int, *, silent: bool = False) -> None:
        cloud.now, cloud.silent = at, silent
        ledger_keeper.keep(config, cloud.servers(), at, at + step, cloud)
        observed.append(at)

    for at in history.observations():
        if draw.random() < 0.02:
            step = draw.choice((-7200, -3600, 0, 3600, 90000))
        if observed and at <= observed[-1]:
            continue  # it has just looked, after it was killed
        last, silent = at == START + SPAN, draw.random() < 0.05
        if last or draw.random() < 0.9:
            look(at, silent=silent and not last)
            continue
        # The program is killed in this cycle. It comes every five seconds.
        if observed and observed[-1] < at - CYCLE:
            look(at - CYCLE)
        state = Path(f"{path}.state")
        before = state.read_bytes() if state.exists() else None
        size = path.stat().st_size if path.exists() else 0
        look(at, silent=silent)
        _kill(history, path, size, before)
        look(at + CYCLE)
    # What it could not ask for at the end, it asks for a minute later.
    for later in (ledger_keeper.PAUSE, 2 * ledger_keeper.PAUSE, HOUR):
        look(START + SPAN + later)
    return path.read_text(encoding="utf-8", errors="replace"), observed


def _kill(history: History, path: Path, size: int, state: bytes | None) -> None:
    """What a killed program leaves: the state before, perhaps with a torn end of what it wrote to the ledger."""
    file = Path(f"{path}.state")
    if state is None or (history.lossy and history.random.random() < 0.3):
        file.unlink(missing_ok=True)  # by a power failure
    else:
        file.write_bytes(state)
    written = path.read_bytes() if path.exists() else b""
    if len(written) > size and history.random.random() < 0.5:
        path.write_bytes(written[: history.random.randrange(size, len(written))])


@dataclass(frozen=True)
class Compared:
    """One history: hours that differ, hours in all, those that are estimated, and servers that nobody saw."""

    differing: int
    hours: int
    estimated: int
    unseen: int


def compare(seed: int, folder: Path) -> tuple[Compared, History, str]:
    """Count one history twice. The bill is exact if the cloud tells enough, otherwise the truth is within it."""
    history = History(seed)
    text, observed = keep_ledger(history, folder)
    until = START + SPAN
    lines = ledger.parse(text)
    high, low = (
        billing.grid(ledger.intervals(lines, RULES, until, certain=certain), RULES, START, until)
        for certain in (False, True)
    )
    seen = history.seen(observed)
    real = history.truth(seen, until)
    differing = hours = estimated = 0
    for resource in {*high, *low, *real}:
        exact = resource.kind == billing.SERVER and history.exact
        for hour in range(START // HOUR, until // HOUR):
            most, least, true = (grid.get(resource, {}).get(hour, 0) for grid in (high, low, real))
            hours += max(most, true)
            estimated += most - least
            differing += abs(most - true) if exact else max(0, least - true, true - most)
    unseen = sum(life.id not in seen and bool(life.spans) for life in history.lives)
    return Compared(differing, hours, estimated, unseen), history, text


# ---------------------------------------------------------------- money


def random_prices(draw: random.Random) -> list[dict[str, Any]]:
    """Price lists with holes: flavors, types and days that have no price."""

    def price() -> str:
        return f"{draw.randrange(1, 40000) / 100:.2f}"

    return [
        {
            "valid_from": datetime.fromtimestamp(START + day * 24 * HOUR, UTC).date().isoformat(),
            "valid_until": None if draw.random() < 0.7 else "2026-12-03",
            "currency": "RUB",
            "vat_included": True,
            "source": "random",
            "flavors": {
                flavor: {one: price() for one in draw.sample(TYPES, draw.randint(1, 2))}
                for flavor in draw.sample(FLAVORS, draw.randint(0, 2))
            },
            "volumes": {"fast": price()} if draw.random() < 0.6 else {},
            "floating_ip": price() if draw.random() < 0.6 else None,
        }
        for day in draw.sample((0, 1), draw.randint(1, 2))
    ]


def price_of(lists: Sequence[dict[str, Any]], resource: Resource, moment: int) -> Fraction | None:
    """The price of an hour by the text of the lists, as a fraction."""
    day = datetime.fromtimestamp(moment, UTC).date().isoformat()
    begun = sorted((one for one in lists if one["valid_from"] <= day), key=lambda one: str(one["valid_from"]))
    if not begun or (begun[-1]["valid_until"] or "9") <= day:
        return None
    if resource.kind == billing.SERVER:
        price = begun[-1]["flavors"].get(resource.key, {}).get(resource.capacity_type)
        return None if price is None else Fraction(price)
    price = begun[-1]["volumes"].get("fast") if resource.kind == billing.VOLUME else begun[-1]["floating_ip"]
    return None if price is None else Fraction(price) / 720


def shown_as_zero(seed: int, text: str) -> int:
    """How often something of unknown price passes for known, or money is not what a second reckoning gives."""
    data = random_prices(random.Random(seed))  # noqa: S311
    lists = prices.parse_prices(data)
    now = START + SPAN - 1
    found = cost.bill(text, cost.Account(lists, RULES), START, now)
    shown = cost.bill_lines(found, lists)
    samples = cost.render(found)
    high = billing.grid(ledger.intervals(ledger.parse(text), RULES, now + 1, certain=False), RULES, START, now + 1)
    wrong = 0
    unknown_kinds = set()
    for charge in found.charges:
        expected, unpriced = Fraction(0), False
        for hour, quantity in high[charge.resource].items():
            price = price_of(data, charge.resource, hour * HOUR)
            unpriced |= price is None
            expected += (price or 0) * quantity
        wrong += abs(Fraction(charge.paid.amounts.get("RUB", 0)) - expected) > Fraction(1, 10**15)
        wrong += charge.paid.complete == unpriced
        (line,) = [row for row in shown if row.startswith(f"{charge.resource}  ")]
        wrong += unpriced and "unknown" not in line and "at least" not in line
        if unpriced:
            unknown_kinds.add((charge.resource.kind, charge.resource.capacity_type or "none"))
    wrong += found.paid.complete == bool(unknown_kinds)
    wrong += bool(unknown_kinds) and not any(row.startswith("incomplete") for row in shown)
    for kind, capacity_type in unknown_kinds:
        start = f'gpuswarm_cost_paid{{kind="{kind}",capacity_type="{capacity_type}"'
        wrong += any(row.startswith(start) for row in samples.splitlines())
    return wrong


# ---------------------------------------------------------------- durability

_WRITER = """
import sys
sys.path.insert(0, sys.argv[1])
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.ledger import Line
from ansible_collections.gpuswarm.ollama.plugins.module_utils._runtime import ledger_file
for number in range(10 ** 9):
    name = f"{sys.argv[3]}-{number}"
    ledger_file.append(sys.argv[2], [Line("volume", name, name, number, number, {"size": number})], number)
    print(name, flush=True)
"""


def lost_lines(kills: int, folder: Path, draw: random.Random) -> tuple[int, int]:
    """Lines that a writer said it had written, and that are not there after it was killed; and lines in all."""
    path, said = folder / "killed.jsonl", set[str]()
    for number in range(kills):
        arguments = [sys.executable, "-I", "-S", "-c", _WRITER, str(BUILD / "collections"), str(path), str(number)]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            said.add(writer.stdout.readline().strip())
            time.sleep(draw.random() * 0.02)
            writer.kill()
            # A line of which the end is missing was said by nobody.
            said |= {line.strip() for line in writer.stdout if line.endswith("\n")}
        if draw.random() < 0.5:
            with path.open("ab") as file:
                file.write(b'{"kind": "server", "id": "to')  # the beginning of one that was torn
    there = {line.id for line in ledger.parse(path.read_text(encoding="utf-8", errors="replace"))}
    return len(said - there), len(said)


# ---------------------------------------------------------------- rotation by the hour

WORKERS = ("demo-gpu-1", "demo-gpu-2", "demo-gpu-3")
TICK = 30  # seconds


@dataclass(frozen=True)
class Rotations:
    """A time of rotations with a surge server: how many, its billed hours, and the oldest that a server became."""

    rotations: int
    surge_hours: int
    oldest: float


def rotations(days: int, draw: random.Random, *, full_hour: bool) -> Rotations:
    """The loop's own decisions (`diagnosis.schedule_rotation`) with a clock and a cloud that are simulated."""
    policy = rotation.RotationPolicy(enabled=True, surge=True, full_hour=full_hour)
    born = {name: float(START) - 100 * number for number, name in enumerate(WORKERS)}
    away: tuple[str, float] | None = None  # the server that is being rotated, until when
    surge: tuple[int, float] | None = None  # when the surge server was created, and when it is healthy
    spans: list[tuple[int, int]] = []
    count, oldest = 0, 0.0
    for now in range(START, START + days * 24 * HOUR, TICK):
        if away is not None and now >= away[1]:
            born[away[0]], away = away[1], None
        oldest = max(oldest, *(now - at for at in born.values()))
        found = diagnosis.schedule_rotation(
            [_worker(name, now - at, busy=away is not None and away[0] == name) for name, at in born.items()]
            + [_surge(surge, now)],
            policy,
            now,
        )
        steps = {verdict.server: verdict.step for verdict in found if verdict.step != vocabulary.Step.NONE}
        if steps.get(SURGE_NAME) == vocabulary.Step.RESTORE and surge is None:
            surge = (now, now + draw.uniform(150, 500))
        elif steps.get(SURGE_NAME) == vocabulary.Step.REMOVE_SURGE and surge is not None:
            spans.append((surge[0], now + draw.randint(20, 90)))
            surge = None
        for name in WORKERS:
            if steps.get(name) == vocabulary.Step.ROTATE and away is None:
                away, count = (name, now + draw.uniform(60, 400)), count + 1
    resource = Resource(billing.SERVER, "GL10", "preemptible", "ru-7a")
    uses = [billing.Interval(resource, SURGE_NAME, SURGE_NAME, 1, start, end) for start, end in spans]
    billed = billing.grid(uses, RULES, START, START + days * 24 * HOUR)
    return Rotations(count, sum(billed.get(resource, {}).values()), oldest)


SURGE_NAME = "demo-gpu-4"


def _worker(name: str, age: float, *, busy: bool) -> diagnosis.Diagnosis:
    verdict = vocabulary.Verdict.IN_BUILD if busy else vocabulary.Verdict.HEALTHY
    step = vocabulary.Step.WAIT if busy else vocabulary.Step.NONE
    return diagnosis.Diagnosis(
        name, verdict, step, "", "gpu_worker", "ACTIVE", name, capacity_type="preemptible", age=age
    )


def _surge(surge: tuple[int, float] | None, now: int) -> diagnosis.Diagnosis:
    lost, wait = (vocabulary.Verdict.LOST, vocabulary.Step.RESTORE), (vocabulary.Verdict.BOOTING, vocabulary.Step.WAIT)
    healthy = (vocabulary.Verdict.HEALTHY, vocabulary.Step.NONE)
    verdict, step = lost if surge is None else healthy if now >= surge[1] else wait
    status = "ABSENT" if surge is None else "ACTIVE"
    return diagnosis.Diagnosis(SURGE_NAME, verdict, step, "", "gpu_worker", status, surge=True)


# ---------------------------------------------------------------- all of it


@dataclass
class Result:
    """Everything that was measured."""

    histories: int = 0
    exact: int = 0  # of them: the cloud told enough for the bill to be exact
    differing: int = 0
    hours: int = 0
    estimated: int = 0
    unseen: int = 0
    shown_as_zero: int = 0
    lines: int = 0
    lost: int | None = None
    by_the_hour: Rotations | None = None
    at_any_time: Rotations | None = None

    def add(self, one: Compared, history: History, wrong: int) -> None:
        """Count one history."""
        self.histories += 1
        self.exact += history.exact
        self.differing += one.differing
        self.hours += one.hours
        self.estimated += one.estimated
        self.unseen += one.unseen
        self.shown_as_zero += wrong


def goals(result: Result) -> list[Goal]:
    """The issue's goals; what was not measured meets none."""
    counted = result.histories > 0
    rotated = result.by_the_hour
    ratio = rotated.surge_hours / rotated.rotations if rotated is not None and rotated.rotations else None
    return [
        goal("hours differing from an independent count", result.differing if counted else None, 0),
        goal("unknown shown as zero", result.shown_as_zero if counted else None, 0),
        goal("ledger lines lost after SIGKILL", result.lost, 0),
        goal("rotation by the hour, cost ratio", ratio, 1.0),
    ]


def in_memory() -> tempfile.TemporaryDirectory[str]:
    """A scratch directory without a disk, whose time is not what is measured."""
    memory = Path("/dev/shm")
    return tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None)


def measure(histories: int, kills: int, days: int) -> Result:
    """All cases."""
    result = Result()
    with in_memory() as name:
        for seed in range(histories):
            one, history, text = compare(seed, Path(name))
            result.add(one, history, shown_as_zero(seed, text))
    draw = random.Random(histories)  # noqa: S311
    # On a real file system: what is lost there is what counts.
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=RESULT.parent) as name:
        result.lost, result.lines = lost_lines(kills, Path(name), draw)
    result.by_the_hour = rotations(days, draw, full_hour=True)
    result.at_any_time = rotations(days, draw, full_hour=False)
    return result


def main() -> int:
    """Measure, print, write; exit status 0 when every goal is met."""
    parser = argparse.ArgumentParser(description="The bill beside an independent count.")
    parser.add_argument("--short", action="store_true", help="fewer histories, kills and days; the goals are the same")
    short = parser.parse_args().short
    began = time.monotonic()
    result = measure(HISTORIES // 10 if short else HISTORIES, KILLS // 4 if short else KILLS, 7 if short else 30)
    found = goals(result)
    text = {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "seconds": round(time.monotonic() - began, 1),
        **asdict(result),
        "goals": [asdict(item) for item in found],
    }
    RESULT.write_text(json.dumps(text, indent=2) + "\n", encoding="utf-8")
    print(f"{result.histories} histories of {SPAN // HOUR} hours ({result.exact} exact), {result.hours} billed hours")
    print(f"estimated: {result.estimated} hours; servers that nobody saw: {result.unseen}")
    for words, one in (("by the hour", result.by_the_hour), ("at any time", result.at_any_time)):
        if one is not None:
            print(f"rotations {words}: {one.rotations}, billed surge hours: {one.surge_hours}")
    print("\n".join(told(found)))
    print(f"written to {RESULT.relative_to(ROOT)}")
    return 0 if all(item.met for item in found) else 1


if __name__ == "__main__":
    sys.exit(main())
