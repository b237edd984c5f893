"""The desired fleet out of variables: specifications, surplus, and errors that name the variable."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.fleet import (
    SURGE,
    FleetError,
    ingress_rules,
    is_surge,
    problems,
    server_specs,
    surge_specs,
    surplus,
)
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.servers import Spec

COMMON = {"flavor": "f", "image": "i", "volume_size": 10, "volume_type": "fast.{zone}"}


def settings(**gpu: Any) -> dict[str, Any]:
    return {
        "name": "demo",
        "network": "net",
        "key_name": "key",
        "manager": {**COMMON, "zones": ["a"], "floating_ip_network": "external"},
        "gpu_workers": {**COMMON, "zones": ["a", "b"], "count": 3, "preemptible": True, **gpu},
    }


def test_names_roles_and_zones_in_turn() -> None:
    specs = server_specs(settings())
    assert [(spec["name"], spec["role"], spec["availability_zone"], spec["volume_type"]) for spec in specs] == [
        ("demo-manager", "manager", "a", "fast.{zone}"),
        ("demo-gpu-1", "gpu_worker", "a", "fast.{zone}"),
        ("demo-gpu-2", "gpu_worker", "b", "fast.{zone}"),
        ("demo-gpu-3", "gpu_worker", "a", "fast.{zone}"),
    ]
    assert [spec["preemptible"] for spec in specs] == [False, True, True, True]
    assert {spec["preemptible_tag"] for spec in specs} == {"preemptible"}
    assert server_specs(settings(preemptible_tag="spot"))[1]["preemptible_tag"] == "spot"
    assert [spec["floating_ip_network"] for spec in specs] == ["external", None, None, None]


def test_strategies_are_the_gpu_servers_alone() -> None:
    strategies = {"alternatives": [{"zone": "b"}, {"zone": "b", "flavor": "g"}], "on_demand_fallback": True}
    manager, *workers = server_specs(
        {**settings(**strategies, strategy_timeouts={"unshelve": "60"}), "capacity_memory": "m"}
    )
    places = [{"availability_zone": "b"}, {"availability_zone": "b", "flavor": "g"}]
    assert [w["alternatives"] for w in workers] == [places] * 3
    assert {w["on_demand_fallback"] for w in workers} == {True}
    assert workers[0]["strategy_timeouts"] == {"unshelve": 60}
    assert (manager["alternatives"], manager["on_demand_fallback"], manager["strategy_timeouts"]) == ([], False, {})
    assert manager["capacity_memory"] == workers[0]["capacity_memory"] == "m"


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (None, [("f", "i", 10, "a"), ("f", "i", 10, "b")]),
        ({}, [("f", "i", 10, "a"), ("f", "i", 10, "b")]),
        ({2: {"image": "j"}}, [("f", "i", 10, "a"), ("f", "j", 10, "b")]),
        ({"2": {"image": "j"}}, [("f", "i", 10, "a"), ("f", "j", 10, "b")]),  # from a file of JSON
        ({1: {"flavor": "g", "volume_size": "50"}}, [("g", "i", 50, "a"), ("f", "i", 10, "b")]),
        ({1: {"zone": "c"}, 2: {"volume_size": 20}}, [("f", "i", 10, "c"), ("f", "i", 20, "b")]),
        ({3: {"image": "j"}}, [("f", "i", 10, "a"), ("f", "i", 10, "b")]),  # for when there are more
    ],
)
def test_single_gpu_servers_may_differ(overrides: object, expected: list[tuple[str, str, int, str]]) -> None:
    manager, *workers = server_specs(settings(count=2, overrides=overrides))
    found = [(s["flavor"], s["image"], s["volume_size"], s["availability_zone"]) for s in workers]
    assert found == expected
    assert (manager["flavor"], manager["image"]) == ("f", "i")


@pytest.mark.parametrize("count", [0, "0", 1, "5", 200])
def test_counts(count: object) -> None:
    assert len(server_specs(settings(count=count))) == 1 + int(str(count))


def test_a_server_keeps_its_zone_when_the_count_changes() -> None:
    few, many = server_specs(settings(count=2)), server_specs(settings(count=9))
    assert few == many[: len(few)]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"count": -1}, "fleet_gpu_count"),
        ({"count": 201}, "fleet_gpu_count"),
        ({"count": "three"}, "fleet_gpu_count"),
        ({"count": True}, "fleet_gpu_count"),
        ({"count": None}, "fleet_gpu_count"),
        ({"flavor": ""}, "fleet_gpu_flavor"),
        ({"image": None}, "fleet_gpu_image"),
        ({"zones": []}, "fleet_gpu_zones"),
        ({"zones": "a"}, "fleet_gpu_zones"),
        ({"zones": ["a", ""]}, "fleet_gpu_zones"),
        ({"volume_size": 0}, "fleet_gpu_volume_size"),
        ({"volume_size": "big"}, "fleet_gpu_volume_size"),
        ({"alternatives": "b"}, "fleet_gpu_alternatives"),
        ({"alternatives": {"zone": "b"}}, "fleet_gpu_alternatives"),
        ({"alternatives": [{}]}, "fleet_gpu_alternatives"),
        ({"alternatives": [{"availability_zone": "b"}]}, "fleet_gpu_alternatives"),
        ({"alternatives": [{"zone": ""}]}, "fleet_gpu_alternatives"),
        ({"overrides": [{"image": "j"}]}, "fleet_gpu_overrides is"),
        ({"overrides": {"two": {"image": "j"}}}, "A key of fleet_gpu_overrides is 'two'"),
        ({"overrides": {0: {"image": "j"}}}, "A key of fleet_gpu_overrides is 0"),
        ({"overrides": {True: {"image": "j"}}}, "A key of fleet_gpu_overrides is True"),
        ({"overrides": {2: {}}}, r"fleet_gpu_overrides\[2\]"),
        ({"overrides": {2: None}}, r"fleet_gpu_overrides\[2\]"),
        ({"overrides": {2: "j"}}, r"fleet_gpu_overrides\[2\]"),
        ({"overrides": {2: {"image": ""}}}, r"fleet_gpu_overrides\[2\]"),
        ({"overrides": {2: {"preemptible": False}}}, r"fleet_gpu_overrides\[2\] .* flavor, image, volume_size"),
        ({"overrides": {2: {"volume_size": 0}}}, r"fleet_gpu_overrides\[2\].volume_size"),
        ({"strategy_timeouts": {"unshelf": 3}}, "fleet_gpu_strategy_timeouts"),
        ({"strategy_timeouts": {"unshelve": 0}}, "fleet_gpu_strategy_timeouts.unshelve"),
        ({"strategy_timeouts": 300}, "fleet_gpu_strategy_timeouts"),
    ],
)
def test_a_wrong_variable_is_named(change: dict[str, Any], named: str) -> None:
    with pytest.raises(FleetError, match=named):
        server_specs(settings(**change))


@pytest.mark.parametrize("name", ["", None, "Demo", "1demo", "demo_x", "demo-", "x" * 41])
def test_a_wrong_fleet_name_is_named(name: object) -> None:
    with pytest.raises(FleetError, match="fleet_name"):
        server_specs({**settings(), "name": name})


def test_the_network_is_named() -> None:
    with pytest.raises(FleetError, match="fleet_network is not set"):
        server_specs({**settings(), "network": ""})


def test_surplus_is_gpu_servers_only_highest_number_first() -> None:
    names = ["demo-manager", *(f"demo-gpu-{number}" for number in range(1, 12))]
    servers = [{"name": name, "role": "manager" if "manager" in name else "gpu_worker"} for name in names]
    assert surplus(server_specs(settings(count=8)), servers) == ["demo-gpu-11", "demo-gpu-10", "demo-gpu-9"]
    assert surplus([], [{"name": "demo-manager", "role": "manager"}]) == []


def test_ingress_rules_for_every_network_and_port() -> None:
    rules = ingress_rules(["203.0.113.7/32", "2001:db8::/64"], [80, 443])
    assert [(rule["ether_type"], rule["remote_ip_prefix"], rule["port_range_min"]) for rule in rules] == [
        ("IPv4", "203.0.113.7/32", 80),
        ("IPv4", "203.0.113.7/32", 443),
        ("IPv6", "2001:db8::/64", 80),
        ("IPv6", "2001:db8::/64", 443),
    ]
    assert ingress_rules([], [80]) == []


@pytest.mark.parametrize("network", ["", "everywhere", "203.0.113.7/24", "300.0.0.0/8"])
def test_a_wrong_network_is_named(network: str) -> None:
    with pytest.raises(FleetError, match="CIDR"):
        ingress_rules([network], [22])


def network_settings(**changes: Any) -> dict[str, Any]:
    right = {
        "admin_cidrs": ["203.0.113.7/32"],
        "client_cidrs": [],
        "client_ports": [80],
        "network_cidr": "192.168.180.0/24",
        "network_pool": {"start": "192.168.180.20", "end": "192.168.180.99"},
        "network_dns": ["192.0.2.53", "2001:db8::53"],
    }
    return {**settings(), **right, **changes}


@pytest.mark.parametrize(
    "changes", [{}, {"network_cidr": "", "network_pool": {"start": "x"}}, {"network_pool": {}}, {"network_dns": []}]
)
def test_right_variables_have_no_problem(changes: dict[str, Any]) -> None:
    assert problems(network_settings(**changes)) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "Demo"}, ["fleet_name", "'Demo'"]),
        ({"admin_cidrs": []}, ["fleet_admin_cidrs is empty"]),
        ({"admin_cidrs": "203.0.113.7/32"}, ["fleet_admin_cidrs", "a list"]),
        ({"admin_cidrs": ["203.0.113.777"]}, ["fleet_admin_cidrs", "'203.0.113.777'"]),
        ({"client_cidrs": ["10.0.0.1/8"]}, ["fleet_client_cidrs", "host bits"]),
        ({"client_cidrs": None}, ["fleet_client_cidrs", "a list"]),
        ({"client_ports": 80}, ["fleet_client_ports", "a list"]),
        ({"client_ports": [80, 70000]}, ["fleet_client_ports", "70000", "65535"]),
        ({"network_cidr": "192.168.180.0/33"}, ["fleet_network_cidr", "'192.168.180.0/33'"]),
        ({"network_pool": {"start": "192.168.180.20"}}, ["fleet_network_pool", "both"]),
        ({"network_pool": {"start": "192.168.180.20", "end": "192.168.181.99"}}, ["fleet_network_pool.end", "not in"]),
        ({"network_pool": {"start": "20", "end": "192.168.180.99"}}, ["fleet_network_pool.start", "'20'"]),
        ({"network_dns": ["dns.example"]}, ["fleet_network_dns", "'dns.example'"]),
    ],
)
def test_each_wrong_variable_is_one_problem(changes: dict[str, Any], words: list[str]) -> None:
    (problem,) = problems(network_settings(**changes))
    assert all(word in problem for word in words)


def test_all_problems_are_told_at_once() -> None:
    found = problems(network_settings(name="", admin_cidrs=[], client_cidrs=["x"], network_cidr="y"))
    assert len(found) == 4


@pytest.mark.parametrize(
    ("count", "name", "zone"),
    [(1, "demo-gpu-2", "a"), (2, "demo-gpu-3", "a"), (3, "demo-gpu-4", "b"), (9, "demo-gpu-10", "b")],
)
def test_the_extra_server_is_the_next_one_and_like_the_others(count: int, name: str, zone: str) -> None:
    gpu = settings(count=count, alternatives=[{"zone": "b"}], on_demand_fallback=True)
    specs = server_specs({**gpu, "capacity_memory": "m"})
    (extra,) = surge_specs(specs)
    own = {"name": name, "availability_zone": zone, "metadata": {SURGE: "true"}}
    assert extra == {**specs[-1], **own, "on_demand_fallback": False, "capacity_memory": None}
    assert is_surge(extra)
    assert not any(is_surge(spec) for spec in specs)
    # The probe knows no more than names and roles, and comes to the same name.
    assert surge_specs([{"name": s["name"], "role": s["role"]} for s in specs])[0]["name"] == name
    # Its mark is metadata that the modules take, and site.yml takes it away like every server that is not listed.
    assert Spec.from_options({**extra, "key_name": None}).problems() == []
    assert surplus(specs, [{**extra, "status": "ACTIVE"}]) == [name]


def test_no_gpu_server_no_extra_server() -> None:
    assert surge_specs(server_specs(settings(count=0))) == []
