# SPDX-License-Identifier: Apache-2.0
"""The program around the probe: one that crashes is no probe that found nothing to do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.kit.paths import ROOT

SETTINGS = {"service": "gpuswarm_ollama"}
CONFIG = {"fleet": "demo", "specs": [], "settings": SETTINGS, "journal": "journal.jsonl", "lock": "lock.json"}


class Program:
    """The program as the role installs it, with its own directories."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.run_directory = folder / "run"
        self.run_directory.mkdir()
        (folder / "collections").mkdir()
        (folder / "collections" / "current").symlink_to(ROOT / "build" / "collections")
        shutil.copy(ROOT / "roles" / "recovery" / "files" / "probe.py", folder)

    def cycle(self, config: str) -> tuple[int, str]:
        """One cycle with this configuration: exit status, and what it says."""
        (self.folder / "probe.json").write_text(config, encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-I", "-S", self.folder / "probe.py", self.folder / "probe.json"],
            cwd=self.folder, env={"RUNTIME_DIRECTORY": str(self.run_directory)}, capture_output=True, text=True,
            check=False, timeout=60,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path)


def with_settings(**settings: object) -> str:
    return json.dumps(CONFIG | {"settings": SETTINGS | settings})


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ("{", "JSONDecodeError"),
        (json.dumps({"fleet": "demo"}), "KeyError"),
        (with_settings(limits={"login_grace_seconds": 1}), "login_grace_seconds: unknown"),
        (with_settings(schedule=[{"from": "1200", "to": "08:00", "count": 1}]), "must be a time such as"),
        (with_settings(schedule=[{"from": "20:00", "to": "08:00", "count": 1}], timezone="Mars/Base"), "Mars/Base"),
    ],
)
def test_a_probe_that_crashes_fails(program: Program, config: str, why: str) -> None:
    status, said = program.cycle(config)
    assert status == 255
    assert why in said.splitlines()[-1] or why in said
    assert "does not see anything until this is mended" in said


def test_collections_that_lack_something_are_no_reason_to_be_silent(program: Program) -> None:
    (program.folder / "collections" / "current").unlink()
    status, said = program.cycle(json.dumps(CONFIG))
    assert (status, "ModuleNotFoundError" in said) == (255, True)


def test_the_alert_is_repeated_with_pauses(program: Program) -> None:
    assert [program.cycle("{")[0] for _ in range(3)] == [255, 1, 1]
    (noted,) = program.run_directory.iterdir()
    before = time.time() - 301
    os.utime(noted, (before, before))
    assert [program.cycle("{")[0] for _ in range(2)] == [255, 1]


def test_a_probe_that_works_again_may_crash_anew(program: Program) -> None:
    assert program.cycle("{")[0] == 255
    status, said = program.cycle(json.dumps(CONFIG))
    assert status in (0, 1), said
    assert program.cycle("{")[0] == 255
