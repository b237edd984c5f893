# SPDX-License-Identifier: Apache-2.0
"""The benchmark of the cloud side: this collection against openstack.cloud and a bare openstacksdk, on one cloud.

Prints a table, writes build/bench/cloud.json ({"machine", "at", "rows", "goals"}) and beside it the table as cloud.md.
Exits 0 only if every goal is met. A counting proxy stands between all of them and the cloud.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.bench.cloud.measure import Usage, measured
from tests.bench.goals import Goal, goal, machine, told
from tests.cloud.proxy import Proxy, before_cloud
from tests.kit.cloud import MICROVERSION, connect
from tests.kit.commands import environment
from tests.kit.lab import cloud
from tests.kit.paths import BUILD
from tests.kit.processes import adopt_orphans
from tests.kit.waiting import until

HERE = Path(__file__).resolve().parent
RESULT = BUILD / "bench" / "cloud.json"
SIZES = (3, 10, 40)
TIMEOUT = 900.0  # seconds for one command

OURS, LOOP, ASYNC, ONE_LIST, POOL = "selectel_fleet", "loop", "async", "one list", "SDK thread pool"
PLAYBOOKS = {OURS: "ours.yml", LOOP: "loop.yml", ASYNC: "async.yml", ONE_LIST: "one_list.yml"}
SHOWN = {name: name if name in (OURS, POOL) else f"openstack.cloud, {name}" for name in (*PLAYBOOKS, POOL)}

NOTHING, BACK = "nothing to do", "bring back"
CONTENDERS = {NOTHING: (OURS, LOOP, ASYNC, ONE_LIST), BACK: (OURS, POOL, LOOP, ASYNC)}

# How often a measurement is made; the row holds the medians. What a goal compares is made more than once, but for what
# takes minutes and whose length is the result.
Repeats = Mapping[tuple[str, str], int]
REPEATS: Repeats = {(NOTHING, OURS): 3, (BACK, OURS): 2, (BACK, POOL): 2}

# When a contender is given up: after so many times what ours took for the same job, but not before so many seconds. Its
# figures are lower bounds then, which is enough to say whether a goal is met.
PATIENCE = {NOTHING: 12.0, BACK: 3.0}
LEAST_PATIENCE = 30.0

MOST_CALLS = 3
MOST_OF_THE_PEER = 0.1
MOST_OF_THE_POOL = 1.5


@dataclass(frozen=True)
class Row:
    """One line of the table; medians."""

    job: str
    servers: int
    by: str
    api_calls: int
    cpu_seconds: float
    wall_seconds: float
    memory_mib: float
    runs: int
    given_up: bool


class Bench:
    """The servers that are measured with, and the commands."""

    def __init__(self, proxy: Proxy, behind: Path, directory: Path, sizes: Sequence[int], repeats: Repeats) -> None:
        self.proxy = proxy
        self.directory = directory
        self.fleet = f"bench{uuid.uuid4().hex[:6]}"
        changes = {
            "OS_CLIENT_CONFIG_FILE": str(behind),
            "XDG_CACHE_HOME": str(directory / "cache"),
            "ANSIBLE_ASYNC_DIR": str(directory / "async"),
            "ANSIBLE_LOCALHOST_WARNING": "0",
            "ANSIBLE_INVENTORY_UNPARSED_WARNING": "0",
            "PYTHONWARNINGS": "ignore",
        }
        self.environment = environment(changes)
        # Preparations go past the proxy
        self.nova = connect(Path(os.environ["OS_CLIENT_CONFIG_FILE"]), os.environ["OS_CLOUD"], MICROVERSION).compute
        self.specs = [self._spec(number) for number in range(max(sizes))]
        self.repeats = repeats

    def _spec(self, number: int) -> dict[str, Any]:
        return {
            "name": f"{self.fleet}-{number}",
            "flavor": "SL1.2-4096",
            "image": "debian-12",
            "availability_zone": "ru-7a" if number % 2 else "ru-7b",
            "network": "private",
            "volume_size": 1,
            "volume_type": "fast.{zone}",
            "preemptible": True,
        }

    def servers(self, count: int) -> list[dict[str, Any]]:
        """The first servers, as Nova lists them."""
        names = {spec["name"] for spec in self.specs[:count]}
        found = self.nova.get("/servers/detail", microversion="2.72").json()["servers"]
        return [server for server in found if server["name"] in names]

    def shelve(self, count: int) -> None:
        """Lets the first servers be lost; those that are lost already stay so."""

        def one(server: dict[str, Any]) -> None:
            if server["status"] == "ACTIVE":
                self.nova.post(f"/servers/{server['id']}/action", json={"shelve": None}, microversion="2.72")

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(one, self.servers(count)))
        self.wait(count, "SHELVED_OFFLOADED")

    def wait(self, count: int, status: str) -> None:
        """Waits until the first servers are all at rest in a status."""

        def resting() -> bool:
            states = [(server["status"], server["OS-EXT-STS:task_state"]) for server in self.servers(count)]
            return states == [(status, None)] * count

        until(f"all of {count} servers are {status}", resting, TIMEOUT, 0.5, tolerate=())

    def command(self, by: str, count: int) -> list[str]:
        """How a contender is started."""
        specs = self.specs[:count]
        names = [spec["name"] for spec in specs]
        if by == POOL:
            return [sys.executable, str(HERE / "pool.py"), *names]
        variables = self.directory / f"variables-{count}.json"
        values = {"ansible_python_interpreter": sys.executable, "fleet": self.fleet, "specs": specs, "names": names}
        variables.write_text(json.dumps(values))
        return ["ansible-playbook", "-i", "localhost,", "-e", f"@{variables}", str(HERE / PLAYBOOKS[by])]

    def once(self, by: str, count: int, patience: float) -> tuple[Usage, int]:
        """One measurement: what it took, and the requests that it made."""
        self.proxy.forget()
        usage = measured(self.command(by, count), self.environment, patience)
        calls = len(self.proxy.requests)
        if not usage.given_up:
            self.wait(count, "ACTIVE")  # whoever did it: it is done
        return usage, calls

    def row(self, job: str, by: str, count: int, patience: float) -> Row:
        """The medians of a contender's measurements."""
        runs = []
        for _run in range(self.repeats.get((job, by), 1)):
            if job == BACK:
                self.shelve(count)
            runs.append(self.once(by, count, patience))
        return Row(
            job,
            count,
            by,
            round(statistics.median(calls for _usage, calls in runs)),
            round(statistics.median(usage.cpu for usage, _calls in runs), 2),
            round(statistics.median(usage.wall for usage, _calls in runs), 2),
            round(statistics.median(usage.memory for usage, _calls in runs)),
            len(runs),
            any(usage.given_up for usage, _calls in runs),
        )

    def grow(self, count: int) -> None:
        """Brings the fleet to the first servers, all of them ACTIVE."""
        self.settle(count)
        measured(self.command(OURS, count), self.environment, TIMEOUT)
        self.wait(count, "ACTIVE")

    def settle(self, count: int) -> None:
        """Waits until Nova is at work on none of the first servers."""
        until(
            "Nova is at work on none of them",
            lambda: not any(server["OS-EXT-STS:task_state"] for server in self.servers(count)),
            TIMEOUT,
            0.5,
            tolerate=(),
        )

    def remove(self) -> None:
        """Deletes all servers."""
        measured([*self.command(OURS, len(self.specs)), "-e", "state=absent"], self.environment, TIMEOUT)


