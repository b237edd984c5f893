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
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import openstack

from demo.model import Timeline, known_before, timeline
from demo.run import JOURNAL, MODEL, WORK, Cluster, environment, preempt, read_cluster, running, ssh_command
from demo.sources import Asker, CloudWatcher, Log, ManagerWatcher

ROOT = Path(__file__).resolve().parents[2]
RESULT = ROOT / "build" / "bench" / "recovery.json"
STEPS = ("dropped", "noticed", "active", "ready", "healthy", "answers")
CLIENTS = 2
LIMIT_S = 600.0
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
    "recreated": (4, 1, "one server, re-created"),
    "recreated-three": (2, 1, "all three at once, re-created"),
    "rotations": (1, 1, "all servers rotated under load"),
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
class Goal:
    """A figure, what it may be at most, and whether it is."""

    name: str
    value: float | None
    limit: float
    met: bool


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


def goal(name: str, value: float | None, limit: float) -> Goal:
    """Compare a figure with its limit. No figure meets no goal."""
    met = value is not None and value <= limit
    return Goal(name, None if value is None or math.isinf(value) else round(value, 3), round(limit, 3), met)


def goals(rows: Sequence[Row], probe_cpu: Sequence[float], rotations: Sequence[Rotation] = ()) -> list[Goal]:
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
    for item in found:
        value = "nothing measured" if item.value is None else f"{item.value:g}"
        miss = "" if item.met or item.value is None else f", {item.value - item.limit:.2f} too much"
        lines.append(f"{'met' if item.met else 'MISSED'}: {item.name}: {value} (limit {item.limit:g}){miss}")
    return lines


