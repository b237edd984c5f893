"""Things that are expensive to make, kept under a hash of what they are made from."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Collection, Iterable
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

    Args:
        cache: directory of the cache.
        name: what it is.
        key: hash of what it is made from.
        make: writes the thing (a file or a directory) at the path it is given.
        in_place: build it under its final path, for things that hold their own path (virtual environments);
            a marker file tells whole ones from those whose making was interrupted. Otherwise it is made under
            a temporary name and renamed.
        in_use: older versions that must stay.

    Returns:
        The path, and whether it had to be made.
    """
    final = cache / f"{name}-{key}"
    marker = cache / f"{name}-{key}.complete"
    if marker.exists() and final.exists():
        return final, False
    cache.mkdir(parents=True, exist_ok=True)
    for old in [*cache.glob(f"{name}-{'[0-9a-f]' * 16}*")]:
        if old.with_suffix("") not in in_use:
            _remove(old)
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