def goals(rows: Sequence[Row]) -> list[Goal]:
    """What the rows say about the goals."""
    most = max(row.servers for row in rows)
    at = {(row.job, row.by): row for row in rows if row.servers == most}
    peer = min(at[NOTHING, LOOP].wall_seconds, at[NOTHING, ASYNC].wall_seconds)  # or longer, if given up
    return [
        goal(f"API calls, {NOTHING} at {most} servers", at[NOTHING, OURS].api_calls, MOST_CALLS),
        goal(
            f"wall time, {NOTHING} at {most} servers, against the faster of openstack.cloud's loop and async",
            at[NOTHING, OURS].wall_seconds / peer,
            MOST_OF_THE_PEER,
        ),
        goal(
            f"wall time, {BACK} {most} servers, against a bare SDK thread pool",
            at[BACK, OURS].wall_seconds / at[BACK, POOL].wall_seconds,
            MOST_OF_THE_POOL,
        ),
    ]


def table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    lines = [
        "| job | servers | with | API calls | CPU s | wall s | peak MiB | runs |",
        "|---|---:|---|---:|---:|---:|---:|---:|",
    ]
    for r in rows:
        least = "> " if r.given_up else ""
        lines.append(
            f"| {r.job} | {r.servers} | {SHOWN[r.by]} | {least}{r.api_calls} | {least}{r.cpu_seconds:.1f} "
            f"| {least}{r.wall_seconds:.1f} | {r.memory_mib:.0f} | {r.runs} |"
        )
    return "\n".join(lines)


def run(sizes: Sequence[int], repeats: Repeats, say: Callable[[str], None]) -> list[Row]:
    """All measurements."""
    with cloud() as named, tempfile.TemporaryDirectory(prefix="bench-") as name:
        file = Path(named["OS_CLIENT_CONFIG_FILE"])
        proxy, behind = before_cloud(file, named["OS_CLOUD"], Path(name))
        adopt_orphans()
        bench = Bench(proxy, behind, Path(name), sizes, repeats)
        rows: list[Row] = []
        try:
            for count in sizes:
                say(f"{count} servers")
                bench.grow(count)
                for job, contenders in CONTENDERS.items():
                    patience = TIMEOUT
                    for by in contenders:  # ours is the first
                        rows.append(bench.row(job, by, count, patience))
                        if by == OURS:
                            patience = max(LEAST_PATIENCE, PATIENCE[job] * rows[-1].wall_seconds)
                        say(f"{job}, {SHOWN[by]}: {rows[-1].wall_seconds} s{', given up' * rows[-1].given_up}")
                        bench.settle(count)
        finally:
            bench.remove()
            proxy.close()
        return rows


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="the largest size only, each once; the goals are the same")
    parser.add_argument("--sizes", type=int, nargs="+", help=f"numbers of servers (default: {SIZES})")
    options = parser.parse_args()
    sizes = sorted(options.sizes or (SIZES[-1:] if options.short else SIZES))
    started, on = time.monotonic(), machine()
    rows = run(
        sizes,
        {} if options.short else REPEATS,
        lambda text: print(f"[{time.monotonic() - started:5.0f} s] {text}", flush=True),
    )
    reached = goals(rows)
    shown = f"{table(rows)}\n\nMeasured on {on}.\n"
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.with_suffix(".md").write_text(shown)
    RESULT.write_text(
        json.dumps(
            {
                "machine": on,
                "at": datetime.now(UTC).isoformat(timespec="seconds"),
                "rows": [{**asdict(row), "by": SHOWN[row.by]} for row in rows],
                "goals": [asdict(item) for item in reached],
            },
            indent=2,
        )
    )
    print("\n".join(["", shown, *told(reached)]))
    return 0 if all(item.met for item in reached) else 1


if __name__ == "__main__":
    sys.exit(main())
