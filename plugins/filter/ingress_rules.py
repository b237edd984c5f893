# Copyright: (c) 2026, gpuswarm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: security group rules that let networks reach ports."""

from __future__ import annotations

DOCUMENTATION = r"""
name: ingress_rules
short_description: Security group rules that let networks reach ports
version_added: 0.1.0
description:
  - One rule for each network and TCP port, as the module C(security_group) of openstack.cloud takes them.
author:
  - gpuswarm contributors (@gpuswarm)
positional: ports
options:
  _input:
    description: Networks in CIDR notation.
    type: list
    elements: str
    required: true
  ports:
    description: TCP ports.
    type: list
    elements: int
    required: true
"""

EXAMPLES = r"""
- name: Rules for SSH
  ansible.builtin.debug:
    msg: "{{ ['203.0.113.7/32'] | gpuswarm.ollama.ingress_rules([22]) }}"
"""

RETURN = r"""
_value:
  description: The rules.
  type: list
  elements: dict
"""

from collections.abc import Callable, Iterable
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.gpuswarm.ollama.plugins.module_utils import fleet


def ingress_rules(networks: Iterable[str], ports: Iterable[int]) -> list[dict[str, Any]]:
    """The filter; see DOCUMENTATION."""
    try:
        return fleet.ingress_rules(networks, ports)
    except fleet.FleetError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """The filter, as Ansible looks for it."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Name and function."""
        return {"ingress_rules": ingress_rules}
