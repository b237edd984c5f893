#!/usr/bin/python
# Copyright: (c) 2026, gpuswarm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Nodes, tasks and services of a swarm, without its secrets."""

from __future__ import annotations

DOCUMENTATION = r"""
module: swarm_info
short_description: Nodes, tasks and services of a swarm, and waiting for one of its nodes
version_added: 0.1.0
description:
  - Asks the Docker API on a manager. Unlike C(docker_swarm_info) of community.docker, the result holds no join tokens,
    so it needs no C(no_log).
  - With O(wait_for), asks again until a node has come to a state. That costs one module run, however long it takes.
author:
  - gpuswarm contributors (@gpuswarm)
extends_documentation_fragment:
  - gpuswarm.ollama.attributes.info
options:
  docker_socket:
    description: Path of the Docker API's socket.
    type: path
    default: /var/run/docker.sock
  wait_for:
    description:
      - What the node of O(hostname) shall come to.
      - V(ready) is a node whose heartbeats the manager hears, V(down) one whose it does not, V(running) a ready node
        with a running task of O(service), V(idle) one without any task that has not ended.
    type: str
    choices: [ready, down, running, idle]
  hostname:
    description: Host name of the node. Required with O(wait_for).
    type: str
  service:
    description: Full name of the service. Required with O(wait_for=running).
    type: str
  timeout:
    description: Seconds to wait. The module does not fail when they are over; see RV(reached).
    type: int
    default: 60
seealso:
  - module: community.docker.docker_swarm_info
"""

EXAMPLES = r"""
- name: Observe the swarm
  gpuswarm.ollama.swarm_info:
  register: swarm

- name: Wait until a node is back
  gpuswarm.ollama.swarm_info:
    wait_for: ready
    hostname: demo-gpu-2
    timeout: 45
  register: back
"""

RETURN = r"""
nodes:
  description: The nodes, as the Docker API gives them.
  type: list
  elements: dict
  returned: success
tasks:
  description: The tasks, as the Docker API gives them.
  type: list
  elements: dict
  returned: success
services:
  description: The services, as the Docker API gives them.
  type: list
  elements: dict
  returned: success
reached:
  description: Whether the node came to what was waited for.
  type: bool
  returned: with O(wait_for)
waited:
  description: Seconds that were waited.
  type: float
  returned: with O(wait_for)
"""

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.gpuswarm.ollama.plugins.module_utils import docker_api
from ansible_collections.gpuswarm.ollama.plugins.module_utils.swarm import has_come, nodes_from_api, tasks_from_api

POLL_S = 0.5


def _look(socket: str) -> dict[str, Any]:
    return {
        "nodes": docker_api.nodes(path=socket),
        "tasks": docker_api.tasks(path=socket),
        "services": docker_api.services(path=socket),
    }


def _wait(params: dict[str, Any]) -> dict[str, Any]:
    """Look until the node has come to it or the time is over; a Docker that is silent for a moment is waited for, too.

    :raises DockerSilentError: Docker did not answer at the end.
    """
    began = time.monotonic()
    while True:
        over = time.monotonic() - began >= params["timeout"]
        try:
            seen = _look(params["docker_socket"])
        except docker_api.DockerSilentError:
            if over:
                raise
            time.sleep(POLL_S)
            continue
        nodes, tasks = nodes_from_api(seen["nodes"]), tasks_from_api(seen["tasks"], seen["services"])
        reached = has_come(params["wait_for"], params["hostname"], nodes, tasks, params["service"] or "")
        if reached or over:
            return {**seen, "reached": reached, "waited": round(time.monotonic() - began, 1)}
        time.sleep(POLL_S)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "docker_socket": {"type": "path", "default": "/var/run/docker.sock"},
            "wait_for": {"type": "str", "choices": ["ready", "down", "running", "idle"]},
            "hostname": {"type": "str"},
            "service": {"type": "str"},
            "timeout": {"type": "int", "default": 60},
        },
        required_by={"wait_for": ["hostname"]},
        required_if=[("wait_for", "running", ["service"])],
        supports_check_mode=True,
    )
    try:
        result = _wait(module.params) if module.params["wait_for"] else _look(module.params["docker_socket"])
    except docker_api.DockerSilentError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
