#!/usr/bin/python
# Copyright: (c) 2026, gpuswarm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the files of a service."""

from __future__ import annotations

DOCUMENTATION = r"""
module: service_files
short_description: Write the files of a service
version_added: 0.1.0
description:
  - Creates a directory and what is listed below it, each file as a whole, in one start of a module.
  - Files that are not listed stay as they are.
author:
  - gpuswarm contributors (@gpuswarm)
extends_documentation_fragment:
  - gpuswarm.ollama.attributes
options:
  directory:
    description: The service's directory. It is created with the permissions V(0755) if missing, with its parents.
    type: path
    required: true
  directories:
    description: Permissions, in octal digits, of directories below it, by their paths. They are created if missing.
    type: dict
    default: {}
  files:
    description:
      - Whole contents of files below it, by their paths. Their directories must be there, or be among O(directories).
    type: dict
    default: {}
  mode:
    description: Permissions of the files, in octal digits.
    type: str
    default: "0644"
  owner:
    description: Owner of all of it.
    type: str
    default: root
  group:
    description: Group of all of it.
    type: str
    default: root
"""

EXAMPLES = r"""
- name: Write the service's configuration
  gpuswarm.ollama.service_files:
    directory: /opt/gpuswarm/stack/gateway
    directories:
      private: "0700"
    files:
      nginx.conf: "{{ lookup('ansible.builtin.template', 'nginx.conf.j2') }}"
"""

RETURN = r"""
changed_paths:
  description: Paths of the directories and files that were changed, or would be in check mode.
  type: list
  elements: str
  returned: always
"""

import os
import tempfile
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule


class Service:
    """The directory of a service, and what was changed in it.

    Args:
        module: who runs this.
    """

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.changed: list[str] = []
        self.diffs: list[dict[str, str]] = []

    def create_directory(self, path: Path, mode: str) -> None:
        """Have a directory with these permissions."""
        there = path.is_dir()
        if not there and not self.module.check_mode:
            path.mkdir(parents=True)
        self._note(path, not there, mode)

    def write(self, path: Path, content: bytes, mode: str) -> None:
        """Have a file with this content and these permissions. Readers see the old content or the new."""
        before = path.read_bytes() if path.is_file() else None
        if before != content:
            self.diffs.append(
                {
                    "before_header": str(path),
                    "after_header": str(path),
                    "before": (before or b"").decode("utf-8", "replace"),
                    "after": content.decode("utf-8", "replace"),
                }
            )
            if not self.module.check_mode:
                handle, temporary = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)  # 0600
                with os.fdopen(handle, "wb") as file:
                    file.write(content)
                self.module.atomic_move(temporary, str(path))
        self._note(path, before != content, mode)

    def _note(self, path: Path, changed: bool, mode: str) -> None:
        wanted = {"owner": self.module.params["owner"], "group": self.module.params["group"], "mode": mode}
        attributes = self.module.load_file_common_arguments(wanted, path=str(path))
        if self.module.set_fs_attributes_if_different(attributes, changed):
            self.changed.append(str(path))


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "directory": {"type": "path", "required": True},
            "directories": {"type": "dict", "default": {}},
            "files": {"type": "dict", "default": {}},
            "mode": {"type": "str", "default": "0644"},
            "owner": {"type": "str", "default": "root"},
            "group": {"type": "str", "default": "root"},
        },
        supports_check_mode=True,
    )
    params: dict[str, Any] = module.params
    directory = Path(params["directory"])
    service = Service(module)
    try:
        service.create_directory(directory, "0755")
        for path, mode in params["directories"].items():
            service.create_directory(directory / path, mode)
        for path, content in params["files"].items():
            service.write(directory / path, content.encode(), params["mode"])
    except OSError as error:
        module.fail_json(msg=f"the files in {directory} cannot be written: {error}")
    module.exit_json(changed=bool(service.changed), changed_paths=service.changed, diff=service.diffs)


if __name__ == "__main__":
    main()
