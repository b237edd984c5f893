"""How long the lab's cluster takes to get over preemptions, beside a plain peer. Run by ``make bench-recovery``.

The cluster of ``inventory/lab`` must stand (``make demo`` builds it). Every run is under load: clients keep asking, so
that "dropped by the gateway" and "answers again" are what clients saw. ``build/bench/recovery.json`` is written after
every run.

The peer is what an operator would write first: every 30 seconds unshelve what is shelved
(``openstack.cloud.server_action``), then run the whole ``site.yml``. While it is measured, the recovery loop is off.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from demo.model import Timeline, known_before, timeline
from demo.sources import CloudWatcher, Log, ManagerWatcher
from tests.bench.goals import Goal, goal, machine, told
from tests.kit import ansible, cloud, lab
from tests.kit.answers import Figures
from tests.kit.clients import Asker
from tests.kit.cluster import read_cluster
from tests.kit.door import Door
from tests.kit.lab import preempt
from tests.kit.manager import wait_until_as_desired
from tests.kit.names import JOURNAL, MAINTENANCE, PROBE_SETTINGS, PYTHON, SOFTWARE, STATE
from tests.kit.paths import BUILD, ROOT
from tests.kit.watching import running

OUTPUT = BUILD / "bench"
RESULT = OUTPUT / "recovery.json"
STEPS = ("dropped", "noticed", "active", "ready", "healthy", "answers")
CLIENTS = 2
LIMIT_S = 600.0
PLAYBOOK_LIMIT_S = 1800.0
LOG = OUTPUT / "ansible.log"  # of the last playbook
QUIET_S = 5.0  # between two runs
# Docker's gossip (memberlist) probes more slowly after it has missed most of its members, and takes three quarters of a
# minute to trust itself again. Nobody loses all servers twice within a minute.
QUIET_ALL_S = 45.0
PEER_EVERY_S = 30.0
PROBES = 20
# Each case: how often it is run, how often with --short, and what it is.
RUNS = {
    "restored": (20, 4, "one server, restored"),
    "restored-three": (7, 1, "all three at once, restored"),
    "recreated": (4, 3, "one server, re-created"),
    "recreated-three": (2, 1, "all three at once, re-created"),
    "rotations": (1, 1, "all servers rotated under load"),
    "engine": (5, 1, "the manager's engine, restarted"),
    "peer": (2, 0, "one server, restored by the plain peer"),
}


@dataclass(frozen=True)
class Row:
    """One server of one run: seconds from its preemption to each step; None for what was not seen within the limit."""

    case: str
    run: int
    server: str
    dropped: float | None
    noticed: float | None
    active: float | None
    ready: float | None
    healthy: float | None
    answers: float | None
    failure: str = ""


@dataclass(frozen=True)
class Rotation:
    """One rotation of all GPU servers under load: what clients lost."""

    seconds: float
    requests: int
    failed: int
    cut: int


@dataclass(frozen=True)
class Engine:
    """One restart of the manager's engine: seconds without a gateway, and with one that had no servers."""

    refused: float
    without: float


def percentile(values: Sequence[float], share: float) -> float | None:
    """The nearest-rank percentile: the smallest value that at least this share of them does not exceed.

    >>> percentile([4, 1, 3, 2], 0.5)
    2
    """
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None


def of(rows: Sequence[Row], case: str, step: str) -> list[float]:
    """Figures of one step in one case; what was never reached counts as endless."""
    values = [getattr(row, step) for row in rows if row.case == case]
    return [math.inf if value is None else value for value in values]


def goals(
    rows: Sequence[Row],
    probe_cpu: Sequence[float],
    rotations: Sequence[Rotation] = (),
    engines: Sequence[Engine] = (),
) -> list[Goal]:
    """The issue's goals, as far as the cases were run."""
    found = []
    cases = {row.case for row in rows}
    own = [row for row in rows if row.case != "peer"]
    if own:
        noticed = [math.inf if row.noticed is None else row.noticed for row in own]
        found.append(goal("noticed p95, s", percentile(noticed, 0.95), 15.0))
    for case, limit in (("restored, one", 30.0), ("re-created, one", 120.0)):
        if case not in cases:
            continue
        single = percentile(of(rows, case, "answers"), 0.95)
        found.append(goal(f"{case}: first token p95, s", single, limit))
        together = case.replace("one", "three")
        if together in cases and single is not None:
            value = percentile(of(rows, together, "answers"), 0.95)
            found.append(goal(f"{together}: first token p95, s (1.3 x one)", value, 1.3 * single))
    if probe_cpu:
        found.append(goal("idle probe, mean CPU s", sum(probe_cpu) / len(probe_cpu), 0.2))
    if rotations:
        found.append(goal("rotation: requests lost", sum(item.failed + item.cut for item in rotations), 0))
    if engines:
        found.append(goal("manager's engine restarted: refused, s", max(item.refused for item in engines), 5.0))
        found.append(goal("manager's engine restarted: no server, s", max(item.without for item in engines), 1.0))
    return found


