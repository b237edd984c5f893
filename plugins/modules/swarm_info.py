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
  - With O(wait_for), asks again until a node has reached a state. That costs one module run, however long it takes.
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
      - What a node must reach. O(node_id) names it, or else O(hostname) and O(address), of which the result is the
        node that joined last.
      - V(ready) is a node whose heartbeats the manager hears, V(down) one whose it does not, V(running) a ready node
        with a running task of O(service), V(idle) one without any task that has not ended.
    type: str
    choices: [ready, down, running, idle]
  node_id:
    description: Id of the node. With O(wait_for), this or O(hostname) is required.
    type: str
  hostname:
    description:
      - Name of the server, which is the node's host name, with or without a domain.
    type: str
  address:
    description: Address of the server; it distinguishes nodes of one host name, and finds one of another host name.
    type: str
  started:
    description:
      - When the server was started (ISO 8601, in UTC if it has no zone), for example C(launched_at) of the cloud.
      - A node that is Ready without having registered since is not believed, nor a task that runs since before, as the
        swarm keeps reporting both of a lost node until three of its heartbeats are missing. After 45 seconds, or at
        the end of O(timeout), they are believed, as the clocks of the cloud and of the swarm may differ.
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
    started: "{{ hostvars['demo-gpu-2'].gpuswarm.launched_at }}"
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
node:
  description: The node that reached the state, as the Docker API gives it.
  type: dict
  returned: with O(wait_for), when RV(reached) and the node exists
reached:
  description: Whether the node reached what was waited for.
  type: bool
  returned: with O(wait_for)
waited:
  description: Seconds that were waited.
  type: float
  returned: with O(wait_for)
"""

import time
from dataclasses import replace
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.gpuswarm.ollama.plugins.module_utils._clients import docker
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core import lifecycle
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.swarm import (
    Identity,
    has_come,
    node_of_server,
    nodes_from_api,
    tasks_from_api,
)

POLL_S = 0.5
BELIEVE_AFTER_S = 45.0
STATES = ["ready", "down", "running", "idle"]


def _look(socket: str) -> dict[str, Any]:
    return {
        "nodes": docker.nodes(path=socket),
        "tasks": docker.tasks(path=socket),
        "services": docker.services(path=socket),
    }


def _wait(params: dict[str, Any]) -> dict[str, Any]:
    """Poll until the node has reached it or the time is over; a Docker that is silent for a moment is waited for, too.

    :raises DockerSilentError: Docker did not answer at the end.
    """
    began = time.monotonic()
    started = lifecycle.parse_time(params["started"])
    server = Identity(
        name=params["hostname"] or "",
        address=params["address"] or "",
        node_id=params["node_id"] or "",
        started=started.timestamp() if started else 0.0,
    )
    while True:
        waited = time.monotonic() - began
        over = waited >= params["timeout"]
        try:
            seen = _look(params["docker_socket"])
        except docker.DockerSilentError:
            if over:
                raise
            time.sleep(POLL_S)
            continue
        nodes, tasks = nodes_from_api(seen["nodes"]), tasks_from_api(seen["tasks"], seen["services"])
        awaited = replace(server, started=0.0) if over or waited >= BELIEVE_AFTER_S else server
        reached = has_come(params["wait_for"], awaited, nodes, tasks, params["service"] or "")
        if reached or over:
            result = {**seen, "reached": reached, "waited": round(time.monotonic() - began, 1)}
            node = node_of_server(nodes, server)
            if reached and node:
                result["node"] = next(item for item in seen["nodes"] if item["ID"] == node.id)
            return result
        time.sleep(POLL_S)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "docker_socket": {"type": "path", "default": "/var/run/docker.sock"},
            "wait_for": {"type": "str", "choices": STATES},
            "node_id": {"type": "str"},
            "hostname": {"type": "str"},
            "address": {"type": "str"},
            "started": {"type": "str"},
            "service": {"type": "str"},
            "timeout": {"type": "int", "default": 60},
        },
        required_if=[
            ("wait_for", "running", ["service"]),
            *(("wait_for", state, ["node_id", "hostname"], True) for state in STATES),
        ],
        supports_check_mode=True,
    )
    try:
        result = _wait(module.params) if module.params["wait_for"] else _look(module.params["docker_socket"])
    except docker.DockerSilentError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
