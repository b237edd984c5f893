"""The course of the demonstration."""

from __future__ import annotations

import json
import shutil
import time
from typing import Any

from demo.model import NodeSeen, ServerSeen, TaskSeen, Timeline, figures, known_before, shortcomings, timeline
from demo.report import load_summary, moment, servers_table, table, timeline_table
from demo.sources import CloudWatcher, Log, ManagerWatcher
from tests.kit import ansible, lab
from tests.kit.answers import Figures
from tests.kit.clients import Asker, ask
from tests.kit.cluster import Cluster, read_cluster
from tests.kit.commands import KitError, clock
from tests.kit.lab import LAB
from tests.kit.names import JOURNAL
from tests.kit.paths import BUILD, ROOT
from tests.kit.watching import running

WORK = BUILD / "demo"
RESULT = BUILD / "demo.json"

# Longer than any step takes on two busy cores; a step that takes longer hangs.
SITE_LIMIT_S = 1800
WARM_UP_S = 3.0
STEADY_S = 3.0
STATUS_EVERY_S = 10.0


class DemoError(KitError):
    """Why the demonstration cannot go on, in words for the person who runs it."""


def say(text: str = "") -> None:
    """Print a line at once, even into a pipe."""
    print(text, flush=True)


def heading(text: str) -> None:
    """Print the title of a step."""
    say(f"\n== {text}")


def play(name: str, log: str = "", **variables: Any) -> tuple[float, int]:
    """Run a playbook and show how far it is: one line for each play and each role.

    Args:
        name: Name of the playbook.
        log: Name of the file for its output, without suffix (default: the playbook's).
        variables: Extra variables.

    Returns:
        How long it took, in seconds, and how many things it changed.

    Raises:
        DemoError: If it ended without a recap.
        KitError: If it failed.
    """
    began = time.monotonic()
    shown = ""

    def follow(line: str) -> None:
        nonlocal shown
        step = ansible.step_of(line)
        if step and step != shown:
            shown = step
            say(f"  {clock(time.monotonic() - began):>5}  {step}")

    title = log or name
    file = WORK / f"{title}.log"
    done = lab.playbook(name, variables=variables, limit_s=SITE_LIMIT_S, log=file, show=follow)
    changes = ansible.changed(done.stdout)
    if not changes:
        message = f"{title} ended without a recap; see {file}"
        raise DemoError(message)
    return done.seconds, sum(changes.values())


def raise_lab() -> None:
    """Raise the lab, or find it raised."""
    heading(
        "The lab: a small OpenStack cloud on this machine (the first time its images are built, which takes minutes)"
    )
    lab.command("up", limit_s=lab.UP_LIMIT_S, log=WORK / "lab-up.log", show=lambda line: say(f"  {line}"))


def build_cluster() -> tuple[float, int]:
    """Run site.yml twice.

    Returns:
        How long the first run took, in seconds, and how many things the second one changed.
    """
    heading("ansible-playbook playbooks/site.yml -i inventory/lab")
    site_s, first = play("site")
    say(f"  done in {clock(site_s)}, {first} things changed")
    heading("The same again: nothing may change")
    again_s, second = play("site", "site-again")
    say(f"  done in {clock(again_s)}, {second} things changed")
    return site_s, second


def first_answer(cluster: Cluster) -> None:
    """Show one streamed answer.

    Raises:
        DemoError: If none comes.
    """
    heading(f"A streamed answer through {cluster.gateway} (the model is a toy: its words mean nothing)")
    answer = ask(cluster.gateway, show=lambda token: print(token, end="", flush=True))
    say()
    if not answer.complete:
        message = f"no answer through the gateway: {answer.error or 'the stream was cut'}"
        raise DemoError(message)
    wait_ms = ((answer.first or answer.asked) - answer.asked) * 1000
    server = answer.server or "a server that the gateway did not name"
    say(f"  first token after {wait_ms:.0f} ms, answered by {server}")


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
    for name in cluster.names:
        facts = cluster.server(name)
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
    log = Log()
    manager = ManagerWatcher(log, cluster.remote(cluster.manager, f"exec python3 -u - {JOURNAL}"))
    askers = [Asker(log, cluster.gateway) for _ in range(clients)]
    with running([CloudWatcher(log), manager, *askers]):
        if not manager.fed.wait(20):
            message = f"the manager tells nothing over SSH: {log.troubles().get('manager', 'no output')}"
            raise DemoError(message)
        time.sleep(WARM_UP_S)
        asked = lab.preempt(victim, log=WORK / "preempt.log")
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
    for error in Figures(answers).errors[:5]:
        say(f"  an error that a client saw: {error}")
    heading("The cluster now")
    say(servers_table(servers))
    heading("To look at")
    ssh = f"ssh -i {LAB.ssh_key.relative_to(ROOT)} {cluster.login(cluster.manager)}"
    sudo = "" if cluster.user(cluster.manager) == "root" else "sudo "
    say(
        table(
            ("what", "where"),
            [
                ("gateway (Ollama's API)", cluster.gateway),
                ("manager", ssh),
                ("swarm", f"{ssh} {sudo}docker node ls"),
                ("recovery journal", f"{ssh} {sudo}cat {JOURNAL}"),
                (
                    "table of all servers",
                    ". build/lab/env.sh; build/venv/bin/ansible-playbook -i inventory/lab playbooks/status.yml",
                ),
                ("cloud API", LAB.member_clouds.relative_to(ROOT)),
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
    if LAB.member_clouds.exists():
        heading("ansible-playbook playbooks/destroy.yml -i inventory/lab")
        try:
            play("destroy", destroy_fleet=read_cluster().fleet)
        except KitError as problem:
            # What is left goes with the lab.
            say(f"  {problem}")
    heading("lab/lab down")
    lab.command("down", limit_s=lab.DOWN_LIMIT_S, show=lambda line: say(f"  {line}"))
    RESULT.unlink(missing_ok=True)
    shutil.rmtree(WORK, ignore_errors=True)
    say("  nothing is left but build/cache and build/venv")
    return 0
