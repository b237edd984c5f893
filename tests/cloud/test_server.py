# SPDX-License-Identifier: Apache-2.0
"""selectel_server against real Nova: one server through every state."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import openstack
import pytest

from tests.cloud.conftest import OTHER_ZONE, Run, World, together, users_of


@pytest.fixture(scope="module")
def pool(world: World, request: pytest.FixtureRequest) -> Iterator[dict[str, dict[str, Any]]]:
    """A server for each test that wants one that is ACTIVE."""
    users = users_of("made", request).items()
    specs = {test: world.spec(f"made-{number}", **changes) for number, (test, changes) in enumerate(users)}
    with together(world, specs) as servers:
        yield servers


@pytest.fixture
def made(pool: dict[str, dict[str, Any]], request: pytest.FixtureRequest) -> dict[str, Any]:
    """A server that is ACTIVE: its specification as `spec`, the result's `server`. Parameter: more of the former."""
    return pool[request.node.name]


def test_present_and_absent(world: World, server: Run) -> None:
    spec = world.spec("life")
    would = server(check=True, **spec)
    assert (would["changed"], would["action"]) == (True, "create")
    assert would["diff"]["before"][spec["name"]] == {"status": "absent"}
    assert would["diff"]["after"][spec["name"]]["status"] == "ACTIVE"
    assert world.counts(spec["name"]) == (0, 0, 0)

    did = server(**spec)
    assert (did["changed"], did["action"], did["capacity_type"]) == (True, "create", "preemptible"), did
    assert world.counts(spec["name"]) == (1, 1, 1)
    (nova,) = world.servers(spec["name"])
    (volume,) = world.volumes(spec["name"])
    (port,) = world.ports(spec["name"])
    assert nova["tags"] == ["preemptible"]
    assert nova["OS-EXT-AZ:availability_zone"] == spec["availability_zone"]
    assert nova["key_name"] == spec["key_name"]
    assert nova["os-extended-volumes:volumes_attached"] == [{"id": volume["id"], "delete_on_termination": False}]
    assert volume["volume_type"] == spec["volume_type"]
    assert did["server"]["fixed_ip"] == port["fixed_ips"][0]["ip_address"]
    assert (did["server"]["volume_id"], did["server"]["port_id"]) == (volume["id"], port["id"])

    for check in (True, False):
        again = server(check=check, **spec)
        assert (again["changed"], again["action"], again["api_calls"]) == (False, "none", 1), again
        assert again["diff"] == {"before": {}, "after": {}}

    would = server(check=True, name=spec["name"], state="absent")
    assert (would["changed"], would["action"]) == (True, "delete")
    assert world.counts(spec["name"]) == (1, 1, 1)
    assert server(name=spec["name"], state="absent")["changed"] is True
    assert world.counts(spec["name"]) == (0, 0, 0)
    for check in (True, False):
        again = server(check=check, name=spec["name"], state="absent")
        assert (again["changed"], again["action"]) == (False, "none")


def test_shelved(world: World, server: Run, made: dict[str, Any]) -> None:
    spec, before = made["spec"], made["server"]
    world.act(before["id"], "shelve", "SHELVED_OFFLOADED")
    would = server(check=True, **spec)
    assert (would["changed"], would["action"]) == (True, "unshelve")
    assert would["diff"]["before"][spec["name"]]["status"] == "SHELVED_OFFLOADED"
    assert world.servers(spec["name"])[0]["status"] == "SHELVED_OFFLOADED"
    did = server(**spec)
    assert (did["changed"], did["action"], did["server"]["status"]) == (True, "unshelve", "ACTIVE")
    assert {k: did["server"][k] for k in ("id", "fixed_ip", "volume_id", "port_id")} == {
        k: before[k] for k in ("id", "fixed_ip", "volume_id", "port_id")
    }
    assert server(**spec)["changed"] is False


def test_while_it_is_being_shelved(world: World, server: Run, made: dict[str, Any]) -> None:
    spec = made["spec"]
    world.nova.post(f"/servers/{made['server']['id']}/action", json={"shelve": None}, microversion="2.72")
    did = server(**spec)
    assert (did["action"], did["server"]["status"]) == ("unshelve", "ACTIVE"), did


