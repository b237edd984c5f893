#!/usr/bin/python
# Copyright: (c) 2026, gpuswarm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: selectel_server
short_description: One server of a fleet, brought back from whatever state it is in
version_added: 0.1.0
description:
  - Makes sure that a server exists and is C(ACTIVE). It is created, unshelved (an interrupted preemptible server is
    shelved), unpaused, resumed, restored from a soft delete, or, when in C(ERROR), deleted and created again.
  - The boot volume and the port are created first, carry the names of the fleet and of the server, and are kept. A
    server that is created again gets the same disk and the same addresses. What an interrupted run left is adopted.
  - Only what carries the fleet's name is ever touched. If two servers, volumes or ports have the name that one should
    have, the module fails and lists their IDs.
  - Before anything is created, every name is looked up. One that does not exist fails the module, which names what
    does exist; nothing is created then.
  - Works with any OpenStack cloud; for several servers at once there is M(gpuswarm.ollama.selectel_fleet).
author:
  - gpuswarm contributors (@gpuswarm)
extends_documentation_fragment:
  - gpuswarm.ollama.attributes
  - gpuswarm.ollama.cloud
  - gpuswarm.ollama.server
options:
  fleet:
    description: Name of the fleet. Becomes the metadata C(gpuswarm_fleet).
    type: str
    required: true
  name:
    description: Name of the server, unique in the fleet.
    type: str
    required: true
  state:
    description:
      - V(present) brings the server to C(ACTIVE).
      - V(absent) deletes it, then its floating IP, port and boot volume.
    type: str
    choices: [present, absent]
    default: present
  keep_disk:
    description: With O(state=absent), leave the boot volume. A server of that name that is created later gets it.
    type: bool
    default: false
  return_to_preemptible:
    description:
      - Whether a server that is on demand, but should be preemptible, is replaced by a preemptible one on the same boot
        volume and port. The result's C(capacity_type) shows which servers are on demand.
      - It is away for as long as that takes. If there is no room after all, it comes back like a lost server. If
        O(capacity_memory) knows that there is none, it is left alone.
    type: bool
    default: false
  timeout:
    description: Seconds that the whole module may take.
    type: int
    default: 900
seealso:
  - module: gpuswarm.ollama.selectel_fleet
  - module: gpuswarm.ollama.selectel_server_info
  - plugin: gpuswarm.ollama.selectel
    plugin_type: inventory
"""

EXAMPLES = r"""
- name: A preemptible GPU server
  gpuswarm.ollama.selectel_server:
    cloud: selectel
    fleet: demo
    name: demo-gpu-1
    role: gpu_worker
    flavor: GL10.8-32768-0-1GPU
    image: Ubuntu 24.04 LTS 64-bit GPU Driver 580 Docker
    availability_zone: ru-7a
    network: private
    key_name: operator
    volume_size: 60
    volume_type: fast.ru-7a
    preemptible: true

- name: One that comes back in another zone or as an ordinary server when there is no room
  gpuswarm.ollama.selectel_server:
    cloud: selectel
    fleet: demo
    name: demo-gpu-1
    role: gpu_worker
    flavor: GL10.8-32768-0-1GPU
    image: Ubuntu 24.04 LTS 64-bit GPU Driver 580 Docker
    availability_zone: ru-7a
    network: private
    key_name: operator
    volume_size: 60
    volume_type: fast.{zone}
    preemptible: true
    alternatives:
      - availability_zone: ru-7b
      - flavor: GL10.16-65536-0-1GPU
    on_demand_fallback: true
    capacity_memory: ~/.cache/gpuswarm/capacity.json

- name: Take it away, with its disk and address
  gpuswarm.ollama.selectel_server:
    cloud: selectel
    fleet: demo
    name: demo-gpu-1
    state: absent

- name: The same on another OpenStack cloud, where interruptible servers have another mark
  gpuswarm.ollama.selectel_server:
    cloud: mycloud
    fleet: demo
    name: demo-gpu-1
    flavor: g1.large
    image: Debian 12
    availability_zone: nova
    network: internal
    floating_ip_network: public
    preemptible: true
    preemptible_tag: spot
"""

RETURN = r"""
action:
  description:
    - What was done, or in check mode would be done.
    - V(update) corrects tags, metadata, security groups or the floating IP in place. V(report) leaves the server to a
      person; the reason says why.
  type: str
  returned: always
  sample: unshelve
  choices: [none, create, unshelve, start, unpause, resume, restore, recreate, wait, delete, update, report]
