# Copyright: (c) 2026, gpuswarm contributors
# SPDX-License-Identifier: Apache-2.0
"""Makes a backup of the manager out of the parts in backup.d, and puts dumps back into running services.

The program around it is ``roles/backup/files/backup.py``. Only the standard library is imported.

What has to stand still is copied while this program holds the fleet's lock: volumes, files, and the swarm's state, for
which Docker stands still too. Dumps, compression, encryption, the self-test and the repository take longer, and hold
up nobody. A file in /run says what has to be undone if the program is killed; whoever finds it does so.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shlex
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from ansible_collections.gpuswarm.ollama.plugins.module_utils._clients.files import replace_file
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core import backups
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.backups import BackupError, BackupPart, Copied

from . import lock

FREEZE_TIMEOUT = 5.0  # seconds for every thread of Docker's to stop
# Seconds that Docker may be frozen. A node that is not heard for three heartbeats, 15 seconds, is Down for the swarm.
FROZEN_LIMIT = 8.0
UNDO_TIMEOUT = 180.0  # seconds for Docker to start again
READY_PAUSE = 1.0  # seconds
TAG = "gpuswarm"
LAST = ".last.json"
INTERRUPTED = "it was interrupted: see 'journalctl -u gpuswarm-backup'"

Say = Callable[[str], None]


@dataclass(frozen=True)
class BackupSettings:
    """What the role backup has configured.

    Attributes:
        fleet: its name.
        directory: where backups lie.
        parts: the directory backup.d.
        restored: where a restore leaves dumps for services that did not run yet.
        metrics: file for node_exporter's textfile collector.
        keep: how many backups stay in ``directory``.
        docker: what Docker does while the swarm's state is copied: frozen (its process is paused, containers go on) or
            stopped (containers too).
        timeout: seconds for a backup, without the wait for the lock.
        lock_timeout: seconds to wait for the fleet's lock.
        recipients: file with the public keys that a backup is encrypted for; empty: it is not.
        restic: program that is restic with the repository; empty: there is none.
        repository: tells one repository from another.
        repository_keep: restic's names of periods -> how many of them stay (``restic forget --keep-...``).
        repository_verify: whether each backup is restored from the repository and compared.
        collections: link to the collections in use, whose target is a version.
        root: where the manager's files lie, if not at /.
        lock: path of the fleet's lock.
        undo: path of the file that says what has to be undone.
    """

    fleet: str
    directory: str
    parts: str
    restored: str
    metrics: str
    keep: int
    docker: str
    timeout: float
    lock_timeout: float
    recipients: str = ""
    restic: str = ""
    repository: str = ""
    repository_keep: Mapping[str, int] = field(default_factory=dict)
    repository_verify: bool = True
    collections: str = ""
    root: str = ""
    lock: str = lock.PATH
    undo: str = "/run/gpuswarm/backup-undo.json"

    @classmethod
    def load(cls, path: Path) -> BackupSettings:
        """Settings out of their file.

        :raises BackupError: it cannot be read, or is of another version.
        """
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            return cls(**{name.name: data[name.name] for name in fields(cls) if name.name in data})
        except (OSError, ValueError, TypeError) as error:
            raise BackupError(f"{path} must be what the role backup writes: {error}; run site.yml") from error


class Commands:
    """Runs commands; none lasts longer than what is left of a time."""

    def __init__(self, seconds: float, what: str) -> None:
        self.until = time.monotonic() + seconds
        self.what = f"{what} took longer than {seconds:.0f} s"

    def left(self) -> float:
        """Seconds that are left.

        :raises BackupError: none are.
        """
        left = self.until - time.monotonic()
        if left <= 0:
            raise BackupError(self.what)
        return left

    def run(
        self,
        *command: str,
        stdin: BinaryIO | None = None,
        stdout: BinaryIO | None = None,
        text: str | None = None,
        cwd: str | None = None,
    ) -> str:
        """Run a command to its end; its standard output, unless that goes elsewhere.

        :param command: the program and its arguments, of this collection or of a part, which only root can write.
        :param stdin: file that it reads.
        :param stdout: file that it writes to.
        :param text: what it reads instead of a file.
        :param cwd: directory that it runs in.
        :raises BackupError: it failed, is not there, or took too long.
        """
        source: dict[str, Any] = {"stdin": stdin or subprocess.DEVNULL}
        if text is not None:
            source = {"input": text.encode(errors="surrogateescape")}
        try:
            result = subprocess.run(  # noqa: S603
                command,
                stdout=stdout or subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=cwd,
                timeout=self.left(),
                check=False,
                **source,
            )
        except subprocess.TimeoutExpired as error:
            raise BackupError(f"{self.what}, in '{shlex.join(command)}'") from error
        except OSError as error:
            raise BackupError(f"'{shlex.join(command)}' cannot be run: {error}") from error
        if result.returncode != 0:
            said = b"\n".join((result.stdout or b"", result.stderr)).decode(errors="replace").strip().splitlines()
            reason = " ".join(said[-5:]) or "it says nothing"
            raise BackupError(f"'{shlex.join(command)}' ended with {result.returncode}: {reason}")
        return (result.stdout or b"").decode(errors="replace")


def read_parts(directory: Path) -> list[BackupPart]:
    """All parts of a directory, by their names.

    :raises BackupError: one does not keep the contract, or there is none.
    """
    try:
        found = [backups.part(path.stem, path.read_text(encoding="utf-8")) for path in sorted(directory.glob("*.json"))]
    except (OSError, UnicodeDecodeError) as error:
        raise BackupError(f"the parts of the backup cannot be read: {error}") from error
    if not any(part.kind == "swarm" for part in found):
        raise BackupError(f"{directory} must say where the swarm's state is: run site.yml, whose roles write there")
    return found


def listing(root: Path, members: Iterable[str]) -> dict[str, Copied]:
    """What files, directories and links are, of some members of a directory and of what lies in these.

    :raises OSError: one cannot be read.
    """
    found = {}
    for member in members:
        top = root / member
        paths = [top]
        if top.is_dir() and not top.is_symlink():
            for at, directories, files in os.walk(top):
                paths += [Path(at) / name for name in (*directories, *files)]
        for path in paths:
            if path == top and not os.path.lexists(top):
                continue
            status = path.lstat()
            mode, owner = stat.S_IMODE(status.st_mode), (status.st_uid, status.st_gid)
            name = str(path.relative_to(root))
            if stat.S_ISREG(status.st_mode):
                with path.open("rb") as stream:
                    content = hashlib.file_digest(stream, "sha256").hexdigest()
                found[name] = Copied("file", mode, owner, content)
            elif stat.S_ISLNK(status.st_mode):
                found[name] = Copied("link", 0, owner, str(path.readlink()))
            elif stat.S_ISDIR(status.st_mode):
                found[name] = Copied("directory", mode, owner)
            elif not stat.S_ISSOCK(status.st_mode):  # a socket is of the process that listens there
                found[name] = Copied("other", mode, owner)
    return found


class Standstill:
    """Lets Docker or containers stand still for a moment, and go on again whatever happens."""

    def __init__(self, settings: BackupSettings) -> None:
        self.file = Path(settings.undo)
        self.how = settings.docker
        self.seconds = 0.0

    def undo(self) -> None:
        """Let everything go on that was left standing still; nothing to do is no error.

        :raises BackupError: Docker does not start.
        """
        try:
            left = json.loads(self.file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return
        commands = Commands(UNDO_TIMEOUT, "to start Docker again")
        if left.get("docker") == "frozen" and (pid := self._engine(commands)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        elif left.get("docker") == "stopped":
            commands.run("systemctl", "start", "docker.service")
        for container in left.get("paused", ()):
            with suppress(BackupError):  # it has ended, or goes on already
                commands.run("docker", "unpause", container)
        self.file.unlink()

    @contextmanager
    def docker(self, commands: Commands) -> Iterator[None]:
        """Docker stands still in the block.

        :raises BackupError: it does not, or does not go on.
        """
        began = time.monotonic()
        try:
            replace_file(self.file, json.dumps({"docker": self.how}), 0o600)
            if self.how == "stopped":
                commands.run("systemctl", "stop", "docker.socket", "docker.service")
            elif pid := self._engine(commands):
                self._freeze(pid)
            yield
        finally:
            self.undo()
            self.seconds += time.monotonic() - began

    @contextmanager
    def containers(self, volume: str, commands: Commands) -> Iterator[None]:
        """Containers on this machine that use a volume are paused in the block.

        :raises BackupError: they cannot be.
        """
        found = commands.run("docker", "ps", "--quiet", "--filter", "status=running", "--filter", f"volume={volume}")
        try:
            if running := found.split():
                replace_file(self.file, json.dumps({"paused": running}), 0o600)
                commands.run("docker", "pause", *running)
            yield
        finally:
            self.undo()

    @staticmethod
    def _engine(commands: Commands) -> int:
        """Process id of Docker's daemon; 0 if it does not run."""
        return int(commands.run("systemctl", "show", "--property=MainPID", "--value", "docker.service").strip() or 0)

    @staticmethod
    def _freeze(pid: int) -> None:
        try:
            os.kill(pid, signal.SIGSTOP)
            until = time.monotonic() + FREEZE_TIMEOUT
            while moving := [task for task in Path(f"/proc/{pid}/task").iterdir() if _state(task) not in "TtZX"]:
                if time.monotonic() > until:
                    raise BackupError(f"Docker must stand still, but {len(moving)} of its threads went on")
                time.sleep(0.01)
        except OSError as error:
            raise BackupError(f"Docker must stand still, but its process {pid} is not there: {error}") from error


