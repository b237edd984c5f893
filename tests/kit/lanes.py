# SPDX-License-Identifier: Apache-2.0
"""All checks, in lanes beside each other: ``make test`` (the gate) and ``make test-all``.

A lane is a list of make targets, run one after the other. The lane with the cluster decides how long it all takes, so
it starts at once and the others give way to it. What two lanes build together is built once, under a lock (lab/).

Everything is measured: ``build/logs/summary.json`` has the run, its lanes and phases and its slowest tests and Ansible
tasks; beside it lie each phase's output, each test's duration (JUnit XML) and each task's (``tasks.jsonl``).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.kit.paths import BUILD, ROOT
from tests.kit.processes import adopt_orphans, below, stats

LOGS = BUILD / "logs"
TICKS = os.sysconf("SC_CLK_TCK")
KILL_AFTER_S = 30.0
SLOWEST = 10


@dataclass(frozen=True)
class Phase:
    """A make target.

    ``limit`` (seconds) is for hangs; it is three times and more what the phase takes. Where ``ends_run`` is true, a
    failure ends the whole run: what is found cheaply is told at once.
    """

    name: str
    limit: float
    ends_run: bool = False


@dataclass(frozen=True)
class Lane:
    """Phases, one after the other; ``nice`` is nice(1)'s."""

    name: str
    nice: int
    phases: tuple[Phase, ...]


# The linters and unit tests come first: they fail most often and soonest.
LANES = (
    Lane("cluster", 0, (Phase("lab-up", 900), Phase("molecule", 4500))),
    Lane(
        "static",
        10,
        (
            Phase("unit", 900, ends_run=True),
            Phase("lint", 900, ends_run=True),
            Phase("install-check", 300, ends_run=True),
            Phase("sanity", 900, ends_run=True),
            Phase("integration-cloud", 3600),
        ),
    ),
    # The lab's image for the last one is there long before it is its turn.
    Lane("bed", 10, (Phase("integration-gateway", 3600), Phase("unit-newest", 900))),
)


@dataclass
class Done:
    """How a phase ended: seconds of wall clock and of the CPU, number of tests, exit status (0 is good)."""

    lane: str
    name: str
    wall_s: float
    cpu_s: float
    tests: int
    status: int


# ---------------------------------------------------------------- measuring


def busy_ticks(stat: str) -> tuple[int, int]:
    """Ticks of all CPUs that were busy, and all ticks, out of /proc/stat (proc(5))."""
    user, nice, system, idle, iowait, irq, softirq, steal = (int(word) for word in stat.split()[1:9])
    busy = user + nice + system + irq + softirq + steal
    return busy, busy + idle + iowait


def cpu_ticks(stat: str) -> int:
    """Ticks of a process and of its children that it has waited for, out of /proc/PID/stat."""
    return sum(int(word) for word in stat.rpartition(")")[2].split()[11:15])


def cpu_seconds() -> float:
    """CPU seconds of everything that this process has started, what goes on running included.

    Orphans come back to this process (:func:`adopt_orphans`), so the lab's daemons and its servers count as well;
    not so with a Docker engine that was there before.
    """
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    table = stats()
    living = sum(cpu_ticks(table[pid]) for pid in below(os.getpid(), table))
    return ended.ru_utime + ended.ru_stime + living / TICKS


def durations(report: str) -> list[tuple[str, float]]:
    """Each test's name and seconds, set-up and tear-down included, out of JUnit XML."""
    return [
        (f"{case.get('classname')}::{case.get('name')}", float(case.get("time") or 0))
        for case in ET.fromstring(report).iter("testcase")  # noqa: S314 (written by our own pytest)
    ]


def task_durations(lines: Iterable[str]) -> list[dict[str, Any]]:
    """Ansible's tasks by their names: how often, and how many seconds in all; the longest first."""
    total: dict[str, list[float]] = {}
    for line in lines:
        task = json.loads(line)
        total.setdefault(task["task"], []).append(float(task["s"]))
    rows = [{"name": name, "runs": len(each), "s": round(sum(each), 1)} for name, each in total.items()]
    return sorted(rows, key=lambda row: -float(str(row["s"])))


