#!/usr/bin/python
# Copyright: (c) 2026, gpuswarm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pack installed collections into one reproducible archive."""

from __future__ import annotations

DOCUMENTATION = r"""
module: collection_bundle
short_description: Pack installed collections into one archive
version_added: 0.1.0
description:
  - Packs what a machine needs to run playbooks of some collections, as they are installed here, into a C(.tar.gz)
    archive.
  - The same content always gives the same bytes, so that copying the archive is idempotent.
  - Only content that Ansible executes is packed (C(plugins), C(roles), C(playbooks), C(meta) and the manifests), no
    tests and no documentation.
author:
  - gpuswarm contributors (@gpuswarm)
options:
  collections:
    description: Names of the collections and the directories that they are in.
    type: dict
    required: true
  dest:
    description: The archive to write. Without it only the digest is computed, which is quicker.
    type: path
attributes:
  check_mode:
    description: Writes the archive in check mode, too, because it is a temporary file that later steps compare with.
    support: full
  diff_mode:
    description: The archive is binary.
    support: none
"""

EXAMPLES = r"""
- name: Pack two collections
  gpuswarm.ollama.collection_bundle:
    dest: /tmp/collections.tar.gz
    collections:
      gpuswarm.ollama: /usr/share/ansible/collections/ansible_collections/gpuswarm/ollama
      community.docker: /usr/share/ansible/collections/ansible_collections/community/docker
"""

RETURN = r"""
sha256:
  description: Digest of the archive before its compression. Equal collections have equal digests.
  type: str
  returned: always
files:
  description: Number of files in it.
  type: int
  returned: always
"""

import gzip
import hashlib
import io
import tarfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

_PARTS = ("plugins", "roles", "playbooks", "meta", "galaxy.yml", "MANIFEST.json", "FILES.json")


def _files(root: Path) -> list[Path]:
    """Files of a collection, sorted."""
    found: list[Path] = []
    for part in _PARTS:
        top = root / part
        found += [top] if top.is_file() else [path for path in top.rglob("*") if path.is_file()]
    return sorted(path for path in found if not {"__pycache__", "tests"} & set(path.relative_to(root).parts))


def pack(collections: dict[str, str]) -> tuple[bytes, int]:
    """The archive, not compressed, and the number of files in it.

    :raises OSError: a directory or file cannot be read.
    """
    stream = io.BytesIO()
    count = 0
    # mtime, owner and mode are fixed: they would make equal content differ.
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in sorted(collections):
            root = Path(collections[name])
            files = _files(root)
            if not files:
                raise FileNotFoundError(f"{root} holds no collection ({name})")
            for path in files:
                data = path.read_bytes()
                relative = path.relative_to(root).as_posix()
                info = tarfile.TarInfo("/".join(("ansible_collections", *name.split(".", 1), relative)))
                info.size = len(data)
                info.mode = 0o644
                archive.addfile(info, io.BytesIO(data))
                count += 1
    return stream.getvalue(), count


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "collections": {"type": "dict", "required": True},
            "dest": {"type": "path"},
        },
        supports_check_mode=True,
    )
    try:
        data, count = pack(module.params["collections"])
        if module.params["dest"]:
            Path(module.params["dest"]).write_bytes(gzip.compress(data, compresslevel=6, mtime=0))
    except OSError as error:
        module.fail_json(msg=f"the collections cannot be packed: {error}")
    module.exit_json(changed=False, sha256=hashlib.sha256(data).hexdigest(), files=count)


if __name__ == "__main__":
    main()
