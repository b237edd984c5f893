# SPDX-License-Identifier: Apache-2.0
"""Gateways of several configurations before the same three Ollama servers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.gpuswarm.ollama.tests.integration.gateway.bed import Bed, Gateway, Ollama, bed, write_roles

ALICE, BOB, ROOT = "alice-" + "a" * 32, "bob-" + "b" * 32, "root-" + "c" * 32

VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {
        "gateway_tls": False,
        "gateway_served_by_header": True,
        "gateway_max_body_size": "2m",
        "gateway_body_buffer_size": "64k",
        "gateway_client_timeout": 5,
        # Tests put another model beside the configured one.
        "ollama_environment": {"OLLAMA_MAX_LOADED_MODELS": "2"},
    },
    "secured": {
        "gateway_api_keys": [{"name": "alice", "key": ALICE}],
        "gateway_admin_keys": [{"name": "root", "key": ROOT}],
    },
    "limited": {
        "gateway_tls": False,
        "gateway_api_keys": [{"name": "alice", "key": ALICE}, {"name": "bob", "key": BOB}],
        "gateway_rate_per_key": "1r/m",
        "gateway_burst_per_key": 2,
        "gateway_concurrency_per_address": 2,
        "gateway_limit_retry_after": 7,
        "gateway_trusted_proxies": ["10.232.0.0/16"],
    },
    "managed": {"gateway_tls": False, "gateway_management_networks": ["10.232.0.0/16"]},
}


@dataclass(frozen=True)
class Cluster:
    bed: Bed
    directory: Path
    servers: tuple[Ollama, ...]
    variants: dict[str, dict[str, Any]]
    gateways: dict[str, Gateway]

    def write(self, variant: str, **changes: Any) -> str:
        """Have the roles write a variant's files again, with other variables."""
        return write_roles(self.directory, {variant: {**self.variants[variant], **changes}})


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    directory = tmp_path_factory.mktemp("roles")
    with bed(tmp_path_factory.mktemp("bed")) as made:
        nodes = {name: made.node(name) for name in VARIANTS}
        variants = {
            name: {**variables, "gateway_tls_names": [nodes[name].address, "gateway.example"]}
            for name, variables in VARIANTS.items()
        }
        write_roles(directory, variants, with_ollama=True)
        servers = tuple(
            Ollama(made.node(f"gpu-{number}"), directory / "ollama", made.roots["ollama"]) for number in (1, 2, 3)
        )
        gateways = {
            name: Gateway(node, directory / name / "gateway", made.roots["nginx"]) for name, node in nodes.items()
        }
        for server in servers:
            server.wait_until_healthy()
        for gateway in gateways.values():
            gateway.publish(*servers)
        yield Cluster(made, directory, servers, variants, gateways)


@pytest.fixture
def plain(cluster: Cluster) -> Iterator[Gateway]:
    yield cluster.gateways["plain"]
    cluster.gateways["plain"].publish(*cluster.servers)


@pytest.fixture
def secured(cluster: Cluster) -> Gateway:
    return cluster.gateways["secured"]


@pytest.fixture
def limited(cluster: Cluster) -> Gateway:
    return cluster.gateways["limited"]


@pytest.fixture
def managed(cluster: Cluster) -> Gateway:
    return cluster.gateways["managed"]
