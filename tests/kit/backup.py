# SPDX-License-Identifier: Apache-2.0
"""A manager's files below a directory, and the programs of the role backup on them, without systemd and Docker."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.kit.paths import ROOT

FILES = ROOT / "roles" / "backup" / "files"

# What a manager's directories look like, and what of them a backup holds.
SYSTEM = {
    "etc": 0o755,
    "opt": 0o755,
    "var": 0o755,
    "var/lib": 0o755,
    "var/lib/docker": 0o710,
    "var/lib/docker/volumes": 0o701,
    "var/tmp": 0o1777,
}
OWN = {
    "var/lib/docker/swarm": 0o700,
    "var/lib/docker/volumes/db": 0o701,
    "var/lib/docker/volumes/db/_data": 0o755,
    "etc/gpuswarm": 0o700,
    "opt/gpuswarm": 0o755,
    "opt/gpuswarm/stack": 0o750,
    "var/lib/gpuswarm": 0o750,
}
CONTENT = {
    "var/lib/docker/swarm/docker-state.json": "the swarm",
    "var/lib/docker/volumes/db/_data/rows": "rows",
    "etc/gpuswarm/clouds.yaml": "password",
    "opt/gpuswarm/stack/compose.yml": "services",
    "var/lib/gpuswarm/journal.jsonl": "{}",
}
PARTS: dict[str, dict[str, Any]] = {
    "swarm": {"kind": "swarm", "paths": ["/var/lib/docker/swarm"]},
    "stack": {"kind": "files", "paths": ["/opt/gpuswarm/stack"]},
    "recovery": {
        "kind": "files",
        "paths": ["/etc/gpuswarm"],
        # Of the second there is none.
        "optional": ["/var/lib/gpuswarm/journal.jsonl", "/var/lib/gpuswarm/journal.jsonl.1"],
    },
    "volumes": {"kind": "volume", "volumes": ["db"]},
}

# The engine is a process of the test's, whose state at each copy is in the list of calls.
PROGRAMS = {
    "systemctl": """#!/bin/sh
[ "$1" != show ] || { cat "$ENGINE"; exit 0; }
echo "systemctl $*" >>"$CALLS"
""",
    # An engine that runs tasks after RESTARTS restarts that came after the swarm was made.
    "docker": """#!/bin/sh
echo "docker $*" >>"$CALLS"
case $1 in
  ps) echo 0123abc ;;
  run)
    restarts=$(sed -n '/^docker swarm init/,$p' "$CALLS" | grep -c 'systemctl restart docker' || true)
    [ "$restarts" -ge "$RESTARTS" ] || { echo 'cannot create a swarm scoped network' >&2; exit 125; }
    ;;
  import) cat >/dev/null ;;
esac
""",
    "cp": """#!/bin/sh
for last; do :; done
# Who is not stopped sleeps or, just woken, is about to.
[ "$(cut -d ' ' -f 3 "/proc/$(cat "$ENGINE")/stat")" = T ] && state=frozen || state=running
held=$(grep -o 'a backup' "$LOCK" 2>/dev/null)
echo "cp ${last##*/tree/} $state ${held:+locked}" >>"$CALLS"
case $last in *tree/var/lib/docker/swarm) [ ! -e "$HANG" ] || { touch "$HANG.here"; exec sleep 60; } ;; esac
exec /bin/cp "$@"
""",
    "tar": """#!/bin/sh
