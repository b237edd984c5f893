"""The commands of ``lab/lab``."""

from __future__ import annotations

import argparse
import fcntl
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from . import images, model, seed
from .api import Api, ApiError
from .engine import PACKAGES, Engine, install_packages
from .errors import LabError
from .model import Lab
from .processes import Daemon
from .services import Cloud, virtual_environment
from .steps import Progress, Step, StepLog, capture, run_steps, warn

FAKE_PACKAGES = {name: PACKAGES[name] for name in ("ssh-keygen",)}
PREEMPT_TIMEOUT_S = 60


def main(arguments: Sequence[str]) -> int:
    """Run a command line; the exit status is 0, 1 (failed) or 2 (wrong usage)."""
    options = parser().parse_args(arguments)
    lab = Lab(fake=options.fake)
    try:
        options.run(lab, options)
    except LabError as error:
        warn(f"lab {options.command}: {error}")
        return 1
    except KeyboardInterrupt:
        warn(f"lab {options.command}: interrupted; run it again to go on")
        return 1
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line's grammar."""
    top = argparse.ArgumentParser(prog="lab", description="A cloud in a box: see lab/README.md.")
    top.add_argument("--fake", action="store_true", help="the in-memory lab beside the real one: servers are records only")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, run: Any, text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--fake", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
        command.set_defaults(run=run)
        return command

    add("up", up, "raise the lab; does only what is missing")
    add("down", down, "remove every trace outside build/cache")
    add("reset", reset, "back to the empty cloud")
    add("status", status, "what runs, and every server")
    preempt_command = add("preempt", preempt, "take a server away as the cloud does: shelved, and killed without notice")
    preempt_command.add_argument("name", metavar="NAME", help="name or id of a server")
    preempt_command.add_argument("--wait", action="store_true", help="until it is SHELVED_OFFLOADED")
    for name, text in (("exhaust", "no room any more in a zone"), ("release", "room again in a zone")):
        command = add(name, exhaust if name == "exhaust" else release, text)
        command.add_argument("zone", metavar="ZONE", choices=model.ZONES)
    return top


