from __future__ import annotations

from pathlib import Path

import pytest

from lab.gpuswarm_lab.cache import cached, digest


def test_digest_depends_on_content_and_name(tmp_path: Path) -> None:
    directory = tmp_path / "d"
    directory.mkdir()
    (directory / "a").write_text("1")
    before = digest(directory, "x")
    assert digest(directory, "x") == before
    assert digest(directory, "y") != before
    (directory / "a").rename(directory / "b")
    renamed = digest(directory, "x")
    assert renamed != before
    (directory / "b").write_text("2")
    assert digest(directory, "x") != renamed


def test_made_once_and_replaced_when_the_key_changes(tmp_path: Path) -> None:
    made: list[str] = []

    def make(target: Path) -> None:
        made.append(target.name)
        target.write_text("content")

    one, two = "1" * 16, "2" * 16
    assert cached(tmp_path, "thing", one, make) == (tmp_path / f"thing-{one}", True)
    assert cached(tmp_path, "thing", one, make) == (tmp_path / f"thing-{one}", False)
    assert cached(tmp_path, "thing", two, make)[1]
    assert not (tmp_path / f"thing-{one}").exists()
    assert len(made) == 2


@pytest.mark.parametrize("in_place", [False, True])
def test_what_was_not_finished_is_made_again(tmp_path: Path, *, in_place: bool) -> None:
    def fail(target: Path) -> None:
        target.mkdir()
        (target / "half").touch()
        raise RuntimeError

    key = "a" * 16
    with pytest.raises(RuntimeError):
        cached(tmp_path, "thing", key, fail, in_place=in_place)
    path, made = cached(tmp_path, "thing", key, lambda target: target.mkdir(), in_place=in_place)
    assert made
    assert list(path.iterdir()) == []


def test_a_version_in_use_stays(tmp_path: Path) -> None:
    one, _ = cached(tmp_path, "thing", "1" * 16, lambda target: target.mkdir(), in_place=True)
    cached(tmp_path, "thing", "2" * 16, lambda target: target.mkdir(), in_place=True, in_use=[one])
    assert cached(tmp_path, "thing", "1" * 16, lambda target: target.mkdir(), in_place=True) == (one, False)


def test_names_that_begin_alike_do_not_replace_each_other(tmp_path: Path) -> None:
    one, _ = cached(tmp_path, "schema", "1" * 16, lambda target: target.touch())
    cached(tmp_path, "schema-lab", "2" * 16, lambda target: target.touch())
    assert one.exists()