def table(rows: Sequence[Row], found: Sequence[Goal]) -> list[str]:
    """What was measured, for people."""
    lines = ["case             n   " + "".join(f"{step:>16}" for step in STEPS) + "   (seconds, p50 / p95)"]
    for case in dict.fromkeys(row.case for row in rows):
        cells = []
        for step in STEPS:
            values = of(rows, case, step)
            cells.append(f"{percentile(values, 0.5):>8.1f} /{percentile(values, 0.95):>6.1f}")
        lines.append(f"{case:<17}{sum(row.case == case for row in rows):<4}" + "".join(cells))
    return [*lines, *told(found)]


class Bench:
    """The cluster, and what was measured on it."""

    def __init__(self) -> None:
        self.cluster = read_cluster()
        self.manager = self.cluster.connect(self.cluster.manager)
        self.rows: list[Row] = []
        self.probe_cpu: list[float] = []
        self.rotations: list[Rotation] = []
        self.engines: list[Engine] = []
        self.connection = cloud.connect()

    def probes(self) -> None:
        """CPU seconds of looks that find nothing to do, as systemd starts them."""
        program = (
            "import resource, subprocess, sys\n"
            "for _ in range(int(sys.argv[1])):\n"
            "    before = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
            "    subprocess.run(sys.argv[2:], stdout=subprocess.DEVNULL)\n"
            "    after = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
            "    print(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)\n"
        )
        probe = f"{PYTHON} -I -S {SOFTWARE / 'probe.py'} {PROBE_SETTINGS}"
        text = self.manager.check_output(f"XDG_CACHE_HOME={STATE / 'cache'} python3 -c '{program}' {PROBES} {probe}")
        self.probe_cpu = [float(line) for line in text.split()]
        self.save()

    @contextmanager
    def watching(self, quiet_s: float = QUIET_S) -> Iterator[Log]:
        """A cluster that is well, clients that keep asking it, and everything that can be seen of it."""
        self.settle(quiet_s)
        log = Log()
        manager = ManagerWatcher(log, self.cluster.remote(self.cluster.manager, f"exec python3 -u - {JOURNAL}"))
        askers = [Asker(log, self.cluster.gateway) for _ in range(CLIENTS)]
        with running([CloudWatcher(log), manager, *askers]):
            if not manager.fed.wait(30):
                sys.exit(f"the manager tells nothing over SSH: {log.troubles().get('manager', 'no output')}")
            time.sleep(3)
            yield log
            time.sleep(3)  # so that "dropped" is certain

    def measure(self, case: str, run: int, victims: Sequence[str], take: Callable[[str], float]) -> None:
        """One run: take the victims away at once, and watch until all of them answer again."""
        with self.watching(QUIET_S if len(victims) == 1 else QUIET_ALL_S) as log:
            asked = time.time()
            before = {victim: known_before(log.observations(), victim) for victim in victims}
            taken: dict[str, float] = {}
            threads = [
                threading.Thread(target=lambda name=victim: taken.update({name: take(name)})) for victim in victims
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(timeout=90)
            while True:
                seen, answers = log.observations(), log.answers()
                times: dict[str, Timeline] = {
                    victim: timeline(taken.get(victim, asked), victim, before[victim], seen, answers)
                    for victim in victims
                }
                if all(item.answers for item in times.values()) or time.time() - asked > LIMIT_S:
                    break
                time.sleep(0.5)
        seen, answers = log.observations(), log.answers()
        for victim in victims:
            item = timeline(taken.get(victim, asked), victim, before[victim], seen, answers)
            steps = {step: item.after(step) for step in STEPS}
            self.rows.append(Row(case, run, victim, **steps, failure=item.failure))
            print(f"{case} #{run} {victim}: " + ", ".join(f"{k} {v}" for k, v in steps.items()), flush=True)
        self.save()

    def settle(self, quiet_s: float = QUIET_S) -> None:
        """Wait until everything is well and no recovery is at work, and a while longer."""
        wait_until_as_desired(self.manager, LIMIT_S)
        time.sleep(quiet_s)

    def rotate(self) -> None:
        """Give every GPU server a new life, one after the other, while clients keep asking."""
        with self.watching() as log:
            began = time.monotonic()
            for name in self.cluster.workers:
                lab.playbook("rotate", variables={"rotate_server": name}, limit_s=PLAYBOOK_LIMIT_S, log=LOG)
            seconds = time.monotonic() - began
        seen = Figures(log.answers())
        self.rotations.append(Rotation(round(seconds, 1), seen.asked, seen.failed, seen.cut))
        print(f"rotation: {self.rotations[-1]}", flush=True)
        for error in seen.errors[:5]:
            print(f"  an error that a client saw: {error}", flush=True)
        self.save()

    def restart_engine(self) -> None:
        """Restart Docker on the manager, where the gateway is."""
        self.settle()
        door = Door(self.cluster.gateway)
        with running([door]):
            time.sleep(1)
            self.manager.check_output("systemctl restart docker.service")
            until = time.monotonic() + LIMIT_S
            time.sleep(QUIET_S)
            while door.last != "ready" and time.monotonic() < until:
                time.sleep(0.2)
        self.engines.append(Engine(round(door.seconds["refused"], 2), round(door.seconds["without servers"], 2)))
        print(f"the manager's engine restarted: {self.engines[-1]}", flush=True)
        self.save()

    def peer(self, runs: int) -> None:
        """The plain loop, in the place of the recovery loop."""
        self.settle()
        self.manager.check_output(f"touch {MAINTENANCE}")
        stop = threading.Event()
        worker = threading.Thread(target=self._peer_loop, args=(stop,), daemon=True)
        worker.start()
        try:
            for run in range(1, runs + 1):
                self.measure("peer", run, self.cluster.workers[-1:], preempt)
        finally:
            stop.set()
            worker.join(timeout=LIMIT_S)
            self.manager.check_output(f"rm -f {MAINTENANCE}")

    def _peer_loop(self, stop: threading.Event) -> None:
        quietly: dict[str, Any] = {"limit_s": PLAYBOOK_LIMIT_S, "check": False, "log": LOG}
        while not stop.wait(PEER_EVERY_S - time.time() % PEER_EVERY_S):
            shelved = [s.name for s in self.connection.compute.servers() if s.status.startswith("SHELVED")]
            for name in shelved:
                action = ("-m", "openstack.cloud.server_action", "-a", f"server={name} action=unshelve timeout=300")
                ansible.run("ansible", "localhost", *action, env=lab.variables(), **quietly)
            if shelved:
                lab.playbook("site", **quietly)

    def save(self) -> list[Goal]:
        """Write what there is so far."""
        found = goals(self.rows, self.probe_cpu, self.rotations, self.engines)
        text: dict[str, Any] = {
            "when": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine(),
            "rows": [asdict(row) for row in self.rows],
            "probe_cpu": self.probe_cpu,
            "rotations": [asdict(item) for item in self.rotations],
            "engines": [asdict(item) for item in self.engines],
            "goals": [asdict(item) for item in found],
        }
        RESULT.parent.mkdir(parents=True, exist_ok=True)
        RESULT.write_text(json.dumps(text, indent=2) + "\n", encoding="utf-8")
        return found


def main() -> int:
    """Run all cases; exit status 0 when every goal is met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--short", action="store_true", help="fewer runs, within twelve minutes; the goals are the same"
    )
    for name, (whole, _, text) in RUNS.items():
        parser.add_argument(f"--{name}", type=int, metavar="RUNS", help=f"{text} (default: {whole})")
    arguments = parser.parse_args()
    for name, (whole, short, _) in RUNS.items():
        attribute = name.replace("-", "_")
        if getattr(arguments, attribute) is None:
            setattr(arguments, attribute, short if arguments.short else whole)
    bench = Bench()
    workers = bench.cluster.workers
    delete = partial(cloud.delete_with_disk, bench.connection)
    bench.settle()
    bench.probes()
    for run in range(1, arguments.restored + 1):
        bench.measure("restored, one", run, [workers[run % len(workers)]], preempt)
    for run in range(1, arguments.restored_three + 1):
        bench.measure("restored, three", run, workers, preempt)
    for run in range(1, arguments.recreated + 1):
        bench.measure("re-created, one", run, [workers[run % len(workers)]], delete)
    for run in range(1, arguments.recreated_three + 1):
        bench.measure("re-created, three", run, workers, delete)
    for _ in range(arguments.rotations):
        bench.rotate()
    for _ in range(arguments.engine):
        bench.restart_engine()
    if arguments.peer:
        bench.peer(arguments.peer)
    found = bench.save()
    print("\n".join(table(bench.rows, found)))
    print(f"written to {RESULT.relative_to(ROOT)}")
    return 0 if all(item.met for item in found) else 1


if __name__ == "__main__":
    sys.exit(main())
