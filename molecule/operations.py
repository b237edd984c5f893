"""What the scenarios' tests do to the cluster, and how they follow what becomes of it."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openstack
import testinfra

from demo.sources import Asker, Log

Host = Any  # testinfra's modules are attributes made at run time
Connect = Callable[[str], Host]

ROOT = Path(__file__).resolve().parents[1]
LAB = ROOT / "build" / "lab"
PLAYBOOK_LIMIT_S = 900
ANSWERS_LIMIT_S = 120
CLIENTS = 2

# Changes the manager's copy of the loop's settings: the variables of its playbooks, and what its probe reads.
SETTINGS = """
import json, os, sys, yaml
variables, probe, *files = json.loads(sys.argv[1])
for path, changes in zip(files, (variables, probe)):
    with open(path) as file:
        data = yaml.safe_load(file)  # JSON is YAML
    target = data if changes is variables else data["settings"]
    for key, value in changes.items():
        target[key] = {**target[key], **value} if changes is probe and isinstance(value, dict) else value
    with open(path + ".new", "w") as file:
        json.dump(data, file)
    os.chmod(path + ".new", 0o600)
    os.replace(path + ".new", path)
"""
SETTINGS_FILES = ("/etc/gpuswarm/manager/group_vars/all.yml", "/etc/gpuswarm/probe.json")


def environment() -> dict[str, str]:
    """Of a command that works on the lab's cloud."""
    return {
        **os.environ,
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "GPUSWARM_LAB_DIR": str(LAB),
        "OS_CLIENT_CONFIG_FILE": str(LAB / "clouds.yaml"),
        "OS_CLOUD": "lab",
    }


@dataclass(frozen=True)
class Cluster:
    """The cluster as the product's own inventory lists it."""

    manager: str
    workers: tuple[str, ...]
    variables: dict[str, dict[str, Any]]

    def server(self, name: str) -> dict[str, Any]:
        """What the cloud says of a server."""
        server: dict[str, Any] = self.variables[name]["selectel"]
        return server

    def address(self, name: str) -> str:
        """Where a server is logged in to."""
        return str(self.variables[name]["ansible_host"])

    @property
    def gateway(self) -> str:
        """Address that clients use."""
        return f"http://{self.address(self.manager)}"

    def connect(self, name: str) -> Host:
        """Log in to a server, as testinfra does."""
        options = {
            "HostKeyAlias": self.server(name)["id"],
            "UserKnownHostsFile": LAB / "known_hosts",
            "StrictHostKeyChecking": "accept-new",
            "IdentitiesOnly": "yes",
            "BatchMode": "yes",
            "LogLevel": "ERROR",
        }
        return testinfra.get_host(
            f"ssh://root@{self.address(name)}",
            ssh_identity_file=str(LAB / "id_ed25519"),
            ssh_extra_args=" ".join(f"-o {key}={value}" for key, value in options.items()),
        )


def read_cluster() -> Cluster:
    """Ask the inventory."""
    command = ["ansible-inventory", "-i", str(ROOT / "inventory" / "lab"), "--list"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environment())
    assert result.returncode == 0, result.stderr
    # What the cloud told is marked as not to be templated: {"__ansible_unsafe": value}.
    inventory = json.loads(result.stdout, object_hook=lambda item: item.get("__ansible_unsafe", item))
    (manager,) = inventory["manager"]["hosts"]
    return Cluster(manager, tuple(sorted(inventory["gpu_workers"]["hosts"])), inventory["_meta"]["hostvars"])


def delete_with_disk(name: str) -> None:
    """As an ordinary member of the project."""
    cloud = openstack.connect(cloud="lab")
    server = cloud.compute.find_server(name, ignore_missing=False)
    volumes = [volume["id"] for volume in cloud.compute.get_server(server.id).attached_volumes]
    cloud.compute.delete_server(server.id)
    cloud.compute.wait_for_delete(server, interval=0.5, wait=60)
    for volume in volumes:
        cloud.block_storage.delete_volume(volume)
        cloud.block_storage.wait_for_delete(cloud.block_storage.get_volume(volume), interval=0.5, wait=60)


def playbook(name: str, *arguments: str, inventory: Path = ROOT / "inventory" / "lab") -> str:
    """Run one of the product's playbooks; its output, once it succeeded."""
    command = ["ansible-playbook", "-i", str(inventory), str(ROOT / "playbooks" / f"{name}.yml"), *arguments]
    result = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=PLAYBOOK_LIMIT_S,
        env=environment(),
        stdin=subprocess.DEVNULL,
    )
    output = result.stdout + result.stderr
    assert result.returncode == 0, "\n".join([*failures(result.stdout), output[-3000:]])
    return output