/bin/tar "$@" || exit
[ "$1" != --extract ] || [ ! -e "$SPOIL" ] || echo more >>"$6/etc/gpuswarm/clouds.yaml"
""",
}


class Machine:
    """A manager's files, below a directory."""

    def __init__(self, root: Path, directories: dict[str, int], engine: int) -> None:
        self.root = root
        self.place = root.parent / f"{root.name}.d"
        self.place.mkdir()
        root.mkdir()
        root.chmod(0o755)
        for name, mode in directories.items():
            (root / name).mkdir(parents=True)
            (root / name).chmod(mode)
        programs = self.place / "bin"
        programs.mkdir()
        for name, text in PROGRAMS.items():
            (programs / name).write_text(text, encoding="utf-8")
            (programs / name).chmod(0o755)
        (self.place / "engine").write_text(f"{engine}\n", encoding="utf-8")
        (self.place / "calls").touch()
        self.environment = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "BACKUP_ROOT": str(root),
            "RESTARTS": "1",
            **{name.upper(): str(self.place / name) for name in ("calls", "engine", "hang", "spoil")},
            "LOCK": str(self.place / "lock.json"),
        }
        # As it lies on a manager.
        (self.place / "collections").mkdir()
        (self.place / "collections" / "current").symlink_to(ROOT / "build" / "collections")
        shutil.copy(FILES / "backup.py", self.place)
        self.settings: dict[str, Any] = {
            "fleet": "demo",
            "directory": str(self.place / "backups"),
            "parts": str(self.place / "backup.d"),
            "restored": str(root / "var/lib/gpuswarm/restored"),
            "metrics": str(self.place / "metrics" / "backup.prom"),
            "keep": 2,
            "docker": "frozen",
            "timeout": 60,
            "lock_timeout": 0,
            "root": str(root),
            "lock": self.environment["LOCK"],
            "undo": str(self.place / "undo.json"),
        }
        self.parts(PARTS)

    def parts(self, parts: dict[str, dict[str, Any]]) -> None:
        directory = self.place / "backup.d"
        directory.mkdir(exist_ok=True)
        for name, content in parts.items():
            (directory / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")

    def write(self, content: dict[str, str]) -> None:
        for name, text in content.items():
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            (self.root / name).write_text(text, encoding="utf-8")

    def modes(self) -> dict[str, int]:
        directories = [self.root, *(path for path in self.root.rglob("*") if path.is_dir())]
        return {str(path.relative_to(self.root)): stat.S_IMODE(path.stat().st_mode) for path in directories}

    def start(self, command: str) -> subprocess.Popen[str]:
        """Start the program that makes backups."""
        (self.place / "settings.json").write_text(json.dumps(self.settings), encoding="utf-8")
        program = [sys.executable, "-I", "-S", "backup.py", command, "settings.json"]
        return subprocess.Popen(
            program, cwd=self.place, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def run(self, command: str = "make") -> str:
        """The same to its end, which must be a good one; what it says."""
        process = self.start(command)
        said, _ = process.communicate(timeout=60)
        assert process.returncode == 0, said
        return said

    def fail(self, command: str = "make") -> str:
        """The same, with an end that must be a bad one; its last line."""
        process = self.start(command)
        said, _ = process.communicate(timeout=60)
        assert process.returncode == 1, said
        return said.splitlines()[-1]

    def backup(self) -> Path:
        """A new backup."""
        self.run()
        return Path(self.record["file"])

    def restore(self, backup: Path, patience: str = "1", restarts: int = 1) -> subprocess.CompletedProcess[str]:
        self.forget()
        later = str(Path(self.settings["restored"]).relative_to(self.root))
        command = ["bash", str(FILES / "restore.sh"), str(backup), "10.0.0.1", patience, f"/{later}"]
        environment = {**self.environment, "RESTARTS": str(restarts)}
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environment)

    def forget(self) -> None:
        (self.place / "calls").write_text("", encoding="utf-8")

    @property
    def record(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.place / "backups" / ".last.json").read_text(encoding="utf-8"))
        return found

    @property
    def backups(self) -> list[str]:
        return sorted(path.name for path in (self.place / "backups").glob("demo-*"))

    @property
    def calls(self) -> list[str]:
        return (self.place / "calls").read_text(encoding="utf-8").splitlines()

    def metric(self, name: str) -> float:
        text = (self.place / "metrics" / "backup.prom").read_text(encoding="utf-8")
        return float(next(line.split()[-1] for line in text.splitlines() if line.startswith(f"gpuswarm_backup_{name}")))
