"""The recovery loop as tests see it, with a manager that is a shell of this computer."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.kit import manager as kit
from tests.kit import names
from tests.kit.waiting import NotInTimeError

JOURNAL = [
    {"epoch": 10.0, "server": "gpu-1", "phase": "done"},
    {"epoch": 20.0, "server": "gpu-1", "phase": "noticed"},
    {"epoch": 21.0, "server": "gpu-2", "phase": "noticed"},
    {"epoch": 22.0, "server": "gpu-1", "phase": "restore"},
]


class Manager:
    """Looks like testinfra's host; what a command says can be given."""

    def __init__(self, said: str = "", active: str = "inactive") -> None:
        self.said = said
        self.active = active
        self.silent = 0  # how many commands find nobody

    def file(self, path: str) -> Any:
        assert path == str(names.JOURNAL)
        return SimpleNamespace(content_string="".join(json.dumps(line) + "\n" for line in JOURNAL))

    def run(self, command: str) -> Any:
        if self.silent:
            self.silent -= 1
            raise RuntimeError("no route to host")
        return SimpleNamespace(stdout=self.active if "is-active" in command else self.said)

    def check_output(self, command: str) -> str:
        return subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(
    ("server", "since", "expected"),
    [
        ("gpu-1", 0, ["done", "noticed", "restore"]),
        ("gpu-1", 10.0, ["noticed", "restore"]),
        ("gpu-2", 10.0, ["noticed"]),
        (None, 10.0, ["noticed", "noticed", "restore"]),
        ("gpu-3", 0, []),
    ],
)
def test_journal(server: str | None, since: float, expected: list[str]) -> None:
    assert [line["phase"] for line in kit.journal(Manager(), server, since)] == expected


def test_waiting_for_the_journal() -> None:
    assert kit.wait_for(Manager(), "gpu-1", 15, lambda seen: "restore" in seen) == ["noticed", "restore"]


def test_a_manager_that_cannot_be_logged_in_to_is_waited_for() -> None:
    manager = Manager('{"as_desired": true}')
    manager.silent = 2
    assert kit.wait_until_as_desired(manager, 10) == {"as_desired": True}


@pytest.mark.parametrize(
    ("said", "active"),
    [('{"as_desired": false}', "inactive"), ("", "inactive"), ('{"as_desired": true}', "activating")],
)
def test_not_as_desired(said: str, active: str, monkeypatch: pytest.MonkeyPatch) -> None:
    manager = Manager(said, active)
    monkeypatch.setattr(manager, "check_output", lambda _: "what the manager knows")
    with pytest.raises(
        NotInTimeError, match=re.compile("every server is as desired.*what the manager knows$", re.DOTALL)
    ):
        kit.wait_until_as_desired(manager, 0)


def test_settings_differ_for_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = tmp_path / "all.yml", tmp_path / "probe.json"
    before = "recovery_max_age: 1\nother: 2\n", '{"settings": {"rotation": {"max_age": 1, "margin": 2}, "other": 3}}'
    for file, text in zip(files, before, strict=True):
        file.write_text(text)
        file.chmod(0o640)
    monkeypatch.setattr(kit, "SETTINGS_FILES", tuple(map(str, files)))
    manager = Manager()
    check_output = manager.check_output
    python = str(names.PYTHON)
    monkeypatch.setattr(manager, "check_output", lambda command: check_output(command.replace(python, sys.executable)))
    with kit.settings(manager, {"recovery_max_age": 5}, {"rotation": {"max_age": 5}, "new": [1]}) as change:
        assert json.loads(files[0].read_text()) == {"recovery_max_age": 5, "other": 2}
        probe = json.loads(files[1].read_text())["settings"]
        assert probe == {"rotation": {"max_age": 5, "margin": 2}, "other": 3, "new": [1]}
        assert oct(files[1].stat().st_mode & 0o777) == "0o600"
        change({"recovery_max_age": 7}, {})
        assert json.loads(files[0].read_text())["recovery_max_age"] == 7
    assert tuple(file.read_text() for file in files) == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["all.yml", "probe.json"]
