"""The module file_set on real files, as root and as anybody else."""

from __future__ import annotations

import grp
import io
import json
import os
import pwd
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.gpuswarm.ollama.plugins.modules import file_set

ME = {"owner": pwd.getpwuid(os.geteuid()).pw_name, "group": grp.getgrgid(os.getegid()).gr_name}


def run(entries: list[dict[str, Any]], **options: Any) -> dict[str, Any]:
    printed = io.StringIO()
    with patch_module_args({"entries": entries, **ME, **options}), redirect_stdout(printed), pytest.raises(SystemExit):
        file_set.main()
    result: dict[str, Any] = json.loads(printed.getvalue())
    return result


def entries(top: Path) -> list[dict[str, Any]]:
    return [
        {"path": str(top / "d"), "mode": "0750"},
        {"path": str(top / "d" / "a"), "mode": "0600", "content": "one\n"},
        {"path": str(top / "d" / "b"), "mode": "0644", "src": str(top / "d" / "a")},
    ]


def mode(path: Path) -> str:
    return f"{path.stat().st_mode & 0o7777:04o}"


def test_check_mode_changed_unchanged(tmp_path: Path) -> None:
    paths = [entry["path"] for entry in entries(tmp_path)]
    checked = run(entries(tmp_path), _ansible_check_mode=True)
    assert (checked["changed"], checked["changed_paths"]) == (True, paths)
    assert list(tmp_path.iterdir()) == []
    done = run(entries(tmp_path))
    assert (done["changed"], done["changed_paths"]) == (True, paths)
    assert [mode(Path(path)) for path in paths] == ["0750", "0600", "0644"]
    assert (tmp_path / "d" / "b").read_text() == "one\n"
    again = run(entries(tmp_path))
    assert (again["changed"], again["changed_paths"], again["diff"]) == (False, [], [])
    assert sorted(path.name for path in (tmp_path / "d").iterdir()) == ["a", "b"]


@pytest.mark.parametrize("check", [False, True])
def test_only_what_differs_is_changed_and_shown(tmp_path: Path, check: bool) -> None:
    run(entries(tmp_path))
    a, b = tmp_path / "d" / "a", tmp_path / "d" / "b"
    a.write_text("two\n")
    b.write_text("one\n")
    b.chmod(0o666)
    result = run(
        [*entries(tmp_path)[:2], {"path": str(b), "mode": "0644", "content": "one\n"}], _ansible_check_mode=check
    )
    assert result["changed_paths"] == [str(a), str(b)]
    assert [(item["before"], item["after"]) for item in result["diff"]] == [
        ("two\n", "one\n"),
        ("mode: 0666\n", "mode: 0644\n"),
    ]
    assert a.read_text() == ("two\n" if check else "one\n")
    assert mode(b) == ("0666" if check else "0644")


@pytest.mark.parametrize(
    ("entry", "options", "words"),
    [
        ({"mode": "rw", "content": ""}, {}, "mode of {path} must be an octal number such as 0644, not 'rw'"),
        ({"mode": "0644", "content": ""}, {"owner": "no-such-user"}, "owner and group must exist on the host"),
        ({"mode": "0644", "src": "/no/such/file"}, {}, "{path} could not be written"),
        ({"mode": "0644", "src": "/etc/hostname", "content": "x"}, {}, "mutually exclusive"),
        ({"content": "x"}, {}, "state is present but all of the following are missing: mode"),
    ],
)
def test_a_wrong_entry_is_named(tmp_path: Path, entry: dict[str, str], options: dict[str, str], words: str) -> None:
    path = str(tmp_path / "x")
    result = run([{"path": path, **entry}], **options)
    assert result["failed"] is True
    assert words.format(path=path) in result["msg"]
    assert list(tmp_path.iterdir()) == []


def test_what_must_be_absent_is_removed(tmp_path: Path) -> None:
    run(entries(tmp_path))
    gone = [
        {"path": str(tmp_path / "d" / "a"), "state": "absent"},
        {"path": str(tmp_path / "never"), "state": "absent"},
    ]
    checked = run(gone, _ansible_check_mode=True)
    assert checked["changed_paths"] == [str(tmp_path / "d" / "a")]
    assert (tmp_path / "d" / "a").exists()
    done = run(gone)
    assert done["changed_paths"] == [str(tmp_path / "d" / "a")]
    assert [(item["before"], item["after"]) for item in done["diff"]] == [("state: present\n", "state: absent\n")]
    assert not (tmp_path / "d" / "a").exists()
    assert run(gone)["changed"] is False
    run([{"path": str(tmp_path / "d"), "state": "absent"}])
    assert list(tmp_path.iterdir()) == []


def test_an_exclusive_directory_keeps_what_is_listed_only(tmp_path: Path) -> None:
    run(entries(tmp_path))
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    (tmp_path / "d" / "old").mkdir()
    (tmp_path / "d" / "old" / "file").touch()
    (tmp_path / "d" / "link").symlink_to(outside)
    (tmp_path / "d" / "sub").mkdir()
    (tmp_path / "d" / "sub" / "old").touch()
    listed = [
        {**entries(tmp_path)[0], "exclusive": True}, *entries(tmp_path)[1:],
        {"path": str(tmp_path / "d" / "sub" / "new"), "mode": "0600", "content": ""},
    ]  # fmt: skip
    removed = [str(tmp_path / "d" / name) for name in ("link", "old", "sub/old")]
    checked = run(listed, _ansible_check_mode=True)
    assert checked["changed_paths"] == [*removed, str(tmp_path / "d" / "sub" / "new")]
    assert run(listed)["changed_paths"] == checked["changed_paths"]
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == [
        "d", "d/a", "d/b", "d/sub", "d/sub/new", "outside", "outside/kept"
    ]  # fmt: skip
    assert run(listed)["changed"] is False


def test_directories_above_a_directory_are_made(tmp_path: Path) -> None:
    run([{"path": str(tmp_path / "one" / "two" / "three"), "mode": "0700"}])
    assert [mode(tmp_path / name) for name in ("one", "one/two", "one/two/three")] == ["0755", "0755", "0700"]


def test_a_file_in_the_place_of_a_directory_stays(tmp_path: Path) -> None:
    (tmp_path / "d").write_text("mine")
    result = run(entries(tmp_path))
    assert "exists and is not a directory" in result["msg"]
    assert (tmp_path / "d").read_text() == "mine"


def test_a_failure_leaves_the_old_file_whole_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(entries(tmp_path))

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    changed = entries(tmp_path)
    changed[1]["content"] = "new\n"
    result = run(changed)
    assert "No space left" in result["msg"]
    assert (tmp_path / "d" / "a").read_text() == "one\n"
    assert sorted(path.name for path in (tmp_path / "d").iterdir()) == ["a", "b"]
