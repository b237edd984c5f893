"""The module that writes the files of a service."""

from __future__ import annotations

import grp
import json
import os
import pwd
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.gpuswarm.ollama.plugins.modules import service_files

OWNER = {"owner": pwd.getpwuid(os.geteuid()).pw_name, "group": grp.getgrgid(os.getegid()).gr_name}


def run(capsys: pytest.CaptureFixture[str], directory: Path, **options: Any) -> dict[str, Any]:
    with patch_module_args({"directory": str(directory), **OWNER, **options}), pytest.raises(SystemExit):
        service_files.main()
    said: dict[str, Any] = json.loads(capsys.readouterr().out)
    return said


def mode(path: Path) -> str:
    return f"{path.stat().st_mode & 0o7777:04o}"


def test_what_is_missing_is_made_and_then_nothing_changes(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    directory = tmp_path / "parent" / "service"
    wanted = {"directories": {"private": "0700"}, "files": {"a": "one\n", "private/b": ""}, "mode": "0600"}
    said = run(capsys, directory, **wanted)
    paths = [directory, directory / "private", directory / "a", directory / "private" / "b"]
    assert (said["changed"], said["changed_paths"]) == (True, [str(path) for path in paths])
    assert [mode(path) for path in paths] == ["0755", "0700", "0600", "0600"]
    assert [path.read_text() for path in paths[2:]] == ["one\n", ""]
    said = run(capsys, directory, **wanted)
    assert (said["changed"], said["changed_paths"], said["diff"]) == (False, [], [])


def test_only_what_differs_is_changed_and_shown(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    run(capsys, tmp_path, files={"same": "same", "other": "old", "mode": "x"})
    (tmp_path / "mode").chmod(0o666)
    (tmp_path / "beside").touch()
    said = run(capsys, tmp_path, files={"same": "same", "other": "new ü", "mode": "x"})
    assert said["changed_paths"] == [str(tmp_path / "other"), str(tmp_path / "mode")]
    assert [(item["before"], item["after"]) for item in said["diff"]] == [("old", "new ü")]
    assert (tmp_path / "other").read_text() == "new ü"
    assert mode(tmp_path / "mode") == "0644"
    assert {path.name for path in tmp_path.iterdir()} == {"same", "other", "mode", "beside"}, "nothing is left behind"


def test_check_mode_tells_the_same_and_changes_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    wanted = {"directories": {"private": "0700"}, "files": {"private/a": "new"}}
    for directory in (tmp_path / "missing", tmp_path):
        (tmp_path / "old").write_text("old")
        before = sorted(tmp_path.rglob("*"))
        told = run(capsys, directory, **wanted, _ansible_check_mode=True)
        assert sorted(tmp_path.rglob("*")) == before
        done = run(capsys, directory, **wanted)
        assert (told["changed_paths"], told["diff"]) == (done["changed_paths"], done["diff"])


def test_what_cannot_be_written_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    said = run(capsys, tmp_path, files={"nowhere/a": "x"})
    assert said["failed"]
    assert f"the files in {tmp_path} cannot be written" in said["msg"]
    assert "nowhere" in said["msg"]
