"""What an operator does with a cluster that stands: look, add a server, take one away; and what must not leak."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.gpuswarm.ollama.molecule.operations import LAB, ROOT, failures, playbook

if TYPE_CHECKING:
    from ansible_collections.gpuswarm.ollama.molecule.operations import Cluster, Connect, Host

RECAP = re.compile(r"^(\S+)\s+: ok=\d+\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)", re.MULTILINE)


def changes(output: str) -> dict[str, int]:
    return {host: int(changed) for host, changed, _, _ in RECAP.findall(output)}


@pytest.fixture(scope="module")
def secrets(manager: Host) -> dict[str, str]:
    """What must not appear anywhere: passwords, tokens, private keys (a line out of the middle of each)."""

    def middle(text: str) -> str:
        return text.splitlines()[2]

    return {
        "cloud password": (LAB / "member-password").read_text(encoding="utf-8").strip(),
        "join token of workers": manager.check_output("docker swarm join-token -q worker"),
        "join token of managers": manager.check_output("docker swarm join-token -q manager"),
        "operator's private key": middle((LAB / "id_ed25519").read_text(encoding="utf-8")),
        "manager's private key": middle(manager.check_output("cat /etc/gpuswarm/ssh/id_ed25519")),
    }


@contextmanager
def repeated(act: Callable[[], object], pause: float) -> Iterator[None]:
    """Does something again and again, while other things happen."""
    stop = threading.Event()

    def go_on() -> None:
        while not stop.wait(pause):
            act()

    thread = threading.Thread(target=go_on, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@contextmanager
def watched_arguments(secrets: dict[str, str]) -> Iterator[set[str]]:
    """Names of secrets seen in an argument of any process here, those of the lab's servers (containers) included."""
    seen: set[str] = set()

    def look() -> None:
        for file in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = file.read_bytes()
            except OSError:
                continue  # it has ended
            seen.update(name for name, secret in secrets.items() if secret.encode() in words)

    with repeated(look, 0.1):
        yield seen


def leaks(output: str, secrets: dict[str, str]) -> list[str]:
    return [name for name, secret in secrets.items() if secret in output]


def test_check_mode_on_a_converged_cluster_reports_no_change(secrets: dict[str, str]) -> None:
    output = playbook("site", "--check", "--diff")
    assert set(changes(output).values()) == {0}, output[-6000:]
    assert leaks(output, secrets) == []


def test_status_shows_every_server(cluster: Cluster) -> None:
    output = playbook("status")
    for name in (cluster.manager, *cluster.workers):
        assert re.search(rf"{name} +ACTIVE .* ready .* healthy", output), output


