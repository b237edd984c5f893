"""The manager's backup: what the two scripts do to a manager's files, and which backups are kept.

The scripts run as they are, on a root directory of the test's. Of the programs that they start, only systemctl and
docker are not the real ones: they write down what they are asked for.
"""

from __future__ import annotations

import os
import stat
import subprocess
import tarfile
from pathlib import Path

import pytest

from ansible_collections.gpuswarm.ollama.plugins.module_utils import backups

FILES = Path(__file__).resolve().parents[2] / "roles" / "backup" / "files"

# What a manager's directories look like, and what of them a backup holds.
SYSTEM = {
    "etc": 0o755,
    "opt": 0o755,
    "var": 0o755,
    "var/lib": 0o755,
    "var/lib/docker": 0o710,
    "var/lib/docker/volumes": 0o701,
    "var/tmp": 0o1777,
}
OWN = {
    "var/lib/docker/swarm": 0o700,
    "var/lib/docker/volumes/db": 0o701,
    "var/lib/docker/volumes/db/_data": 0o755,
    "etc/gpuswarm": 0o700,
    "opt/gpuswarm": 0o755,
    "opt/gpuswarm/stack": 0o750,
    "var/lib/gpuswarm": 0o750,
}
CONTENT = {
    "var/lib/docker/swarm/docker-state.json": "the swarm",
    "var/lib/docker/volumes/db/_data/rows": "rows",
    "etc/gpuswarm/clouds.yaml": "password",
    "opt/gpuswarm/stack/compose.yml": "services",
    "var/lib/gpuswarm/journal.jsonl": "{}",
}

SYSTEMCTL = """#!/bin/sh
echo "systemctl $*" >>"$CALLS"
"""
# An engine that runs tasks after RESTARTS restarts that came after the swarm was made.
DOCKER = """#!/bin/sh
echo "docker $1 $2" >>"$CALLS"
if [ "$1" = run ]; then
  restarts=$(sed -n '/^docker swarm init/,$p' "$CALLS" | grep -c 'systemctl restart docker' || true)
  [ "$restarts" -ge "$RESTARTS" ] || { echo 'cannot create a swarm scoped network' >&2; exit 125; }
fi
[ "$1" != import ] || cat >/dev/null
"""


class Machine:
    """A manager's files, below a directory."""

    def __init__(self, root: Path, directories: dict[str, int]) -> None:
        self.root = root
        root.mkdir()
        root.chmod(0o755)
        for name, mode in directories.items():
            (root / name).mkdir(parents=True)
            (root / name).chmod(mode)

    def write(self, content: dict[str, str]) -> None:
        for name, text in content.items():
            (self.root / name).write_text(text, encoding="utf-8")

    def modes(self) -> dict[str, int]:
        directories = [self.root, *(path for path in self.root.rglob("*") if path.is_dir())]
        return {str(path.relative_to(self.root)): stat.S_IMODE(path.stat().st_mode) for path in directories}

    def run(self, script: str, *arguments: str, restarts: int = 1) -> subprocess.CompletedProcess[str]:
        programs = self.root.parent / "bin"
        programs.mkdir(exist_ok=True)
        for name, text in (("systemctl", SYSTEMCTL), ("docker", DOCKER)):
            (programs / name).write_text(text, encoding="utf-8")
            (programs / name).chmod(0o755)
        environment = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "BACKUP_ROOT": str(self.root),
            "CALLS": str(self.calls_file),
            "RESTARTS": str(restarts),
        }
        self.calls_file.write_text("", encoding="utf-8")
        command = ["bash", str(FILES / script), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environment)

    @property
    def calls_file(self) -> Path:
        return self.root.parent / f"{self.root.name}.calls"

    @property
    def calls(self) -> list[str]:
        return self.calls_file.read_text(encoding="utf-8").splitlines()


@pytest.fixture
def manager(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path / "manager", SYSTEM | OWN)
    machine.write(CONTENT)
    return machine


@pytest.fixture
def fresh(tmp_path: Path) -> Machine:
    """A server with nothing but Docker."""
    return Machine(tmp_path / "fresh", SYSTEM)


def new_backup(manager: Machine) -> Path:
    result = manager.run("backup.sh", str(manager.root.parent / "backups"), "demo", "/dev/null", "db")
    assert result.returncode == 0, result.stderr
    return Path(result.stdout.splitlines()[-1])


def old_backup(manager: Machine) -> Path:
    """As the first releases made them: with the directories above what is backed up, in the modes of umask 077."""
    path = manager.root.parent / "demo-20261125T120000Z.tar.gz"

    def closed(member: tarfile.TarInfo) -> tarfile.TarInfo:
        if member.isdir() and member.name.removeprefix("./") not in OWN:
            member.mode = 0o700
        return member

    with tarfile.open(path, "w:gz") as archive:
        archive.add(manager.root, arcname=".", filter=closed)
    return path


def test_a_backup_holds_nothing_above_what_it_is_of(manager: Machine) -> None:
    with tarfile.open(new_backup(manager)) as archive:
        names = set(archive.getnames())
    assert set(CONTENT) <= names
    assert not names & {".", "opt/gpuswarm", "var/lib/gpuswarm", *SYSTEM}


def test_docker_runs_again_after_a_backup(manager: Machine) -> None:
    new_backup(manager)
    assert [call for call in manager.calls if call.startswith("systemctl")] == [
        "systemctl stop docker.socket docker.service",
        "systemctl start docker.service",
    ]


