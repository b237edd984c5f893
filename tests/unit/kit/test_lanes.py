"""The runner of all checks: what it makes of its measurements, and how it ends what it starts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.kit import lanes
from tests.kit.paths import ROOT
from tests.kit.waiting import until

REPORT = """<?xml version="1.0" encoding="utf-8"?>
<testsuites><testsuite name="pytest" tests="2"><testcase classname="a.b" name="test_one" time="1.250" />
<testcase classname="a.b" name="test_two[x]" time="0.5"><failure message="no"/></testcase></testsuite></testsuites>"""


def test_busy_share_of_all_cpus() -> None:
    before = lanes.busy_ticks("cpu  100 10 50 800 40 0 0 0 0 0\ncpu0 1 2 3 4 5 6 7 8 9 10\n")
    after = lanes.busy_ticks("cpu  150 10 75 850 65 0 0 0 0 0\n")
    assert (after[0] - before[0], after[1] - before[1]) == (75, 150)


def test_ticks_of_a_process_whose_name_has_spaces_and_parentheses() -> None:
    assert lanes.cpu_ticks("42 (a ) b) S 1 42 42 0 -1 0 0 0 0 0 7 5 30 20 20 0 1 0") == 62


def test_durations_of_tests() -> None:
    assert lanes.durations(REPORT) == [("a.b::test_one", 1.25), ("a.b::test_two[x]", 0.5)]


def test_tasks_are_summed_by_name() -> None:
    lines = [json.dumps({"task": name, "at": 0, "s": s}) for name, s in (("a", 1), ("b", 5), ("a", 2.5))]
    assert lanes.task_durations(lines) == [{"name": "b", "runs": 1, "s": 5.0}, {"name": "a", "runs": 2, "s": 3.5}]


def test_summary_has_what_is_promised() -> None:
    phases = [
        lanes.Done("cluster", "lab-up", 100.0, 150.0, 0, 0),
        lanes.Done("static", "unit", 40.0, 35.0, 2, 0),
        lanes.Done("cluster", "molecule", 900.0, 800.0, 1, 1),
    ]
    tests = {"static": [("a::x", 1.0), ("a::y", 3.0)], "cluster": [("c::z", 200.0)]}
    summary = lanes.summarise(phases, tests, [{"name": "t", "runs": 1, "s": 4.0}], 1000.0, 0.85)
    assert {key: summary[key] for key in ("wall_s", "busy", "tests")} == {"wall_s": 1000.0, "busy": 0.85, "tests": 3}
    rows = [{key: lane[key] for key in ("name", "wall_s", "cpu_s", "tests")} for lane in summary["lanes"]]
    assert rows == [
        {"name": "cluster", "wall_s": 1000.0, "cpu_s": 950.0, "tests": 1},
        {"name": "static", "wall_s": 40.0, "cpu_s": 35.0, "tests": 2},
    ]
    assert [row["name"] for row in summary["slowest"]] == ["c::z", "a::y", "a::x"]
    text = "\n".join(lanes.table(summary))
    assert "FAILED (1)" in text
    assert "85% busy" in text


def test_every_phase_is_a_make_target_and_runs_once() -> None:
    names = [phase.name for lane in lanes.LANES for phase in lane.phases]
    assert len(names) == len(set(names))
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert [name for name in names if f"\n{name}:" not in makefile] == []


# A lane in a process of its own, with a "make" that does what the phase's name says.
PROGRAM = """
import sys
from pathlib import Path
from tests.kit import lanes
lanes.LOGS = Path(sys.argv[1])
phases = tuple(lanes.Phase(name, float(limit), ends == "ends") for name, limit, ends in
               (word.split(":") for word in sys.argv[2:]))
sys.exit(lanes.run_lane(lanes.Lane("l", 0, phases)))
"""
MAKE = """#!/bin/sh
case $2 in
  good) exit 0 ;;
  bad) exit 3 ;;
  second) exit 0 ;;
  orphan)
    # Its work is done, and counts, while it goes on living after the phase.
    (setsid sh -c 'i=0; while [ $i -lt 300000 ]; do i=$((i + 1)); done; echo $$ >"$PIDS"; exec sleep 600' &)
    while [ ! -s "$PIDS" ]; do sleep 0.05; done
    ;;
  hang) echo $$ >"$PIDS"; sleep 600 ;;
esac
"""


@pytest.fixture
def lane(tmp_path: Path) -> Any:
    make = tmp_path / "bin" / "make"
    make.parent.mkdir()
    make.write_text(MAKE)
    make.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{make.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "PIDS": str(tmp_path / "pid"),
    }

    def start(*phases: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", PROGRAM, str(tmp_path), *phases]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)

    return start


def done(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "phases.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    ("phases", "status", "ran"),
    [
        (["good:9:goes", "second:9:goes"], 0, ["good", "second"]),
        (["bad:9:goes", "good:9:goes"], 1, ["bad"]),
        (["bad:9:ends", "good:9:goes"], 2, ["bad"]),
    ],
)
def test_a_lane_ends_at_its_first_failure(
    lane: Any, tmp_path: Path, phases: list[str], status: int, ran: list[str]
) -> None:
    process = lane(*phases)
    process.communicate(timeout=60)
    assert process.returncode == status
    assert [row["name"] for row in done(tmp_path)] == ran


def test_the_cpu_of_what_outlives_its_parent_counts(lane: Any, tmp_path: Path) -> None:
    process = lane("orphan:60:goes")
    process.communicate(timeout=120)
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
    (row,) = done(tmp_path)
    assert row["cpu_s"] > 0.05


def test_a_phase_over_its_limit_is_ended(lane: Any, tmp_path: Path) -> None:
    process = lane("hang:5:goes")
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "not done within" in out
    until("it has ended", lambda: not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists())


def test_a_lane_that_is_ended_leaves_nothing_running(lane: Any, tmp_path: Path) -> None:
    process = lane("hang:600:goes")
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text().strip():
        assert process.poll() is None
        time.sleep(0.05)
    process.terminate()
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "ended, as the run ends" in out
    until("it has ended", lambda: not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists())


@pytest.mark.parametrize(
    ("codes", "stopped", "expected"),
    [
        ({"a": "exit 0", "b": "exit 0"}, False, True),
        ({"a": "exit 1", "b": "exit 0"}, False, False),
        ({"a": "exit 2", "b": "exec sleep 600"}, False, False),
        ({"a": "exec sleep 600", "b": "exit 2"}, False, False),
        ({"a": "exec sleep 600", "b": "exec sleep 600"}, True, False),
    ],
)
def test_one_lane_can_end_the_run(codes: dict[str, str], stopped: bool, expected: bool) -> None:
    processes = {name: subprocess.Popen(["sh", "-c", code]) for name, code in codes.items()}
    assert lanes.watch(processes, lambda: stopped) is expected
