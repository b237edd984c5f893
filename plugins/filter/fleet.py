# Copyright: (c) 2026, gpuswarm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters about the desired fleet: its servers, their rules and nodes, its models and backups.

Each is documented in the file of its name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.gpuswarm.ollama.plugins.module_utils._core import backups, models, swarm
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core import fleet as fleet_utils


def fleet_specs(settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Specifications of all servers."""
    try:
        return fleet_utils.server_specs(settings)
    except fleet_utils.FleetError as error:
        raise AnsibleFilterError(str(error)) from error


def ingress_rules(networks: Iterable[str], ports: Iterable[int]) -> list[dict[str, Any]]:
    """Security group rules that let networks reach ports."""
    try:
        return fleet_utils.ingress_rules(networks, ports)
    except fleet_utils.FleetError as error:
        raise AnsibleFilterError(str(error)) from error


def memory_fit(lines: Iterable[str], environment: Mapping[str, str]) -> dict[str, Any]:
    """Whether a replica's models fit into its GPU's memory."""
    try:
        return asdict(models.reported(lines, environment))
    except (KeyError, ValueError) as error:
        raise AnsibleFilterError(
            f"memory_fit: OLLAMA_CONTEXT_LENGTH and OLLAMA_NUM_PARALLEL must be whole numbers: {error}"
        ) from error


def surplus_backups(paths: Iterable[str], fleet: str, keep: int, made: str) -> list[str]:
    """Backups that are to be removed after a new one was made."""
    try:
        return backups.surplus(list(paths), fleet, keep, made)
    except ValueError as error:
        raise AnsibleFilterError(f"surplus_backups: {error}") from error


def swarm_membership(local: Mapping[str, Any], nodes: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """What a server has to do to be a worker of the swarm."""
    return asdict(swarm.membership(local, swarm.nodes_from_api(nodes)))


class FilterModule:
    """The filters, as Ansible looks for them."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Names and functions."""
        return {
            "fleet_problems": fleet_utils.problems,
            "fleet_specs": fleet_specs,
            "fleet_surge": fleet_utils.surge_specs,
            "fleet_surplus": fleet_utils.surplus,
            "ingress_rules": ingress_rules,
            "memory_fit": memory_fit,
            "model_name": models.canonical_name,
            "surplus_backups": surplus_backups,
            "swarm_membership": swarm_membership,
        }
