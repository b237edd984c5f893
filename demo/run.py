"""The course of the demonstration."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo.model import (
    NodeSeen,
    ServerSeen,
    TaskSeen,
    Timeline,
    figures,
    kill_time,
    known_before,
    recap,
    shortcomings,
    timeline,
)
from demo.report import clock, load_summary, moment, servers_table, table, timeline_table
from demo.sources import Asker, CloudWatcher, Log, ManagerWatcher, Watcher, ask

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build"
WORK = BUILD / "demo"
LAB = BUILD / "lab"
RESULT = BUILD / "demo.json"
INVENTORY = "inventory/lab"
JOURNAL = "/var/lib/gpuswarm/journal.jsonl"
MODEL = "tiny"

# Longer than any step takes on two busy cores; a step that takes longer hangs.
SITE_LIMIT_S = 1800
LAB_LIMIT_S = 1800
WARM_UP_S = 3.0
STEADY_S = 3.0
STATUS_EVERY_S = 10.0


class DemoError(Exception):
    """Why the demonstration cannot go on, in words for the person who runs it."""


@dataclass(frozen=True)
class Cluster:
    """Where everything is, read from the inventory.

    Attributes:
        manager: The manager's name.
        workers: The GPU servers' names, sorted.
        hosts: Host variables by name.
    """

    manager: str
    workers: tuple[str, ...]
    hosts: Mapping[str, Mapping[str, Any]]

    def address(self, name: str) -> str:
        """Address of a server."""
        return str(self.hosts[name].get("ansible_host", ""))

    @property
    def fleet(self) -> str:
        """Name of the fleet."""
        return str(self.hosts[self.manager].get("fleet_name", ""))

    @property
    def gateway(self) -> str:
        """URL of the gateway."""
        return f"http://{self.address(self.manager)}"


def say(text: str = "") -> None:
    """Print a line at once, even into a pipe."""
    print(text, flush=True)


def heading(text: str) -> None:
    """Print the title of a step."""
    say(f"\n== {text}")


def environment() -> dict[str, str]:
    """Environment of everything that is started: this checkout, its Python environment, the lab's cloud."""
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_FORCE_COLOR": "0",
        "ANSIBLE_NOCOLOR": "1",
        "OS_CLIENT_CONFIG_FILE": str(LAB / "clouds.yaml"),
        "OS_CLOUD": "lab",
        "GPUSWARM_LAB_DIR": str(LAB),
    }


