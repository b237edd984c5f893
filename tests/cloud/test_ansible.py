# SPDX-License-Identifier: Apache-2.0
"""As an operator starts it: the ansible commands, inventory, lookup, and what must not be seen in their output."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cloud.conftest import OTHER_ZONE, World, run_module
from tests.kit import ansible
from tests.kit.commands import Done

SECRET = "s3cr3t-hunter2-password"


@pytest.fixture(scope="module")
def hosts(world: World) -> Iterator[dict[str, dict[str, Any]]]:
    """A manager that is ACTIVE, and two GPU workers, of which one is shelved."""
    specs = [
        world.spec("manager", role="manager", preemptible=False),
        world.spec("gpu-1"),
        world.spec("gpu-2", availability_zone=OTHER_ZONE),
    ]
    did = run_module("selectel_fleet", fleet=world.fleet, servers=specs, timeout=240)
    assert not did.get("failed"), did
    world.act(did["servers"][2]["server"]["id"], "shelve", "SHELVED_OFFLOADED")
    yield {name: server["server"] for name, server in zip(("manager", "gpu-1", "gpu-2"), did["servers"], strict=True)}
    run_module("selectel_fleet", fleet=world.fleet, servers=specs, state="absent", timeout=240)


@pytest.fixture
def inventory(tmp_path: Path, world: World) -> Path:
    file = tmp_path / "test.selectel.yml"
    file.write_text(yaml.safe_dump({"plugin": "gpuswarm.ollama.selectel", "fleet": world.fleet}))
    return file


def listed(file: Path, env: dict[str, str] | None = None, **more: Any) -> dict[str, Any]:
    if more:
        file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), **more}))
    return ansible.listing(file, env=env)


def tried(file: Path, *options: str, env: dict[str, str] | None = None) -> Done:
    """What comes of an inventory that may not be read."""
    return ansible.run("ansible-inventory", "-i", file, "--list", *options, env=env, check=False)


def test_inventory(hosts: dict[str, dict[str, Any]], world: World, inventory: Path) -> None:
    found = listed(
        inventory,
        compose={"where": "gpuswarm.availability_zone"},
        keyed_groups=[{"key": "gpuswarm.flavor", "prefix": "flavor"}],
        groups={"lost": "gpuswarm.status != 'ACTIVE'"},
    )
    manager, gpu_1, gpu_2 = (f"{world.fleet}-{name}" for name in hosts)
    assert found["manager"]["hosts"] == [manager]
    assert found["gpu_workers"]["hosts"] == [gpu_1, gpu_2]
    assert found["status_shelved_offloaded"]["hosts"] == found["lost"]["hosts"] == [gpu_2]
    assert found["zone_ru_7b"]["hosts"] == [gpu_2]
    assert found["capacity_type_preemptible"]["hosts"] == [gpu_1, gpu_2]
    assert found["capacity_type_on_demand"]["hosts"] == [manager]
    assert found["flavor_SL1_2_4096"]["hosts"] == [gpu_1, gpu_2, manager]
    variables = found["_meta"]["hostvars"]
    assert variables[gpu_1]["ansible_host"] == hosts["gpu-1"]["fixed_ip"]
    assert variables[gpu_1]["fleet_name"] == world.fleet
    assert variables[gpu_1]["where"] == "ru-7a"
    assert variables[gpu_2]["gpuswarm"]["status"] == "SHELVED_OFFLOADED"
    password = yaml.safe_load(Path(os.environ["OS_CLIENT_CONFIG_FILE"]).read_text())["clouds"]["lab"]["auth"][
        "password"
    ]
    assert f'"{password}"' not in json.dumps(found)


@pytest.mark.usefixtures("hosts")
def test_inventory_options(world: World, inventory: Path) -> None:
    found = listed(inventory, filters={"status": ["ACTIVE"]}, address="floating")
    assert found["gpu_workers"]["hosts"] == [f"{world.fleet}-gpu-1"]
    assert all("ansible_host" not in host for host in found["_meta"]["hostvars"].values())
    strict = yaml.safe_load(inventory.read_text()) | {"compose": {"x": "no_such_variable"}, "strict": True}
    inventory.write_text(yaml.safe_dump(strict))
    done = tried(inventory)
    assert "no_such_variable" in done.stderr


def test_inventory_of_nothing(inventory: Path) -> None:
    found = listed(inventory, fleet="no-such-fleet")
    assert {"manager", "gpu_workers"} <= set(found["all"]["children"])


@pytest.mark.usefixtures("hosts")
def test_inventory_cache(world: World, inventory: Path, tmp_path: Path) -> None:
    cache: dict[str, Any] = {
        "cache": True,
        "cache_plugin": "ansible.builtin.jsonfile",
        "cache_connection": str(tmp_path / "cache"),
    }
    first = listed(inventory, **cache)
    # The second needs no cloud any more
    assert listed(inventory, env={"OS_CLOUD": "nowhere"}) == first
    done = tried(inventory, "--flush-cache", env={"OS_CLOUD": "nowhere"})
    assert "'nowhere'" in done.stderr
    assert world.fleet not in done.stdout


def test_inventory_without_a_cloud(inventory: Path) -> None:
    done = tried(inventory, env={"OS_CLOUD": "nowhere"})
    for word in ("'nowhere'", "clouds.yaml", "inventory plugin gpuswarm.ollama.selectel"):
        assert word in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.usefixtures("hosts")
def test_module_and_secrets(world: World) -> None:
    config = yaml.safe_load(Path(os.environ["OS_CLIENT_CONFIG_FILE"]).read_text())["clouds"]["lab"]
    good = {"cloud": "lab", "fleet": world.fleet, "token_cache": ""}
    command = ("ansible", "localhost", "-vvv", "-e", f"ansible_python_interpreter={sys.executable}", "-m")
    done = ansible.run(*command, "gpuswarm.ollama.selectel_server_info", "-a", json.dumps(good))
    assert f"{world.fleet}-gpu-1" in done.stdout
    assert f'"{config["auth"]["password"]}"' not in done.output
    bad = {**good, "auth": {"password": SECRET}}
    done = ansible.run(*command, "gpuswarm.ollama.selectel_server_info", "-a", json.dumps(bad), check=False)
    assert done.status != 0
    assert "refuses the credentials" in done.stdout
    # What is typed on a command line is echoed by ansible itself; what the module says must not contain it
    said = done.stdout[done.stdout.index("refuses the credentials") :]
    assert SECRET not in said


@pytest.mark.usefixtures("cloud_environment")
def test_lookup() -> None:
    """Of a cloud that clouds.yaml has, and of one that it has not."""
    expression = "lookup('gpuswarm.ollama.cloud_config', inventory_hostname, name='here')"
    command = ("ansible", "lab,nowhere", "-i", "lab,nowhere,", "-c", "local", "-m", "ansible.builtin.debug")
    done = ansible.run(*command, "-a", f"msg={{{{ {expression} | to_json }}}}", check=False)
    said = " ".join(done.output.split())
    assert done.status == 2, said  # one host has failed
    found = said.partition("lab | SUCCESS")[2].partition("nowhere |")[0]
    assert "here" in found
    assert "auth_url" in found
    assert "nowhere | FAILED!" in said
    assert "'nowhere' is not in clouds.yaml" in said
