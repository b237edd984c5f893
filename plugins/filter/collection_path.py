# Copyright: (c) 2026, gpuswarm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: where a collection is installed."""

from __future__ import annotations

DOCUMENTATION = r"""
name: collection_path
short_description: Where a collection is installed on the controller
version_added: 0.1.0
description:
  - Finds the directory of an installed collection.
author:
  - gpuswarm contributors (@gpuswarm)
options:
  _input:
    description: Name of the collection.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Where is community.docker?
  ansible.builtin.debug:
    msg: "{{ 'community.docker' | gpuswarm.ollama.collection_path }}"
"""

RETURN = r"""
_value:
  description: The directory.
  type: str
"""

import importlib
from collections.abc import Callable

from ansible.errors import AnsibleFilterError


def collection_path(name: str) -> str:
    """The filter; see DOCUMENTATION."""
    try:
        package = importlib.import_module(f"ansible_collections.{name}")
    except ImportError as error:
        raise AnsibleFilterError(
            f"the collection {name} is not installed here: run ansible-galaxy collection install -r requirements.yml"
        ) from error
    return str(next(iter(package.__path__)))


class FilterModule:
    """The filter, as Ansible looks for it."""

    def filters(self) -> dict[str, Callable[[str], str]]:
        """Name and function."""
        return {"collection_path": collection_path}
