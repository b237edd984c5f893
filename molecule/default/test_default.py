"""What a cluster looks like once site.yml is done."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import httpx
import pytest

from tests.kit.clients import ask
from tests.kit.cluster import Cluster, Host
from tests.kit.docker import Docker
from tests.kit.names import CONFIGURATION, GATEWAY, LABELS, PROBE_SETTINGS, SOFTWARE

UNITS = Path("/etc/systemd/system")


def test_every_server_is_one_ready_node(docker: Docker, cluster: Cluster) -> None:
    nodes = docker.nodes()
    assert {node.hostname: node.state for node in nodes} == dict.fromkeys(cluster.names, "ready")
    assert len(nodes) == len(cluster.names), "a dead twin is left"


def test_the_manager_leads(docker: Docker, cluster: Cluster) -> None:
    assert [node.hostname for node in docker.nodes() if node.leader] == [cluster.manager]


def test_gpu_nodes_are_labelled(docker: Docker, cluster: Cluster) -> None:
    labels = {node.hostname: node.labels for node in docker.nodes()}
    for name in cluster.workers:
        assert labels[name].items() >= LABELS.items()
    assert "node.gpu" not in labels[cluster.manager]


def test_gpu_servers_are_preemptible_and_the_manager_is_not(cluster: Cluster) -> None:
    assert {name: "preemptible" in cluster.server(name)["tags"] for name in cluster.names} == {
        cluster.manager: False,
        **dict.fromkeys(cluster.workers, True),
    }


def test_gpu_servers_are_spread_over_zones(cluster: Cluster) -> None:
    counts = Counter(cluster.server(name)["availability_zone"] for name in cluster.workers)
    assert max(counts.values()) - min(counts.values()) <= 1
    assert len(counts) == 2


def test_one_ollama_on_every_gpu_server(docker: Docker, cluster: Cluster) -> None:
    tasks = docker.tasks()
    assert sorted(task.node for task in tasks) == list(cluster.workers)
    assert all(task.state == "running" for task in tasks)


def test_gateway_runs_on_the_manager(docker: Docker, cluster: Cluster) -> None:
    assert [task.node for task in docker.tasks(GATEWAY)] == [cluster.manager]


def test_gateway_lists_the_models(cluster: Cluster) -> None:
    tags = httpx.get(f"{cluster.gateway}/api/tags", timeout=30).raise_for_status().json()
    assert "tiny:latest" in [model["name"] for model in tags["models"]]


def test_every_gpu_server_answers_through_the_gateway(cluster: Cluster) -> None:
    answers = [ask(cluster.gateway, stream=False, tokens=8) for _ in range(12)]
    assert all(answer.complete for answer in answers), answers
    assert len({answer.server for answer in answers}) == len(cluster.workers)


def test_docker_runs_everywhere(cluster: Cluster) -> None:
    for name in cluster.names:
        service = cluster.connect(name).service("docker")
        assert service.is_running, name
        assert service.is_enabled, name


def test_recovery_timer_runs(manager: Host) -> None:
    timer = manager.service("gpuswarm-recover.timer")
    assert timer.is_running
    assert timer.is_enabled


@pytest.mark.parametrize(
    ("path", "mode"),
    [
        (CONFIGURATION, 0o700),
        (CONFIGURATION / "clouds.yaml", 0o600),
        (PROBE_SETTINGS, 0o600),
        (UNITS / "gpuswarm-recover.service", 0o644),
        (UNITS / "gpuswarm-recover.timer", 0o644),
        (SOFTWARE / "requirements.txt", 0o644),
    ],
)
def test_files_belong_to_root_with_the_right_mode(manager: Host, path: Path, mode: int) -> None:
    file = manager.file(str(path))
    assert file.exists
    assert (file.user, file.group, oct(file.mode)) == ("root", "root", oct(mode))


def test_no_secret_is_readable_by_others(manager: Host) -> None:
    loose = manager.check_output(f"find {CONFIGURATION} -type f -perm /077 ! -name '*.pub'")
    assert loose == ""
