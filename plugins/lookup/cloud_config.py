# Copyright: (c) 2026, gpuswarm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: cloud_config
short_description: The settings of a cloud, ready to be written into clouds.yaml elsewhere
version_added: 0.1.0
description:
  - Resolves the settings of a cloud as openstacksdk does (C(clouds.yaml), C(secure.yaml), environment) and returns what
    a C(clouds.yaml) on another machine needs.
  - The result contains the password. Use it in tasks with C(no_log=true) and write it to files of mode C(0600) only.
author:
  - gpuswarm contributors (@gpuswarm)
options:
  _terms:
    description: Name of the cloud in C(clouds.yaml); by default what E(OS_CLOUD) or the other variables name.
    type: list
    elements: str
  name:
    description: Name of the cloud in the result. By default the same, or V(cloud) if it has none.
    type: str
  region_name:
    description: Region, if the cloud has several.
    type: str
requirements:
  - openstacksdk >= 4.0
"""

EXAMPLES = r"""
- name: Write the credentials on a server
  ansible.builtin.copy:
    content: "{{ lookup('gpuswarm.ollama.cloud_config', 'selectel') | to_nice_yaml }}"
    dest: /etc/openstack/clouds.yaml
    mode: "0600"
  no_log: true
"""

RETURN = r"""
_raw:
  description: One element, a dict with the key C(clouds). It contains secrets.
  type: list
  elements: dict
"""

from typing import Any

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase

from ansible_collections.gpuswarm.ollama.plugins.module_utils._clients.cloud import CloudSettings, exported
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.errors import CloudError


class LookupModule(LookupBase):
    """The lookup plugin."""

    def run(
        self,
        terms: list[str],
        variables: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> list[dict[str, Any]]:
        """One element: the settings of the cloud."""
        self.set_options(var_options=variables, direct=kwargs)
        if len(terms) > 1:
            raise AnsibleLookupError(f"lookup cloud_config takes the name of one cloud, not {len(terms)}")
        settings = CloudSettings(
            cloud=terms[0] if terms and terms[0] else None, region_name=self.get_option("region_name")
        )
        try:
            return [exported(settings, self.get_option("name"))]
        except CloudError as error:
            raise AnsibleLookupError(f"lookup cloud_config: {error}") from error