def test_deleted(world: World, server: Run, made: dict[str, Any]) -> None:
    spec, before = made["spec"], made["server"]
    world.delete_server(before["id"])
    assert server(check=True, **spec)["action"] == "create"
    did = server(**spec)
    assert (did["action"], did["server"]["status"]) == ("create", "ACTIVE")
    assert did["server"]["id"] != before["id"]
    for kept in ("fixed_ip", "volume_id", "port_id"):
        assert did["server"][kept] == before[kept]
    assert world.counts(spec["name"]) == (1, 1, 1)


def test_error(world: World, server: Run, made: dict[str, Any], admin: openstack.connection.Connection) -> None:
    spec, before = made["spec"], made["server"]
    body = {"os-resetState": {"state": "error"}}
    assert admin.compute.post(f"/servers/{before['id']}/action", json=body).status_code == 202
    world.wait(before["id"], "ERROR")
    would = server(check=True, **spec)
    assert (would["changed"], would["action"]) == (True, "recreate")
    did = server(**spec)
    assert (did["action"], did["server"]["status"]) == ("recreate", "ACTIVE"), did
    for kept in ("fixed_ip", "volume_id", "port_id"):
        assert did["server"][kept] == before[kept]
    assert world.counts(spec["name"]) == (1, 1, 1)


def test_stopped_is_left_alone(world: World, server: Run, made: dict[str, Any]) -> None:
    spec = made["spec"]
    world.act(made["server"]["id"], "os-stop", "SHUTOFF")
    for check in (True, False):
        did = server(check=check, **spec)
        assert (did["changed"], did["action"], did["server"]["status"]) == (False, "report", "SHUTOFF")
        assert any("restart_stopped" in warning for warning in did["warnings"])
    assert server(check=True, **spec, restart_stopped=True)["action"] == "start"
    did = server(**spec, restart_stopped=True)
    assert (did["changed"], did["action"], did["server"]["status"]) == (True, "start", "ACTIVE")


@pytest.mark.parametrize(
    ("action", "status", "back"), [("pause", "PAUSED", "unpause"), ("suspend", "SUSPENDED", "resume")]
)
def test_paused(world: World, server: Run, made: dict[str, Any], action: str, status: str, back: str) -> None:
    world.act(made["server"]["id"], action, status)
    did = server(**made["spec"])
    assert (did["changed"], did["action"], did["server"]["status"]) == (True, back, "ACTIVE")


def test_no_room_to_create(world: World, server: Run, zone_without_room: Callable[[], None]) -> None:
    spec = world.spec("no-room", availability_zone=OTHER_ZONE)
    did = server(**spec)
    assert did["failed"]
    assert did["error_kind"] == "no_capacity", did  # what Nova says ends the wait, not the time-out
    assert OTHER_ZONE in did["msg"]
    zone_without_room()
    did = server(**spec)
    assert (did["action"], did["server"]["status"]) == ("recreate", "ACTIVE"), did
    assert world.counts(spec["name"]) == (1, 1, 1)
    assert server(name=spec["name"], state="absent")["changed"] is True