reason:
  description: Why, in words.
  type: str
  returned: always
  sample: "SHELVED_OFFLOADED for 12 s: interrupted by the cloud or shelved by a person"
capacity_type:
  description: V(preemptible) or V(on_demand), as the server really is; as it should be if there is none.
  type: str
  returned: always
  sample: preemptible
tried:
  description:
    - The strategies that failed before the one that worked, or all of them if none did; empty if the first worked.
    - Each has C(strategy) (as in O(strategy_timeouts)), C(availability_zone), C(flavor), C(preemptible), C(error) and
      C(error_kind).
  type: list
  elements: dict
  returned: always
  sample:
    - strategy: unshelve
      availability_zone: ru-7a
      flavor: GL10.8-32768-0-1GPU
      preemptible: true
      error_kind: no_capacity
server:
  description: The server as the cloud says it is; in check mode as it would be. Null if there is none.
  type: dict
  returned: always
  contains:
    id:
      description: ID of the server, null if it is only simulated.
      type: str
    name:
      description: Its name.
      type: str
    role:
      description: V(manager) or V(gpu_worker).
      type: str
    status:
      description: Nova's status.
      type: str
    task_state:
      description: What Nova is doing with it, null if nothing.
      type: str
    availability_zone:
      description: Its availability zone.
      type: str
    flavor:
      description: Name of its flavor.
      type: str
    fixed_ip:
      description: Its first fixed address, IPv4 before IPv6.
      type: str
    floating_ip:
      description: Its first floating address.
      type: str
    tags:
      description: Its tags.
      type: list
      elements: str
    metadata:
      description: Its metadata.
      type: dict
    created_at:
      description: When it was created, UTC.
      type: str
    launched_at:
      description: When it was last started on a compute host (Nova sets it anew at each unshelve), UTC.
      type: str
    volume_id:
      description: ID of its boot volume.
      type: str
    port_id:
      description: ID of its port.
      type: str
    preemptible:
      description: Whether it carries the tag.
      type: bool
    capacity_type:
      description: V(preemptible) or V(on_demand).
      type: str
    fault:
      description: Nova's message about an error, null if there is none.
      type: str
error_kind:
  description: The kind of an error, for playbooks that distinguish them.
  type: str
  returned: on failure
  sample: no_capacity
  choices:
    - config
    - auth
    - unreachable
    - preflight
    - ambiguous
    - no_capacity
    - quota
    - timeout
    - state
    - api
    - conflict
    - gone
    - lost_answer
    - error
api_calls:
  description: How many requests were sent to the cloud's APIs.
  type: int
  returned: always
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.gpuswarm.ollama.plugins.module_utils._clients.cloud import connect
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.arguments import (
    DEFAULT_TIMEOUT,
    cloud_arguments,
    server_arguments,
)
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.errors import CloudError
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.servers import Spec
from ansible_collections.gpuswarm.ollama.plugins.module_utils._runtime.module_result import fail, finish
from ansible_collections.gpuswarm.ollama.plugins.module_utils._runtime.provision import Fleet


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "fleet": {"type": "str", "required": True},
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "keep_disk": {"type": "bool", "default": False},
            "return_to_preemptible": {"type": "bool", "default": False},
            "timeout": {"type": "int", "default": DEFAULT_TIMEOUT},
            **server_arguments(),
            **cloud_arguments(),
        },
        supports_check_mode=True,
    )
    options = module.params
    try:
        with connect(options, timeout=options["timeout"]) as cloud:
            fleet = Fleet(
                cloud,
                options["fleet"],
                check_mode=module.check_mode,
                return_to_preemptible=options["return_to_preemptible"],
            )
            if options["state"] == "present":
                outcomes = fleet.present([Spec.from_options(options)])
            else:
                outcomes = fleet.absent([options["name"]], keep_disk=options["keep_disk"])
            calls = cloud.calls
    except CloudError as error:
        fail(module, error)
    outcome = outcomes[0].as_result()
    result = {key: outcome[key] for key in ("action", "reason", "capacity_type", "tried", "server")}
    finish(module, outcomes, {**result, "api_calls": calls})


if __name__ == "__main__":
    main()