def _state(task: Path) -> str:
    """State of a thread, see proc(5), field 3; X of one that has ended."""
    try:
        return (task / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0]
    except OSError:
        return "X"


class Backup:
    """One backup."""

    def __init__(self, settings: BackupSettings, say: Say) -> None:
        self.settings = settings
        self.say = say
        self.directory = Path(settings.directory)
        self.root = Path(settings.root or "/")
        # Always at the same place: restic finds by it what has not changed.
        self.work = self.directory / ".work"
        self.tree = self.work / "tree"
        self.commands = Commands(settings.timeout, "the backup")
        self.still = Standstill(settings)
        self.last = backups.record(_text(self.directory / LAST))
        self.copied: dict[str, list[str]] = {}  # part -> its members of the archive

    def make(self) -> None:
        """Make it, with all that belongs to it, and record how that went.

        :raises BackupError: something went wrong; a backup that was made before that stays.
        """
        began = time.monotonic()
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._alone():
            self.last.at, self.last.success, self.last.error = time.time(), False, INTERRUPTED
            self.last.duration = self.last.engine_stopped = 0.0
            replace_file(self.directory / LAST, self.last.dump(), 0o600)
            try:
                self._make()
                self.last.success, self.last.error, self.last.last_success = True, "", time.time()
            except OSError as error:
                self.last.error = f"a file cannot be read or written: {error}"
                raise BackupError(self.last.error) from error
            except BackupError as error:
                self.last.error = str(error)
                raise
            finally:
                shutil.rmtree(self.work, ignore_errors=True)
                self.last.duration, self.last.engine_stopped = time.monotonic() - began, self.still.seconds
                replace_file(self.directory / LAST, self.last.dump(), 0o600)
                replace_file(Path(self.settings.metrics), backups.metrics(self.last), 0o644)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """No other backup is made in the block; what a killed one has left is cleared up before it."""
        descriptor = os.open(self.directory, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.still.undo()
            if self.work.exists():
                shutil.rmtree(self.work)
            self.tree.mkdir(mode=0o700, parents=True)
            yield
        except BlockingIOError as error:
            raise BackupError("another backup is being made: wait until it has ended") from error
        finally:
            os.close(descriptor)

    def _make(self) -> None:
        parts = read_parts(Path(self.settings.parts))
        self._gather(parts)
        members, wanted = self._describe(parts)
        archive = self._archive(members)
        self._verify(parts, wanted, archive)
        self._publish(archive)
        if self.settings.restic:
            self._off_site(wanted, members)

    # ------------------------------------------------------------ what is backed up

    def _gather(self, parts: Sequence[BackupPart]) -> None:
        for part in parts:
            if part.kind == "command":
                self._dump(part)
        with self._fleet_lock():
            # The lock may have taken its time.
            self.commands = Commands(self.settings.timeout, "the backup")
            for part in sorted(parts, key=lambda part: ("volume", "files", "swarm", "command").index(part.kind)):
                for volume in part.volumes:
                    self._copy_volume(part, volume)
                if part.kind == "files":
                    self._copy_files(part)
                if part.kind == "swarm":
                    self._copy_swarm(part)

    @contextmanager
    def _fleet_lock(self) -> Iterator[None]:
        """Nobody else works on the fleet in the block."""
        path, run, began = Path(self.settings.lock), f"backup {os.getpid()}", time.time()
        started = lock.process(os.getpid())[1]
        me = lock.Holder(run, "a backup", began, pid=os.getpid(), started=started, boot_id=lock.boot_id())
        until = time.monotonic() + self.settings.lock_timeout
        while other := lock.claim(path, run, me, time.time()):
            if time.monotonic() > until:
                said = lock.describe(other, time.time())
                raise BackupError(f"another run is at work on the fleet: {said}. Try again when it has ended")
            time.sleep(1)
        try:
            yield
        finally:
            lock.claim(path, run, None, time.time())

    def _dump(self, part: BackupPart) -> None:
        target = self.tree / backups.DUMPS / part.name
        target.parent.mkdir(mode=0o700, exist_ok=True)
        try:
            with target.open("wb") as stream:
                self.commands.run(*part.dump, stdout=stream)
        except BackupError as error:
            raise BackupError(f"the part {part.name} of the backup could not be dumped: {error}") from error
        self.copied.setdefault(part.name, []).append(f"{backups.DUMPS}/{part.name}")

    def _copy_volume(self, part: BackupPart, volume: str) -> None:
        path = f"/var/lib/docker/volumes/{volume}"
        if not (self.root / path.lstrip("/") / "_data").is_dir():
            raise BackupError(f"the part {part.name} of the backup: there is no volume {volume} on this manager")
        if part.pause:
            with self.still.containers(volume, self.commands):
                self._take(part, path)
        else:
            self._take(part, path)

    def _copy_files(self, part: BackupPart) -> None:
        self._require(part, part.paths)
        there = [path for path in part.optional if os.path.lexists(self.root / path.lstrip("/"))]
        for path in (*part.paths, *there):
            self._take(part, path)

    def _copy_swarm(self, part: BackupPart) -> None:
        self._require(part, part.paths)
        # What has been read once is read from memory while Docker stands still.
        paths = [str(self.root / path.lstrip("/")) for path in part.paths]
        with suppress(BackupError), Path(os.devnull).open("wb") as nowhere:  # a file may vanish
            self.commands.run("find", *paths, "-type", "f", "-exec", "cat", "{}", "+", stdout=nowhere)
        whole = self.commands
        try:
            with self.still.docker(whole):
                if self.settings.docker == "frozen":
                    self.commands = Commands(FROZEN_LIMIT, "the copy with Docker frozen (see backup_docker: stopped)")
                for path in part.paths:
                    self._take(part, path)
        finally:
            self.commands = whole

    def _require(self, part: BackupPart, paths: Iterable[str]) -> None:
        for path in paths:
            if not os.path.lexists(self.root / path.lstrip("/")):
                raise BackupError(f"the part {part.name} of the backup: {path} must be there, and is not")

    def _take(self, part: BackupPart, path: str) -> None:
        member = path.strip("/")
        target = self.tree / member
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            self.commands.run("cp", "-aT", str(self.root / member), str(target))
        except BackupError as error:
            raise BackupError(f"the part {part.name} of the backup could not be copied: {error}") from error
        self.copied.setdefault(part.name, []).append(member)

    # ------------------------------------------------------------ the archive

    def _describe(self, parts: Sequence[BackupPart]) -> tuple[list[str], dict[str, Copied]]:
        """Write what the archive says of itself; its members, and what they and all in them are."""
        everything = [member for members in self.copied.values() for member in members]
        dumps = [member for member in everything if member.startswith(f"{backups.DUMPS}/")]
        files = backups.topmost(member for member in everything if member not in dumps)
        content = listing(self.tree, [*files, *dumps])
        sizes: dict[str, int] = {}
        for name, members in self.copied.items():
            inner = [path for path in listing_names(content, members) if content[path].type == "file"]
            sizes[name] = sum((self.tree / path).stat().st_size for path in inner)
        self.last.parts = sizes
        sums = [
            backups.checksum_line(path, each.content) for path, each in sorted(content.items()) if each.type == "file"
        ]
        versions = {
            "docker": self.commands.run("docker", "--version").strip(),
            "collections": Path(os.path.realpath(self.settings.collections)).name if self.settings.collections else "",
        }
        texts = {
            backups.MANIFEST: backups.manifest(self.settings.fleet, self.last.at, parts, versions),
            backups.SUMS: "".join(sums),
            backups.PARTS: "".join(f"{path}\n" for path in files),
        }
        for name, content_text in texts.items():
            replace_file(self.tree / name, content_text, 0o600)
        return [*texts, *dumps, *files], content | listing(self.tree, texts)

    def _archive(self, members: Sequence[str]) -> Path:
        made = datetime.fromtimestamp(self.last.at, UTC).strftime("%Y%m%dT%H%M%SZ")
        path = self.work / f"{self.settings.fleet}-{made}.tar.gz"
        self.commands.run(
            "tar", "--create", "--gzip", "--numeric-owner", "--directory", str(self.tree), "--file", str(path),
            "--null", "--files-from=-", text="".join(f"{member}\0" for member in members),
        )  # fmt: skip
        return path

    def _verify(self, parts: Sequence[BackupPart], wanted: Mapping[str, Copied], archive: Path) -> None:
        """Restore it into a scratch place, compare, and have dumps verified."""
        scratch = self.work / "scratch"
        scratch.mkdir(mode=0o700)
        self.commands.run(
            "tar", "--extract", "--gzip", "--numeric-owner", "--preserve-permissions", "--directory", str(scratch),
            "--file", str(archive),
        )  # fmt: skip
        self._compare(wanted, scratch, "the archive")
        for part in parts:
            if part.verify:
                try:
                    with (scratch / backups.DUMPS / part.name).open("rb") as stream:
                        self.commands.run(*part.verify, stdin=stream)
                except BackupError as error:
                    raise BackupError(f"the dump of the part {part.name} is not whole: {error}") from error
        shutil.rmtree(scratch)
        self.last.verified["manager"] = time.time()
        self.say(f"restored into a scratch place: {len(wanted)} files and directories are as they were")

    def _compare(self, wanted: Mapping[str, Copied], scratch: Path, what: str) -> None:
        members = backups.topmost(path for path in wanted if os.path.lexists(scratch / path))
        if different := backups.differences(wanted, listing(scratch, members)):
            some = "; ".join(different[:5]) + (f"; and {len(different) - 5} more" if len(different) > 5 else "")
            raise BackupError(f"{what} is not what was backed up: {some}. Check the disk, and make another backup")

    def _publish(self, archive: Path) -> None:
        if self.settings.recipients:
            encrypted = archive.with_name(f"{archive.name}.age")
            self.commands.run(
                "age", "--encrypt", "--recipients-file", self.settings.recipients, "--output", str(encrypted),
                str(archive),
            )  # fmt: skip
            archive.unlink()
            archive = encrypted
        with archive.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
            os.fsync(stream.fileno())
        target = self.directory / archive.name
        # First the checksum, then what it is of: a backup without its checksum is one that was not finished.
        replace_file(target.with_name(f"{target.name}.sha256"), backups.checksum_line(target.name, digest), 0o600)
        archive.chmod(0o600)
        archive.replace(target)
        self.last.file, self.last.size = str(target), target.stat().st_size
        self.say(f"made {target}, {self.last.size} bytes; Docker stood still for {self.still.seconds:.1f} s")
        there = [str(path) for path in self.directory.iterdir()]
        for path in backups.surplus(there, self.settings.fleet, self.settings.keep, str(target)):
            Path(path).unlink()
            Path(f"{path}.sha256").unlink(missing_ok=True)

    # ------------------------------------------------------------ elsewhere

    def _off_site(self, wanted: Mapping[str, Copied], members: Sequence[str]) -> None:
        """Copy it into the repository, in the clear: restic encrypts, and keeps only what is new."""
        try:
            self._require_repository()
            self._restic("unlock")  # locks of processes that are no more
            whose = ("--host", self.settings.fleet, "--tag", TAG)
            lines = self._restic("backup", "--json", *whose, ".", cwd=str(self.tree)).splitlines()
            snapshot = str(json.loads(lines[-1])["snapshot_id"])
            if self.settings.repository_verify:
                scratch = self.work / "scratch"
                self._restic("restore", snapshot, "--target", str(scratch))
                self._compare(wanted, scratch, f"the snapshot {snapshot}")
                shutil.rmtree(scratch)
                self.last.verified["repository"] = time.time()
            if self.settings.repository_keep:
                kept = [f"--keep-{period}={number}" for period, number in self.settings.repository_keep.items()]
                self._restic("forget", *whose, "--group-by", "host", "--prune", *kept)
            self._restic("check")
        except (BackupError, ValueError, LookupError) as error:
            raise BackupError(
                f"{self.last.file} was made, but is not in the repository of backup_repository: {error}"
            ) from error
        self.say(f"snapshot {snapshot} is in the repository: {len(members)} members")

    def _require_repository(self) -> None:
        """The repository is there; one that has never been seen is made."""
        seen = self.directory / f".repository-{self.settings.repository}"
        if seen.exists():
            return
        try:
            self._restic("cat", "config")
        except BackupError as error:
            try:
                self._restic("init")
            except BackupError as second:
                raise BackupError(f"it cannot be opened ({error}), nor be made ({second})") from second
            self.say("the repository was made")
        seen.touch(mode=0o600)

    def _restic(self, *arguments: str, cwd: str | None = None) -> str:
        return self.commands.run(self.settings.restic, *arguments, cwd=cwd)


def listing_names(content: Mapping[str, Copied], members: Iterable[str]) -> list[str]:
    """Those of some paths that are one of the members, or lie in one."""
    tops = tuple(members)
    return [path for path in content if any(path == top or path.startswith(f"{top}/") for top in tops)]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""


def restore_services(settings: BackupSettings, say: Say) -> None:
    """Put the dumps that a restore has left into their services, which run by now, each verified before and after.

    A dump that is in place is removed; so whoever calls again goes on where this ended.

    :raises BackupError: one cannot be restored.
    """
    directory = Path(settings.restored)
    dumps = sorted((directory / backups.DUMPS).glob("*"))
    parts: Mapping[str, BackupPart] = {}
    if dumps:
        parts = {part.name: part for part in read_parts(Path(settings.parts)) if part.kind == "command"}
    commands = Commands(settings.timeout, "the restore")
    for dump in dumps:
        name = dump.name
        if name not in parts:
            raise BackupError(
                f"the backup has a dump of {name}, but no role has written {settings.parts}/{name}.json: "
                f"switch that service on and run site.yml, or remove {dump}"
            )
        try:
            _restore_dump(parts[name], dump, commands)
        except BackupError as error:
            raise BackupError(
                f"the part {name} of the backup could not be restored: {error}. The dump is in {dump}; "
                "once the cause is removed, run playbooks/restore_services.yml"
            ) from error
        dump.unlink()
        say(f"restored and checked: {name}")
    if directory.exists():
        shutil.rmtree(directory)


def _restore_dump(part: BackupPart, dump: Path, commands: Commands) -> None:
    while part.ready:
        try:
            commands.run(*part.ready)
            break
        except BackupError as error:
            if time.monotonic() + READY_PAUSE > commands.until:
                raise BackupError(f"the service did not get ready: {error}") from error
            time.sleep(READY_PAUSE)
    for command in (part.verify, part.restore):
        with dump.open("rb") as stream:
            commands.run(*command, stdin=stream)
    if part.check:
        commands.run(*part.check)


def undo(settings: BackupSettings) -> None:
    """Let Docker and containers go on that a killed backup has left standing still.

    :raises BackupError: Docker does not start.
    """
    Standstill(settings).undo()


def main(command: str, settings_file: str, say: Say) -> int:
    """Run a command: make, restore or undo; the exit status.

    :param say: gets each line for people.
    """
    actions: dict[str, Callable[[BackupSettings], Any]] = {
        "make": lambda settings: Backup(settings, say).make(),
        "restore": lambda settings: restore_services(settings, say),
        "undo": undo,
    }
    try:
        actions[command](BackupSettings.load(Path(settings_file)))
    except (BackupError, OSError) as error:
        say(f"error: {error}")
        return 1
    return 0
