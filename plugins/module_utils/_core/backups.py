# Copyright: (c) 2026, gpuswarm contributors
# SPDX-License-Identifier: Apache-2.0
"""What a backup is of, whether a copy is what was copied, which backups are kept, and the metrics about them.

A role says what of its own is backed up in a file of the directory backup.d: one JSON object, a *part*. The file's name
is the part's name. The contract is in the README of the role backup.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from .metrics import Family, text

BACKUP = re.compile(r"(?P<fleet>.+)-(?P<made>[0-9]{8}T[0-9]{6}Z)\.tar\.gz(\.age)?")
FORMAT = 1

# Names at the top of an archive, besides the files' own paths.
MANIFEST = "manifest.json"
SUMS = "sha256sums"
PARTS = "parts"
DUMPS = "dumps"

# Kind of a part -> fields that it must have, and that it may have.
KINDS: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    "files": (frozenset({"paths"}), frozenset({"optional"})),
    "swarm": (frozenset({"paths"}), frozenset()),
    "volume": (frozenset({"volumes"}), frozenset({"pause"})),
    "command": (frozenset({"dump", "verify", "restore"}), frozenset({"ready", "check"})),
}
PART_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
VOLUME_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
# A directory of the system's own, such as /etc, is never a part.
ABSOLUTE = re.compile(r"/[^/\0\n]+(/[^/\0\n]+)+")


class BackupError(Exception):
    """A backup cannot be made, is not whole, or cannot be restored; the message names the part and what must be."""


@dataclass(frozen=True)
class BackupPart:
    """What a role wants to be backed up.

    Attributes:
        name: of the file in backup.d, without ``.json``.
        kind: files (copied as they are), swarm (copied while Docker stands still), volume (Docker volumes), or command
            (a program's own dump, with the service running).
        paths: files and directories that must be there; of the kinds files and swarm.
        optional: files and directories that need not be there; of the kind files.
        volumes: names of Docker volumes.
        pause: whether the containers that use the volumes are paused while these are copied.
        dump: command that writes the dump to its standard output.
        verify: command that reads a dump from its standard input, and fails if that is not whole. It may not change
            anything that is in use.
        ready: command that succeeds once a dump can be restored; without it a dump is restored at once.
        restore: command that reads a dump from its standard input and makes the service's data that of the dump. It is
            run again if it was interrupted.
        check: command that fails if the restored service is not as it should be.
    """

    name: str
    kind: str
    paths: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    pause: bool = True
    dump: tuple[str, ...] = ()
    verify: tuple[str, ...] = ()
    ready: tuple[str, ...] = ()
    restore: tuple[str, ...] = ()
    check: tuple[str, ...] = ()


def part(name: str, content: str) -> BackupPart:
    """A part out of its file.

    :param name: of the file, without ``.json``.
    :raises BackupError: the file does not keep the contract.
    """
    wrong = f"the part {name} of the backup (backup.d/{name}.json)"
    try:
        data = json.loads(content)
    except ValueError as error:
        raise BackupError(f"{wrong} must be JSON: {error}") from error
    if not isinstance(data, dict) or data.get("kind") not in KINDS:
        raise BackupError(f"{wrong} must be an object whose kind is one of {', '.join(KINDS)}")
    if not PART_NAME.fullmatch(name):
        raise BackupError(f"{wrong} must have a name of lower-case letters, digits, _ and -")
    required, allowed = KINDS[data["kind"]]
    fields = data.keys() - {"kind"}
    if missing := sorted(required - fields):
        raise BackupError(f"{wrong} is of the kind {data['kind']} and must have {', '.join(missing)}")
    if unknown := sorted(fields - required - allowed):
        raise BackupError(f"{wrong} is of the kind {data['kind']}, which has no {', '.join(unknown)}")
    values: dict[str, Any] = {}
    for key in fields:
        value = data[key]
        if key == "pause":
            if not isinstance(value, bool):
                raise BackupError(f"{wrong}: pause must be true or false")
            values[key] = value
            continue
        if not isinstance(value, list) or not value or not all(isinstance(item, str) and item for item in value):
            raise BackupError(f"{wrong}: {key} must be a list of texts")
        if key in ("paths", "optional") and not all(ABSOLUTE.fullmatch(item) and _is_plain(item) for item in value):
            raise BackupError(f"{wrong}: {key} must be absolute paths below a directory, such as /etc/example")
        if key == "volumes" and not all(VOLUME_NAME.fullmatch(item) for item in value):
            raise BackupError(f"{wrong}: {key} must be names of Docker volumes")
        values[key] = tuple(value)
    return BackupPart(name=name, kind=data["kind"], **values)


def _is_plain(path: str) -> bool:
    return not {".", ".."} & set(PurePosixPath(path).parts) and "/./" not in path


def topmost(paths: Iterable[str]) -> list[str]:
    """Paths without those that lie in another of them, sorted."""
    kept: list[str] = []
    for path in sorted(set(paths), key=lambda path: PurePosixPath(path).parts):
        if not kept or not PurePosixPath(path).is_relative_to(kept[-1]):
            kept.append(path)
    return kept


def manifest(fleet: str, made: float, parts: Iterable[BackupPart], versions: Mapping[str, str]) -> str:
    """Text of an archive's manifest: what it is of, and what made it."""
    listed = {
        each.name: {key: value for key, value in vars(each).items() if key != "name" and value not in ((), True)}
        for each in parts
    }
    data = {"format": FORMAT, "fleet": fleet, "made": made, "versions": dict(versions), "parts": listed}
    return json.dumps(data, indent=1, sort_keys=True) + "\n"


def checksum_line(path: str, digest: str) -> str:
    """A file's line for ``sha256sum --check``, which escapes names of more than one line."""
    if "\\" in path or "\n" in path:
        escaped = path.replace("\\", "\\\\").replace("\n", "\\n")
        return f"\\{digest}  {escaped}\n"
    return f"{digest}  {path}\n"


@dataclass(frozen=True)
class Copied:
    """What a path of a backup is: its type, mode, owner, and content (SHA-256 of a file, target of a link)."""

    type: str
    mode: int
    owner: tuple[int, int]
    content: str = ""


def differences(wanted: Mapping[str, Copied], found: Mapping[str, Copied]) -> list[str]:
    """How a restored tree differs from the one that was backed up, a few words for each path, sorted by path."""
    told = []
    for path in sorted(wanted.keys() | found.keys()):
        if path not in found:
            told.append(f"{path} is missing")
        elif path not in wanted:
            told.append(f"{path} was not backed up")
        else:
            fields = [name for name in vars(wanted[path]) if getattr(wanted[path], name) != getattr(found[path], name)]
            if fields:
                told.append(f"{path} has another {' and '.join(fields)}")
    return told


def surplus(paths: list[str], fleet: str, keep: int, made: str) -> list[str]:
    """Backups that are to be removed after a new one was made.

    :param paths: files of a directory that other fleets' backups and anything else may lie in, too.
    :param fleet: name of the fleet; no other fleet's backup is ever among the result.
    :param keep: how many of the fleet's backups stay, the new one among them; at least 1.
    :param made: path or name of the new backup, which stays whatever the clock said.
    :returns: paths, the youngest first.
    :raises ValueError: ``keep`` is less than 1.
    """
    if keep < 1:
        raise ValueError(f"keep must be at least 1, and is {keep}")
    found = ((path, BACKUP.fullmatch(PurePosixPath(path).name)) for path in paths)
    others = [
        (match["made"], path)
        for path, match in found
        if match and match["fleet"] == fleet and match[0] != PurePosixPath(made).name
    ]
    return [path for _moment, path in sorted(others, reverse=True)[keep - 1 :]]


@dataclass
class BackupRecord:
    """How the last backup went; what is about an earlier, successful one stays when a later one fails.

    Attributes:
        at: when the last run began, in epoch seconds.
        success: whether it did all that it should.
        error: why not, in words.
        last_success: when a run last did all that it should, in epoch seconds; 0: never.
        file: path of the last backup on the manager.
        size: its bytes.
        parts: bytes of each part, not compressed.
        duration: seconds that the last run took.
        engine_stopped: seconds that Docker stood still in it.
        verified: place (manager, repository) -> when a backup was last restored from there and compared, in epoch
            seconds.
    """

    at: float = 0.0
    success: bool = False
    error: str = ""
    last_success: float = 0.0
    file: str = ""
    size: int = 0
    parts: dict[str, int] = field(default_factory=dict)
    duration: float = 0.0
    engine_stopped: float = 0.0
    verified: dict[str, float] = field(default_factory=dict)

    def dump(self) -> str:
        """Text of its file."""
        return json.dumps(vars(self), sort_keys=True) + "\n"


def record(content: str) -> BackupRecord:
    """A record out of its file; an empty one if that is damaged or of another version."""
    try:
        return BackupRecord(**json.loads(content))
    except (ValueError, TypeError):
        return BackupRecord()


def metrics(last: BackupRecord) -> str:
    """The metrics of the backups, for node_exporter's textfile collector."""
    prefix = "gpuswarm_backup_"
    families: list[Family] = []

    def add(name: str, description: str, *values: tuple[Mapping[str, str], float]) -> None:
        families.append((prefix + name, "gauge", description, [(prefix + name, *value) for value in values]))

    add("last_run_timestamp_seconds", "When a backup was last begun.", ({}, last.at))
    add("last_run_success", "Whether the last backup did all that it should.", ({}, float(last.success)))
    add(
        "last_success_timestamp_seconds",
        "When a backup last did all that it should, off-site and self-test included; 0: never.",
        ({}, last.last_success),
    )
    add("duration_seconds", "Time that the last backup took.", ({}, last.duration))
    add(
        "engine_stopped_seconds",
        "Time that Docker on the manager stood still in the last backup.",
        ({}, last.engine_stopped),
    )
    add("size_bytes", "Size of the last backup on the manager.", *([({}, float(last.size))] if last.file else []))
    add(
        "part_size_bytes",
        "Size of each part of the last backup, not compressed.",
        *(({"part": name}, float(size)) for name, size in sorted(last.parts.items())),
    )
    add(
        "verified_timestamp_seconds",
        "When a backup was last restored from there into a scratch place, and was what had been backed up.",
        *(({"place": place}, at) for place, at in sorted(last.verified.items())),
    )
    return text(families)
