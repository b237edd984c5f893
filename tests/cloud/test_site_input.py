# SPDX-License-Identifier: Apache-2.0
"""site.yml with wrong input: one error that names the thing and the fix, nothing created, no password told."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openstack
import pytest
import yaml

from tests.cloud.conftest import World
from tests.kit import ansible, lab
from tests.kit.commands import Done
from tests.kit.names import USER

WRONG_PASSWORD = "n0t-the-password-of-anybody"
LOGIN_TIMEOUT = 2
LIMIT_S = 400

# What the inventory of the lab says otherwise. Nothing ever answers at these addresses (RFC 5737).
NETWORK = {
    "fleet_network_cidr": "192.0.2.0/24",
    "fleet_network_pool": {"start": "192.0.2.20", "end": "192.0.2.99"},
    "fleet_gpu_count": 1,
    "fleet_manager_volume_size": 1,
    "fleet_gpu_volume_size": 1,
}


class Site:
    """An operator's own copy of the lab's inventory, for a fleet that nobody else has."""

    def __init__(self, home: Path, member: openstack.connection.Connection, clouds: Path) -> None:
        self.home = home
        self.fleet = f"bad{uuid.uuid4().hex[:6]}"
        self.world = World(member, self.fleet)
        self.clouds = clouds
        self.settings = yaml.safe_load(clouds.read_text())
        self.password = str(self.settings["clouds"][os.environ["OS_CLOUD"]]["auth"]["password"])
        self.inventory = home / "inventory"
        (self.inventory / "group_vars").mkdir(parents=True)
        source = yaml.safe_load((lab.INVENTORY / "selectel.yml").read_text())
        (self.inventory / "selectel.yml").write_text(yaml.safe_dump({**source, "fleet": self.fleet}))
        variables = yaml.safe_load((lab.INVENTORY / "group_vars" / "all.yml").read_text())
        variables |= {**NETWORK, "fleet_network": self.fleet}
        (self.inventory / "group_vars" / "all.yml").write_text(yaml.safe_dump(variables))
        key = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(home / "id_ed25519")]
        subprocess.run(key, check=True, timeout=30)

    def play(
        self,
        name: str,
        *arguments: str,
        env: dict[str, str | None] | None = None,
        **variables: Any,
    ) -> Done:
        """Runs a playbook with variables that go before the inventory's."""
        changes = {"GPUSWARM_LAB_DIR": str(self.home), "HOME": str(self.home), **(env or {})}
        return ansible.playbook(
            name, *arguments, inventory=self.inventory, variables=variables, env=changes, limit_s=LIMIT_S, check=False
        )

    def fleets(self, variants: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
        """Runs the role `fleet` for hosts that each have variables of their own; the errors of each."""
        local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "fleet_name": self.fleet}
        hosts = {name: {**local, **variables} for name, variables in variants.items()}
        role = {"ansible.builtin.import_role": {"name": "gpuswarm.ollama.fleet"}}
        play = {"name": "Servers and network", "hosts": "all", "gather_facts": False, "tasks": [role]}
        directory = self.home / "fleets"
        directory.mkdir()
        (directory / "group_vars").symlink_to(self.inventory / "group_vars")
        (directory / "hosts.yml").write_text(json.dumps({"all": {"hosts": hosts}}))
        (directory / "play.yml").write_text(json.dumps([play]))
        changes = {
            "GPUSWARM_LAB_DIR": str(self.home),
            "HOME": str(self.home),
            "ANSIBLE_INVENTORY_ENABLED": "yaml",
            "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
        }
        done = ansible.playbook(
            directory / "play.yml", inventory=directory / "hosts.yml", env=changes, limit_s=LIMIT_S, check=False
        )
        assert "Traceback" not in done.output
        assert self.password not in done.output
        found = re.findall(r"^fatal: \[([^]]+)\]: FAILED! => (\{.*\})$", done.stdout, re.MULTILINE)
        assert found, done.output
        return {name: [json.loads(result)["msg"] for host, result in found if host == name] for name in variants}

    def other_clouds(self, **auth: str) -> dict[str, str | None]:
        """The environment with a clouds.yaml whose `auth` differs."""
        cloud = self.settings["clouds"][os.environ["OS_CLOUD"]]
        changed = {"clouds": {os.environ["OS_CLOUD"]: {**cloud, "auth": {**cloud["auth"], **auth}}}}
        file = self.home / "clouds.yaml"
        file.write_text(yaml.safe_dump(changed))
        return {"OS_CLIENT_CONFIG_FILE": str(file)}

    def existing(self) -> dict[str, list[str]]:
        """What the fleet has in the cloud, by kind; kinds of which there is none are left out."""
        network, nova = self.world.member.network, self.world.nova

        def named(kind: str, path: str) -> list[str]:
            names = [str(item["name"]) for item in network.get(path).json()[kind]]
            return [name for name in names if name == self.fleet or name.startswith(f"{self.fleet}-")]

        pairs = nova.get("/os-keypairs").json()["keypairs"]
        found = {
            "servers": [server["name"] for server in self.world.servers()],
            "volumes": [volume["id"] for volume in self.world.volumes()],
            "ports": [port["id"] for port in self.world.ports()],
            "networks": named("networks", "/networks"),
            "subnets": named("subnets", "/subnets"),
            "routers": named("routers", "/routers"),
            "security groups": named("security_groups", "/security-groups"),
            "key pairs": [p["keypair"]["name"] for p in pairs if p["keypair"]["name"].startswith(self.fleet)],
        }
        return {kind: names for kind, names in found.items() if names}