def failures(output: str) -> list[str]:
    """What Ansible says of the tasks that failed; at -vvv it is far from the end."""
    return [
        f"{text[:4000]}\n" for text in re.split(r"^(?=TASK |PLAY )", output, flags=re.MULTILINE) if "\nfatal: " in text
    ]


def journal(manager: Host, server: str, since: float) -> list[dict[str, Any]]:
    """What the recovery journal says of a server since then."""
    lines = [json.loads(line) for line in manager.file("/var/lib/gpuswarm/journal.jsonl").content_string.splitlines()]
    return [line for line in lines if line["server"] == server and line["epoch"] > since]


def phases(manager: Host, server: str, since: float) -> list[str]:
    """The phases of that."""
    return [line["phase"] for line in journal(manager, server, since)]


def wait_for(
    manager: Host, server: str, since: float, done: Callable[[list[str]], bool], limit_s: float = 240
) -> list[str]:
    """Wait until the journal tells enough; all phases since then."""
    found: list[str] = []

    def enough() -> bool:
        found[:] = phases(manager, server, since)
        return done(found)

    wait_that(manager, enough, limit_s)
    return found


def nodes_of(manager: Host) -> dict[str, str]:
    """Host names of the swarm's nodes, by their ids."""
    text = manager.check_output("docker node ls --format '{{json .}}'")
    nodes = [json.loads(line) for line in text.splitlines()]
    return {node["ID"]: node["Hostname"] for node in nodes}


def status_of(manager: Host) -> dict[str, Any]:
    """What `gpuswarm-status` says; nothing while the manager cannot be logged in to."""
    with suppress(RuntimeError):  # testinfra's
        status: dict[str, Any] = json.loads(manager.run("gpuswarm-status -o json").stdout or "{}")
        return status
    return {}


def wait_until_well(manager: Host, limit_s: float = 120) -> dict[str, Any]:
    """Wait until every server is well and no run is at work; what `gpuswarm-status` says then."""
    found: dict[str, Any] = {}

    def well() -> bool:
        found.clear()
        found.update(status_of(manager))
        idle = manager.run("systemctl is-active gpuswarm-recover.service").stdout.strip() != "activating"
        return idle and found.get("well") is True

    wait_that(manager, well, limit_s)
    return found


def wait_that(manager: Host, true: Callable[[], bool], limit_s: float) -> None:
    """Wait until something is true; what the manager knows is in the error."""
    deadline = time.monotonic() + limit_s
    while True:
        with suppress(RuntimeError):  # testinfra's, while the manager cannot be logged in to
            if true():
                return
        assert time.monotonic() < deadline, manager.check_output(
            "gpuswarm-status || true; docker service ps --no-trunc $(docker service ls -q) || true; "
            "tail -n 40 /var/lib/gpuswarm/journal.jsonl; journalctl -u gpuswarm-recover -n 120 --no-pager"
        )
        time.sleep(0.5)


@contextmanager
def settings(
    manager: Host, variables: dict[str, Any], probe: dict[str, Any]
) -> Iterator[Callable[[dict[str, Any], dict[str, Any]], None]]:
    """Let the loop on the manager go by other settings for a while; they can be changed again meanwhile.

    :param variables: variables of the role ``recovery``; ``probe``: the same as the probe's file calls them.
    """

    def change(variables: dict[str, Any], probe: dict[str, Any]) -> None:
        what = json.dumps([variables, probe, *SETTINGS_FILES])
        manager.check_output(shlex.join(["/opt/gpuswarm/venv/bin/python", "-c", SETTINGS, what]))

    for path in SETTINGS_FILES:
        manager.check_output(f"cp -p {path} {path}.before")
    try:
        change(variables, probe)
        yield change
    finally:
        for path in SETTINGS_FILES:
            manager.check_output(f"mv {path}.before {path}")


@contextmanager
def asking(gateway: str, model: str = "tiny") -> Iterator[Log]:
    """Clients that keep asking, streamed; afterwards the log has all their answers."""
    log = Log()
    askers = [Asker(log, number, gateway, model) for number in range(CLIENTS)]
    for asker in askers:
        asker.start()
    try:
        await_answers(log, CLIENTS)
        yield log
        await_answers(log, len(log.answers()) + CLIENTS)
    finally:
        for asker in askers:
            asker.stop()


def await_answers(log: Log, number: int) -> None:
    """Wait until there are so many answers, good or bad."""
    deadline = time.monotonic() + ANSWERS_LIMIT_S
    while len(log.answers()) < number:
        assert time.monotonic() < deadline, f"{len(log.answers())} answers in place of {number}"
        time.sleep(0.1)