def lines_of(command: Sequence[str], log: Path, limit_s: float) -> Generator[str]:
    """Run a command, keep its output in a file, and yield it line by line.

    Raises:
        DemoError: If the command fails or takes longer than ``limit_s`` seconds.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    tail: deque[str] = deque(maxlen=40)
    # `timeout` and not a thread: it also ends a command that prints nothing.
    limited = ["timeout", "--kill-after=10", str(int(limit_s)), *command]
    with (
        log.open("w", encoding="utf-8") as copy,
        subprocess.Popen(
            limited,
            cwd=ROOT,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process,
    ):
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        try:
            for line in process.stdout:
                copy.write(line)
                tail.append(line.rstrip("\n"))
                yield line.rstrip("\n")
            status = process.wait()
        finally:
            # `timeout` has a process group of its own, which Ctrl-C does not reach; this it passes on.
            process.terminate()
    if status:
        end = "\n".join(f"    {line}" for line in tail)
        why = f"took longer than {int(limit_s)} s" if status in {124, 137} else f"failed with status {status}"
        message = f"`{' '.join(command)}` {why} after {clock(time.monotonic() - began)}. The end of {log}:\n{end}"
        raise DemoError(message)


def play(name: str, *arguments: str) -> tuple[float, dict[str, int]]:
    """Run a playbook and show how far it is: one line for each play and each role.

    Returns:
        How long it took, in seconds, and the sums of its recap.
    """
    began = time.monotonic()
    shown = ""
    output = []
    log = WORK / f"{name}.log"
    for line in lines_of(["ansible-playbook", "-i", INVENTORY, *arguments], log, SITE_LIMIT_S):
        output.append(line)
        step = ""
        if line.startswith("PLAY ["):
            step = line[len("PLAY [") :].split("]")[0]
        elif line.startswith("TASK [") and " : " in line:
            step = "  " + line[len("TASK [") :].split(" : ")[0]
        if step and step != shown:
            shown = step
            say(f"  {clock(time.monotonic() - began):>5}  {step}")
    sums = recap(output)
    if not sums["hosts"]:
        message = f"{name} ended without a recap; see {log}"
        raise DemoError(message)
    return time.monotonic() - began, sums


def read_cluster() -> Cluster:
    """Read the hosts that the inventory lists now.

    Raises:
        DemoError: If there is no manager or no GPU server with an address.
    """
    result = subprocess.run(
        ["ansible-inventory", "-i", INVENTORY, "--list"],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if result.returncode:
        message = f"the inventory cannot be read: {result.stderr.strip()[-1000:]}"
        raise DemoError(message)
    # What the cloud told is marked as not to be templated: {"__ansible_unsafe": value}.
    inventory = json.loads(result.stdout, object_hook=lambda item: item.get("__ansible_unsafe", item))
    hosts = inventory["_meta"]["hostvars"]
    managers = inventory.get("manager", {}).get("hosts", [])
    workers = tuple(sorted(inventory.get("gpu_workers", {}).get("hosts", [])))
    if not managers or not workers:
        message = (
            f"the inventory lists managers {managers} and GPU servers {list(workers)}: at least one of each is needed"
        )
        raise DemoError(message)
    return Cluster(managers[0], workers, hosts)


def ssh_command(cluster: Cluster) -> list[str]:
    """Command line that runs something on the manager as the operator."""
    server = cluster.hosts[cluster.manager].get("selectel", {})
    options = {
        "IdentityFile": LAB / "id_ed25519",
        "IdentitiesOnly": "yes",
        "BatchMode": "yes",
        "ConnectTimeout": 10,
        "ServerAliveInterval": 5,
        # As the inventory does it: a server's key is filed under its id, for another server may get its address.
        "HostKeyAlias": server.get("id", cluster.manager),
        "UserKnownHostsFile": LAB / "known_hosts",
        "StrictHostKeyChecking": "accept-new",
        "LogLevel": "ERROR",
    }
    arguments = [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
    return ["ssh", *arguments, f"root@{cluster.address(cluster.manager)}"]


@contextmanager
def running(watchers: Sequence[Watcher]) -> Iterator[None]:
    """Start threads, and stop them whatever happens."""
    try:
        for watcher in watchers:
            watcher.start()
        yield
    finally:
        for watcher in watchers:
            watcher.stopping.set()
        for watcher in watchers:
            watcher.stop()


def raise_lab() -> None:
    """Raise the lab, or find it raised."""
    heading(
        "The lab: a small OpenStack cloud on this machine (the first time its images are built, which takes minutes)"
    )
    for line in lines_of(["lab/lab", "up"], WORK / "lab-up.log", LAB_LIMIT_S):
        say(f"  {line}")


def build_cluster() -> tuple[float, int]:
    """Run site.yml twice.

    Returns:
        How long the first run took, in seconds, and how many things the second one changed.
    """
    heading("ansible-playbook playbooks/site.yml -i inventory/lab")
    site_s, first = play("site", "playbooks/site.yml")
    say(f"  done in {clock(site_s)}, {first['changed']} things changed")
    heading("The same again: nothing may change")
    again_s, second = play("site-again", "playbooks/site.yml")
    say(f"  done in {clock(again_s)}, {second['changed']} things changed")
    return site_s, second["changed"]


def first_answer(cluster: Cluster) -> None:
    """Show one streamed answer.

    Raises:
        DemoError: If none comes.
    """
    heading(f"A streamed answer through {cluster.gateway} (the model is a toy: its words mean nothing)")
    answer = ask(cluster.gateway, MODEL, show=True)
    say()
    if not answer.complete:
        message = f"no answer through the gateway: {answer.error or 'the stream was cut'}"
        raise DemoError(message)
    wait_ms = ((answer.first or answer.asked) - answer.asked) * 1000
    server = answer.upstreams[-1] if answer.upstreams else "a server that the gateway did not name"
    say(f"  first token after {wait_ms:.0f} ms, answered by {server}")


def preempt(victim: str) -> float:
    """Let the lab's cloud take a server away.

    Returns:
        When the server was killed, as the lab says.
    """
    asked = time.time()
    output = list(lines_of(["lab/lab", "preempt", victim], WORK / "preempt.log", 60))
    return kill_time(output) or asked


def follow(log: Log, victim: str, limit_s: float, asked: float) -> Timeline:
    """Print each step of the recovery when it happens, until all have, or the time is up."""
    before = known_before([item for item in log.observations() if item.epoch < asked], victim)
    printed: set[str] = set()
    status_at = asked + STATUS_EVERY_S
    while True:
        times = timeline(asked, victim, before, log.observations(), log.answers())
        for epoch, step, label in times.reached():
            if step not in printed:
                printed.add(step)
                say(f"  {moment(epoch - asked):>10}  {label}")
        now = time.time()
        if times.complete or now - asked > limit_s:
            return times
        if now >= status_at:
            status_at = now + STATUS_EVERY_S
            say(f"  {'...':>10}  {state_line(log, victim)}")
        time.sleep(0.2)


def state_line(log: Log, victim: str) -> str:
    """Say in one line how things stand."""
    observations = log.observations()
    servers = [item for item in observations if isinstance(item, ServerSeen) and item.server == victim]
    nodes = [item for item in observations if isinstance(item, NodeSeen) and item.hostname == victim]
    answers = log.answers()
    parts = [
        f"cloud: {servers[-1].status}" if servers else "",
        f"node: {nodes[-1].state}" if nodes else "",
        f"{len(answers)} answers asked for, {sum(answer.failed for answer in answers)} failed",
        *(f"{source} does not answer: {message}" for source, message in log.troubles().items()),
    ]
    return "; ".join(part for part in parts if part)


def overview(log: Log, cluster: Cluster) -> tuple[list[dict[str, object]], dict[str, str]]:
    """Collect the last known state of every server, and which server each overlay address belongs (or belonged) to."""
    rows: dict[str, dict[str, object]] = {}
    for name in (cluster.manager, *cluster.workers):
        facts = cluster.hosts[name].get("selectel", {})
        rows[name] = {
            "name": name,
            "role": facts.get("role", ""),
            "address": cluster.address(name),
            "zone": facts.get("availability_zone", ""),
        }
    names = {}
    for item in log.observations():
        if isinstance(item, ServerSeen) and item.server in rows:
            rows[item.server]["cloud"] = item.status
        elif isinstance(item, NodeSeen) and item.hostname in rows:
            rows[item.hostname]["node"] = item.state
        elif isinstance(item, TaskSeen) and item.hostname in rows:
            names.update(dict.fromkeys(item.addresses, item.hostname))
            rows[item.hostname]["ollama"] = item.state
    return list(rows.values()), names


def run(*, clients: int, limit_s: float, victim: str) -> int:
    """Run the whole demonstration.

    Args:
        clients: How many clients keep asking.
        limit_s: How long to wait for the cluster to come back, in seconds.
        victim: Name of the GPU server to preempt; empty for the last one.

    Returns:
        0 if all of it happened, else 1.

    Raises:
        DemoError: If it cannot go on.
    """
    began = time.monotonic()
    WORK.mkdir(parents=True, exist_ok=True)
    RESULT.unlink(missing_ok=True)
    raise_lab()
    site_s, changed = build_cluster()
    cluster = read_cluster()
    victim = victim or cluster.workers[-1]
    if victim not in cluster.workers:
        message = f"{victim} is not a GPU server; these are: {', '.join(cluster.workers)}"
        raise DemoError(message)
    first_answer(cluster)

    heading(f"{victim} is preempted while {clients} clients keep asking; from here on nobody does anything")
    os.environ.update(environment())
    log = Log()
    manager = ManagerWatcher(log, ssh_command(cluster), JOURNAL)
    askers = [Asker(log, number, cluster.gateway, MODEL) for number in range(1, clients + 1)]
    with running([CloudWatcher(log), manager, *askers]):
        if not manager.fed.wait(20):
            message = f"the manager tells nothing over SSH: {log.troubles().get('manager', 'no output')}"
            raise DemoError(message)
        time.sleep(WARM_UP_S)
        asked = preempt(victim)
        times = follow(log, victim, limit_s, asked)
        time.sleep(STEADY_S)
    answers = log.answers()
    result = figures(times, answers, site_s, changed)
    RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")

    heading("What happened")
    say(timeline_table(times))
    servers, names = overview(log, cluster)
    say()
    say(load_summary(answers, names))
    for error in sorted({answer.error for answer in answers if answer.error})[:5]:
        say(f"  an error that a client saw: {error}")
    heading("The cluster now")
    say(servers_table(servers))
    heading("To look at")
    ssh = f"ssh -i {(LAB / 'id_ed25519').relative_to(ROOT)} root@{cluster.address(cluster.manager)}"
    say(
        table(
            ("what", "where"),
            [
                ("gateway (Ollama's API)", cluster.gateway),
                ("manager", ssh),
                ("swarm", f"{ssh} docker node ls"),
                ("recovery journal", f"{ssh} cat {JOURNAL}"),
                (
                    "table of all servers",
                    ". build/lab/env.sh; build/venv/bin/ansible-playbook -i inventory/lab playbooks/status.yml",
                ),
                ("cloud API", f"{LAB.relative_to(ROOT)}/clouds.yaml"),
                ("figures", RESULT.relative_to(ROOT)),
                ("logs", WORK.relative_to(ROOT)),
                ("remove all of it", "make demo-down"),
            ],
        )
    )
    missing = shortcomings(times, result)
    say()
    for item in missing:
        say(f"FAILED: {item}")
    say(f"{'The demonstration FAILED' if missing else 'All of it happened'}, in {clock(time.monotonic() - began)}.")
    return 1 if missing else 0


def down() -> int:
    """Remove the cluster the way an operator would, then the lab with everything that is left.

    Returns:
        0 if nothing is left.
    """
    if (LAB / "clouds.yaml").exists():
        heading("ansible-playbook playbooks/destroy.yml -i inventory/lab")
        try:
            play("destroy", "playbooks/destroy.yml", "-e", f"destroy_fleet={read_cluster().fleet}")
        except DemoError as problem:
            # What is left goes with the lab.
            say(f"  {problem}")
    heading("lab/lab down")
    for line in lines_of(["lab/lab", "down"], BUILD / "lab-down.log", 300):
        say(f"  {line}")
    (BUILD / "lab-down.log").unlink(missing_ok=True)
    RESULT.unlink(missing_ok=True)
    shutil.rmtree(WORK, ignore_errors=True)
    say("  nothing is left but build/cache and build/venv")
    return 0
