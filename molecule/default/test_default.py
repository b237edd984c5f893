"""What a cluster looks like once site.yml is done."""

from __future__ import annotations

import json
import urllib.request
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from ansible_collections.gpuswarm.ollama.molecule.operations import Cluster, Connect, Host

Docker = Callable[[str], Any]


def call(url: str, body: dict[str, Any] | None = None) -> tuple[dict[str, Any], str]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers={"Content-Type": "application/json"})  # noqa: S310 - http
    with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
        return json.load(response), response.headers.get("X-Served-By", "")


def inspect_nodes(manager: Host) -> list[dict[str, Any]]:
    nodes: list[dict[str, Any]] = json.loads(manager.check_output("docker node ls -q | xargs docker node inspect"))
    return nodes


def test_every_server_is_one_ready_node(manager: Host, cluster: Cluster) -> None:
    states = {node["Description"]["Hostname"]: node["Status"]["State"] for node in inspect_nodes(manager)}
    assert states == dict.fromkeys((cluster.manager, *cluster.workers), "ready")
    assert len(inspect_nodes(manager)) == len(states), "a dead twin is left"


def test_the_manager_leads(manager: Host, cluster: Cluster) -> None:
    leaders = [
        node["Description"]["Hostname"]
        for node in inspect_nodes(manager)
        if node.get("ManagerStatus", {}).get("Leader")
    ]
    assert leaders == [cluster.manager]


def test_gpu_nodes_are_labelled(manager: Host, cluster: Cluster) -> None:
    labels = {node["Description"]["Hostname"]: node["Spec"]["Labels"] for node in inspect_nodes(manager)}
    for name in cluster.workers:
        assert labels[name].items() >= {"node.gpu": "true", "node.gpu.model": "rtx4090"}.items()
    assert "node.gpu" not in labels[cluster.manager]


def test_gpu_servers_are_preemptible_and_the_manager_is_not(cluster: Cluster) -> None:
    assert {name: "preemptible" in cluster.server(name)["tags"] for name in (cluster.manager, *cluster.workers)} == {
        cluster.manager: False,
        **dict.fromkeys(cluster.workers, True),
    }


def test_gpu_servers_are_spread_over_zones(cluster: Cluster) -> None:
    counts = Counter(cluster.server(name)["availability_zone"] for name in cluster.workers)
    assert max(counts.values()) - min(counts.values()) <= 1
    assert len(counts) == 2


def test_one_ollama_on_every_gpu_server(docker: Docker, cluster: Cluster) -> None:
    tasks = docker("service ps --filter desired-state=running --format '{{json .}}' gpuswarm_ollama")
    assert sorted(task["Node"] for task in tasks) == list(cluster.workers)
    assert all(task["CurrentState"].startswith("Running") for task in tasks)


def test_gateway_runs_on_the_manager(docker: Docker, cluster: Cluster) -> None:
    tasks = docker("service ps --filter desired-state=running --format '{{json .}}' gpuswarm_gateway")
    assert [task["Node"] for task in tasks] == [cluster.manager]


def test_gateway_lists_the_models(cluster: Cluster) -> None:
    tags, _ = call(f"{cluster.gateway}/api/tags")
    assert "tiny:latest" in [model["name"] for model in tags["models"]]


def test_every_gpu_server_answers_through_the_gateway(cluster: Cluster) -> None:
    served = set()
    for _ in range(12):
        answer, server = call(
            f"{cluster.gateway}/api/generate",
            {"model": "tiny", "prompt": "hello", "stream": False, "options": {"num_predict": 8}},
        )
        assert answer["done"]
        served.add(server)
    assert len(served) == len(cluster.workers)


def test_docker_runs_everywhere(cluster: Cluster, connect: Connect) -> None:
    for name in (cluster.manager, *cluster.workers):
        service = connect(name).service("docker")
        assert service.is_running, name
        assert service.is_enabled, name


def test_recovery_timer_runs(manager: Host) -> None:
    timer = manager.service("gpuswarm-recover.timer")
    assert timer.is_running
    assert timer.is_enabled


@pytest.mark.parametrize(
    ("path", "mode"),
    [
        ("/etc/gpuswarm", 0o700),
        ("/etc/gpuswarm/clouds.yaml", 0o600),
        ("/etc/gpuswarm/probe.json", 0o600),
        ("/etc/systemd/system/gpuswarm-recover.service", 0o644),
        ("/etc/systemd/system/gpuswarm-recover.timer", 0o644),
        ("/opt/gpuswarm/requirements.txt", 0o644),
    ],
)
def test_files_belong_to_root_with_the_right_mode(manager: Host, path: str, mode: int) -> None:
    file = manager.file(path)
    assert file.exists
    assert (file.user, file.group, oct(file.mode)) == ("root", "root", oct(mode))


def test_no_secret_is_readable_by_others(manager: Host) -> None:
    loose = manager.check_output("find /etc/gpuswarm -type f -perm /077 ! -name '*.pub'")
    assert loose == ""
