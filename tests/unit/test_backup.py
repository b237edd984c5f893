"""Which of the manager's backups are kept."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from ansible_collections.gpuswarm.ollama.plugins.module_utils import backups

FILES = Path(__file__).resolve().parents[2] / "roles" / "backup" / "files"

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
