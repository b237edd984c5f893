"""The cluster in the inventory, and the command lines that log in to its servers."""

from __future__ import annotations

import shlex
import subprocess
from typing import Any

import pytest

from tests.kit.cluster import Cluster, parse
from tests.kit.commands import KitError
from tests.kit.lab import LAB


def listing(user: str | None = "root", managers: int = 1, workers: int = 2) -> dict[str, Any]:
    names = [f"m-{n}" for n in range(managers)], [f"gpu-{n}" for n in range(workers, 0, -1)]
    hosts = {
        name: {
            "ansible_host": f"10.77.0.{20 + number}",
            "fleet_name": "lab",
            "gpuswarm": {"id": f"id-of-{name}", "status": "ACTIVE"},
            **({"ansible_user": user} if user else {}),
        }
        for number, name in enumerate([*names[0], *names[1]])
    }
    return {"manager": {"hosts": names[0]}, "gpu_workers": {"hosts": names[1]}, "_meta": {"hostvars": hosts}}


def test_a_cluster() -> None:
    cluster = parse(listing())
    assert cluster.names == ("m-0", "gpu-1", "gpu-2")
    assert (cluster.fleet, cluster.gateway) == ("lab", "http://10.77.0.20")
    assert cluster.address("gpu-2") == "10.77.0.21"
    assert cluster.server("gpu-1")["id"] == "id-of-gpu-1"


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (listing(managers=0), r"managers \[\] and GPU servers \['gpu-1', 'gpu-2'\]"),
        (listing(managers=2), r"managers \['m-0', 'm-1'\]"),
        (listing(workers=0), r"GPU servers \[\]"),
        ({"_meta": {"hostvars": {}}}, r"managers \[\] and GPU servers \[\]"),
    ],
)
def test_no_cluster(found: dict[str, Any], words: str) -> None:
    with pytest.raises(KitError, match=words):
        parse(found)


@pytest.mark.parametrize("user", [None, "{{ lookup('env', 'USER') }}"])
def test_a_user_that_is_not_known_is_an_error(user: str | None) -> None:
    with pytest.raises(KitError, match="ansible_user of m-0 is"):
        parse(listing(user)).user("m-0")


@pytest.mark.parametrize(
    ("user", "command"), [("root", "docker node ls | wc -l"), ("debian", "sudo -n sh -c 'docker node ls | wc -l'")]
)
def test_what_runs_on_a_server_runs_as_root(user: str, command: str) -> None:
    *options, login, last = parse(listing(user)).remote("m-0", "docker node ls | wc -l")
    assert (login, last) == (f"{user}@10.77.0.20", command)
    assert options[0] == "ssh"
    values = set(options[2::2])
    assert values >= {"HostKeyAlias=id-of-m-0", "StrictHostKeyChecking=accept-new", "BatchMode=yes"}
    assert values >= {f"IdentityFile={LAB.state}/id_ed25519", f"UserKnownHostsFile={LAB.state}/known_hosts"}


def test_quotes_survive() -> None:
    wanted = """echo 'a "b"' $HOME"""
    command = parse(listing("debian")).remote("m-0", wanted)[-1]
    assert shlex.split(command) == ["sudo", "-n", "sh", "-c", wanted]
    run_by_the_shell = subprocess.run(
        ["sh", "-c", command.replace("sudo -n", "env HOME=/home")], capture_output=True, text=True, check=True
    )
    assert run_by_the_shell.stdout == 'a "b" /home\n'


def test_a_server_without_id_is_filed_under_its_name() -> None:
    hosts = {"m": {"ansible_host": "10.0.0.1", "ansible_user": "root"}}
    assert "HostKeyAlias=m" in Cluster("m", ("g",), hosts).remote("m", "true")


@pytest.mark.parametrize(("user", "sudo"), [("root", False), ("debian", True)])
def test_testinfra_logs_in_as_the_inventory_does(user: str, sudo: bool) -> None:
    pytest.importorskip("testinfra")  # not where the newest ansible-core is tried
    backend = parse(listing(user)).connect("gpu-1").backend
    assert (backend.host.user, backend.host.name, backend.sudo) == (user, "10.77.0.22", sudo)
    command, values = backend._build_ssh_command("true")
    line = " ".join(command) % tuple(values)
    assert f"-i {LAB.state}/id_ed25519" in line
    assert "-o HostKeyAlias=id-of-gpu-1 " in line
    assert "-o StrictHostKeyChecking=accept-new " in line
