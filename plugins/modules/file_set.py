#!/usr/bin/python
# Copyright: (c) 2026, gpuswarm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files and directories with their content and modes, all in one module run."""

from __future__ import annotations

DOCUMENTATION = r"""
module: file_set
short_description: Write files and directories in one module run
version_added: 0.1.0
description:
  - Brings files and directories to the given content, mode and owner, in the order in which they are listed.
  - Does for a list what C(ansible.builtin.copy) and C(ansible.builtin.file) do for one item. Each item of those costs
    at least one start of a module on the host, which takes longer than the work itself.
  - A file is written beside its place with its final mode and then renamed, so that a reader sees the old file or the
    new one, and nobody else sees a secret meanwhile.
author:
  - gpuswarm contributors (@gpuswarm)
attributes:
  check_mode:
    description: Reports what would change without changing it.
    support: full
  diff_mode:
    description: Shows the content of changed files, and changed modes and owners.
    support: full
  idempotent:
    description: A second run with the same options changes nothing.
    support: full
options:
  entries:
    description:
      - The files and directories, parents before what lies in them.
      - Directories above an entry that is a directory are created with mode V(0755) where they are missing.
    type: list
    elements: dict
    required: true
    suboptions:
      path:
        description: Absolute path.
        type: path
        required: true
      content:
        description: Text of the file. An entry with neither O(entries[].content) nor O(entries[].src) is a directory.
        type: str
      src:
        description: A file on the host whose content is copied.
        type: path
      mode:
        description: Mode as an octal number, for example V("0644"). Required unless O(entries[].state=absent).
        type: str
      exclusive:
        description: Whether everything in the directory that is not an entry is removed.
        type: bool
        default: false
      state:
        description: Whether it must be there. V(absent) removes a file, or a directory with all that is in it.
        type: str
        choices: [present, absent]
        default: present
  owner:
    description: Name of the owner of all entries.
    type: str
    default: root
  group:
    description: Name of the group of all entries.
    type: str
    default: root
seealso:
  - module: ansible.builtin.copy
  - module: ansible.builtin.file
"""

EXAMPLES = r"""
- name: Write the service's files
  gpuswarm.ollama.file_set:
    entries:
      - {path: /etc/example, mode: "0755"}
      - {path: /etc/example/example.conf, mode: "0644", content: "port = 80\n"}
      - {path: /etc/example/live.conf, mode: "0644", src: /etc/example/example.conf}
      - {path: /etc/example/old.conf, state: absent}

- name: Make a directory what another one is
  gpuswarm.ollama.file_set:
    entries:
      - {path: /etc/example/sites, mode: "0755", exclusive: true}
      - {path: /etc/example/sites/one.conf, mode: "0644", content: "port = 80\n"}
"""

RETURN = r"""
changed_paths:
  description: Paths of the entries that were changed, or would be in check mode.
  type: list
  elements: str
  returned: success
"""

import grp
import os
import pwd
import shutil
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

PARENT_MODE = 0o755


def wanted_content(entry: Mapping[str, Any], made: Mapping[str, bytes]) -> bytes | None:
    """Content of an entry's file; None for a directory.

    :param made: contents of the entries before it, which are not on the disk in check mode.
    :raises OSError: its source cannot be read.
    """
    if entry["content"] is not None:
        return str(entry["content"]).encode()
    if entry["src"] is not None:
        return made[entry["src"]] if entry["src"] in made else Path(entry["src"]).read_bytes()
    return None


