# SPDX-License-Identifier: Apache-2.0
"""A cloud to test against, and the modules as Ansible starts them.

The cloud is the one that OS_CLIENT_CONFIG_FILE and OS_CLOUD name (an ordinary member; the administrator's
`admin-clouds.yaml` lies beside it). If they name none, the lab is raised in its in-memory mode for the session.
Everything that is made here carries a fleet name of its own and is removed at the end.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import openstack
import pytest
from ansible.module_utils.common import warnings
from ansible.module_utils.testing import patch_module_args

from ansible_collections.gpuswarm.ollama.plugins.module_utils._clients import catalogue, retry
from ansible_collections.gpuswarm.ollama.plugins.module_utils._runtime import patience, watch
from tests.kit import lab
from tests.kit.cloud import MICROVERSION, connect
from tests.kit.paths import BUILD
from tests.kit.waiting import until

PLUGINS = "ansible_collections.gpuswarm.ollama.plugins"
FLAVOR = "SL1.2-4096"
ZONE, OTHER_ZONE = "ru-7a", "ru-7b"


@pytest.fixture(scope="session")
def cloud_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of an ordinary member of the cloud."""
    with lab.cloud() as environment, pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        for name in ("ANSIBLE_LOCALHOST_WARNING", "ANSIBLE_INVENTORY_UNPARSED_WARNING"):
            patch.setenv(name, "0")
        yield environment


@pytest.fixture(scope="session")
def member(cloud_environment: dict[str, str]) -> openstack.connection.Connection:
    return connect(Path(cloud_environment["OS_CLIENT_CONFIG_FILE"]), cloud_environment["OS_CLOUD"], MICROVERSION)


@pytest.fixture(scope="session")
def admin(cloud_environment: dict[str, str]) -> openstack.connection.Connection:
    file = Path(cloud_environment["OS_CLIENT_CONFIG_FILE"]).with_name("admin-clouds.yaml")
    if not file.exists():
        pytest.skip(f"{file} is missing: this needs a lab")
    return connect(file, "lab-admin", MICROVERSION)


class World:
    """One fleet in the cloud, seen from outside the collection."""

    def __init__(self, member: openstack.connection.Connection, fleet: str) -> None:
        self.member = member
        self.nova = member.compute
        self.fleet = fleet
        self.key = fleet
        self.groups = [f"{fleet}-one", f"{fleet}-two"]

    def spec(self, name: str, **changes: Any) -> dict[str, Any]:
        """Options of a small preemptible server."""
        zone = changes.get("availability_zone", ZONE)
        return {
            "name": f"{self.fleet}-{name}",
            "flavor": FLAVOR,
            "image": "debian-12",
            "availability_zone": zone,
            "network": "private",
            "key_name": self.key,
            "volume_size": 1,
            "volume_type": f"fast.{zone}",
            "preemptible": True,
            **changes,
        }

    def servers(self, name: str | None = None) -> list[dict[str, Any]]:
        found = self.nova.get("/servers/detail", microversion="2.72").json()["servers"]
        mine = [s for s in found if s["metadata"].get("gpuswarm_fleet") == self.fleet]
        return [s for s in mine if name in (None, s["name"])]

    def volumes(self, name: str | None = None) -> list[dict[str, Any]]:
        found = self.member.block_storage.get("/volumes/detail").json()["volumes"]
        mine = [v for v in found if v["metadata"].get("gpuswarm_fleet") == self.fleet]
        return [v for v in mine if name in (None, v["metadata"]["gpuswarm_server"])]

    def ports(self, name: str | None = None) -> list[dict[str, Any]]:
        found = self.member.network.get("/ports").json()["ports"]
        mine = [p for p in found if f"gpuswarm_fleet={self.fleet} " in p["description"] + " "]
        return [p for p in mine if name in (None, p["name"])]

    def floating_ips(self) -> list[dict[str, Any]]:
        found = self.member.network.get("/floatingips").json()["floatingips"]
        return [f for f in found if f"gpuswarm_fleet={self.fleet} " in f["description"] + " "]

    def counts(self, name: str | None = None) -> tuple[int, int, int]:
        return len(self.servers(name)), len(self.volumes(name)), len(self.ports(name))

    def counts_of(self, names: Iterable[str]) -> dict[str, tuple[int, int, int]]:
        """The servers, volumes and ports of each name, read once for all."""
        servers = Counter(server["name"] for server in self.servers())
        volumes = Counter(volume["metadata"]["gpuswarm_server"] for volume in self.volumes())
        ports = Counter(port["name"] for port in self.ports())
        return {name: (servers[name], volumes[name], ports[name]) for name in names}

    def until(self, reached: Callable[[], bool], what: str, seconds: float = 300) -> None:
        """Waits for something of which the cloud tells nobody; the seconds are a guard against hanging."""
        until(what, reached, seconds, watch.delays(), tolerate=())

    def nothing_left(self, names: Collection[str]) -> None:
        """Waits until nothing of these names is there; Cinder deletes volumes after it has answered."""
        nothing = dict.fromkeys(names, (0, 0, 0))
        self.until(lambda: self.counts_of(names) == nothing, f"nothing is left of {', '.join(names)}")

    def wait(self, server_id: str, status: str) -> None:
        """Waits until a server is at rest in a status; "GONE": until it is not there any more."""

        def reached() -> bool:
            response = self.nova.get(f"/servers/{server_id}", microversion="2.72")
            if response.status_code == 404:
                assert status == "GONE", f"{server_id} is gone"
                return True
            server = response.json()["server"]
            return bool(server["status"] == status and not server["OS-EXT-STS:task_state"])

        self.until(reached, f"{server_id} is {status}")

    def act(self, server_id: str, action: str, becomes: str, by: openstack.connection.Connection | None = None) -> None:
        compute = (by or self.member).compute
        response = compute.post(f"/servers/{server_id}/action", json={action: None}, microversion="2.72")
        assert response.status_code == 202, response.text
        self.wait(server_id, becomes)

    def shelve(self, server_ids: Sequence[str]) -> None:
        """Shelves servers, all at once."""
        for one in server_ids:
            response = self.nova.post(f"/servers/{one}/action", json={"shelve": None}, microversion="2.72")
            assert response.status_code == 202, response.text

        def shelved() -> bool:
            there = {s["id"]: (s["status"], s["OS-EXT-STS:task_state"]) for s in self.servers()}
            return all(there[one] == ("SHELVED_OFFLOADED", None) for one in server_ids)

        self.until(shelved, "the servers are shelved")

    def delete_server(self, server_id: str) -> None:
        self.nova.delete(f"/servers/{server_id}")
        self.wait(server_id, "GONE")


