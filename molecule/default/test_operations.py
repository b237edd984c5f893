"""What an operator does with a cluster that stands: look, add a server, take one away; and what must not leak."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.kit import lab
from tests.kit.ansible import changed, failures
from tests.kit.answers import MODEL, Log
from tests.kit.clients import ask, asking
from tests.kit.cluster import Cluster, Host
from tests.kit.docker import Docker
from tests.kit.lab import INVENTORY, LAB
from tests.kit.names import CONFIGURATION, PYTHON
from tests.kit.waiting import until
from tests.kit.watching import sampled

SECOND, EXTRA = "tiny-too", "lab-gpu-4"
# When the engine of a server was started.
STARTED = "systemctl show --property=ActiveEnterTimestamp docker.service"
# One client, whose answers come in one piece.
LOAD: dict[str, Any] = {"streams": (False,), "tokens": 8, "pause_s": 0.1}


@pytest.fixture(scope="module")
def secrets(manager: Host) -> dict[str, str]:
    """What must not appear anywhere: passwords, tokens, private keys (a line out of the middle of each)."""

    def middle(text: str) -> str:
        return text.splitlines()[2]

    return {
        "cloud password": (LAB.state / "member-password").read_text(encoding="utf-8").strip(),
        "join token of workers": manager.check_output("docker swarm join-token -q worker"),
        "join token of managers": manager.check_output("docker swarm join-token -q manager"),
        "operator's private key": middle(LAB.ssh_key.read_text(encoding="utf-8")),
        "manager's private key": middle(manager.check_output(f"cat {CONFIGURATION / 'ssh' / 'id_ed25519'}")),
    }


def in_arguments(secrets: dict[str, str]) -> set[str]:
    """Names of secrets in an argument of any process here, those of the lab's servers (containers) included."""
    seen: set[str] = set()
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = file.read_bytes()
        except OSError:
            continue  # it has ended
        seen.update(name for name, secret in secrets.items() if secret.encode() in words)
    return seen


def leaks(output: str, secrets: dict[str, str]) -> list[str]:
    return [name for name, secret in secrets.items() if secret in output]


def test_check_mode_on_a_converged_cluster_reports_no_change(secrets: dict[str, str]) -> None:
    output = lab.playbook("site", "--check", "--diff").output
    assert set(changed(output).values()) == {0}, output[-6000:]
    assert leaks(output, secrets) == []


def test_status_shows_every_server(cluster: Cluster) -> None:
    output = lab.playbook("status").output
    for name in cluster.names:
        assert re.search(rf"{name} +ACTIVE .* ready .* healthy", output), output


def test_status_for_programs(cluster: Cluster) -> None:
    as_json = {"ANSIBLE_CALLBACK_RESULT_FORMAT": "json"}
    output = lab.playbook("status", variables={"status_output": "json"}, env=as_json).output
    told = json.loads(output[output.rindex("=> {") + 3 : output.rindex("}") + 1])["msg"]
    assert told["as_desired"] is True
    assert sorted(server["server"] for server in told["servers"]) == sorted(cluster.names)


def roll(docker: Docker, *arguments: str, **options: Any) -> str:
    """Run site, and wait until Swarm has rolled."""
    output = lab.playbook("site", *arguments, **options).output

    def rolled() -> bool:
        # There is no status when Swarm has not begun yet.
        state = (docker.service().get("UpdateStatus") or {}).get("State")
        assert state != "paused", docker.tasks(ended=True)
        return bool(state == "completed")

    until("Swarm has rolled", rolled, 300, 1, show=lambda: f"{docker.tasks(ended=True)}")
    return output


def configuration(cluster: Cluster) -> str:
    """Which configuration the gateway works with."""
    return str(httpx.get(f"{cluster.gateway}/health", timeout=10).raise_for_status().json()["configuration"])


def replicas(docker: Docker) -> dict[str, str]:
    """The tasks of Ollama that are to run: their servers and ids."""
    return {task.node: task.id for task in docker.tasks()}


@dataclass(frozen=True)
class Grown:
    """What was seen while the cluster got a server, a model and a setting more, and how things were before."""

    output: str
    log: Log
    running: list[int]
    in_arguments: set[str]
    replicas: dict[str, str]
    configuration: str


@pytest.fixture(scope="module")
def grown(
    tmp_path_factory: pytest.TempPathFactory, cluster: Cluster, docker: Docker, secrets: dict[str, str]
) -> Iterator[Grown]:
    """The cluster with a server, a model and a setting more."""
    inventory = tmp_path_factory.mktemp("inventory") / "lab"
    shutil.copytree(INVENTORY, inventory)
    variables = inventory / "group_vars" / "all.yml"
    text = variables.read_text(encoding="utf-8")
    for old, new in (
        ("fleet_gpu_count: 3", "fleet_gpu_count: 4"),
        ("ollama_models: [tiny]", f"ollama_models: [tiny, {SECOND}]\ngateway_read_timeout: 300"),
    ):
        assert text.count(old) == 1
        text = text.replace(old, new)
    variables.write_text(text, encoding="utf-8")
    configured, before = configuration(cluster), replicas(docker)
    eye = Docker(cluster.connect(cluster.manager))  # a connection of the thread's own

    def running() -> int:
        """Replicas that Swarm counts as running; with a health check these are the healthy ones."""
        return sum(task.state == "running" for task in eye.tasks(ended=True))

    try:
        with (
            sampled(lambda: in_arguments(secrets), 0.1) as arguments,
            asking(cluster.gateway, **LOAD) as log,
            sampled(running, 0.3) as counts,
        ):
            output = roll(docker, "-vvv", inventory=inventory)
        yield Grown(output, log, counts, set().union(*arguments), before, configured)
    finally:
        if EXTRA in docker.hostnames().values():
            lab.playbook("site")


