from __future__ import annotations

import configparser
import os
import signal
import stat
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lab.gpuswarm_lab import model
from lab.gpuswarm_lab.cli import parser
from lab.gpuswarm_lab.commands import is_being_shelved, server_row
from lab.gpuswarm_lab.config import Configuration, clouds_yaml, render
from lab.gpuswarm_lab.images import extra_certificates
from lab.gpuswarm_lab.processes import Daemon, start_time
from lab.gpuswarm_lab.services import write_private
from lab.gpuswarm_lab.tiny_model import vocabulary, write_model


def test_a_zone_has_room_for_five_gpu_servers_and_a_manager() -> None:
    gpu, manager = model.GPU_FLAVOR, model.MANAGER_FLAVOR
    assert 5 * gpu.vcpus + manager.vcpus <= model.HOST_VCPUS < 6 * gpu.vcpus
    assert 5 * gpu.ram_mb + manager.ram_mb <= model.HOST_MEMORY_MB < 6 * gpu.ram_mb


def test_the_fake_lab_shares_no_port_and_no_directory_with_the_real_one(tmp_path: Path) -> None:
    real, fake = model.Lab(root=tmp_path), model.Lab(fake=True, root=tmp_path)
    assert not set(real.ports.values()) & set(fake.ports.values())
    assert real.state != fake.state
    assert real.cache == fake.cache


@pytest.mark.parametrize("service", model.SERVICES)
def test_configuration_is_what_a_parser_reads(tmp_path: Path, service: str) -> None:
    lab = model.Lab(root=tmp_path)
    text = render(getattr(Configuration(lab, tmp_path / "venv", "pass"), service)())
    read = configparser.RawConfigParser(default_section="none", strict=True)
    read.read_string(text)
    assert read.sections()
    assert "None" not in text


@pytest.mark.parametrize("section", ["fernet_tokens", "fernet_receipts", "credential"])
def test_keystone_keeps_every_key_in_the_lab(tmp_path: Path, section: str) -> None:
    lab = model.Lab(root=tmp_path)
    keystone = Configuration(lab, tmp_path / "venv", "pass").keystone()
    assert Path(str(keystone[section]["key_repository"])).is_relative_to(lab.cloud)


def test_clouds_yaml_is_yaml(tmp_path: Path) -> None:
    yaml = pytest.importorskip("yaml")
    auth = {"username": "u", "password": "-_p: #", "project_name": "p"}
    cloud = yaml.safe_load(clouds_yaml(model.Lab(root=tmp_path), "lab", auth))["clouds"]["lab"]
    assert cloud["auth"] == {**auth, "auth_url": "http://10.77.0.1:15000/v3"}
    assert cloud["region_name"] == "ru-7"


def certificate(text: str) -> str:
    return f"-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n"


def test_extra_certificates_are_those_that_are_not_known() -> None:
    bundle = "# comment\n" + certificate("AA") + certificate("BB\nCC") + certificate("DD")
    known = certificate("BBCC").replace("\n", "\r\n") + certificate("AA")
    assert extra_certificates(bundle, known) == {"machine-0.crt": certificate("DD")}
    assert extra_certificates(bundle, bundle) == {}


@pytest.mark.parametrize(
    ("status", "task", "expected"),
    [
        ("ACTIVE", "shelving", True),
        ("ACTIVE", "shelving_offloading", True),
        ("SHELVED", None, True),
        ("SHELVED_OFFLOADED", None, False),
        ("SHELVED_OFFLOADED", "unshelving", False),
        ("ACTIVE", None, False),
    ],
)
def test_end_of_a_shelving(status: str, task: str | None, *, expected: bool) -> None:
    assert is_being_shelved({"status": status, "OS-EXT-STS:task_state": task}) is expected


def test_server_row() -> None:
    server: dict[str, Any] = {
        "name": "gpu-1",
        "id": "id",
        "status": "ACTIVE",
        "OS-EXT-STS:task_state": "shelving",
        "OS-EXT-AZ:availability_zone": "",
        "addresses": {"private": [{"addr": "10.77.0.100"}, {"addr": "198.51.100.7"}]},
    }
    assert server_row(server) == ("gpu-1", "ACTIVE (shelving)", "-", "10.77.0.100,198.51.100.7", "id")


def test_the_tiny_model_is_the_same_every_time_and_well_formed(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_model(tmp_path / name, width=32, layers=1)
    data = (tmp_path / "a").read_bytes()
    assert data == (tmp_path / "b").read_bytes()
    magic, version, tensors, keys = struct.unpack_from("<4sIQQ", data)
    assert (magic, version, tensors, keys) == (b"GGUF", 3, 3 + 9, 22)
    assert len(data) % 32 == 0
    assert len(vocabulary()) % 32 == 0


def test_private_files_are_private(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("old")
    path.chmod(0o644)
    write_private(path, "new")
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_daemon_is_ended_and_nobody_else(tmp_path: Path) -> None:
    daemon = Daemon("sleeper", tmp_path / "run", tmp_path / "log")
    daemon.start(["sleep", "60"])
    first = daemon.pid
    daemon.stop()
    assert first is not None
    assert start_time(first) is None
    # A pid file of a former life, whose number somebody else has now.
    with subprocess.Popen(["sleep", "60"]) as other:
        daemon.pid_file.write_text(f"{other.pid} 1")
        daemon.stop()
        assert other.poll() is None
        os.kill(other.pid, signal.SIGKILL)


@pytest.mark.parametrize("arguments", [["up"], ["--fake", "up"], ["up", "--fake"], ["preempt", "x", "--wait"]])
def test_grammar(arguments: list[str]) -> None:
    options = parser().parse_args(arguments)
    assert options.fake is ("--fake" in arguments)


@pytest.mark.parametrize("arguments", [[], ["preempt"], ["exhaust", "nowhere"], ["explode"]])
def test_wrong_usage(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as end:
        parser().parse_args(arguments)
    assert end.value.code == 2
