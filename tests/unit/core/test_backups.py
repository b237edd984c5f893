"""What a part of a backup is, how copies are compared, which backups stay, and the metrics about them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ansible_collections.gpuswarm.ollama.plugins.module_utils._core import backups
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.backups import BackupError, BackupRecord, Copied

FILES = {"kind": "files", "paths": ["/etc/example"]}
COMMAND = {"kind": "command", "dump": ["a"], "verify": ["b"], "restore": ["c"]}


@pytest.mark.parametrize(
    "data",
    [
        FILES,
        {**FILES, "optional": ["/srv/other/file"]},
        {"kind": "swarm", "paths": ["/var/lib/docker/swarm"]},
        {"kind": "volume", "volumes": ["llm_chroma", "b"], "pause": False},
        {**COMMAND, "ready": ["d", "e"], "check": ["f"]},
    ],
)
def test_a_part_is_what_its_file_says(data: dict[str, Any]) -> None:
    part = backups.part("mine", json.dumps(data))
    assert part.name == "mine"
    for key, value in data.items():
        assert getattr(part, key) == (tuple(value) if isinstance(value, list) else value)


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("mine", "{", "must be JSON"),
        ("mine", [], "must be an object whose kind is one of files, swarm, volume, command"),
        ("mine", {"kind": "database"}, "must be an object whose kind"),
        ("Mine 1", FILES, "must have a name of lower-case letters"),
        ("mine", {"kind": "files"}, "is of the kind files and must have paths"),
        ("mine", {"kind": "command", "dump": ["a"]}, "must have restore, verify"),
        ("mine", {**FILES, "volumes": ["a"]}, "which has no volumes"),
        ("mine", {**FILES, "paths": "/etc/example"}, "paths must be a list of texts"),
        ("mine", {**FILES, "paths": []}, "paths must be a list of texts"),
        ("mine", {**COMMAND, "dump": ["a", 1]}, "dump must be a list of texts"),
        ("mine", {**FILES, "paths": ["etc/example"]}, "must be absolute paths below a directory"),
        ("mine", {**FILES, "paths": ["/etc"]}, "must be absolute paths below a directory"),
        ("mine", {**FILES, "optional": ["/etc/../root/x"]}, "optional must be absolute paths"),
        ("mine", {**FILES, "paths": ["/etc/example/"]}, "must be absolute paths"),
        ("mine", {"kind": "volume", "volumes": ["a/../b"]}, "must be names of Docker volumes"),
        ("mine", {"kind": "volume", "volumes": ["a"], "pause": 1}, "pause must be true or false"),
    ],
)
def test_an_error_names_the_part_and_what_must_be(name: str, data: object, words: str) -> None:
    content = data if isinstance(data, str) else json.dumps(data)
    with pytest.raises(BackupError) as raised:
        backups.part(name, content)
    assert f"the part {name} of the backup (backup.d/{name}.json)" in str(raised.value)
    assert words in str(raised.value)


@pytest.mark.parametrize(
    ("paths", "kept"),
    [
        ([], []),
        (["etc/a", "etc/a/b", "etc/a/b/c"], ["etc/a"]),
        (["etc/a-b", "etc/a/x", "etc/a"], ["etc/a", "etc/a-b"]),
        (["b", "a", "b"], ["a", "b"]),
    ],
)
def test_what_lies_in_another_is_left_out(paths: list[str], kept: list[str]) -> None:
    assert backups.topmost(paths) == kept


@pytest.mark.parametrize("name", ["plain", "with blank", "back\\slash", "two\nlines"])
def test_a_checksum_is_as_sha256sum_writes_it(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("content", encoding="utf-8")
    said = subprocess.run(["sha256sum", name], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    digest = "ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73"
    assert backups.checksum_line(name, digest) == said


def test_every_difference_is_told() -> None:
    file = Copied("file", 0o600, (0, 0), "1")
    wanted = {"same": file, "content": file, "mode": file, "type": file, "gone": file}
    found = {
        "same": file,
        "content": Copied("file", 0o600, (0, 0), "2"),
        "mode": Copied("file", 0o644, (0, 1), "1"),
        "type": Copied("link", 0o600, (0, 0), "1"),
        "new": file,
    }
    assert backups.differences(wanted, wanted) == []
    assert backups.differences(wanted, found) == [
        "content has another content",
        "gone is missing",
        "mode has another mode and owner",
        "new was not backed up",
        "type has another type",
    ]


def test_the_manifest_says_what_it_is_of() -> None:
    parts = [backups.part("db", json.dumps(COMMAND)), backups.part("mine", json.dumps(FILES))]
    data = json.loads(backups.manifest("demo", 5.0, parts, {"docker": "20"}))
    assert data == {
        "format": 1,
        "fleet": "demo",
        "made": 5.0,
        "versions": {"docker": "20"},
        "parts": {"db": COMMAND, "mine": FILES},
    }


RECORD = BackupRecord(
    at=100.0,
    success=True,
    last_success=110.0,
    file="/b",
    size=7,
    parts={"swarm": 3, "db": 4},
    duration=10.0,
    engine_stopped=0.5,
    verified={"manager": 105.0},
)


def test_a_record_survives_its_file() -> None:
    assert backups.record(RECORD.dump()) == RECORD
    for damaged in ("", "{", "[]", '{"unknown": 1}'):
        assert backups.record(damaged) == BackupRecord()


def test_metrics_are_what_prometheus_reads() -> None:
    families = list(text_string_to_metric_families(backups.metrics(RECORD)))
    assert all(family.documentation.endswith((".", "never.")) for family in families)
    samples = {(sample.name, *sample.labels.values()): sample.value for family in families for sample in family.samples}
    assert samples == {
        ("gpuswarm_backup_last_run_timestamp_seconds",): 100.0,
        ("gpuswarm_backup_last_run_success",): 1.0,
        ("gpuswarm_backup_last_success_timestamp_seconds",): 110.0,
        ("gpuswarm_backup_duration_seconds",): 10.0,
        ("gpuswarm_backup_engine_stopped_seconds",): 0.5,
        ("gpuswarm_backup_size_bytes",): 7.0,
        ("gpuswarm_backup_part_size_bytes", "db"): 4.0,
        ("gpuswarm_backup_part_size_bytes", "swarm"): 3.0,
        ("gpuswarm_backup_verified_timestamp_seconds", "manager"): 105.0,
    }


def test_before_the_first_backup_there_is_no_size() -> None:
    text = backups.metrics(BackupRecord(at=1.0, error="no disk"))
    assert "size_bytes" not in text
    assert "gpuswarm_backup_last_success_timestamp_seconds 0\n" in text


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