@pytest.fixture(scope="module")
def site(
    tmp_path_factory: pytest.TempPathFactory,
    member: openstack.connection.Connection,
    cloud_environment: dict[str, str],
) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("site"), member, Path(cloud_environment["OS_CLIENT_CONFIG_FILE"]))
    yield made
    if made.existing():  # a test has failed
        made.play("destroy", destroy_fleet=made.fleet)


def message(done: Done) -> str:
    """The one error of a run that failed, on one line."""
    output = done.output
    assert done.status != 0, output
    assert output.count("[ERROR]: ") == 1, output
    assert "Traceback" not in output
    # The inventory's plugin explains itself in a warning; the error then says which file it was
    explained = [line for line in output.splitlines() if line.startswith("[WARNING]: Failed to parse inventory")]
    assert output.count("fatal: ") + len(explained) == 1, output
    _, _, error = output.partition("[ERROR]: ")
    error, _, _ = error.partition("\nOrigin: ")
    return " ".join([*explained, *error.split()])


def has_no_password(site: Site, done: Done) -> bool:
    return site.password not in done.output and WRONG_PASSWORD not in done.output


@dataclass(frozen=True)
class Case:
    """Wrong input, and what the error has to say."""

    words: list[str]
    variables: dict[str, Any] = field(default_factory=dict)
    env: Callable[[Site], dict[str, str | None]] = lambda _: {}
    arguments: tuple[str, ...] = ()