@pytest.mark.parametrize("made", [{"availability_zone": OTHER_ZONE}], indirect=True)
def test_no_room_to_unshelve(world: World, server: Run, made: dict[str, Any], request: pytest.FixtureRequest) -> None:
    spec = made["spec"]
    world.act(made["server"]["id"], "shelve", "SHELVED_OFFLOADED")
    release = request.getfixturevalue("zone_without_room")
    did = server(**spec)
    assert did["failed"]
    # What Nova does ends the wait, not the time-out
    assert (did["error_kind"], did["server"]["status"]) == ("no_capacity", "SHELVED_OFFLOADED"), did
    release()
    did = server(**spec)
    assert (did["action"], did["server"]["id"]) == ("unshelve", made["server"]["id"]), did


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"flavor": "SL1.2-4097"}, ["flavor 'SL1.2-4097'", "SL1.2-4096", "`flavor`"]),
        ({"image": "debian-13"}, ["image 'debian-13'", "debian-12", "`image`"]),
        ({"availability_zone": "ru-7c"}, ["availability zone 'ru-7c'", "ru-7a", "`availability_zone`"]),
        ({"network": "privat"}, ["network 'privat'", "private", "`network`"]),
        ({"volume_type": "fast.ru-7z"}, ["volume type 'fast.ru-7z'", "fast.ru-7a", "`volume_type`"]),
        ({"volume_availability_zone": "x"}, ["volume availability zone 'x'", "ru-7a"]),
        ({"key_name": "nobody"}, ["key pair 'nobody'", "`key_name`"]),
        ({"security_groups": ["wide-open"]}, ["security group 'wide-open'", "`security_groups`"]),
        ({"floating_ip_network": "private"}, ["external network 'private'", "external-network"]),
        ({"flavor": None}, ["`flavor` is required"]),
        ({"volume_size": 0}, ["`volume_size` is 0"]),
        ({"flavor": "f", "image": "i", "network": "n"}, ["flavor 'f'", "image 'i'", "network 'n'"]),
    ],
)
@pytest.mark.parametrize("check", [True, False])
@pytest.mark.usefixtures("short_pauses")
def test_bad_specification(world: World, server: Run, changes: dict[str, Any], words: list[str], check: bool) -> None:
    spec = world.spec("bad", **{"volume_type": "fast.ru-7a", **changes})
    did = server(check=check, **spec)
    assert (did["failed"], did["changed"], did["error_kind"]) == (True, False, "preflight"), did
    for word in [*words, "nothing was created"]:
        assert word in did["msg"]
    assert world.counts(spec["name"]) == (0, 0, 0)
    assert not world.floating_ips()


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"auth": {"password": "not-the-password"}}, "auth", ["refuses the credentials", "password"]),
        ({"auth": {"auth_url": "http://127.0.0.1:9/v3"}, "timeout": 3}, "unreachable", ["127.0.0.1:9", "auth_url"]),
        ({"cloud": "nowhere"}, "config", ["'nowhere'", "clouds.yaml"]),
        ({"region_name": "ru-99"}, "config", ["ru-99"]),
    ],
)
@pytest.mark.usefixtures("short_pauses")
def test_no_way_to_the_cloud(world: World, server: Run, options: dict[str, Any], kind: str, words: list[str]) -> None:
    did = server(**world.spec("unreached"), **options)
    assert (did["failed"], did["error_kind"]) == (True, kind), did
    for word in words:
        assert word in did["msg"]
    assert "not-the-password" not in str(did)
    assert world.counts(f"{world.fleet}-unreached") == (0, 0, 0)


@pytest.mark.parametrize("made", [{"tags": ["x"], "metadata": {"k": "v"}}], indirect=True)
def test_drift_in_place(world: World, server: Run, made: dict[str, Any]) -> None:
    spec, ident = made["spec"], made["server"]["id"]
    world.nova.delete(f"/servers/{ident}/tags", microversion="2.72")
    world.nova.post(f"/servers/{ident}/metadata", json={"metadata": {"k": "other", "mine": "1"}}, microversion="2.72")
    changed = {**spec, "security_groups": [world.groups[0]]}
    would = server(check=True, **changed)
    assert (would["changed"], would["action"]) == (True, "update")
    assert world.servers(spec["name"])[0]["tags"] == []
    did = server(**changed)
    assert (did["changed"], did["action"]) == (True, "update"), did
    (nova,) = world.servers(spec["name"])
    assert sorted(nova["tags"]) == ["preemptible", "x"]
    assert (nova["metadata"]["k"], nova["metadata"]["mine"]) == ("v", "1")
    assert nova["security_groups"] == [{"name": world.groups[0]}]
    for check in (True, False):
        assert server(check=check, **changed)["changed"] is False
    (group,) = [g for g in world.member.network.security_groups() if g.name == world.groups[0]]
    assert server(**{**spec, "security_groups": [group.id]})["changed"] is False


def test_drift_that_cannot_be_mended(world: World, server: Run, made: dict[str, Any]) -> None:
    wrong = {"flavor": "GL10.8-32768-0-1GPU", "availability_zone": OTHER_ZONE, "image": "debian-12-docker"}
    did = server(**{**made["spec"], **wrong, "preemptible": False})
    assert (did["changed"], did["action"], did["server"]["id"]) == (False, "none", made["server"]["id"])
    assert len(did["warnings"]) == 4
    assert world.counts(made["spec"]["name"]) == (1, 1, 1)


