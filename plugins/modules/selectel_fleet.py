#!/usr/bin/python
# Copyright: (c) 2026, gpuswarm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: selectel_fleet
short_description: Many servers of a fleet at once, brought back from whatever state they are in
version_added: 0.1.0
description:
  - Does for many servers, side by side, what M(gpuswarm.ollama.selectel_server) does for one.
  - One list call covers all of them, however many there are. When nothing has to be done, that is the only
    request (and one for a token, once in its life).
  - Every server is tried; if some fail, the module fails at the end, names each and still returns all results.
  - If the specification of a server that has to be created is wrong, no server is created in that run. Servers that
    only have to be unshelved or started are brought back all the same.
author:
  - gpuswarm contributors (@gpuswarm)
extends_documentation_fragment:
  - gpuswarm.ollama.attributes
  - gpuswarm.ollama.cloud
  - gpuswarm.ollama.server.fleet
options:
  fleet:
    description: Name of the fleet. Becomes the metadata C(gpuswarm_fleet).
    type: str
    required: true
  servers:
    description:
      - The servers, each with the options of one.
      - With O(state=absent) only the names matter; if left out, everything that carries the fleet's name is deleted.
        Required with O(state=present). Servers of the fleet that are not listed are left alone.
  state:
    description:
      - V(present) brings the servers to C(ACTIVE).
      - V(absent) deletes them, then their floating IPs, ports and boot volumes.
    type: str
    choices: [present, absent]
    default: present
  keep_disk:
    description: With O(state=absent), leave the boot volumes.
    type: bool
    default: false
  assume_existing:
    description:
      - Names of networks, security groups and key pairs that an earlier task of the same run creates. In check mode, in
        which that task has created nothing, they are taken as existing.
    type: list
    elements: str
    default: []
  return_to_preemptible:
    description:
      - Whether a server that is on demand, but should be preemptible, is replaced by a preemptible one on the same boot
        volume and port. The result's C(capacity_type) shows which servers are on demand.
      - It is away for as long as that takes. If there is no room after all, it comes back like a lost server. If
        O(servers[].capacity_memory) knows that there is none, it is left alone.
    type: bool
    default: false
  timeout:
    description: Seconds that the whole module may take.
    type: int
    default: 900
seealso:
  - module: gpuswarm.ollama.selectel_server
  - module: gpuswarm.ollama.selectel_server_info
"""

EXAMPLES = r"""
- name: One manager and three preemptible GPU servers
  gpuswarm.ollama.selectel_fleet:
    cloud: selectel
    fleet: demo
    servers: "{{ [manager] + gpu_workers }}"
  vars:
    common:
      image: Ubuntu 24.04 LTS 64-bit GPU Driver 580 Docker
      availability_zone: ru-7a
      network: private
      key_name: operator
      volume_type: fast.ru-7a
    manager: "{{ common | combine({'name': 'demo-manager', 'role': 'manager', 'flavor': 'SL1.2-4096'}) }}"
    gpu: "{{ common | combine({'flavor': 'GL10.8-32768-0-1GPU', 'volume_size': 60, 'preemptible': true}) }}"
    gpu_workers:
      - "{{ gpu | combine({'name': 'demo-gpu-1'}) }}"
      - "{{ gpu | combine({'name': 'demo-gpu-2'}) }}"
      - "{{ gpu | combine({'name': 'demo-gpu-3'}) }}"

- name: What would be done
  gpuswarm.ollama.selectel_fleet:
    cloud: selectel
    fleet: demo
    servers: "{{ specs }}"
  check_mode: true
  diff: true

- name: Delete everything that carries the fleet's name
  gpuswarm.ollama.selectel_fleet:
    cloud: selectel
    fleet: demo
    state: absent
"""

RETURN = r"""
servers:
  description: What was done for each server, in the order of O(servers).
  type: list
  elements: dict
  returned: when the servers could be listed
  contains:
    name:
      description: Name of the server.
      type: str
    action:
      description: What was done, or in check mode would be done; as M(gpuswarm.ollama.selectel_server) returns it.
      type: str
    reason:
      description: Why, in words.
      type: str
    capacity_type:
      description: V(preemptible) or V(on_demand).
      type: str
    changed:
      description: Whether anything was changed.
      type: bool
    tried:
      description:
        - The strategies that failed before the one that worked, or all of them if none did; empty if the first worked.
        - Each has C(strategy) (as in O(servers[].strategy_timeouts)), C(availability_zone), C(flavor), C(preemptible),
          C(error) and C(error_kind).
      type: list
      elements: dict
    server:
      description: The server, as M(gpuswarm.ollama.selectel_server) returns it.
      type: dict
    error:
      description: What went wrong; missing if nothing did.
      type: str
    error_kind:
      description: The kind of the error; missing if there is none.
      type: str
  sample:
    - name: demo-gpu-1
      action: unshelve
      reason: "SHELVED_OFFLOADED for 12 s: interrupted by the cloud or shelved by a person"
      capacity_type: preemptible
      changed: true
found:
  description: All servers of the fleet as they were found, as M(gpuswarm.ollama.selectel_server_info) returns them.
  type: list
  elements: dict
  returned: when the servers could be listed
error_kind:
  description: The kind of the error; V(several) if servers failed for different kinds of reasons.
  type: str
  returned: on failure
  sample: no_capacity
api_calls:
  description: How many requests were sent to the cloud's APIs.
  type: int
  returned: when the servers could be listed
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.gpuswarm.ollama.plugins.module_utils._clients.cloud import connect
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.arguments import (
    DEFAULT_TIMEOUT,
    cloud_arguments,
    server_arguments,
    specs,
)
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.errors import CloudError
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.servers import owned_by_fleet
from ansible_collections.gpuswarm.ollama.plugins.module_utils._runtime.module_result import fail, finish
from ansible_collections.gpuswarm.ollama.plugins.module_utils._runtime.provision import Fleet


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "fleet": {"type": "str", "required": True},
            "servers": {
                "type": "list",
                "elements": "dict",
                "options": {"name": {"type": "str", "required": True}, **server_arguments()},
            },
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "keep_disk": {"type": "bool", "default": False},
            "assume_existing": {"type": "list", "elements": "str", "default": []},
            "return_to_preemptible": {"type": "bool", "default": False},
            "timeout": {"type": "int", "default": DEFAULT_TIMEOUT},
            **cloud_arguments(),
        },
        required_if=[("state", "present", ["servers"])],
        supports_check_mode=True,
    )
    options = module.params
    servers = options["servers"]
    try:
        wanted = specs(servers or [])
        with connect(options, timeout=options["timeout"]) as cloud:
            fleet = Fleet(
                cloud,
                options["fleet"],
                check_mode=module.check_mode,
                assume_existing=options["assume_existing"],
                return_to_preemptible=options["return_to_preemptible"],
            )
            if options["state"] == "present":
                outcomes = fleet.present(wanted)
            else:
                names = None if servers is None else [spec.name for spec in wanted]
                outcomes = fleet.absent(names, keep_disk=options["keep_disk"])
            calls = cloud.calls
    except CloudError as error:
        fail(module, error)
    tags = {spec.name: spec.preemptible_tag for spec in wanted}
    found = [
        s.as_result(*([tags[s.name]] if s.name in tags else [])) for s in owned_by_fleet(fleet.everything, fleet.name)
    ]
    finish(module, outcomes, {"servers": [o.as_result() for o in outcomes], "found": found, "api_calls": calls})


if __name__ == "__main__":
    main()