def summarise(
    phases: Sequence[Done],
    tests: Mapping[str, Sequence[tuple[str, float]]],
    tasks: Sequence[Mapping[str, Any]],
    wall_s: float,
    busy: float,
) -> dict[str, Any]:
    """The run as data.

    :param phases: what ran, in any order; ``tests``: names and seconds of the tests of each lane.
    :param busy: share of the machine's CPUs that was busy, 0 to 1.
    """
    lanes = []
    for name in dict.fromkeys(phase.lane for phase in phases):
        own = [phase for phase in phases if phase.lane == name]
        lanes.append(
            {
                "name": name,
                "wall_s": round(sum(phase.wall_s for phase in own), 1),
                "cpu_s": round(sum(phase.cpu_s for phase in own), 1),
                "tests": sum(phase.tests for phase in own),
                "phases": [{key: value for key, value in asdict(phase).items() if key != "lane"} for phase in own],
            }
        )
    slowest = sorted(
        ({"name": test, "lane": lane, "s": round(s, 1)} for lane, each in tests.items() for test, s in each),
        key=lambda row: -float(str(row["s"])),
    )
    return {
        "wall_s": round(wall_s, 1),
        "busy": round(busy, 3),
        "tests": sum(phase.tests for phase in phases),
        "lanes": lanes,
        "slowest": slowest[:SLOWEST],
        "slowest_tasks": list(tasks[:SLOWEST]),
    }


def table(summary: Mapping[str, Any]) -> list[str]:
    """The same for people."""
    lines = [f"{'PHASE':22} {'WALL s':>7} {'CPU s':>7} {'TESTS':>6}  RESULT"]
    for lane in summary["lanes"]:
        for phase in lane["phases"]:
            result = "ok" if phase["status"] == 0 else f"FAILED ({phase['status']})"
            lines.append(
                f"{phase['name']:22} {phase['wall_s']:7.0f} {phase['cpu_s']:7.0f} {phase['tests']:6d}  {result}"
            )
    lines += [f"{'lane ' + lane['name']:22} {lane['wall_s']:7.0f} {lane['cpu_s']:7.0f}" for lane in summary["lanes"]]
    lines.append(f"{'in all':22} {summary['wall_s']:7.0f}  the machine was {summary['busy']:.0%} busy")
    lines += ["", "slowest tests:", *(f"{row['s']:8.1f} s  {row['name']}" for row in summary["slowest"])]
    lines += [
        "slowest tasks:",
        *(f"{row['s']:8.1f} s  {row['name']} ({row['runs']} times)" for row in summary["slowest_tasks"]),
    ]
    return lines


# ---------------------------------------------------------------- one lane, in a process of its own


def environment(phase: str) -> dict[str, str]:
    """Variables of a phase: pytest and Ansible write down how long everything takes."""
    addopts = f"{os.environ.get('PYTEST_ADDOPTS', '')} --junitxml={LOGS / f'tests-{phase}.xml'}"
    found = {**os.environ, "PYTEST_ADDOPTS": addopts.strip(), "PYTHONUNBUFFERED": "1"}
    if phase in ("molecule", "integration-cloud", "integration-gateway"):
        found |= {
            "ANSIBLE_CALLBACK_PLUGINS": str(ROOT / "tests" / "kit" / "callbacks"),
            "ANSIBLE_CALLBACKS_ENABLED": "task_times",
            "GPUSWARM_TASK_TIMES": str(LOGS / "tasks.jsonl"),
        }
    return found


def tests_of(phase: str) -> list[tuple[str, float]]:
    """Names and seconds of a phase's tests (Molecule writes a file for each scenario)."""
    found = []
    for file in sorted(LOGS.glob(f"tests-{phase}*.xml")):
        text = file.read_text(encoding="utf-8")
        if text.rstrip().endswith(">"):  # else its writer was killed
            found += durations(text)
    return found


class Ended(Exception):  # noqa: N818 (the signal is no error)
    """The lane was asked to end."""