class Bench:
    """The cluster, and what was measured on it."""

    def __init__(self) -> None:
        os.environ.update(environment())
        WORK.mkdir(parents=True, exist_ok=True)
        self.cluster: Cluster = read_cluster()
        self.rows: list[Row] = []
        self.probe_cpu: list[float] = []
        self.rotations: list[Rotation] = []
        self.connection = openstack.connect()

    def ssh(self, command: str, limit_s: float = 120) -> str:
        """Run something on the manager."""
        result = subprocess.run(
            [*ssh_command(self.cluster), command], capture_output=True, text=True, check=True, timeout=limit_s
        )
        return result.stdout

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
        probe = "/opt/gpuswarm/venv/bin/python -I -S /opt/gpuswarm/probe.py /etc/gpuswarm/probe.json"
        text = self.ssh(f"XDG_CACHE_HOME=/var/lib/gpuswarm/cache python3 -c '{program}' {PROBES} {probe}")
        self.probe_cpu = [float(line) for line in text.split()]
        self.save()

    @contextmanager
    def watching(self, quiet_s: float = QUIET_S) -> Iterator[Log]:
        """A cluster that is well, clients that keep asking it, and everything that can be seen of it."""
        self.settle(quiet_s)
        log = Log()
        manager = ManagerWatcher(log, ssh_command(self.cluster), JOURNAL)
        askers = [Asker(log, number, self.cluster.gateway, MODEL) for number in range(CLIENTS)]
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
        deadline = time.monotonic() + LIMIT_S
        while time.monotonic() < deadline:
            command = "gpuswarm-status -o json; systemctl is-active gpuswarm-recover.service || true"
            text = self.ssh(f"{{ {command}; }} 2>&1 || true")
            if '"well": true' in text and not text.rstrip().endswith("activating"):
                time.sleep(quiet_s)
                return
            time.sleep(2)
        sys.exit(f"the cluster does not become well:\n{text[-3000:]}")

    def delete(self, name: str) -> float:
        """A server that is gone for good, its disk too."""
        server = self.connection.compute.find_server(name, ignore_missing=False)
        volumes = [volume["id"] for volume in self.connection.compute.get_server(server.id).attached_volumes]
        gone = time.time()
        self.connection.compute.delete_server(server.id)
        self.connection.compute.wait_for_delete(server, interval=0.5, wait=60)
        for volume in volumes:
            self.connection.block_storage.delete_volume(volume)
        return gone

    def rotate(self) -> None:
        """Give every GPU server a new life, one after the other, while clients keep asking."""
        with self.watching() as log:
            began = time.monotonic()
            for name in self.cluster.workers:
                self._playbook("rotate", "-e", f"rotate_server={name}", check=True)
            seconds = time.monotonic() - began
        answers = log.answers()
        lost, cut = sum(item.failed for item in answers), sum(item.cut for item in answers)
        self.rotations.append(Rotation(round(seconds, 1), len(answers), lost, cut))
        print(f"rotation: {self.rotations[-1]}", flush=True)
        for error in sorted({item.error for item in answers if item.error})[:5]:
            print(f"  an error that a client saw: {error}", flush=True)
        self.save()

    def peer(self, runs: int) -> None:
        """The plain loop, in the place of the recovery loop."""
        self.settle()
        self.ssh("touch /etc/gpuswarm/maintenance")
        stop = threading.Event()
        worker = threading.Thread(target=self._peer_loop, args=(stop,), daemon=True)
        worker.start()
        try:
            for run in range(1, runs + 1):
                self.measure("peer", run, self.cluster.workers[-1:], preempt)
        finally:
            stop.set()
            worker.join(timeout=LIMIT_S)
            self.ssh("rm -f /etc/gpuswarm/maintenance")

    def _peer_loop(self, stop: threading.Event) -> None:
        while not stop.wait(PEER_EVERY_S - time.time() % PEER_EVERY_S):
            shelved = [s.name for s in self.connection.compute.servers() if s.status.startswith("SHELVED")]
            for name in shelved:
                action = ["-m", "openstack.cloud.server_action", "-a", f"server={name} action=unshelve timeout=300"]
                self._quietly(["ansible", "localhost", *action])
            if shelved:
                self._playbook("site")

    def _playbook(self, name: str, *arguments: str, check: bool = False) -> None:
        self._quietly(["ansible-playbook", "-i", "inventory/lab", f"playbooks/{name}.yml", *arguments], check=check)

    def _quietly(self, command: Sequence[str], *, check: bool = False) -> None:
        with (RESULT.parent / "ansible.log").open("ab") as log:
            subprocess.run(command, cwd=ROOT, stdout=log, stderr=log, check=check, timeout=1800, env=environment())

    def save(self) -> list[Goal]:
        """Write what there is so far."""
        found = goals(self.rows, self.probe_cpu, self.rotations)
        cores = os.cpu_count()
        memory = round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)
        text: dict[str, Any] = {
            "when": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": f"{cores} cores, {memory} GiB, Linux {platform.release()}, load {os.getloadavg()[1]:.1f}",
            "rows": [asdict(row) for row in self.rows],
            "probe_cpu": self.probe_cpu,
            "rotations": [asdict(item) for item in self.rotations],
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
    bench.settle()
    bench.probes()
    for run in range(1, arguments.restored + 1):
        bench.measure("restored, one", run, [workers[run % len(workers)]], preempt)
    for run in range(1, arguments.restored_three + 1):
        bench.measure("restored, three", run, workers, preempt)
    for run in range(1, arguments.recreated + 1):
        bench.measure("re-created, one", run, [workers[run % len(workers)]], bench.delete)
    for run in range(1, arguments.recreated_three + 1):
        bench.measure("re-created, three", run, workers, bench.delete)
    for _ in range(arguments.rotations):
        bench.rotate()
    if arguments.peer:
        bench.peer(arguments.peer)
    found = bench.save()
    print("\n".join(table(bench.rows, found)))
    print(f"written to {RESULT.relative_to(ROOT)}")
    return 0 if all(item.met for item in found) else 1


if __name__ == "__main__":
    sys.exit(main())
