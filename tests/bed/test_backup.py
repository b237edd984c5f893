# SPDX-License-Identifier: Apache-2.0
"""Backups with what the role installs: real age, restic and sshd, configured by the role's own files."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lab.gpuswarm_lab.cache import cached, digest
from lab.gpuswarm_lab.engine import PACKAGES, install_packages
from lab.gpuswarm_lab.steps import StepLog
from tests.bed.bed import Play, run_plays
from tests.kit.ansible import changed
from tests.kit.backup import CONTENT, OWN, SYSTEM, Machine
from tests.kit.paths import BUILD
from tests.kit.waiting import until

SSHD = "/usr/sbin/sshd"
LISTEN_LIMIT_S = 30
MOTO = "moto[s3,server]==5.2.5"  # stands in for S3


@pytest.fixture(scope="module", autouse=True)
def _programs(tmp_path_factory: pytest.TempPathFactory) -> None:
    needed = {"age": PACKAGES["age"], "restic": "restic", SSHD: "openssh-server"}
    install_packages(StepLog(tmp_path_factory.mktemp("packages") / "log"), needed)


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Machine]:
    with subprocess.Popen(["sleep", "600"]) as engine:
        machine = Machine(tmp_path / "manager", SYSTEM | OWN, engine.pid)
        try:
            machine.write(CONTENT)
            yield machine
        finally:
            engine.kill()


def configure(machine: Machine, variables: dict[str, Any], *options: str) -> int:
    """Have the role write its files; how many tasks changed something."""
    directory = machine.place / "play"
    directory.mkdir(exist_ok=True)
    settings = {
        "fleet_name": "demo",
        "cluster_directory": str(machine.place),
        "cluster_configuration_directory": str(machine.place / "etc"),
        "cluster_state_directory": str(machine.place / "state"),
        "backup_directory": str(machine.place / "backups"),
        **variables,
    }
    said = run_plays(directory, [Play("backup", {"manager": settings}, tasks_from="configuration")], *options)
    return changed(said)["manager"]


def take_settings(machine: Machine) -> None:
    """Use the settings that the role has written, with the test's own places."""
    places = {name: machine.settings[name] for name in ("root", "lock", "undo", "parts", "restored")}
    machine.settings = {**json.loads((machine.place / "etc/backup/settings.json").read_text()), **places}


def restic(machine: Machine, *arguments: str) -> str:
    """Run what an operator would."""
    program = str(machine.place / "etc/backup/restic")
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=True, timeout=60).stdout