def test_a_server_a_model_and_a_setting_more_and_nothing_leaks_or_is_lost(
    grown: Grown, cluster: Cluster, docker: Docker, secrets: dict[str, str]
) -> None:
    assert leaks(grown.output, secrets) == []
    assert grown.in_arguments == set()
    # Every server that was there has pulled the model before any replica was stopped; nothing else of it was changed.
    changes = changed(grown.output)
    assert {host: changes[host] for host in cluster.workers} == dict.fromkeys(cluster.workers, 1)
    assert grown.output.count(f"=> (item={SECOND})") >= len(cluster.workers), failures(grown.output)
    assert {node.hostname: node.state for node in docker.nodes()}[EXTRA] == "ready"
    after = replicas(docker)
    assert sorted(after) == [*cluster.workers, EXTRA]
    assert not set(grown.replicas.values()) & set(after.values()), "not all of them were replaced"
    assert configuration(cluster) != grown.configuration
    assert grown.log.lost() == []
    assert len(grown.log.answers()) > 50
    assert min(grown.running) >= len(cluster.workers) - 1
    served = [ask(cluster.gateway, SECOND, stream=False, tokens=8) for _ in range(16)]
    assert all(answer.complete for answer in served), served
    assert len({answer.server for answer in served}) == len(cluster.workers) + 1


@pytest.mark.usefixtures("grown")
def test_what_is_less_goes_without_a_lost_answer_and_models_when_asked_for(cluster: Cluster, docker: Docker) -> None:
    # Two engines have a configuration that they have not read: each is restarted, while the others serve.
    restarted = cluster.workers[:2]
    before = {name: cluster.connect(name).check_output(STARTED) for name in cluster.names}
    for name in restarted:
        cluster.connect(name).check_output("touch /etc/docker/daemon.json")
    with asking(cluster.gateway, **LOAD) as log:
        output = roll(docker)
    assert log.lost() == []
    after = {name: cluster.connect(name).check_output(STARTED) for name in cluster.names}
    assert {name for name in cluster.names if before[name] != after[name]} == set(restarted)
    first, second = sorted(restarted, key=lambda name: output.index(f"Drain {name}"))
    assert output.index(f"Drain {first}") < output.index(f"Activate {first}") < output.index(f"Drain {second}")
    drained, deleted = output.find(f"Drain {EXTRA}"), output.find("Delete the server")
    assert 0 < drained < deleted
    assert sorted(docker.hostnames().values()) == sorted(cluster.names)
    assert sorted(replicas(docker)) == list(cluster.workers)
    assert EXTRA not in lab.command("status", limit_s=60).stdout
    # The list, check mode and the second run are shown in tests/bed/models/test_models.py.
    assert ask(cluster.gateway, SECOND, stream=False, tokens=8).status == 404, "it would evict what is configured"
    pruned = lab.playbook("prune", variables={"ollama_prune": "true"})
    assert changed(pruned.output) == dict.fromkeys(cluster.workers, 1), "it went by itself"
    assert ask(cluster.gateway, MODEL, stream=False, tokens=8).complete


def test_of_two_recoveries_at_once_the_second_leaves(manager: Host) -> None:
    unit = "grep -h ^Environment= /etc/systemd/system/gpuswarm-recover.service | cut -d= -f2- | grep -v PYTHONDONT"
    run = f"{PYTHON.with_name('ansible-playbook')} gpuswarm.ollama.recover"
    both = manager.check_output(
        f"cd / && export $({unit}) && ({run} >/tmp/first 2>&1; echo $? >>/tmp/first) & "
        f"cd / && export $({unit}) && {run} >/tmp/second 2>&1; echo $? >>/tmp/second; wait; "
        "cat /tmp/first; echo =====; cat /tmp/second; rm /tmp/first /tmp/second"
    )
    outputs = both.split("=====")
    left = [output for output in outputs if "Another run is at work" in output]
    assert len(left) == 1, both
    assert all(output.rstrip().endswith("\n0") for output in outputs), both
    assert "Observe the swarm" not in left[0]


def test_no_file_that_others_can_read_holds_a_secret(cluster: Cluster, secrets: dict[str, str]) -> None:
    patterns = "\n".join(secrets.values())
    for name in cluster.names:
        host = cluster.connect(name)
        # The patterns go in by standard input: an argument would be a leak of the test's own.
        found = host.run(
            "grep -lFf - $(find /etc /opt /root /run /tmp /usr/local /var -xdev -path /var/lib/docker -prune -o "
            f"-type f -perm /044 -size -1M -print) <<'END'\n{patterns}\nEND"
        )
        assert found.stdout == "", f"{name}: {found.stdout}"
