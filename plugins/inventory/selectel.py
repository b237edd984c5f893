# Copyright: (c) 2026, gpuswarm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: selectel
short_description: The servers of a fleet, from Selectel or any OpenStack cloud
version_added: 0.1.0
description:
  - Lists the servers that carry the fleet's name, with one request, whatever state they are in.
  - A server without an address (shelved before it got one, being built) is listed with its state, but without
    C(ansible_host).
  - The configuration file's name ends in C(selectel.yml) or C(selectel.yaml).
author:
  - gpuswarm contributors (@gpuswarm)
extends_documentation_fragment:
  - gpuswarm.ollama.cloud
  - constructed
  - inventory_cache
notes:
  - The groups C(manager) and C(gpu_workers) (by role) exist always, even when empty.
  - Further groups are C(status_STATUS), C(zone_ZONE), and C(capacity_type_preemptible) or C(capacity_type_on_demand).
  - The group C(all) gets the variable C(fleet_name).
  - The credentials are in no variable.
options:
  plugin:
    description: Must be V(gpuswarm.ollama.selectel).
    type: str
    required: true
    choices: [gpuswarm.ollama.selectel]
  fleet:
    description: Name of the fleet. Also set as the variable C(fleet_name) of the group C(all).
    type: str
    required: true
  address:
    description:
      - Which address becomes C(ansible_host).
      - V(floating_or_fixed) takes the floating IP if there is one, else the fixed address.
    type: str
    choices: [floating_or_fixed, fixed, floating]
    default: floating_or_fixed
  address_network:
    description: Name of the network whose address is taken, for servers in several networks. By default the first.
    type: str
  address_version:
    description: IP version of the address. By default IPv4 if there is one, else IPv6.
    type: int
    choices: [4, 6]
  filters:
    description:
      - Only servers whose fields have these values are listed. The keys are fields of the hostvar C(gpuswarm), the
        values a value or a list of alternatives.
    type: dict
    default: {}
  preemptible_tag:
    description: The tag that makes a server preemptible.
    type: str
    default: preemptible
  timeout:
    description: Seconds that reading may take altogether.
    type: int
    default: 120
"""

EXAMPLES = r"""
# inventory/selectel.yml
plugin: gpuswarm.ollama.selectel
cloud: selectel
fleet: demo

# Groups and variables of one's own, from the hostvar `gpuswarm`
compose:
  launched_at: gpuswarm.launched_at
groups:
  lost: gpuswarm.status in ['SHELVED', 'SHELVED_OFFLOADED', 'EXPIRED', 'ERROR']
keyed_groups:
  - key: gpuswarm.flavor
    prefix: flavor

# Only running servers, addressed by their fixed IPs, read at most once a minute
# ---
# plugin: gpuswarm.ollama.selectel
# fleet: demo
# filters:
#   status: [ACTIVE]
# address: fixed
# cache: true
# cache_plugin: ansible.builtin.jsonfile
# cache_timeout: 60
# cache_connection: /tmp/selectel-inventory
"""

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable

from ansible_collections.gpuswarm.ollama.plugins.module_utils._clients.cloud import connect
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core import hosts
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.errors import CloudError
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.servers import owned_by_fleet

_CONNECTION = (
    "cloud",
    "auth",
    "region_name",
    "interface",
    "validate_certs",
    "ca_cert",
    "api_timeout",
    "compute_microversion",
    "token_cache",
)


class InventoryModule(BaseInventoryPlugin, Constructable, Cacheable):
    """The inventory plugin."""

    NAME = "gpuswarm.ollama.selectel"

    def verify_file(self, path: str) -> bool:
        """Whether the file is for this plugin, by its name."""
        return super().verify_file(path) and path.endswith(("selectel.yml", "selectel.yaml"))

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:
        """Fills the inventory."""
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        servers = self._servers(self.get_cache_key(path), cache)
        self._populate(servers)

    def _servers(self, key: str, cache: bool) -> list[dict[str, Any]]:
        """The fleet's servers, from the cache if that is enabled and has them."""
        wanted = self.get_option("cache")
        if wanted and cache:
            try:
                return self._cache[key]
            except KeyError:
                pass
        servers = self._read()
        if wanted:
            self._cache[key] = servers
        return servers

    def _read(self) -> list[dict[str, Any]]:
        options = {name: self._templated(self.get_option(name)) for name in _CONNECTION}
        try:
            with connect(options, timeout=float(self.get_option("timeout"))) as cloud:
                found = owned_by_fleet(cloud.servers(), self._fleet())
        except CloudError as error:
            # Ansible would print the cause once more
            raise AnsibleParserError(f"inventory plugin {self.NAME}: {error}") from None
        return [hosts.entry(server, self.get_option("preemptible_tag")) for server in found]

    def _templated(self, value: Any) -> Any:
        """Options may be templates (for example a lookup of a password)."""
        if isinstance(value, str):
            return self.templar.template(value)
        if isinstance(value, Mapping):
            return {k: self._templated(v) for k, v in value.items()}
        return value

    def _fleet(self) -> str:
        return str(self._templated(self.get_option("fleet")))

    def _populate(self, servers: list[dict[str, Any]]) -> None:
        self.inventory.set_variable("all", "fleet_name", self._fleet())
        for group in hosts.ROLE_GROUPS.values():
            self.inventory.add_group(group)
        for name, ids in hosts.repeated(servers):
            raise AnsibleParserError(
                f"inventory plugin {self.NAME}: {len(ids)} servers of the fleet '{self._fleet()}' are called '{name}': "
                f"{', '.join(ids)}. Delete the wrong ones"
            )
        for server in servers:
            if hosts.matches(server["gpuswarm"], self.get_option("filters") or {}):
                self._add(server["gpuswarm"], server["addresses"])

    def _add(self, server: dict[str, Any], addresses: list[dict[str, Any]]) -> None:
        """One host with its variables and groups."""
        name = server["name"]
        self.inventory.add_host(name)
        variables: dict[str, Any] = {"gpuswarm": server}
        kind, network = self.get_option("address"), self.get_option("address_network")
        address = hosts.choose(addresses, kind, network, self.get_option("address_version"))
        if address:
            variables["ansible_host"] = address
        for key, value in variables.items():
            self.inventory.set_variable(name, key, value)
        for group in hosts.groups(server):
            self.inventory.add_child(self.inventory.add_group(self._sanitize_group_name(group)), name)
        strict = self.get_option("strict")
        self._set_composite_vars(self.get_option("compose"), variables, name, strict=strict)
        self._add_host_to_composed_groups(self.get_option("groups"), variables, name, strict=strict)
        self._add_host_to_keyed_groups(self.get_option("keyed_groups"), variables, name, strict=strict)