def write(path: Path, content: bytes, mode: int, uid: int, gid: int) -> None:
    """Replace a file as a whole; while it is written only its owner can read it.

    :raises OSError: it cannot be written.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fchown(stream.fileno(), uid, gid)
            os.fchmod(stream.fileno(), mode)
            os.fsync(stream.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def differences(path: Path, content: bytes | None, mode: int, uid: int, gid: int) -> dict[str, tuple[Any, Any]]:
    """What an entry differs in: "content" (bytes), "mode" and "owner", each as before and after.

    :raises OSError: it cannot be read, or it is a directory that must be a file, or the other way round.
    """
    try:
        there = path.stat()
    except FileNotFoundError:
        return {"content": (None, content or b"")}
    if content is None and not stat.S_ISDIR(there.st_mode):
        raise NotADirectoryError(f"{path} exists and is not a directory")
    found: dict[str, tuple[Any, Any]] = {}
    if content is not None:
        before = path.read_bytes()
        if before != content:
            found["content"] = (before, content)
    if stat.S_IMODE(there.st_mode) != mode:
        found["mode"] = (f"{stat.S_IMODE(there.st_mode):04o}", f"{mode:04o}")
    if (there.st_uid, there.st_gid) != (uid, gid):
        found["owner"] = (f"{there.st_uid}:{there.st_gid}", f"{uid}:{gid}")
    return found


def change(path: Path, content: bytes | None, mode: int, uid: int, gid: int) -> None:
    """Make it so.

    :raises OSError: it cannot be done.
    """
    if content is not None:
        write(path, content, mode, uid, gid)
        return
    for directory in reversed([path, *path.parents]):
        if not directory.exists():
            directory.mkdir(mode=0o700)
            os.chown(directory, uid, gid)
            directory.chmod(mode if directory == path else PARENT_MODE)
    os.chown(path, uid, gid)
    path.chmod(mode)


def surplus(path: Path, entries: Iterable[Path]) -> list[Path]:
    """What is in an exclusive directory and is no entry: the topmost paths of it, sorted.

    :raises OSError: it cannot be read.
    """
    if not path.is_dir():
        return []
    kept = {kept for entry in entries for kept in (entry, *entry.parents)}
    found: list[Path] = []
    for child in sorted(path.iterdir()):
        if child not in kept:
            found.append(child)
        elif child.is_dir() and not child.is_symlink():
            found += surplus(child, kept)
    return found


def unneeded(path: Path, entry: Mapping[str, Any], present: Iterable[Path]) -> list[Path]:
    """What has to be removed for an entry.

    :param present: paths of the entries that must be there.
    :raises OSError: its directory cannot be read.
    """
    if entry["state"] == "absent":
        return [path] if os.path.lexists(path) else []
    return surplus(path, present) if entry["exclusive"] else []


def remove(path: Path) -> None:
    """Remove a file, or a directory with all that is in it.

    :raises OSError: it cannot be removed.
    """
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def as_diff(path: Path, found: Mapping[str, tuple[Any, Any]]) -> dict[str, str]:
    """The differences as Ansible shows them."""
    before, after = "", ""
    if "content" in found:
        old, new = found["content"]
        before += (old or b"").decode(errors="replace")
        after += new.decode(errors="replace")
    for name in ("mode", "owner", "state"):
        if name in found:
            before += f"{name}: {found[name][0]}\n"
            after += f"{name}: {found[name][1]}\n"
    return {"before": before, "after": after, "before_header": str(path), "after_header": str(path)}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "entries": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "path": {"type": "path", "required": True},
                    "content": {"type": "str"},
                    "src": {"type": "path"},
                    "mode": {"type": "str"},
                    "exclusive": {"type": "bool", "default": False},
                    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
                },
                "mutually_exclusive": [("content", "src")],
                "required_if": [("state", "present", ["mode"])],
            },
            "owner": {"type": "str", "default": "root"},
            "group": {"type": "str", "default": "root"},
        },
        supports_check_mode=True,
    )
    try:
        uid = pwd.getpwnam(module.params["owner"]).pw_uid
        gid = grp.getgrnam(module.params["group"]).gr_gid
    except KeyError as error:
        module.fail_json(msg=f"owner and group must exist on the host: {error.args[0]}")
    changed: list[str] = []
    diffs: list[dict[str, str]] = []
    made: dict[str, bytes] = {}
    present = [Path(entry["path"]) for entry in module.params["entries"] if entry["state"] == "present"]
    for entry in module.params["entries"]:
        path = Path(entry["path"])
        try:
            mode = int(entry["mode"] or "0", 8)
        except ValueError:
            module.fail_json(msg=f"mode of {path} must be an octal number such as 0644, not {entry['mode']!r}")
        try:
            for old in unneeded(path, entry, present):
                if not module.check_mode:
                    remove(old)
                changed.append(str(old))
                diffs.append(as_diff(old, {"state": ("present", "absent")}))
            if entry["state"] == "absent":
                continue
            content = wanted_content(entry, made)
            found = differences(path, content, mode, uid, gid)
            if found and not module.check_mode:
                change(path, content, mode, uid, gid)
        except OSError as error:
            module.fail_json(msg=f"{path} could not be written: {error}", changed=bool(changed), changed_paths=changed)
        if content is not None:
            made[entry["path"]] = content
        if found:
            changed.append(entry["path"])
            diffs.append(as_diff(path, found))
    module.exit_json(changed=bool(changed), changed_paths=changed, diff=diffs)


if __name__ == "__main__":
    main()