def test_floating_ip(world: World, server: Run) -> None:
    spec = world.spec("floating", floating_ip_network="external-network")
    first = server(**spec)
    assert first["server"]["floating_ip"], first
    assert server(**spec)["changed"] is False
    world.delete_server(first["server"]["id"])
    assert server(**spec)["server"]["floating_ip"] == first["server"]["floating_ip"]
    (floating,) = world.floating_ips()
    world.member.network.delete_ip(floating["id"])
    # Neutron tells Nova a moment later
    world.until(lambda: len(world.servers(spec["name"])[0]["addresses"]["private"]) == 1, "the address is gone")
    did = server(**spec)
    assert (did["changed"], did["action"]) == (True, "update"), did
    assert did["server"]["floating_ip"]
    assert server(name=spec["name"], state="absent")["changed"]
    assert not world.floating_ips()


def test_keep_disk(world: World, server: Run, made: dict[str, Any]) -> None:
    spec = made["spec"]
    assert server(name=spec["name"], state="absent", keep_disk=True)["changed"] is True
    assert world.counts(spec["name"]) == (0, 1, 0)
    assert server(name=spec["name"], state="absent", keep_disk=True)["changed"] is False
    assert server(**spec)["server"]["volume_id"] == made["server"]["volume_id"]


def test_two_servers_of_one_name(world: World, server: Run, made: dict[str, Any]) -> None:
    spec = made["spec"]
    network = world.member.network.find_network("private", ignore_missing=False)
    body = {
        "name": spec["name"],
        "flavorRef": world.nova.find_flavor(spec["flavor"], ignore_missing=False).id,
        "imageRef": "",
        "networks": [{"uuid": network.id}],
        "metadata": {"gpuswarm_fleet": world.fleet},
        "availability_zone": spec["availability_zone"],
        "block_device_mapping_v2": [
            {
                "boot_index": 0,
                "uuid": world.member.image.find_image(spec["image"], ignore_missing=False).id,
                "source_type": "image",
                "destination_type": "volume",
                "volume_size": 1,
                "volume_type": spec["volume_type"],
                "delete_on_termination": True,
            }
        ],
    }
    second = world.nova.post("/servers", json={"server": body}, microversion="2.72").json()["server"]["id"]
    try:
        for state in ("present", "absent"):
            did = server(**{**spec, "state": state})
            assert (did["failed"], did["changed"], did["error_kind"]) == (True, False, "ambiguous"), did
            assert second in did["msg"]
            assert made["server"]["id"] in did["msg"]
        world.wait(second, "ACTIVE")
        # Once it does not carry the fleet's name, it is nobody's here
        world.nova.delete(f"/servers/{second}/metadata/gpuswarm_fleet", microversion="2.72")
        did = server(**spec)
        assert (did["changed"], did["action"]) == (False, "none")
        assert server(name=spec["name"], state="absent")["changed"] is True
        assert world.nova.get(f"/servers/{second}").status_code == 200
    finally:
        world.delete_server(second)


def test_two_volumes_and_two_ports_of_one_name(world: World, server: Run, made: dict[str, Any]) -> None:
    spec = made["spec"]
    world.delete_server(made["server"]["id"])
    (port,) = world.ports(spec["name"])
    twin = world.member.network.create_port(
        name=spec["name"], network_id=port["network_id"], description=port["description"]
    )
    did = server(**spec)
    assert (did["failed"], did["error_kind"]) == (True, "ambiguous"), did
    assert twin.id in did["msg"]
    assert port["id"] in did["msg"]
    world.member.network.delete_port(twin.id)
    (volume,) = world.volumes(spec["name"])
    other = world.member.block_storage.create_volume(
        name=spec["name"],
        size=1,
        availability_zone=volume["availability_zone"],
        volume_type=volume["volume_type"],
        metadata=volume["metadata"],
    )
    did = server(**spec)
    assert (did["failed"], did["error_kind"]) == (True, "ambiguous"), did
    assert other.id in did["msg"]
    assert volume["id"] in did["msg"]
    assert world.counts(spec["name"]) == (0, 2, 1)


def test_quota(world: World, server: Run, admin: openstack.connection.Connection) -> None:
    project = str(world.member.current_project_id)
    spec = world.spec("quota")
    before = admin.compute.get_quota_set(project).instances
    admin.compute.update_quota_set(project, instances=0, force=True)
    try:
        did = server(**spec)
    finally:
        admin.compute.update_quota_set(project, instances=before, force=True)
    assert (did["failed"], did["error_kind"]) == (True, "quota"), did
    assert "(instances)" in did["msg"]
    assert world.counts(spec["name"]) == (0, 0, 0)
    assert did["changed"] is False
