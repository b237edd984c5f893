from __future__ import annotations

import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Barrier
from typing import TYPE_CHECKING

import pytest

from lab.gpuswarm_lab.cache import cached, digest, locked

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[3]
KEY = "a" * 16
# A process that wants the thing. It says when it begins to make it, and ends that at the end of its standard input;
# then it says whether it made or found it, and what is in it.
PROCESS = """
import sys
from pathlib import Path
from lab.gpuswarm_lab.cache import cached

def make(target):
    target.mkdir()
    (target / "first").touch()
    print("making", flush=True)
    sys.stdin.read()
    (target / "last").touch()

path, made = cached(Path(sys.argv[1]), "thing", sys.argv[2], make, in_place=sys.argv[3] == "True")
print("made" if made else "found", *sorted(file.name for file in path.iterdir()), flush=True)
"""


@contextmanager
def process(cache: Path, *, in_place: bool) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", PROCESS, str(cache), KEY, str(in_place)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        try:
            yield child
        finally:
            child.kill()


def line(child: subprocess.Popen[str]) -> str:
    assert child.stdout
    return child.stdout.readline().strip()


def waits_for_lock(child: subprocess.Popen[str], lock: Path) -> bool:
    """Whether the kernel has the process in the queue for the lock (a line of /proc/locks with an arrow)."""
    inode = f":{lock.stat().st_ino}"
    rows = [row.split() for row in Path("/proc/locks").read_text().splitlines()]
    return any(row[1] == "->" and row[5] == str(child.pid) and row[6].endswith(inode) for row in rows)


def until_it_waits(child: subprocess.Popen[str], lock: Path) -> None:
    while not waits_for_lock(child, lock):
        assert child.poll() is None, "ended without waiting"
        time.sleep(0.02)


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


@pytest.mark.parametrize("in_place", [False, True])
def test_two_processes_make_it_once(tmp_path: Path, *, in_place: bool) -> None:
    with process(tmp_path, in_place=in_place) as first:
        assert line(first) == "making"
        with process(tmp_path, in_place=in_place) as second:
            until_it_waits(second, tmp_path / ".lock-thing")
            first.communicate("")  # lets it finish
            assert second.communicate("")[0].split("\n")[0] == "found first last"


@pytest.mark.parametrize("in_place", [False, True])
def test_who_is_killed_leaves_no_lock_and_nothing_that_passes_for_whole(tmp_path: Path, *, in_place: bool) -> None:
    with process(tmp_path, in_place=in_place) as first:
        assert line(first) == "making"
        with process(tmp_path, in_place=in_place) as second:
            until_it_waits(second, tmp_path / ".lock-thing")
            first.kill()
            assert second.communicate("")[0].splitlines() == ["making", "made first last"]
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {".lock-thing", f"thing-{KEY}", f"thing-{KEY}.complete"}


def test_other_things_are_made_meanwhile_and_by_their_makers(tmp_path: Path) -> None:
    def make(target: Path) -> None:
        part, _ = cached(tmp_path, "part", KEY, lambda part: part.touch())
        shutil.copy(part, target)

    with locked(tmp_path / ".lock-other"):
        assert cached(tmp_path, "whole", KEY, make)[0].exists()


def test_threads_of_one_process_make_it_once(tmp_path: Path) -> None:
    start = Barrier(4, timeout=10)

    def make(target: Path) -> None:
        time.sleep(0.1)
        target.mkdir()

    def want(_: int) -> bool:
        start.wait()
        return cached(tmp_path, "thing", KEY, make)[1]

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(want, range(4))) == [False, False, False, True]


def test_what_was_removed_in_part_is_not_taken_for_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mark goes first: whoever removes an older version may be ended in the middle of it."""
    old, _ = cached(tmp_path, "thing", KEY, lambda target: target.mkdir())

    def end(path: Path) -> None:
        assert path == old
        raise KeyboardInterrupt

    monkeypatch.setattr("lab.gpuswarm_lab.cache.shutil.rmtree", end)
    with pytest.raises(KeyboardInterrupt):
        cached(tmp_path, "thing", "b" * 16, lambda target: target.mkdir())
    monkeypatch.undo()
    assert cached(tmp_path, "thing", KEY, lambda target: target.mkdir())[1]
