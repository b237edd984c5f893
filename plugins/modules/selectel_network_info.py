#!/usr/bin/python
# Copyright: (c) 2026, gpuswarm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: selectel_network_info
short_description: What of a fleet's network, router, SSH key and security groups is missing
version_added: 0.1.0
description:
  - Compares the cloud's key pairs, networks, subnets, routers and security groups with what a fleet has, in one module
    run. The modules of openstack.cloud that create them need to run only for what is missing.
author:
  - gpuswarm contributors (@gpuswarm)
extends_documentation_fragment:
  - gpuswarm.ollama.attributes.info
  - gpuswarm.ollama.cloud
options:
  key_name:
    description: Name of the SSH key in the cloud.
    type: str
    required: true
  public_key:
    description: Public half of the SSH key, in one line as OpenSSH writes it.
    type: str
    required: true
  network:
    description: Name of the network, its subnet and its router.
    type: str
    required: true
  cidr:
    description: Addresses of the subnet. Empty if the network is not the fleet's own; then only the key is looked at.
    type: str
    default: ""
  pool:
    description: First and last address that servers get, C(start) and C(end). Without it the subnet's pools may be any.
    type: dict
    default: {}
  dns:
    description: DNS servers of the subnet. Without any the subnet's may be any.
    type: list
    elements: str
    default: []
  external_network:
    description: Name or id of the network that the router leads to.
    type: str
    default: ""
  security_groups:
    description: The security groups, each with its whole list of rules.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the security group.
        type: str
        required: true
      rules:
        description: The rules, as O(openstack.cloud.security_group#module:security_group_rules) has them.
        type: list
        elements: dict
        required: true
  timeout:
    description: Seconds that the whole module may take.
    type: int
    default: 120
seealso:
  - module: openstack.cloud.network
  - module: openstack.cloud.router
  - module: openstack.cloud.security_group
"""

EXAMPLES = r"""
- name: Compare the cloud with what the fleet needs
  gpuswarm.ollama.selectel_network_info:
    cloud: selectel
    key_name: demo-operator
    public_key: "{{ lookup('ansible.builtin.file', '~/.ssh/id_ed25519.pub') }}"
    network: demo
    cidr: 192.168.180.0/24
    external_network: external-network
  register: around
"""

RETURN = r"""
missing:
  description: What does not exist or is different. Out of V(key pair), V(network), V(subnet) and V(router).
  type: list
  elements: str
  returned: success
security_groups:
  description: Names of those of O(security_groups) that do not exist or have other rules.
  type: list
  elements: str
  returned: success
key_pairs:
  description: The public keys that the cloud has, by their names.
  type: dict
  returned: success
api_calls:
  description: How many requests were sent to the cloud's APIs.
  type: int
  returned: success
"""

from typing import Any
from urllib.parse import quote

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.gpuswarm.ollama.plugins.module_utils._clients.cloud import Cloud, connect
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.arguments import cloud_arguments
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.errors import CloudError
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.network import (
    Found,
    Wanted,
    different_groups,
    missing,
)
from ansible_collections.gpuswarm.ollama.plugins.module_utils._runtime.module_result import fail


def observe(cloud: Cloud, wanted: Wanted) -> Found:
    """What the cloud lists.

    :raises CloudError: a list could not be read.
    """
    pairs = cloud.get("compute", "/os-keypairs", "keypairs", "listing the key pairs")
    key_pairs = [pair["keypair"] for pair in pairs]

    def listed(path: str, key: str, what: str) -> list[dict[str, Any]]:
        return list(cloud.get("network", path, key, f"listing the {what}"))

    groups: list[dict[str, Any]] = []
    if wanted.security_groups:
        names = "&".join(f"name={quote(group, safe='')}" for group in wanted.security_groups)
        groups = listed(f"/security-groups?{names}", "security_groups", "security groups")
    if not wanted.cidr:
        return Found(key_pairs=key_pairs, security_groups=groups)
    name = quote(wanted.network, safe="")
    return Found(
        key_pairs=key_pairs,
        networks=listed("/networks", "networks", "networks"),
        subnets=listed(f"/subnets?name={name}", "subnets", "subnets"),
        routers=listed(f"/routers?name={name}", "routers", "routers"),
        # Routers that are distributed or highly available have interfaces under other names, all of which end alike.
        ports=[
            port
            for port in listed("/ports?fields=device_id&fields=device_owner&fields=fixed_ips", "ports", "ports")
            if "router" in str(port.get("device_owner"))
        ],
        security_groups=groups,
    )


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "key_name": {"type": "str", "required": True, "no_log": False},
            "public_key": {"type": "str", "required": True, "no_log": False},
            "network": {"type": "str", "required": True},
            "cidr": {"type": "str", "default": ""},
            "pool": {"type": "dict", "default": {}},
            "dns": {"type": "list", "elements": "str", "default": []},
            "external_network": {"type": "str", "default": ""},
            "security_groups": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "name": {"type": "str", "required": True},
                    "rules": {"type": "list", "elements": "dict", "required": True},
                },
            },
            "timeout": {"type": "int", "default": 120},
            **cloud_arguments(),
        },
        supports_check_mode=True,
    )
    options = module.params
    wanted = Wanted(
        key_name=options["key_name"],
        public_key=options["public_key"],
        network=options["network"],
        cidr=options["cidr"],
        pool=(str(options["pool"].get("start", "")), str(options["pool"].get("end", ""))),
        dns=tuple(options["dns"]),
        external_network=options["external_network"],
        security_groups={group["name"]: group["rules"] for group in options["security_groups"]},
    )
    try:
        with connect(options, timeout=options["timeout"]) as cloud:
            found = observe(cloud, wanted)
            calls = cloud.calls
    except CloudError as error:
        fail(module, error)
    module.exit_json(
        changed=False,
        missing=missing(wanted, found),
        security_groups=different_groups(wanted, found),
        key_pairs={pair["name"]: pair["public_key"] for pair in found.key_pairs},
        api_calls=calls,
    )


if __name__ == "__main__":
    main()