def run_phase(lane: str, phase: Phase) -> Done:
    """Run a make target to its end or its limit.

    :raises Ended: this process got SIGTERM; the target has ended.
    """
    began, used = time.monotonic(), cpu_seconds()
    with (LOGS / f"{phase.name}.log").open("wb") as log:
        child = subprocess.Popen(
            ["make", "--no-print-directory", phase.name],
            cwd=ROOT,
            env=environment(phase.name),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    status, ended = None, False
    try:
        status = await_child(child.pid, began + phase.limit)
    except Ended:
        ended = True
    if status is None:
        status = end_group(child.pid)
        status = status if ended else 124  # timeout(1)'s
    child.returncode = status  # waited for here, not by Popen
    done = Done(
        lane,
        phase.name,
        round(time.monotonic() - began, 1),
        round(cpu_seconds() - used, 1),
        len(tests_of(phase.name)),
        status,
    )
    if ended:
        raise Ended
    return done


def await_child(pid: int, until: float) -> int | None:
    """Exit status of a child, None when the time is over. Orphans that have ended are collected meanwhile."""
    while time.monotonic() < until:
        found, status = os.waitpid(-1, os.WNOHANG)
        if found == pid:
            return os.waitstatus_to_exitcode(status)
        if not found:
            time.sleep(0.1)
    return None


def end_group(pid: int) -> int:
    """End a child with its process group: SIGTERM, then SIGKILL; its exit status."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):  # it has just ended
            os.killpg(pid, number)
        status = await_child(pid, time.monotonic() + KILL_AFTER_S)
        if status is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)  # who has not ended with its leader
            return status
    return -signal.SIGKILL


def run_lane(lane: Lane) -> int:
    """Run a lane's phases until one fails; 0, 1, or 2 when the whole run is to end."""
    adopt_orphans()
    os.nice(lane.nice)

    def leave(_number: int, _frame: object) -> None:
        raise Ended

    signal.signal(signal.SIGTERM, leave)
    for phase in lane.phases:
        say(f"==> {phase.name}")
        try:
            done = run_phase(lane.name, phase)
        except Ended:
            say(f"<== {phase.name}: ended, as the run ends", tail(LOGS / f"{phase.name}.log"))
            return 1
        with (LOGS / "phases.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(done)) + "\n")
        verdict = {0: "ok", 124: f"FAILED: not done within {phase.limit:.0f} s"}.get(
            done.status, f"FAILED with status {done.status}"
        )
        text = (LOGS / f"{phase.name}.log").read_text(encoding="utf-8", errors="replace")
        say(text.rstrip(), f"<== {phase.name}: {verdict}, {done.wall_s:.0f} s, {done.cpu_s:.0f} CPU s")
        if done.status:
            return 2 if phase.ends_run else 1
    return 0


def say(*texts: str) -> None:
    """Print in one piece, so that lanes do not mix."""
    data = ("\n".join(text for text in texts if text) + "\n").encode()
    with (LOGS / ".say").open("w") as lock:
        os.lockf(lock.fileno(), os.F_LOCK, 0)
        while data:
            data = data[os.write(1, data) :]


def tail(log: Path, lines: int = 40) -> str:
    """The end of a log."""
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


# ---------------------------------------------------------------- the run


def watch(processes: Mapping[str, subprocess.Popen[bytes]], stopped: Callable[[], bool]) -> bool:
    """Wait for all lanes; whether all of them ended well. One that says so, or ``stopped``, ends the others."""
    ending = False
    while living := [process for process in processes.values() if process.poll() is None]:
        if not ending and (stopped() or any(process.returncode == 2 for process in processes.values())):
            ending = True
            for process in living:
                process.terminate()
        time.sleep(0.2)
    return all(process.returncode == 0 for process in processes.values())


def read_lines(path: Path) -> Iterator[str]:
    """A file's lines; none when there is no such file."""
    if path.exists():
        yield from path.read_text(encoding="utf-8").splitlines()


def run(lanes: Sequence[Lane]) -> int:
    """Run the lanes, print the summary and write it; 0 when all is well."""
    shutil.rmtree(LOGS, ignore_errors=True)
    LOGS.mkdir(parents=True)
    signals: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, _frame: signals.append(number))
    began, ticks = time.monotonic(), busy_ticks(Path("/proc/stat").read_text())
    # Should this process be killed, they are ended, too.
    command = ["setpriv", "--pdeathsig", "TERM", sys.executable, "-m", "tests.kit.lanes", "--lane"]
    # Sessions of their own: an interrupt from the keyboard is for this process, which ends them in order.
    processes = {lane.name: subprocess.Popen([*command, lane.name], cwd=ROOT, start_new_session=True) for lane in lanes}
    good = watch(processes, lambda: bool(signals))
    after = busy_ticks(Path("/proc/stat").read_text())
    phases = [Done(**json.loads(line)) for line in read_lines(LOGS / "phases.jsonl")]
    tests: dict[str, list[tuple[str, float]]] = {}
    for phase in phases:
        tests.setdefault(phase.lane, []).extend(tests_of(phase.name))
    summary = summarise(
        phases,
        tests,
        task_durations(read_lines(LOGS / "tasks.jsonl")),
        time.monotonic() - began,
        (after[0] - ticks[0]) / max(1, after[1] - ticks[1]),
    )
    (LOGS / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    say("", *(re.sub("^", "    ", line) for line in table(summary)))
    if not good:
        return 1
    # The plain closing line, for whoever counts tests.
    say(f"{summary['tests']} passed, 0 failed")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="lanes", description="Run all checks, in lanes beside each other.")
    parser.add_argument("--lane", choices=[lane.name for lane in LANES], help="run one of them, and no summary")
    chosen = parser.parse_args(arguments).lane
    if chosen:
        return run_lane(next(lane for lane in LANES if lane.name == chosen))
    return run(LANES)


if __name__ == "__main__":
    sys.exit(main())