@pytest.fixture(scope="session")
def world(member: openstack.connection.Connection) -> Iterator[World]:
    """A fleet of its own, with key pair and security groups; everything is removed at the end."""
    made = World(member, f"it{uuid.uuid4().hex[:6]}")
    public = BUILD / "none"
    for directory in (Path(os.environ.get("GPUSWARM_LAB_DIR", "/nonexistent")), Path.home() / ".ssh"):
        if (directory / "id_ed25519.pub").exists():
            public = directory / "id_ed25519.pub"
            break
    key = public.read_text() if public.exists() else None
    response = made.nova.post(
        "/os-keypairs",
        json={"keypair": {"name": made.key, **({"public_key": key} if key else {})}},
        microversion="2.72",
    )
    assert response.status_code in (200, 201), response.text
    groups = [member.network.create_security_group(name=name) for name in made.groups]
    yield made
    result = run_module("selectel_fleet", fleet=made.fleet, state="absent")
    made.nova.delete(f"/os-keypairs/{made.key}")
    for group in groups:
        member.network.delete_security_group(group.id)
    assert not result.get("failed"), result
    assert made.counts() == (0, 0, 0)
    assert not made.floating_ips()


def run_module(name: str, /, *, check: bool = False, diff: bool = True, **options: Any) -> dict[str, Any]:
    """A module's result, as Ansible would get it."""
    module = importlib.import_module(f"{PLUGINS}.modules.{name}")
    output = io.StringIO()
    arguments = {**options, "_ansible_check_mode": check, "_ansible_diff": diff}
    warnings._global_warnings.clear()  # a module's process has a life of one run only
    with patch_module_args(arguments), contextlib.redirect_stdout(output), contextlib.suppress(SystemExit):
        module.main()
    result = dict(json.loads(output.getvalue().strip().splitlines()[-1]))
    if result.get("failed"):
        print(f"{name}: {result['msg']}")  # pytest shows it when the test fails
    result["warnings"] = [w["event"]["msg"] if isinstance(w, dict) else w for w in result.get("warnings", ())]
    return result


Run = Callable[..., dict[str, Any]]


@pytest.fixture
def server(world: World) -> Run:
    """Runs selectel_server for the fleet."""

    def run(**options: Any) -> dict[str, Any]:
        return run_module("selectel_server", fleet=world.fleet, timeout=options.pop("timeout", 120), **options)

    return run


@pytest.fixture
def fleet(world: World) -> Run:
    """Runs selectel_fleet for the fleet."""

    def run(**options: Any) -> dict[str, Any]:
        return run_module("selectel_fleet", fleet=world.fleet, timeout=options.pop("timeout", 180), **options)

    return run


@contextlib.contextmanager
def together(world: World, specs: Mapping[str, dict[str, Any]]) -> Iterator[dict[str, dict[str, Any]]]:
    """Servers that are ACTIVE, made and deleted by one call each: specification and result's `server` by their key."""
    options: dict[str, Any] = {"fleet": world.fleet, "servers": list(specs.values()), "timeout": 600}
    did = run_module("selectel_fleet", **options)
    assert [s["action"] for s in did["servers"]] == ["create"] * len(specs), did
    assert not did.get("failed"), did
    yield {
        key: {"spec": spec, "server": result["server"]}
        for (key, spec), result in zip(specs.items(), did["servers"], strict=True)
    }
    gone = run_module("selectel_fleet", **options, state="absent")
    assert not gone.get("failed"), gone
    world.nothing_left([spec["name"] for spec in specs.values()])


def users_of(fixture: str, request: pytest.FixtureRequest) -> dict[str, Any]:
    """The module's tests that use a fixture and are to be run: the parameters that they give it, by the test's name."""
    users = [
        item
        for item in request.session.items
        if isinstance(item, pytest.Function)
        and item.getparent(pytest.Module) is request.node
        and fixture in item.fixturenames
    ]
    return {item.name: item.callspec.params.get(fixture, {}) if hasattr(item, "callspec") else {} for item in users}


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts and looks follow each other at once. How long the pauses are is in tests/unit/cloud/test_retry."""
    monkeypatch.setattr(retry, "BASE", 0.01)
    monkeypatch.setattr(catalogue, "SECOND_LOOK", 0.0)
    monkeypatch.setattr(patience, "CHECKS", tuple(0.01 for _ in patience.CHECKS))


@pytest.fixture
def zone_without_room(cloud_environment: dict[str, str]) -> Iterator[Callable[[], None]]:
    """Takes the other zone's room away for the test; the value gives it back earlier."""
    state = Path(cloud_environment["OS_CLIENT_CONFIG_FILE"]).parent
    mine = [each for each in (lab.LAB, lab.FAKE) if each.state == state]
    if not mine:
        pytest.skip("this needs the lab")
    with lab.without_room(OTHER_ZONE, mine[0]) as release:
        yield release