CASES = {
    "wrong password": Case(
        ["refuses the credentials of", "check user name, password"],
        env=lambda site: site.other_clouds(password=WRONG_PASSWORD),
        arguments=("-vvv",),
    ),
    "unreachable API": Case(
        ["http://127.0.0.1:9/v3", "check `auth_url`"],
        env=lambda site: site.other_clouds(auth_url="http://127.0.0.1:9/v3"),
    ),
    "no cloud named": Case(
        ["no cloud is named", "set `cloud` (or OS_CLOUD)", "clouds.yaml"],
        env=lambda _: {"OS_CLOUD": None, "OS_CLIENT_CONFIG_FILE": None},
    ),
    "unknown names": Case(
        [
            *("flavor 'GL99' does not exist", "Set `flavor` to one that exists", "fleet_gpu_*", "SL1.2-4096"),
            *("image 'debian-99' does not exist", "there is: debian-12"),
            *("availability zone 'ru-99z' does not exist", "ru-7a"),
            *("network 'nowhere' does not exist", "private", "fleet_network"),
            "nothing was created",
        ],
        {
            "fleet_gpu_flavor": "GL99",
            "fleet_gpu_image": "debian-99",
            "fleet_gpu_zones": ["ru-99z"],
            "fleet_network": "nowhere",
            "fleet_network_cidr": "",
        },
        arguments=("-vvv",),
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_wrong_input_is_one_error_and_nothing_created(site: Site, case: Case) -> None:
    done = site.play("site", *case.arguments, env=case.env(site), **case.variables)
    error = message(done)
    for word in case.words:
        assert word in error
    assert has_no_password(site, done)
    assert site.existing() == {}


# What the role `fleet`, with which site.yml begins, says of single variables
VARIABLES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "external": (
        {"fleet_external_network": "nowhere"},
        ["external network 'nowhere'", "Set fleet_external_network"],
    ),
    "several": (
        {"fleet_gpu_flavor": "", "fleet_admin_cidrs": [], "fleet_client_cidrs": ["10.77.0.0/99"]},
        [
            *("fleet_gpu_flavor is not set", "needed to create"),
            *("fleet_admin_cidrs is empty", "Set it to the networks that you work from"),
            *("fleet_client_cidrs", "'10.77.0.0/99' must be a network in CIDR notation such as"),
        ],
    ),
    "count": ({"fleet_gpu_count": -1}, ["fleet_gpu_count is -1", "a whole number from 0 to 200"]),
    "word": ({"fleet_gpu_count": "three"}, ["fleet_gpu_count", "'three'", "cannot be converted to an int"]),
    "key": ({"fleet_public_key_file": "/nonexistent.pub"}, ["fleet_public_key_file is /nonexistent.pub", "ssh-keygen"]),
}


def test_every_wrong_variable_has_its_error_and_nothing_is_created(site: Site) -> None:
    said = site.fleets({name: variables for name, (variables, _) in VARIABLES.items()})
    for name, (_, words) in VARIABLES.items():
        (error,) = said[name]
        for word in words:
            assert word in error, name
        assert "Nothing was created" in error or name == "word"
    assert site.existing() == {}


def test_check_mode_on_an_empty_cloud_says_what_it_would_do(site: Site) -> None:
    done = site.play("site", "--check", "--diff", fleet_gpu_count=2)
    assert done.status == 0, done.output
    for name in (f"{site.fleet}-manager", f"{site.fleet}-gpu-1", f"{site.fleet}-gpu-2"):
        assert re.search(rf"^ +{name}:\n-        status: absent\n\+ ", done.stdout, re.MULTILINE), done.stdout
    for thing in (
        f"key pair {site.fleet}-operator",
        f"network {site.fleet}",
        f"subnet {site.fleet} (192.0.2.0/24)",
        f"router {site.fleet} (to external-network)",
        f"item={site.fleet}-node",
    ):
        assert thing in done.stdout, done.stdout
    # The servers, key pair and network, and the security groups
    assert ansible.changed(done.stdout)["localhost"] == 3, done.stdout
    assert site.existing() == {}


def test_a_server_that_nobody_can_log_in_to_and_destroy(site: Site, cloud_environment: dict[str, str]) -> None:
    if Path(cloud_environment["OS_CLIENT_CONFIG_FILE"]).parent.name != "lab-fake":
        pytest.skip("only the servers of the in-memory lab answer no SSH")
    manager = f"{site.fleet}-manager"
    done = site.play("site", server_login_timeout=LOGIN_TIMEOUT, fleet_gpu_count=0)
    error = message(done)
    (server,) = site.world.servers()
    ((address,),) = server["addresses"].values()
    assert f"{manager} ({address['addr']}) could not be logged in to by SSH as {USER}" in error
    for word in ("fleet_admin_cidrs", "ansible_ssh_private_key_file", str(site.home / "id_ed25519"), "ansible_user"):
        assert word in error
    assert has_no_password(site, done)

    # What the error advises to change is still carried out: the manager's silence does not stop the next run
    done = site.play(
        "site", server_login_timeout=LOGIN_TIMEOUT, fleet_gpu_count=0, fleet_admin_cidrs=["198.51.100.7/32"]
    )
    assert f"{manager} ({address['addr']}) could not be logged in" in done.output
    rules = site.world.member.network.get("/security-group-rules").json()["security_group_rules"]
    assert "198.51.100.7/32" in [rule["remote_ip_prefix"] for rule in rules]

    # What stands is not told as missing
    done = site.play(
        "site", "--check", server_login_timeout=LOGIN_TIMEOUT, fleet_gpu_count=0, fleet_admin_cidrs=["198.51.100.7/32"]
    )
    assert ansible.changed(done.stdout)["localhost"] == 0, done.stdout

    before = site.existing()
    assert set(before) >= {"servers", "volumes", "ports", "networks", "routers", "security groups", "key pairs"}
    error = message(site.play("destroy", destroy_fleet="another"))
    assert f'The fleet is called {site.fleet}, not "another": nothing was deleted' in error
    assert f"-e destroy_fleet={site.fleet}" in error
    assert site.existing() == before

    done = site.play("destroy", destroy_fleet=site.fleet)
    assert done.status == 0, done.output
    assert site.existing() == {}