@contextmanager
def only_one(lab: Lab) -> Iterator[None]:
    """Hold the lab's lock: commands that change it run one after another."""
    lab.cache.mkdir(parents=True, exist_ok=True)
    with (lab.cache / f".{lab.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            warn("another lab command is running: waiting for it to end")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def existing_cloud(lab: Lab) -> Cloud:
    """The cloud of a lab that is up."""
    marker = lab.state / "venv"
    if not marker.is_symlink():
        raise LabError(f"there is no lab; raise it with `lab/lab {'--fake ' if lab.fake else ''}up`")
    return Cloud(lab, marker.resolve())


# up


def up(lab: Lab, options: argparse.Namespace) -> None:
    """Raise what does not run yet."""
    if os.geteuid():
        raise LabError("the lab needs root: it installs packages and starts a Docker engine")
    with only_one(lab):
        progress = Progress()
        lab.state.mkdir(parents=True, exist_ok=True)
        lab.signals.mkdir(exist_ok=True)
        run_steps(fake_plan(lab) if lab.fake else plan(lab), lab.logs, progress)
        progress.say(f"the lab is up: . {lab.env_file}")


def fake_plan(lab: Lab) -> list[Step]:
    """Steps of ``up --fake``."""
    return [
        Step("packages", lambda log: install_packages(log, {**FAKE_PACKAGES, **venv_package()}), advice=APT_ADVICE),
        Step("openstack", lambda log: install_openstack(lab, log), ["packages"], PIP_ADVICE),
        Step("ssh key", lambda log: make_ssh_key(lab, log), ["packages"]),
        Step("databases", lambda log: databases(lab, log), ["openstack"], LOG_ADVICE),
        Step("cloud", lambda log: start_cloud(lab, log, []), ["databases"], LOG_ADVICE),
    ]


def plan(lab: Lab) -> list[Step]:
    """Steps of ``up``; the slow ones do not wait for each other."""
    engine = Engine(lab)

    def base(name: str) -> Step:
        def work(log: StepLog) -> str:
            return "made" if images.make_base(name, log, lab.cache)[1] else "from the cache"

        return Step(f"{name} packages", work, ["packages"], APT_ADVICE)

    return [
        Step("packages", lambda log: install_packages(log, {**PACKAGES, **venv_package()}), advice=APT_ADVICE),
        Step("ssh key", lambda log: make_ssh_key(lab, log), ["packages"]),
        Step("engine", engine.start, ["packages"], "if another Docker engine is installed, start it; else look at the log"),
        Step("openstack", lambda log: install_openstack(lab, log), ["packages"], PIP_ADVICE),
        *(base(name) for name in images.BASES),
        Step("node images", lambda log: images.node_images(log, lab.cache), ["engine", "node packages"], APT_ADVICE),
        Step(
            "registry",
            lambda log: registry(lab, log),
            ["engine", "ollama packages", "nginx packages"],
            f"make sure that nothing else listens on port {model.REGISTRY_PORT}",
        ),
        Step("databases", lambda log: databases(lab, log), ["openstack"], LOG_ADVICE),
        Step(
            "cloud",
            lambda log: start_cloud(lab, log, engine.container_options()),
            ["databases", "engine"],
            LOG_ADVICE,
        ),
    ]


APT_ADVICE = "check that apt-get reaches its mirror, then run the command again: what is done stays done"
PIP_ADVICE = "check that pip reaches its index, then run the command again"
LOG_ADVICE = "look at the named log; `lab/lab down` and `lab/lab up` start over"


def venv_package() -> dict[str, str]:
    """What Debian splits off from Python: without ensurepip there are no virtual environments."""
    try:
        import ensurepip  # noqa: F401
    except ImportError:
        return {"/nonexistent/ensurepip": "python3-venv"}
    return {}


def make_ssh_key(lab: Lab, log: StepLog) -> str:
    if lab.ssh_key.exists():
        return "there"
    log.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab-operator", "-f", lab.ssh_key)
    return "made"


def install_openstack(lab: Lab, log: StepLog) -> str:
    venv, made = virtual_environment(log, lab.cache)
    marker = lab.state / "venv"
    marker.unlink(missing_ok=True)
    marker.symlink_to(venv)
    return "installed" if made else "from the cache"


def registry(lab: Lab, log: StepLog) -> str:
    daemon = Daemon("docker-registry", lab.run, lab.logs)
    if daemon.pid is not None:
        return f"at {lab.registry}"
    remark = images.registry_store(log, lab)
    images.start_registry(daemon, lab.registry, lab.state / "registry", lab.run / "registry.yml")
    return f"{remark}, at {lab.registry}"


def databases(lab: Lab, log: StepLog) -> str:
    cloud = existing_cloud(lab)
    # Databases that were never filled wholly are thrown away: filling them is not idempotent.
    return "there" if cloud.initialised else cloud.initialise(log)


def start_cloud(lab: Lab, log: StepLog, container_options: list[str]) -> str:
    """Start the services; fill the cloud if it is new."""
    cloud = existing_cloud(lab)
    if cloud.initialised:
        cloud.start(log, options=container_options)
    else:
        fill_cloud(cloud, log, container_options)
    lines = {
        "OS_CLIENT_CONFIG_FILE": lab.member_clouds,
        "OS_CLOUD": "lab",
        "GPUSWARM_LAB_DIR": lab.state,
    }
    lab.env_file.write_text("".join(f"export {name}='{value}'\n" for name, value in lines.items()))
    return f"Keystone at {lab.url('keystone')}"


def fill_cloud(cloud: Cloud, log: StepLog, container_options: list[str]) -> None:
    """Start a new cloud and fill it. Nova comes last: it looks up the others in the catalog when it starts."""
    others = tuple(name for name in model.SERVICES if name != "nova")
    cloud.start(log, ("keystone",))
    api = Api(cloud.lab, cloud.admin_auth)
    project = seed.seed_identity(api, cloud.member_auth)
    cloud.start(log, others)
    cloud.start(log, options=container_options)
    seed.seed_images(api)
    seed.seed_network(api, project)
    seed.seed_volumes(api, api.get("keystone", "/projects?name=admin")["projects"][0]["id"])
    seed.seed_compute(api)
    cloud.save_pristine()


# down, reset, status


def down(lab: Lab, options: argparse.Namespace) -> None:
    """Remove every trace outside the cache."""
    with only_one(lab):
        progress = Progress()
        if (lab.state / "venv").is_symlink():
            existing_cloud(lab).stop()
        if not lab.fake:
            Daemon("docker-registry", lab.run, lab.logs).stop(timeout=3)
            Daemon("registry-fill", lab.run, lab.logs).stop(timeout=3)
            progress.say("services stopped")
            Engine(lab).remove_all()
        shutil.rmtree(lab.state, ignore_errors=True)
        if lab.state.exists():
            raise LabError(f"{lab.state} cannot be removed wholly: is something in it in use?")
        progress.say("the lab is gone")


def reset(lab: Lab, options: argparse.Namespace) -> None:
    """Back to the empty cloud: no server, volume, key pair or port; flavors, images and networks as at the start."""
    with only_one(lab):
        progress = Progress()
        cloud = existing_cloud(lab)
        if not cloud.initialised:
            raise LabError("the lab has not been raised wholly; run `lab/lab up`")
        engine = Engine(lab)

        def wipe(log: StepLog) -> None:
            cloud.stop()
            for marker in lab.signals.iterdir():
                marker.unlink()
            cloud.restore_pristine()

        steps = [Step("wipe databases", wipe)]
        if not lab.fake:
            steps.append(Step("remove servers", lambda log: engine.remove_servers()))
        container_options = [] if lab.fake else engine.container_options()
        names = [step.name for step in steps]
        steps.append(Step("cloud", lambda log: cloud.start(log, options=container_options), names, LOG_ADVICE))
        run_steps(steps, lab.logs, progress)
        progress.say("the cloud is empty")


def status(lab: Lab, options: argparse.Namespace) -> None:
    """Print what runs."""
    cloud = existing_cloud(lab)
    rows = [(name, str(cloud.daemons[name].pid or "-"), "answers" if cloud.answers(name) else "DOES NOT ANSWER")
            for name in model.SERVICES]  # fmt: skip
    if not lab.fake:
        engine = Engine(lab)
        rows.append(("engine", str(engine.daemon.pid or "-"), "answers" if engine.answers() else "DOES NOT ANSWER"))
        pid = Daemon("docker-registry", lab.run, lab.logs).pid
        rows.append(("registry", str(pid or "-"), f"at {lab.registry}" if pid else "DOES NOT RUN"))
    print_table(("SERVICE", "PID", "STATE"), rows)
    exhausted = sorted(path.name.removeprefix("exhausted-") for path in lab.signals.glob("exhausted-*"))
    print(f"\nexhausted zones: {', '.join(exhausted) or 'none'}\n")
    if cloud.answers("nova"):
        servers = Api(lab, cloud.admin_auth).get("nova", "/servers/detail?all_tenants=1")["servers"]
        table = [
            (
                server["name"],
                server["status"] + (f" ({server['OS-EXT-STS:task_state']})" if server["OS-EXT-STS:task_state"] else ""),
                server["OS-EXT-AZ:availability_zone"] or "-",
                ",".join(address["addr"] for network in server["addresses"].values() for address in network) or "-",
                server["id"],
            )
            for server in servers
        ]
        print_table(("SERVER", "STATUS", "ZONE", "ADDRESSES", "ID"), table)
    if any(row[2].startswith("DOES NOT") for row in rows):
        raise LabError("not everything runs; `lab/lab up` starts what is missing")


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print columns as wide as their widest cell."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    for row in [head, *rows]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


# What the cloud does to its users


def find_server(api: Api, name: str) -> dict[str, Any]:
    """The one server of this name or id, in any project."""
    servers = [
        server
        for server in api.get("nova", "/servers/detail?all_tenants=1")["servers"]
        if name in (server["name"], server["id"])
    ]
    if not servers:
        raise LabError(f"there is no server {name!r}; `lab/lab status` lists them")
    if len(servers) > 1:
        raise LabError(f"{len(servers)} servers are called {name!r}; give an id: {', '.join(s['id'] for s in servers)}")
    found: dict[str, Any] = servers[0]
    return found


def preempt(lab: Lab, options: argparse.Namespace) -> None:
    """Shelve a server as the cloud's admin and kill it in the same moment."""
    api = Api(lab, existing_cloud(lab).admin_auth)
    server = find_server(api, options.name)
    server_id = server["id"]
    marker = lab.signals / f"preempted-{server_id}"
    deadline = time.monotonic() + PREEMPT_TIMEOUT_S
    while True:
        if server["status"].startswith("SHELVED"):
            raise LabError(f"{options.name} is {server['status']} already")
        # From here on the Nova driver ends this server with SIGKILL, and does not report its end as a stop.
        marker.touch()
        try:
            api.post("nova", f"/servers/{server_id}/action", {"shelve": None})
            break
        except ApiError as error:
            marker.unlink(missing_ok=True)
            if error.status != 409 or time.monotonic() > deadline:
                raise
            time.sleep(0.2)  # somebody else is acting on it: their action comes first
            server = find_server(api, server_id)
    if not lab.fake:
        # The driver may have been first: then there is nothing left to kill.
        capture("docker", "kill", "--signal", "KILL", f"{model.PREFIX}-server-{server_id}", check=False)
    moment = datetime.now().astimezone().isoformat(timespec="milliseconds")
    print(f"preempted {server['name']} {server_id} at {moment}", flush=True)
    if options.wait:
        while (server := find_server(api, server_id))["status"] != "SHELVED_OFFLOADED":
            if time.monotonic() > deadline:
                raise LabError(f"{server['name']} is still {server['status']} after {PREEMPT_TIMEOUT_S} s")
            time.sleep(0.1)


def exhaust(lab: Lab, options: argparse.Namespace) -> None:
    """Take a zone's room away."""
    set_room(lab, options.zone, exhausted=True)


def release(lab: Lab, options: argparse.Namespace) -> None:
    """Give a zone's room back."""
    set_room(lab, options.zone, exhausted=False)


def set_room(lab: Lab, zone: str, *, exhausted: bool) -> None:
    """Reserve all of a compute host in Placement, or nothing.

    The marker makes the Nova driver say the same whenever it reports; what it reports next is up to a minute away,
    so Placement is told here at once.
    """
    api = Api(lab, existing_cloud(lab).admin_auth)
    marker = lab.signals / f"exhausted-{zone}"
    if exhausted:
        marker.touch()
    else:
        marker.unlink(missing_ok=True)
    providers = api.get("placement", f"/resource_providers?name={model.compute_host(zone)}")["resource_providers"]
    if not providers:
        raise LabError(f"zone {zone} has no compute host yet; wait until `lab/lab up` has ended")
    path = f"/resource_providers/{providers[0]['uuid']}/inventories"
    for attempt in range(10):
        inventories = api.get("placement", path)
        for resource in inventories["inventories"].values():
            resource["reserved"] = resource["total"] if exhausted else 0
        try:
            api.put("placement", path, inventories)
            break
        except ApiError as error:  # the generation moved on: a server came or went in between
            if error.status != 409 or attempt == 9:
                raise
            time.sleep(0.1 * (attempt + 1))
    print(f"{zone}: {'no room' if exhausted else 'room again'}")
