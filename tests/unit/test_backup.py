"""What the programs of the role backup do with a manager's files, without systemd and Docker."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.backups import BackupError
from ansible_collections.gpuswarm.ollama.plugins.module_utils._runtime import backup
from tests.kit.backup import CONTENT, OWN, PARTS, SYSTEM, Machine
from tests.kit.paths import ROOT


@pytest.fixture
def manager(tmp_path: Path, engine: int) -> Machine:
    machine = Machine(tmp_path / "manager", SYSTEM | OWN, engine)
    machine.write(CONTENT)
    return machine


@pytest.fixture
def fresh(tmp_path: Path, engine: int) -> Machine:
    """A server with nothing but Docker."""
    return Machine(tmp_path / "fresh", SYSTEM, engine)


def is_frozen(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").split()[2] == "T"


def new_backup(manager: Machine) -> Path:
    return manager.backup()


def old_backup(manager: Machine) -> Path:
    """As the first releases made them: with the directories above what is backed up, in the modes of umask 077."""
    path = manager.place / "demo-20261125T120000Z.tar.gz"

    def closed(member: tarfile.TarInfo) -> tarfile.TarInfo:
        if member.isdir() and member.name.removeprefix("./") not in OWN:
            member.mode = 0o700
        return member

    with tarfile.open(path, "w:gz") as archive:
        archive.add(manager.root, arcname=".", filter=closed)
    return path


# ---------------------------------------------------------------- making one


def test_a_backup_is_whole_verified_and_recorded(manager: Machine) -> None:
    began = time.time()
    backup = manager.backup()
    with tarfile.open(backup) as archive:
        names = set(archive.getnames())
    assert {*CONTENT, "manifest.json", "sha256sums", "parts"} <= names
    assert not names & {".", "opt/gpuswarm", "var/lib/gpuswarm", *SYSTEM}, "what lies above is the system's"
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    subprocess.run(["sha256sum", "--check", "--strict", f"{backup.name}.sha256"], cwd=backup.parent, check=True)
    record = manager.record
    assert record["success"]
    assert record["last_success"] >= record["verified"]["manager"] >= began
    assert record["parts"] == {"recovery": 10, "stack": 8, "swarm": 9, "volumes": 4}
    assert manager.metric("last_run_success") == 1
    assert manager.metric("size_bytes") == backup.stat().st_size
    assert not (manager.place / "backups" / ".work").exists()
    assert not (manager.place / "undo.json").exists()


def test_nothing_but_the_swarms_state_is_copied_while_docker_stands_still(manager: Machine, engine: int) -> None:
    manager.run()
    assert [call for call in manager.calls if call.startswith(("cp", "docker pause", "docker unpause"))] == [
        "docker pause 0123abc",
        "cp var/lib/docker/volumes/db running locked",
        "docker unpause 0123abc",
        "cp etc/gpuswarm running locked",
        "cp var/lib/gpuswarm/journal.jsonl running locked",
        "cp opt/gpuswarm/stack running locked",
        "cp var/lib/docker/swarm frozen locked",
    ]
    assert not is_frozen(engine)
    assert not any(call.startswith("systemctl") for call in manager.calls)
    assert manager.metric("engine_stopped_seconds") > 0


def test_docker_can_be_stopped_instead(manager: Machine) -> None:
    manager.settings["docker"] = "stopped"
    manager.run()
    around = [call for call in manager.calls if call.startswith("systemctl") or "docker/swarm" in call]
    assert around == [
        "systemctl stop docker.socket docker.service",
        "cp var/lib/docker/swarm running locked",
        "systemctl start docker.service",
    ]


def test_containers_go_on_where_their_role_says_so(manager: Machine) -> None:
    manager.parts({"volumes": {**PARTS["volumes"], "pause": False}})
    manager.run()
    assert "cp var/lib/docker/volumes/db running locked" in manager.calls
    assert not any("pause" in call for call in manager.calls)


@pytest.mark.parametrize("how", ["frozen", "stopped"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_docker_goes_on_after_a_backup_that_was_killed(
    manager: Machine, engine: int, how: str, number: signal.Signals
) -> None:
    manager.settings["docker"] = how
    (manager.place / "hang").touch()
    process = manager.start("make")
    while not (manager.place / "hang.here").exists():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)
    assert is_frozen(engine) == (how == "frozen")
    process.send_signal(number)
    process.communicate(timeout=30)
    if number == signal.SIGKILL:
        manager.run("undo")  # as systemd does
    assert not is_frozen(engine)
    assert ("systemctl start docker.service" in manager.calls) == (how == "stopped")
    assert "it was interrupted" in manager.record["error"]
    assert manager.backups == []
    manager.forget()
    manager.run("undo")
    assert manager.calls == []
    (manager.place / "hang").unlink()
    manager.backup()  # the lock is free


def test_a_dump_is_made_while_everything_runs_and_verified(manager: Machine, engine: int) -> None:
    frozen = f"cut -d ' ' -f 3 /proc/{engine}/stat | grep T"
    dump = f"cat {manager.settings['lock']} 2>/dev/null; {frozen}; echo rows"
    verify = '[ "$(tail -n 1)" = rows ] && echo verified >>$CALLS'
    part = {"kind": "command", "dump": ["sh", "-c", dump], "verify": ["sh", "-c", verify], "restore": ["false"]}
    manager.parts({"db": part})
    with tarfile.open(manager.backup()) as archive:
        found = archive.extractfile("dumps/db")
        assert found
        assert found.read() == b"rows\n"
    assert "verified" in manager.calls
    assert manager.record["parts"]["db"] == 5


COMMAND = {"kind": "command", "dump": ["echo", "x"], "verify": ["true"], "restore": ["true"]}


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ({"kind": "files", "paths": ["/etc/none"]}, "the part mine of the backup: /etc/none must be there"),
        ({"kind": "volume", "volumes": ["none"]}, "the part mine of the backup: there is no volume none"),
        ({"kind": "nothing"}, "the part mine of the backup (backup.d/mine.json) must be"),
        ({**COMMAND, "dump": ["false"]}, "the part mine of the backup could not be dumped: 'false' ended with 1"),
        ({**COMMAND, "dump": ["/none"]}, "the part mine of the backup could not be dumped: '/none' cannot be run"),
        ({**COMMAND, "verify": ["sh", "-c", "echo torn >&2; false"]}, "the dump of the part mine is not whole: "),
    ],
)
def test_a_backup_that_cannot_be_made_says_which_part(manager: Machine, part: dict[str, Any], words: str) -> None:
    manager.parts({"mine": part})
    said = manager.fail()
    assert words in said
    assert said == f"error: {manager.record['error']}"
    assert manager.backups == []
    assert manager.metric("last_run_success") == 0


def test_a_manager_without_swarm_is_told_to_get_one(manager: Machine) -> None:
    (manager.place / "backup.d" / "swarm.json").unlink()
    assert "must say where the swarm's state is: run site.yml" in manager.fail()


def test_what_is_not_restored_as_it_was_is_no_backup(manager: Machine) -> None:
    first = manager.backup()
    before = manager.record
    (manager.place / "spoil").touch()
    said = manager.fail()
    assert "the archive is not what was backed up: etc/gpuswarm/clouds.yaml has another content" in said
    assert manager.backups == [first.name, f"{first.name}.sha256"]
    after = manager.record
    assert (after["last_success"], after["file"]) == (before["last_success"], before["file"])
    assert manager.metric("last_success_timestamp_seconds") == pytest.approx(before["last_success"])


def test_another_run_is_waited_for_with_a_bound(manager: Machine) -> None:
    holder = {"run": "other", "what": "site.yml", "since": time.time(), "expires": time.time() + 600}
    lock = Path(manager.settings["lock"])
    lock.write_text(json.dumps(holder), encoding="utf-8")
    assert "another run is at work on the fleet: site.yml has been at work" in manager.fail()
    manager.settings["lock_timeout"] = 60
    process = manager.start("make")
    time.sleep(0.5)
    lock.write_text("", encoding="utf-8")
    assert process.wait(30) == 0
    assert lock.read_text(encoding="utf-8") == ""


def test_docker_is_frozen_for_a_few_seconds_at_most(
    manager: Machine, engine: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in manager.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(backup, "FROZEN_LIMIT", 0.2)
    (manager.place / "hang").touch()
    settings = backup.BackupSettings(**manager.settings)
    with pytest.raises(BackupError, match=r"with Docker frozen \(see backup_docker: stopped\) took longer than"):
        backup.Backup(settings, print).make()
    assert not is_frozen(engine)


def test_a_backup_takes_no_longer_than_it_may(manager: Machine) -> None:
    manager.settings["timeout"] = 0.5
    manager.parts({"mine": {**COMMAND, "dump": ["sleep", "60"]}})
    assert "the backup took longer than 0 s, in 'sleep 60'" in manager.fail()


def test_the_oldest_backups_go(manager: Machine) -> None:
    directory = manager.place / "backups"
    directory.mkdir()
    for day in (1, 2, 3):
        for end in ("", ".sha256"):
            (directory / f"demo-2026010{day}T000000Z.tar.gz{end}").touch()
    kept = manager.backup().name
    last = "demo-20260103T000000Z.tar.gz"
    assert manager.backups == sorted([last, f"{last}.sha256", kept, f"{kept}.sha256"])


# ---------------------------------------------------------------- restoring one


@pytest.mark.parametrize("make", [new_backup, old_backup])
def test_a_restore_leaves_the_systems_directories_as_they_are(
    manager: Machine, fresh: Machine, make: Callable[[Machine], Path]
) -> None:
    backup = make(manager)
    before = fresh.modes()
    result = fresh.restore(backup)
    assert result.returncode == 0, result.stderr
    after = fresh.modes()
    assert {name: after[name] for name in before} == before
    wanted = OWN | {"opt/gpuswarm": 0o755, "var/lib/gpuswarm": 0o755}  # made by the restore; their roles set them
    assert {name: after[name] for name in wanted} == wanted
    assert {name: (fresh.root / name).read_text(encoding="utf-8") for name in CONTENT} == CONTENT
    assert list((fresh.root / "var/tmp").iterdir()) == []


def test_other_directories_come_back_to_where_they_were(manager: Machine, fresh: Machine) -> None:
    manager.write({"srv/llm/settings.yml": "settings"})
    manager.parts({"recovery": {"kind": "files", "paths": ["/srv/llm"]}})
    assert fresh.restore(manager.backup()).returncode == 0
    assert (fresh.root / "srv/llm/settings.yml").read_text(encoding="utf-8") == "settings"
    assert not (fresh.root / "etc/gpuswarm").exists()


def test_a_directory_is_as_good_as_an_archive(manager: Machine, fresh: Machine, tmp_path: Path) -> None:
    snapshot = tmp_path / "snapshot"
    shutil.unpack_archive(manager.backup(), snapshot)
    assert fresh.restore(snapshot).returncode == 0
    assert {name: (fresh.root / name).read_text(encoding="utf-8") for name in CONTENT} == CONTENT
    assert (snapshot / "manifest.json").exists(), "it is not the program's to remove"


def test_a_backup_that_was_tampered_with_changes_nothing(manager: Machine, fresh: Machine, tmp_path: Path) -> None:
    snapshot = tmp_path / "snapshot"
    shutil.unpack_archive(manager.backup(), snapshot)
    (snapshot / "etc/gpuswarm/clouds.yaml").write_text("other", encoding="utf-8")
    result = fresh.restore(snapshot)
    assert result.returncode == 1
    assert "is not what was backed up: etc/gpuswarm/clouds.yaml: FAILED" in result.stderr
    assert fresh.calls == []
    assert not (fresh.root / "etc/gpuswarm").exists()


def test_the_swarm_of_before_is_kept(manager: Machine, fresh: Machine) -> None:
    (fresh.root / "var/lib/docker/swarm").mkdir()
    fresh.write({"var/lib/docker/swarm/docker-state.json": "another swarm"})
    assert fresh.restore(manager.backup()).returncode == 0
    kept = fresh.root / "var/lib/docker/swarm.before/docker-state.json"
    assert kept.read_text(encoding="utf-8") == "another swarm"


@pytest.mark.parametrize("restarts", [1, 2, 3])
def test_a_restore_ends_with_an_engine_that_runs_tasks(manager: Machine, fresh: Machine, restarts: int) -> None:
    result = fresh.restore(old_backup(manager), "0", restarts)
    assert result.returncode == 0, result.stderr
    ran = [call for call in fresh.calls if call.startswith("docker run")]
    assert len(ran) == restarts
    # Started by hand, again and again: it must not run into the limit that systemd sets to a unit's starts.
    restarted = [number for number, call in enumerate(fresh.calls) if call == "systemctl restart docker.service"]
    assert all(fresh.calls[number - 1] == "systemctl reset-failed docker.service" for number in restarted)
    last = [" ".join(call.split()[:3]) for call in fresh.calls[-3:]]
    assert last == [f"docker {what}" for what in ("rm --force", "network rm", "image rm")]


def test_a_restore_whose_engine_runs_no_task_says_so(manager: Machine, fresh: Machine) -> None:
    result = fresh.restore(old_backup(manager), "0", 4)
    assert result.returncode == 1
    assert "runs no task, after three restarts: cannot create a swarm scoped network" in result.stderr


# ---------------------------------------------------------------- services


def service(place: Path) -> dict[str, Any]:
    """A database that is ready at the second question, and refuses to be restored from what it has not dumped."""
    return {
        "kind": "command",
        "dump": ["cat", str(place / "database")],
        "verify": ["grep", "-q", "rows"],
        "ready": ["sh", "-c", f"[ -e {place}/asked ] || {{ touch {place}/asked; exit 1; }}"],
        "restore": ["sh", "-c", f"[ ! -e {place}/down ] && cat >{place}/database"],
        "check": ["grep", "-q", "rows", str(place / "database")],
    }


def test_dumps_go_back_into_services_that_run(manager: Machine, fresh: Machine) -> None:
    (manager.place / "database").write_text("rows\n", encoding="utf-8")
    manager.parts({"db": service(manager.place)})
    backup = manager.backup()
    assert fresh.restore(backup).returncode == 0
    assert not (fresh.place / "database").exists()
    fresh.parts({"db": service(fresh.place)})
    # What was in the way of one is removed, and the same is asked again.
    (fresh.place / "down").touch()
    said = fresh.fail("restore")
    assert "the part db of the backup could not be restored: " in said
    assert "run playbooks/restore_services.yml" in said
    (fresh.place / "down").unlink()
    assert fresh.run("restore") == "restored and checked: db\n"
    assert (fresh.place / "database").read_text(encoding="utf-8") == "rows\n"
    assert fresh.run("restore") == "", "a second time there is nothing to do"
    assert not Path(fresh.settings["restored"]).exists()


def test_a_dump_of_a_service_that_is_no_more_is_not_lost(manager: Machine, fresh: Machine) -> None:
    (manager.place / "database").write_text("rows\n", encoding="utf-8")
    manager.parts({"db": service(manager.place)})
    assert fresh.restore(manager.backup()).returncode == 0
    assert f"no role has written {fresh.settings['parts']}/db.json" in fresh.fail("restore")
    assert (Path(fresh.settings["restored"]) / "dumps" / "db").exists()


# ---------------------------------------------------------------- the role


def test_the_role_refuses_what_does_not_go_together(tmp_path: Path) -> None:
    settings = {
        "fleet_name": "demo",
        "ansible_connection": "local",
        "backup_keep": 0,
        "backup_repository": "/srv/backups",
        "backup_repository_keep": {"century": 1},
        "backup_repository_environment": {"A B": "c"},
    }
    (tmp_path / "play.yml").write_text("- hosts: all\n  gather_facts: false\n  roles: [gpuswarm.ollama.backup]\n")
    result = subprocess.run(
        ["ansible-playbook", "--check", "-i", "localhost,", "-e", json.dumps(settings), str(tmp_path / "play.yml")],
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert result.returncode == 2, result.stderr
    assert result.stdout.count("fatal: ") == 1, result.stdout
    for words in (
        "backup_keep is 0: it must be at least 1.",
        "backup_repository and backup_repository_password belong together",
        "it must have at least one of last, hourly, daily",
        "backup_repository_environment must have names of environment variables",
    ):
        assert words in result.stdout