def key_pair(path: Path) -> str:
    """Make a pair of keys; the public one."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", path], check=True)
    return path.with_suffix(".pub").read_text().strip()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


def answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def sftp_server(directory: Path, authorized: str) -> Iterator[tuple[int, str]]:
    """A host that one key may log in to; its port and public key."""
    directory.mkdir()
    host = key_pair(directory / "host")
    (directory / "authorized").write_text(authorized + "\n")
    port = free_port()
    options = {
        "AuthorizedKeysFile": directory / "authorized",
        "HostKey": directory / "host",
        "ListenAddress": "127.0.0.1",
        "PasswordAuthentication": "no",
        "PidFile": "none",
        "Port": port,
        "StrictModes": "no",
        "Subsystem": "sftp internal-sftp",
        "UsePAM": "no",
    }
    (directory / "config").write_text("".join(f"{name} {value}\n" for name, value in options.items()))
    Path("/run/sshd").mkdir(exist_ok=True)  # of a package's service that is not started
    with subprocess.Popen([SSHD, "-D", "-e", "-f", directory / "config"], stderr=subprocess.DEVNULL) as server:
        try:
            until("sshd listens", lambda: answers(port), LISTEN_LIMIT_S, 0.05)
            yield port, host
        finally:
            server.terminate()


def test_encrypted_here_and_in_a_repository_over_sftp(manager: Machine, tmp_path: Path) -> None:
    operator, authorized = key_pair(tmp_path / "operator"), key_pair(tmp_path / "key")
    with sftp_server(tmp_path / "host", authorized) as (port, host):
        variables = {
            "backup_recipients": [operator],
            "backup_repository": f"sftp://root@127.0.0.1:{port}/{tmp_path}/repository",
            "backup_repository_password": 'it\'s "quoted" $HOME',
            "backup_repository_ssh_key": (tmp_path / "key").read_text(),
            "backup_repository_host_key": host,
            "backup_repository_keep": {"last": 1},
            "backup_alert_command": "echo 100%",
        }
        before = sorted(manager.place.rglob("*"))
        assert configure(manager, variables, "--check") > 0
        assert [path for path in sorted(manager.place.rglob("*")) if "play" not in path.parts] == before
        assert configure(manager, variables) > 0
        assert configure(manager, variables) == 0
        assert (manager.place / "etc/backup/alert").read_text() == "#!/bin/sh\necho 100%\n"
        take_settings(manager)
        encrypted = manager.backup()
        manager.write({"etc/gpuswarm/clouds.yaml": "another password"})
        manager.run()
        snapshots = json.loads(restic(manager, "snapshots", "--json"))
        assert [(each["hostname"], *each["tags"]) for each in snapshots] == [("demo", "gpuswarm")]
        restic(manager, "restore", "latest", "--host", "demo", "--tag", "gpuswarm", "--target", f"{tmp_path}/snapshot")
        assert set(manager.record["verified"]) == {"manager", "repository"}
        # Another host at the same address gets nothing.
        (manager.place / "etc/backup/known_hosts").write_text(f"gpuswarm-backup {authorized}\n")
        assert "was made, but is not in the repository of backup_repository: " in manager.fail()
    assert (tmp_path / "repository" / "config").exists()

    assert encrypted.suffix == ".age"
    decrypted = tmp_path / "decrypted.tar.gz"
    subprocess.run(["age", "--decrypt", "--identity", tmp_path / "operator", "-o", decrypted, encrypted], check=True)
    engine = int((manager.place / "engine").read_text())
    for name, backup, password in (
        ("archive", decrypted, "password"),
        ("repository", tmp_path / "snapshot", "another password"),
    ):
        fresh = Machine(tmp_path / f"from-{name}", SYSTEM, engine)
        result = fresh.restore(backup)
        assert result.returncode == 0, result.stderr
        restored = {path: (fresh.root / path).read_text() for path in CONTENT}
        assert restored == CONTENT | {"etc/gpuswarm/clouds.yaml": password}
    assert [path.name for path in (manager.place / "etc/backup").iterdir() if path.stat().st_mode & 0o077] == []


def test_in_a_repository_that_is_a_directory(manager: Machine, tmp_path: Path) -> None:
    variables = {
        "backup_repository": str(tmp_path / "repository"),
        "backup_repository_password": "password",
        "backup_repository_verify": False,
    }
    configure(manager, variables)
    take_settings(manager)
    manager.run()
    assert set(manager.record["verified"]) == {"manager"}
    # One that is gone is not replaced by an empty one; the backup on the manager is made all the same.
    shutil.rmtree(tmp_path / "repository")
    last = manager.record["last_success"]
    assert "was made, but is not in the repository of backup_repository: " in manager.fail()
    assert manager.record["last_success"] == last
    assert Path(manager.record["file"]).exists()
    assert not (tmp_path / "repository").exists()
    # What is configured no more leaves nothing behind.
    assert configure(manager, {}) > 0
    assert {path.name for path in (manager.place / "etc/backup").iterdir()} == {"recipients", "settings.json"}


@contextmanager
def s3_server() -> Iterator[int]:
    """A server that speaks S3; its port."""

    def install(target: Path) -> None:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--target", str(target), MOTO]
        subprocess.run(command, check=True, timeout=300)

    packages, _ = cached(BUILD / "cache", "moto", digest(MOTO, sys.version), install)
    port = free_port()
    command: list[str] = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    environment = {**os.environ, "PYTHONPATH": str(packages)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            until("moto listens", lambda: answers(port), LISTEN_LIMIT_S, 0.05)
            yield port
        finally:
            server.terminate()


# The gate: the same over SFTP, with the environment in the same file.
@pytest.mark.thorough
def test_in_a_repository_in_s3(manager: Machine) -> None:
    with s3_server() as port:
        variables = {
            "backup_repository": f"s3:http://127.0.0.1:{port}/backups",
            "backup_repository_password": "password",
            "backup_repository_environment": {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "a 'secret'"},
        }
        configure(manager, variables)
        take_settings(manager)
        manager.run()
        assert set(manager.record["verified"]) == {"manager", "repository"}
        assert len(json.loads(restic(manager, "snapshots", "--json"))) == 1
