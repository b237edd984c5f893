"""The commands of ``lab/lab`` besides ``up``."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Any

from . import model
from .api import Api, ApiError
from .engine import Engine
from .errors import LabError
from .model import Lab
from .processes import Daemon
from .services import existing_cloud
from .steps import Progress, Step, StepLog, capture, run_steps

PREEMPT_TIMEOUT_S = 60
NO_ANSWER = "DOES NOT ANSWER"


def down(lab: Lab) -> None:
    """Remove every trace outside the cache."""
    progress = Progress()
    if lab.venv.is_symlink():
        existing_cloud(lab).stop()
    for name in ("docker-registry", "registry-fill"):
        Daemon(name, lab.run, lab.logs).stop(timeout=3)
    progress.say("services stopped")
    if not lab.fake:
        Engine(lab).remove_all()
    shutil.rmtree(lab.state, ignore_errors=True)
    if lab.state.exists():
        raise LabError(f"{lab.state} cannot be removed wholly; see what uses it: fuser -vm {lab.state}")
    progress.say("the lab is gone")


def reset(lab: Lab) -> None:
    """Back to the empty cloud: no server, volume, key pair or port; flavors, images and networks as at the start."""
    progress = Progress()
    cloud = existing_cloud(lab)
    if not cloud.initialised:
        raise LabError("the lab has not been raised wholly; run `lab/lab up`")
    engine = Engine(lab)

    def wipe(_: StepLog) -> None:
        cloud.stop()
        for marker in lab.signals.iterdir():
            marker.unlink()
        cloud.restore_pristine()

    def remove_servers(_: StepLog) -> None:
        engine.remove_servers()

    def start(log: StepLog) -> None:
        cloud.start(log, options=[] if lab.fake else engine.container_options())

    steps = [Step("wipe databases", wipe)] + ([] if lab.fake else [Step("remove servers", remove_servers)])
    steps.append(Step("cloud", start, [step.name for step in steps], "run `lab/lab down`, then `lab/lab up`"))
    run_steps(steps, lab.logs, progress)
    progress.say("the cloud is empty")


def status(lab: Lab) -> None:
    """Print what runs, and every server.

    Raises:
        LabError: something does not run.
    """
    cloud = existing_cloud(lab)
    rows = [
        (name, str(cloud.daemons[name].pid or "-"), lab.url(name) if cloud.answers(name) else NO_ANSWER)
        for name in model.SERVICES
    ]
    if not lab.fake:
        engine = Engine(lab)
        owner = "the lab's own" if engine.daemon.pid else "the machine's"
        rows.append(("engine", str(engine.daemon.pid or "-"), owner if engine.answers() else NO_ANSWER))
        pid = Daemon("docker-registry", lab.run, lab.logs).pid
        rows.append(("registry", str(pid or "-"), lab.registry if pid else NO_ANSWER))
    print_table(("SERVICE", "PID", "WHERE"), rows)
    exhausted = sorted(path.name.removeprefix("exhausted-") for path in lab.signals.glob("exhausted-*"))
    print(f"\nExhausted zones: {', '.join(exhausted) or 'none'}\n")
    if cloud.answers("nova"):
        servers = Api(lab, cloud.admin_auth).get("nova", "/servers/detail?all_tenants=1")["servers"]
        print_table(("SERVER", "STATUS", "ZONE", "ADDRESSES", "ID"), [server_row(server) for server in servers])
    if any(NO_ANSWER in row for row in rows):
        raise LabError("not everything runs; `lab/lab up` starts what is missing")


def server_row(server: dict[str, Any]) -> tuple[str, ...]:
    """A server's line of ``status``, out of Nova's answer."""
    task = server["OS-EXT-STS:task_state"]
    addresses = [address["addr"] for network in server["addresses"].values() for address in network]
    return (
        server["name"],
        server["status"] + (f" ({task})" if task else ""),
        server["OS-EXT-AZ:availability_zone"] or "-",
        ",".join(addresses) or "-",
        server["id"],
    )


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print columns as wide as their widest cell."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    for row in [head, *rows]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


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


def preempt(lab: Lab, name: str, *, wait: bool) -> None:
    """Shelve a server as the cloud's admin and kill it in the same moment.

    Args:
        lab: the lab.
        name: name or id of the server.
        wait: return only when the shelving has ended.

    Raises:
        LabError: no such server, or it is shelved already, or Nova refuses.
    """
    api = Api(lab, existing_cloud(lab).admin_auth)
    server = find_server(api, name)
    server_id = server["id"]
    marker = lab.signals / f"preempted-{server_id}"
    deadline = time.monotonic() + PREEMPT_TIMEOUT_S
    while True:
        if server["status"].startswith("SHELVED"):
            raise LabError(f"{name} is {server['status']} already")
        if not lab.fake:
            # From here on the Nova driver ends this server with SIGKILL, and does not report its end as a stop.
            marker.touch()
        try:
            api.post("nova", f"/servers/{server_id}/action", {"shelve": None})
            break
        except ApiError as error:
            marker.unlink(missing_ok=True)
            if error.status != HTTPStatus.CONFLICT or time.monotonic() > deadline:
                raise
            time.sleep(0.2)  # somebody else is acting on it: their action comes first
            server = find_server(api, server_id)
    if not lab.fake:
        # The driver may have been first: then there is nothing left to kill.
        capture("docker", "kill", "--signal", "KILL", f"{model.PREFIX}-server-{server_id}", check=False)
    moment = datetime.now().astimezone().isoformat(timespec="milliseconds")
    print(f"preempted {server['name']} {server_id} at {moment}", flush=True)
    while wait and is_being_shelved(find_server(api, server_id)):
        if time.monotonic() > deadline:
            raise LabError(f"{name} is still being shelved after {PREEMPT_TIMEOUT_S} s; see `lab/lab status`")
        time.sleep(0.1)


def is_being_shelved(server: dict[str, Any]) -> bool:
    """Whether a shelving is under way. What comes after it (somebody may unshelve at once) is not."""
    return (server["OS-EXT-STS:task_state"] or "").startswith("shelving") or server["status"] == "SHELVED"


def set_room(lab: Lab, zone: str, *, exhausted: bool) -> None:
    """Reserve all of a zone's compute host in Placement, or nothing of it.

    The marker makes the Nova driver say the same whenever it reports; as its next report may be a minute away,
    Placement is also told here.
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
            if error.status != HTTPStatus.CONFLICT or attempt == 9:
                raise
            time.sleep(0.1 * (attempt + 1))
    print(f"{zone}: {'no room' if exhausted else 'room again'}")
