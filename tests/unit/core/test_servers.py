# SPDX-License-Identifier: Apache-2.0
"""Views of servers, specifications, ownership, inventory entries."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.gpuswarm.ollama.plugins.module_utils._core import hosts
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.servers import (
    CAPACITY_TYPE,
    FLEET,
    PORT,
    ZONE,
    Server,
    Spec,
    description,
    owned_by_fleet,
    owner,
    server_metadata,
    simulated,
)

NOVA: dict[str, Any] = {
    "id": "s1",
    "name": "gpu-1",
    "status": "ACTIVE",
    "OS-EXT-STS:task_state": None,
    "OS-EXT-AZ:availability_zone": "ru-7a",
    "addresses": {
        "private": [
            {"addr": "fd00::5", "version": 6, "OS-EXT-IPS:type": "fixed"},
            {"addr": "10.0.0.5", "version": 4, "OS-EXT-IPS:type": "fixed"},
            {"addr": "198.51.100.7", "version": 4, "OS-EXT-IPS:type": "floating"},
        ]
    },
    "tags": ["preemptible"],
    "metadata": {FLEET: "demo", "gpuswarm_role": "gpu_worker", PORT: "p1", ZONE: "ru-7a"},
    "flavor": {"original_name": "big", "vcpus": 8},
    "security_groups": [{"name": "b"}, {"name": "a"}, {"name": "a"}],
    "os-extended-volumes:volumes_attached": [{"id": "v1", "delete_on_termination": False}],
    "created": "2026-01-01T12:00:00Z",
    "OS-SRV-USG:launched_at": "2026-01-01T12:00:05.000000",
}


def test_from_api() -> None:
    result = Server.from_api(NOVA).as_result()
    assert result == {
        "id": "s1",
        "name": "gpu-1",
        "role": "gpu_worker",
        "status": "ACTIVE",
        "task_state": None,
        "availability_zone": "ru-7a",
        "flavor": "big",
        "fixed_ip": "10.0.0.5",
        "floating_ip": "198.51.100.7",
        "tags": ["preemptible"],
        "metadata": NOVA["metadata"],
        "created_at": "2026-01-01T12:00:00Z",
        "launched_at": "2026-01-01T12:00:05.000000",
        "volume_id": "v1",
        "port_id": "p1",
        "preemptible": True,
        "capacity_type": "preemptible",
        "fault": None,
    }


@pytest.mark.parametrize(
    ("changes", "field", "expected"),
    [
        ({"OS-EXT-AZ:availability_zone": ""}, "availability_zone", "ru-7a"),
        ({"addresses": {}}, "fixed_ip", None),
        ({"addresses": None}, "floating_ip", None),
        ({"tags": []}, "capacity_type", "on_demand"),
        ({"tags": None}, "preemptible", False),
        ({"status": "expired"}, "status", "EXPIRED"),
        ({"status": "SOFT_DELETE"}, "status", "SOFT_DELETED"),
        ({"status": None}, "status", "UNKNOWN"),
        ({"fault": {"message": "No valid host", "code": 500}}, "fault", "No valid host"),
        ({"metadata": None}, "role", ""),
        ({"flavor": {"id": "f1"}}, "flavor", "f1"),
        ({"OS-EXT-STS:task_state": "shelving"}, "task_state", "shelving"),
    ],
)
def test_what_the_cloud_leaves_out(changes: dict[str, Any], field: str, expected: object) -> None:
    assert Server.from_api({**NOVA, **changes}).as_result()[field] == expected


def test_the_least_that_can_be_answered() -> None:
    assert Server.from_api({"id": "x"}).as_result()["status"] == "UNKNOWN"


def test_only_ours() -> None:
    listed = [
        Server.from_api({**NOVA, "id": i, "name": n, "metadata": m})
        for i, n, m in (
            ("1", "b", {FLEET: "demo"}),
            ("2", "a", {FLEET: "demo"}),
            ("3", "a", {FLEET: "other"}),
            ("4", "a", {}),
        )
    ]
    assert [s.id for s in owned_by_fleet(listed, "demo")] == ["2", "1"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (description("demo", "gpu-1"), ("demo", "gpu-1")),
        ("gpuswarm_fleet=demo", None),
        ("written by hand", None),
        ("", None),
        (None, None),
    ],
)
def test_owner(text: str | None, expected: tuple[str, str] | None) -> None:
    assert owner(text) == expected


def test_spec_from_options() -> None:
    spec = Spec.from_options(
        {"name": "m", "flavor": None, "tags": ["a"], "metadata": {"n": 1}, "fleet": "demo", "preemptible": True}
    )
    assert spec == Spec("m", tags=("a",), metadata={"n": "1"}, preemptible=True)
    assert spec.all_tags == ("preemptible", "a")


GOOD = {"name": "m", "flavor": "f", "image": "i", "availability_zone": "z", "network": "n"}


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"flavor": ""}, "`flavor`"),
        ({"image": ""}, "`image`"),
        ({"availability_zone": ""}, "`availability_zone`"),
        ({"network": ""}, "`network`"),
        ({"volume_size": 0}, "`volume_size`"),
        ({"role": "boss"}, "`role`"),
        ({"metadata": {"gpuswarm_fleet": "x"}}, "reserved"),
    ],
)
def test_spec_problems(changes: dict[str, Any], word: str) -> None:
    assert Spec(**GOOD).problems() == []  # type: ignore[arg-type]
    (problem,) = Spec(**{**GOOD, **changes}).problems()
    assert word in problem
    assert "'m'" in problem


def test_metadata_of_a_new_server() -> None:
    made = server_metadata(Spec(**{**GOOD, "metadata": {"k": "v"}}), "demo", "p1")  # type: ignore[arg-type]
    assert made[FLEET] == "demo"
    assert made[PORT] == "p1"
    assert made[CAPACITY_TYPE] == "on_demand"
    assert made["k"] == "v"
    assert all(len(value) <= 255 for value in made.values())


def test_simulated_server_has_no_id() -> None:
    result = simulated(Spec(**GOOD), "demo").as_result()  # type: ignore[arg-type]
    assert result["id"] is None
    assert result["status"] == "ACTIVE"


ADDRESSES = hosts.entry(Server.from_api(NOVA))["addresses"]


@pytest.mark.parametrize(
    ("kind", "network", "version", "expected"),
    [
        ("floating_or_fixed", None, None, "198.51.100.7"),
        ("floating", None, None, "198.51.100.7"),
        ("fixed", None, None, "10.0.0.5"),
        ("fixed", None, 6, "fd00::5"),
        ("floating_or_fixed", None, 6, "fd00::5"),
        ("floating", None, 6, None),
        ("fixed", "private", None, "10.0.0.5"),
        ("fixed", "elsewhere", None, None),
    ],
)
def test_choose(kind: str, network: str | None, version: int | None, expected: str | None) -> None:
    assert hosts.choose(ADDRESSES, kind, network, version) == expected


def test_groups() -> None:
    assert hosts.groups(Server.from_api(NOVA).as_result()) == [
        "gpu_workers",
        "status_active",
        "zone_ru-7a",
        "capacity_type_preemptible",
    ]
    bare = Server.from_api({"id": "x", "status": "BUILD"}).as_result()
    assert hosts.groups(bare) == ["status_build", "capacity_type_on_demand"]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, True),
        ({"status": "ACTIVE"}, True),
        ({"status": ["SHUTOFF", "ACTIVE"]}, True),
        ({"status": "SHUTOFF"}, False),
        ({"preemptible": True}, True),
        ({"preemptible": "True"}, True),
        ({"preemptible": False}, False),
        ({"tags": "preemptible"}, True),
        ({"tags": ["x"]}, False),
        ({"status": "ACTIVE", "role": "manager"}, False),
        ({"no such field": 1}, False),
        ({"fault": None}, True),
    ],
)
def test_filters(filters: dict[str, Any], expected: bool) -> None:
    assert hosts.matches(Server.from_api(NOVA).as_result(), filters) is expected


def test_repeated() -> None:
    entries = [
        hosts.entry(Server.from_api({**NOVA, "id": i, "name": n})) for i, n in (("1", "a"), ("2", "a"), ("3", "b"))
    ]
    assert list(hosts.repeated(entries)) == [("a", ["1", "2"])]