def test_status_for_programs(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANSIBLE_CALLBACK_RESULT_FORMAT", "json")
    output = playbook("status", "-e", "status_output=json")
    told = json.loads(output[output.rindex("=> {") + 3 : output.rindex("}") + 1])["msg"]
    assert told["well"] is True
    assert sorted(server["server"] for server in told["servers"]) == sorted((cluster.manager, *cluster.workers))


SECOND = "tiny-too"


@contextmanager
def sampled(look: Callable[[], Any], pause: float) -> Iterator[list[Any]]:
    """What ``look`` says again and again, while other things happen."""
    seen: list[Any] = []
    with repeated(lambda: seen.append(look()), pause):
        yield seen


def ask(cluster: Cluster, model: str) -> str:
    """Have the gateway's next server answer; the server's address, or what went wrong."""
    body = {"model": model, "prompt": "hello", "stream": False, "options": {"num_predict": 8}}
    request = urllib.request.Request(f"{cluster.gateway}/api/generate", data=json.dumps(body).encode())  # noqa: S310 (http)
    try:
        with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
            return str(response.headers["X-Served-By"]) if json.load(response)["done"] else "failed: not done"
    except (OSError, ValueError) as error:
        return f"failed: {error}"


def roll(inventory: Path, docker: Callable[[str], Any], *arguments: str) -> str:
    """Run site, and wait until Swarm has rolled."""
    output = playbook("site", *arguments, inventory=inventory)
    deadline = time.monotonic() + 300
    while True:
        # None when Swarm has not begun yet.
        (status,) = docker("service inspect --format '{{json .UpdateStatus}}' gpuswarm_ollama")
        state = (status or {}).get("State")
        if state == "completed":
            return output
        tasks = docker("service ps --no-trunc --format '{{json .}}' gpuswarm_ollama")
        assert state != "paused", tasks
        assert time.monotonic() < deadline, (state, tasks)
        time.sleep(1)


def configuration(cluster: Cluster) -> str:
    """Which configuration the gateway works with."""
    with urllib.request.urlopen(f"{cluster.gateway}/health", timeout=10) as response:  # noqa: S310 (http)
        return str(json.load(response)["configuration"])


def replicas(docker: Callable[[str], Any]) -> dict[str, str]:
    """The running tasks of Ollama: their servers and ids."""
    tasks = docker("service ps --filter desired-state=running --format '{{json .}}' gpuswarm_ollama")
    return {task["Node"]: task["ID"] for task in tasks}


def test_a_server_a_model_and_a_setting_more_and_nothing_leaks_or_is_lost(
    tmp_path: Path, cluster: Cluster, connect: Connect, docker: Callable[[str], Any], secrets: dict[str, str]
) -> None:
    inventory = tmp_path / "lab"
    shutil.copytree(ROOT / "inventory" / "lab", inventory)
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
    eye = connect(cluster.manager)  # a connection of the thread's own

    def running() -> int:
        """Replicas that Swarm counts as running; with a health check these are the healthy ones."""
        states = eye.check_output("docker service ps --format '{{.CurrentState}}' gpuswarm_ollama").splitlines()
        return sum(state.startswith("Running") for state in states)

    with (
        watched_arguments(secrets) as seen,
        sampled(lambda: ask(cluster, "tiny"), 0.1) as answers,
        sampled(running, 0.3) as counts,
    ):
        output = roll(inventory, docker, "-vvv")
    assert leaks(output, secrets) == []
    assert seen == set()
    # Every server that was there has pulled the model before any replica was stopped; nothing else of it was changed.
    assert {host: changed for host, changed in changes(output).items() if host in cluster.workers} == dict.fromkeys(
        cluster.workers, 1
    )
    assert output.count(f"=> (item={SECOND})") >= len(cluster.workers), failures(output)
    states = {node["Hostname"]: node["Status"] for node in docker("node ls --format '{{json .}}'")}
    assert states["lab-gpu-4"] == "Ready"
    after = replicas(docker)
    assert sorted(after) == [*cluster.workers, "lab-gpu-4"]
    assert not set(before.values()) & set(after.values()), "not all of them were replaced"
    assert configuration(cluster) != configured
    assert [answer for answer in answers if answer.startswith("failed")] == []
    assert len(answers) > 50
    assert min(counts) >= len(cluster.workers) - 1
    served = [ask(cluster, SECOND) for _ in range(16)]
    assert "failed" not in "".join(served)
    assert len(set(served)) == len(cluster.workers) + 1


def test_what_is_less_goes_without_a_lost_answer_and_models_when_asked_for(
    cluster: Cluster, docker: Callable[[str], Any]
) -> None:
    with sampled(lambda: ask(cluster, "tiny"), 0.1) as answers:
        output = roll(ROOT / "inventory" / "lab", docker)
    assert [answer for answer in answers if answer.startswith("failed")] == []
    drained, deleted = output.find("Drain lab-gpu-4"), output.find("Delete the server")
    assert 0 < drained < deleted
    names = [node["Hostname"] for node in docker("node ls --format '{{json .}}'")]
    assert sorted(names) == sorted((cluster.manager, *cluster.workers))
    assert sorted(replicas(docker)) == list(cluster.workers)
    listed = subprocess.run(["lab/lab", "status"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert "lab-gpu-4" not in listed.stdout
    # The list, check mode and the second run are shown in tests/integration/gateway/test_models.py.
    assert not ask(cluster, SECOND).startswith("failed"), "it went by itself"
    assert changes(playbook("prune", "-e", "ollama_prune=true")) == dict.fromkeys(cluster.workers, 1)
    assert ask(cluster, SECOND).startswith("failed: HTTP Error 404")
    assert not ask(cluster, "tiny").startswith("failed")


def test_of_two_recoveries_at_once_the_second_leaves(manager: Host) -> None:
    unit = "grep -h ^Environment= /etc/systemd/system/gpuswarm-recover.service | cut -d= -f2- | grep -v PYTHONDONT"
    run = "/opt/gpuswarm/venv/bin/ansible-playbook gpuswarm.ollama.recover"
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


def test_no_file_that_others_can_read_holds_a_secret(
    cluster: Cluster, connect: Connect, secrets: dict[str, str]
) -> None:
    patterns = "\n".join(secrets.values())
    for name in (cluster.manager, *cluster.workers):
        host = connect(name)
        # The patterns go in by standard input: an argument would be a leak of the test's own.
        found = host.run(
            "grep -lFf - $(find /etc /opt /root /run /tmp /usr/local /var -xdev -path /var/lib/docker -prune -o "
            f"-type f -perm /044 -size -1M -print) <<'END'\n{patterns}\nEND"
        )
        assert found.stdout == "", f"{name}: {found.stdout}"