@pytest.mark.parametrize("make", [new_backup, old_backup])
def test_a_restore_leaves_the_systems_directories_as_they_are(manager: Machine, fresh: Machine, make: object) -> None:
    assert callable(make)
    backup = make(manager)
    before = fresh.modes()
    result = fresh.run("restore.sh", str(backup), "", "10.0.0.1", "1")
    assert result.returncode == 0, result.stderr
    after = fresh.modes()
    assert {name: after[name] for name in before} == before
    wanted = OWN | {"opt/gpuswarm": 0o755, "var/lib/gpuswarm": 0o755}  # made by the restore; their roles set them
    assert {name: after[name] for name in wanted} == wanted
    assert {name: (fresh.root / name).read_text(encoding="utf-8") for name in CONTENT} == CONTENT
    assert list((fresh.root / "var/tmp").iterdir()) == []


def test_the_swarm_of_before_is_kept(manager: Machine, fresh: Machine) -> None:
    (fresh.root / "var/lib/docker/swarm").mkdir()
    fresh.write({"var/lib/docker/swarm/docker-state.json": "another swarm"})
    assert fresh.run("restore.sh", str(new_backup(manager)), "", "10.0.0.1", "1").returncode == 0
    kept = fresh.root / "var/lib/docker/swarm.before/docker-state.json"
    assert kept.read_text(encoding="utf-8") == "another swarm"


@pytest.mark.parametrize("restarts", [1, 2, 3])
def test_a_restore_ends_with_an_engine_that_runs_tasks(manager: Machine, fresh: Machine, restarts: int) -> None:
    result = fresh.run("restore.sh", str(new_backup(manager)), "", "10.0.0.1", "0", restarts=restarts)
    assert result.returncode == 0, result.stderr
    ran = [call for call in fresh.calls if call.startswith("docker run")]
    assert len(ran) == restarts
    # Started by hand, again and again: it must not run into the limit that systemd sets to a unit's starts.
    restarted = [number for number, call in enumerate(fresh.calls) if call == "systemctl restart docker.service"]
    assert all(fresh.calls[number - 1] == "systemctl reset-failed docker.service" for number in restarted)
    assert fresh.calls[-3:] == [f"docker {what}" for what in ("rm --force", "network rm", "image rm")]


def test_a_restore_whose_engine_runs_no_task_says_so(manager: Machine, fresh: Machine) -> None:
    result = fresh.run("restore.sh", str(new_backup(manager)), "", "10.0.0.1", "0", restarts=4)
    assert result.returncode == 1
    assert "runs no task, after three restarts: cannot create a swarm scoped network" in result.stderr


OF_LLM = [f"llm-2026112{day}T120000Z.tar.gz" for day in range(1, 8)]
OF_OTHERS = ["llm-test-20261101T120000Z.tar.gz", "llm-2-20261101T120000Z.tar.gz.age", "prod-20261101T120000Z.tar.gz"]


@pytest.mark.parametrize(
    ("paths", "keep", "made", "gone"),
    [
        ([], 1, OF_LLM[6], []),
        (OF_LLM, 7, OF_LLM[6], []),
        (OF_LLM, 5, OF_LLM[6], [OF_LLM[1], OF_LLM[0]]),
        (OF_LLM, 1, OF_LLM[6], [*reversed(OF_LLM[:6])]),
        # In whatever order, with whatever lies beside them: other fleets whose names begin alike, and other files.
        ([*OF_OTHERS, *reversed(OF_LLM)], 6, OF_LLM[6], [OF_LLM[0]]),
        ([f"{OF_LLM[0]}.sha256", "llm-notes.tar.gz", "llm-20261101T120000Z.tar.gz.part", OF_LLM[6]], 1, OF_LLM[6], []),
        # Encrypted ones and others are of one kind.
        ([f"{OF_LLM[0]}.age", OF_LLM[1], OF_LLM[6]], 2, OF_LLM[6], [f"{OF_LLM[0]}.age"]),
        # A clock that was set back: the new one looks like the oldest, and stays.
        (OF_LLM, 2, OF_LLM[0], [*reversed(OF_LLM[1:6])]),
    ],
)
def test_the_oldest_backups_of_the_fleet_go(paths: list[str], keep: int, made: str, gone: list[str]) -> None:
    assert backups.surplus(paths, "llm", keep, made) == gone
    there = [f"/backups/{path}" for path in paths]
    assert backups.surplus(there, "llm", keep, f"/elsewhere/{made}") == [f"/backups/{path}" for path in gone]


def test_fleets_whose_names_begin_alike_keep_their_backups() -> None:
    mine = ["prod-20261101T120000Z.tar.gz"]
    others = ["prod-2-20261101T120000Z.tar.gz", "a.prod-20261101T120000Z.tar.gz"]
    assert backups.surplus(mine + others, "prod", 1, "prod-20261127T120000Z.tar.gz") == mine
    assert backups.surplus(mine + others, "prod-2", 1, "prod-2-20261127T120000Z.tar.gz") == [others[0]]


@pytest.mark.parametrize("keep", [0, -1])
def test_no_backup_is_no_rotation(keep: int) -> None:
    with pytest.raises(ValueError, match="must be at least 1"):
        backups.surplus(OF_LLM, "llm", keep, OF_LLM[6])


def test_the_role_refuses_to_keep_none(tmp_path: Path) -> None:
    settings = '{"fleet_name": "demo", "backup_keep": 0, "ansible_connection": "local"}'
    (tmp_path / "play.yml").write_text("- hosts: all\n  gather_facts: false\n  roles: [gpuswarm.ollama.backup]\n")
    result = subprocess.run(
        ["ansible-playbook", "--check", "-i", "localhost,", "-e", settings, str(tmp_path / "play.yml")],
        env={**os.environ, "ANSIBLE_CONFIG": str(FILES.parents[2] / "ansible.cfg")},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert result.returncode == 2, result.stderr
    assert result.stdout.count("fatal: ") == 1, result.stdout
    assert "backup_keep is 0: it must be at least 1." in result.stdout
