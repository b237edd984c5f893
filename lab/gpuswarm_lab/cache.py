"""Things that are expensive to make, kept under a hash of what they are made from."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


def digest(*inputs: str | Path) -> str:
    """Short hash over strings, files (content and name) and directories (every file below them)."""
    total = hashlib.sha256()
    for item in inputs:
        if isinstance(item, str):
            total.update(b"str\0" + item.encode() + b"\0")
            continue
        for path in sorted(_files(item)):
            total.update(b"file\0" + str(path.relative_to(item.parent)).encode() + b"\0")
            total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()[:16]


def _files(path: Path) -> Iterable[Path]:
    if path.is_dir():
        return (p for p in path.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    return [path]


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock that other threads and processes wait for. It ends with its process, however that ends.

    Args:
        path: a directory, or a file, which is made if it is not there and stays.
    """
    # Programs that are started meanwhile do not inherit it: one that outlives its parent would go on holding it.
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDONLY | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def cached(
    cache: Path,
    name: str,
    key: str,
    make: Callable[[Path], None],
    *,
    in_place: bool = False,
    in_use: Collection[Path] = (),
) -> tuple[Path, bool]:
    """Path of ``<cache>/<name>-<key>``, made if it is not there; older versions of ``name`` are removed then.

    Whoever wants the same ``name`` while it is being made, in this process or another, waits, and then finds it there.

    Args:
        cache: directory of the cache.
        name: what it is.
        key: hash of what it is made from.
        make: writes the thing (a file or a directory) at the path it is given. It may call this function for another
            name, as long as that one never needs this one.
        in_place: build it under its final path, for things that hold their own path (virtual environments).
            Otherwise it is made under a temporary name and renamed.
        in_use: older versions that must stay.

    Returns:
        The path, and whether it had to be made.
    """
    final = cache / f"{name}-{key}"
    # What was made in place and what was being removed may be there in part: this file says that it is whole.
    marker = cache / f"{name}-{key}.complete"
    cache.mkdir(parents=True, exist_ok=True)
    with locked(cache / f".lock-{name}"):
        if marker.exists() and final.exists():
            return final, False
        old = [path for path in cache.glob(f"{name}-{'[0-9a-f]' * 16}*") if path.with_suffix("") not in in_use]
        left_behind = cache.glob(f".making-{name}-[0-9]*")
        for path in [*sorted(old, key=lambda path: path.suffix, reverse=True), *left_behind]:
            _remove(path)
        target = final if in_place else cache / f".making-{name}-{os.getpid()}"
        _remove(target)
        try:
            make(target)
        except BaseException:
            _remove(target)
            raise
        if not in_place:
            target.rename(final)
        marker.touch()
        return final, True


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
