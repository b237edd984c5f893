#!/usr/bin/python
# Copyright: (c) 2026, gpuswarm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: selectel_server_info
short_description: The servers of a fleet, as the cloud says they are
version_added: 0.1.0
description:
  - Lists the servers that carry the fleet's name, with one request.
author:
  - gpuswarm contributors (@gpuswarm)
extends_documentation_fragment:
  - gpuswarm.ollama.attributes.info
  - gpuswarm.ollama.cloud
options:
  fleet:
    description: Name of the fleet.
    type: str
    required: true
  name:
    description: Name of a server; by default all.
    type: str
  preemptible_tag:
    description: The tag that makes a server preemptible.
    type: str
    default: preemptible
  timeout:
    description: Seconds that the whole module may take.
    type: int
    default: 120
seealso:
  - module: gpuswarm.ollama.selectel_server
  - plugin: gpuswarm.ollama.selectel
    plugin_type: inventory
"""

EXAMPLES = r"""
- name: Read the fleet
  gpuswarm.ollama.selectel_server_info:
    cloud: selectel
    fleet: demo
  register: found

- name: Names of the servers that the cloud has reclaimed
  ansible.builtin.debug:
    msg: "{{ found.servers | selectattr('status', 'in', shelved) | map(attribute='name') }}"
  vars:
    shelved: [SHELVED, SHELVED_OFFLOADED, EXPIRED]
"""

RETURN = r"""
servers:
  description: The servers, sorted by name, each as M(gpuswarm.ollama.selectel_server) returns it.
  type: list
  elements: dict
  returned: success
  sample:
    - name: demo-gpu-1
      status: ACTIVE
      fixed_ip: 10.0.0.5
api_calls:
  description: How many requests were sent to the cloud's APIs.
  type: int
  returned: success
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.gpuswarm.ollama.plugins.module_utils._clients.cloud import connect
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.arguments import cloud_arguments
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.errors import CloudError
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.servers import owned_by_fleet
from ansible_collections.gpuswarm.ollama.plugins.module_utils._runtime.module_result import fail


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "fleet": {"type": "str", "required": True},
            "name": {"type": "str"},
            "preemptible_tag": {"type": "str", "default": "preemptible"},
            "timeout": {"type": "int", "default": 120},
            **cloud_arguments(),
        },
        supports_check_mode=True,
    )
    options = module.params
    try:
        with connect(options, timeout=options["timeout"]) as cloud:
            found = owned_by_fleet(cloud.servers(), options["fleet"])
            calls = cloud.calls
    except CloudError as error:
        fail(module, error)
    wanted = [s.as_result(options["preemptible_tag"]) for s in found if options["name"] in (None, s.name)]
    module.exit_json(changed=False, servers=wanted, api_calls=calls)


if __name__ == "__main__":
    main()
