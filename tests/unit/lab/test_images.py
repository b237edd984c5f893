from __future__ import annotations

from pathlib import Path

from lab.gpuswarm_lab.images import update_store
from lab.gpuswarm_lab.steps import StepLog


def store(path: Path, digest: str) -> Path:
    """A registry's files in small: an image's content, and its tag."""
    for name, content in ((f"blobs/{digest}", digest), ("tags/lab", digest)):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(content)
    return path


def test_a_registry_gets_changed_images_once_and_keeps_those_that_services_name_by_digest(tmp_path: Path) -> None:
    log, served, note = StepLog(tmp_path / "log"), tmp_path / "lab/registry", tmp_path / "lab/run/registry.key"
    one, two = store(tmp_path / "registry-1", "1"), store(tmp_path / "registry-2", "2")
    assert update_store(log, one, served, note)
    assert not update_store(log, one, served, note)
    assert update_store(log, two, served, note)
    assert not update_store(log, two, served, note)
    assert sorted(path.name for path in (served / "blobs").iterdir()) == ["1", "2"]
    assert (served / "tags/lab").read_text() == "2"


def test_an_update_that_was_cut_off_is_repeated(tmp_path: Path) -> None:
    log, served, note = StepLog(tmp_path / "log"), tmp_path / "registry", tmp_path / "registry.key"
    source = store(tmp_path / "registry-1", "1")
    (served / "blobs").mkdir(parents=True)
    (served / "blobs/1").write_text("")
    assert update_store(log, source, served, note)
    assert (served / "blobs/1").read_text() == "1"
