# SPDX-License-Identifier: Apache-2.0
"""Gateways of several configurations before the same three Ollama servers."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ollama
import pytest

from lab.gpuswarm_lab.steps import StepLog
from tests.bed.bed import (
    Bed,
    Gateway,
    Ollama,
    Play,
    bed,
    gateway_files,
    run_plays,
    server_files,
    store_of,
)
from tests.bed.models.real_models import CHAT, EMBEDDING
from tests.bed.models.real_models import store as real_models_store
from tests.kit.ansible import changed
from tests.kit.answers import MODEL

ALICE, BOB, CAROL, DAVE, ROOT = (name + "-" + name[0] * 32 for name in ("alice", "bob", "carol", "dave", "root"))
KEYS = [{"name": key.partition("-")[0], "key": key} for key in (ALICE, BOB, CAROL, DAVE)]

VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {
        "gateway_tls": False,
        "gateway_served_by_header": True,
        "gateway_max_body_size": "2m",
        "gateway_body_buffer_size": "64k",
        "gateway_models": [],  # tests copy models, and ask for some that are not there
        "gateway_metrics_models": [MODEL],
    },
    "secured": {
        "gateway_api_keys": [{"name": "alice", "key": ALICE}],
        "gateway_admin_keys": [{"name": "root", "key": ROOT}],
        "gateway_models": [],
    },
    "limited": {
        "gateway_tls": False,
        "gateway_api_keys": KEYS,
        "gateway_rate_per_key": "1r/m",
        "gateway_burst_per_key": 2,
        "gateway_rate_per_address": "1r/m",
        "gateway_burst_per_address": 3,
        "gateway_limit_retry_after": 7,
        "gateway_trusted_proxies": ["10.232.0.0/16"],
    },
    "strict": {
        "gateway_tls": False,
        "gateway_api_keys": KEYS,
        "gateway_concurrency_per_key": 1,
        "gateway_concurrency_per_address": 2,
        "gateway_limit_retry_after": 7,
        "gateway_trusted_proxies": ["10.232.0.0/16"],
        "gateway_client_timeout": 1,
    },
    "guarded": {
        "gateway_tls": False,
        "gateway_served_by_header": True,
        "gateway_api_keys": KEYS,
        "gateway_body_buffer_size": "64k",
        "gateway_models": [MODEL],
        "gateway_client_options": {"num_gpu": "refuse", "num_thread": "allow"},
        "gateway_cors_origins": ["https://chat.example"],
    },
    "managed": {"gateway_tls": False, "gateway_management_networks": ["10.232.0.0/16"]},
}
CACHED = {"ollama_cache": True, "ollama_cache_min_free": "1m"}
# The lab's image registry, as the cache's DNS has it.
IMAGES = "images.example:5000"
# Variables of the role ollama.
REPLICAS: dict[str, dict[str, Any]] = {
    "plain": {
        "ollama_environment": {
            "OLLAMA_MAX_LOADED_MODELS": "2",  # tests put another model beside the configured one
            "GPUSWARM_MODEL_CHECK_SECONDS": "2",  # and wait until it is loaded again
        }
    },
    "cached": {**CACHED, "ollama_cache_slice": "64k"},
    "lab": {**CACHED, "ollama_cache_upstream": f"http://{IMAGES}"},
    "nfs": {
        "ollama_volume": "ollama_nfs",
        "ollama_volume_driver_opts": {
            "type": "nfs",
            "o": "addr=192.168.180.5,nfsvers=4.2,rw",
            "device": ":/srv/models",
        },
    },
}


@dataclass(frozen=True)
class Cluster:
    bed: Bed
    directory: Path
    servers: tuple[Ollama, ...]
    gateways: dict[str, Gateway]


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    directory = tmp_path_factory.mktemp("roles")
    with bed(tmp_path_factory.mktemp("bed")) as made:
        nodes = {name: made.node(name) for name in VARIANTS}
        variants = {
            name: {**variables, "gateway_tls_names": [nodes[name].address, "gateway.example"]}
            for name, variables in VARIANTS.items()
        }
        run_plays(directory, [gateway_files(directory, variants), server_files(directory, REPLICAS)])
        replicas = tuple(
            Ollama(made.node(f"gpu-{number}"), directory / "plain" / "stack" / "ollama", made.roots["ollama"])
            for number in (1, 2, 3)
        )
        before_them = {
            name: Gateway(node, directory / name / "stack" / "gateway", made.roots["nginx"])
            for name, node in nodes.items()
        }
        for replica in replicas:
            replica.wait_until_healthy()
        for gateway in before_them.values():
            gateway.publish(*replicas)
        yield Cluster(made, directory, replicas, before_them)


@pytest.fixture
def new_nodes_end(cluster: Cluster) -> Iterator[None]:
    """What a test has started in nodes of its own ends with it."""
    before = len(cluster.bed.nodes)
    yield
    for node in cluster.bed.nodes[before:]:
        node.end()


@pytest.fixture
def copies_go(cluster: Cluster) -> Iterator[None]:
    """Models that a test has copied are gone after it."""

    def names(client: ollama.Client) -> set[str]:
        return {str(model.model) for model in client.list().models}

    with ExitStack() as stack:
        clients = [stack.enter_context(ollama.Client(host=server.url, timeout=60)) for server in cluster.servers]
        before = [names(client) for client in clients]
        yield
        for client, kept in zip(clients, before, strict=True):
            for name in names(client) - kept:
                client.delete(name)


@pytest.fixture(scope="session")
def real_models(cluster: Cluster) -> Iterator[Ollama]:
    """A server with small models that know something (real_models.py has their names)."""
    node = cluster.bed.node("gpu-real")
    root = cluster.bed.roots["ollama"]
    models = real_models_store(StepLog(cluster.bed.directory / "models.log"), root)
    shutil.copytree(models, store_of(node))
    server = Ollama(
        node, cluster.directory / "plain" / "stack" / "ollama", root,
        GPUSWARM_MODELS=f"{CHAT} {EMBEDDING}", OLLAMA_NEW_ENGINE="true",  # the other one aborts on the chat model
    )  # fmt: skip
    server.wait_until_healthy()
    yield server
    server.process.kill()


# Of a gateway whose variables change again and again: what the role made of its directory, one after another.
FIRST: dict[str, Any] = {
    "gateway_update": "roll",
    "gateway_tls_names": ["192.0.2.1", "gateway.example"],
    "gateway_api_keys": [{"name": "alice", "key": ALICE}],
    "gateway_concurrency_per_address": 100,
}
OTHER_KEY: dict[str, Any] = {**FIRST, "gateway_api_keys": [{"name": "alice", "key": ALICE + "-other"}]}
OTHER_NAMES: dict[str, Any] = {
    **FIRST,
    "gateway_update": "reload",
    "gateway_tls_names": ["192.0.2.1", "new.example"],
    "gateway_api_keys": [{"name": "alice", "key": ALICE + "-new"}, {"name": "bob", "key": BOB}],
    "gateway_concurrency_per_address": 0,
    "gateway_rate_per_key": "1r/m",
    "gateway_burst_per_key": 2,
}
OWN_NAME = "llm.example"


@dataclass(frozen=True)
class States:
    """Copies of one gateway's directory.

    Args:
        directory: where they are, under the names of the runs.
        authority: certificate of who has signed the own one.
        own_key: the own certificate's key.
        said: what Ansible said.
    """

    directory: Path
    authority: Path
    own_key: str
    said: str

    def changed(self, name: str) -> int:
        """How many tasks of this run have changed something."""
        return changed(self.said)[name.replace(" ", "_")]


@pytest.fixture(scope="session")
def states(tmp_path_factory: pytest.TempPathFactory) -> States:
    directory = tmp_path_factory.mktemp("states")
    authority, certificate, key = own_certificate(directory)
    own = {**FIRST, "gateway_tls_certificate": certificate, "gateway_tls_key": key}
    runs = {
        "in check mode": FIRST,
        "first": FIRST,
        "again": FIRST,
        "other key": OTHER_KEY,
        "own certificate": own,
        "its own again": FIRST,
        "other names": OTHER_NAMES,
    }
    # One directory, and a host for each run.
    (files := directory / "files" / "stack" / "gateway").mkdir(parents=True)
    in_check_mode, *others = [
        Play(
            "gateway",
            {name.replace(" ", "_"): {**variables, "cluster_directory": str(directory / "files")}},
            tasks_from="files",
            services=("ollama",),
            then=f"cp -a {files} '{directory / name}'",
        )
        for name, variables in runs.items()
    ]
    said = run_plays(directory, [in_check_mode], "--check") + run_plays(directory, others)
    return States(directory, authority, key, said)


def own_certificate(directory: Path) -> tuple[Path, str, str]:
    """An authority, and a certificate that it has signed, with its key."""

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True, timeout=60)

    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc")
    openssl("req", "-x509", *new_key, "-subj", "/CN=authority", "-keyout", "ca.key", "-out", "ca.crt", "-days", "9")
    openssl(
        "req", "-x509", *new_key, "-subj", "/CN=llm", "-addext", f"subjectAltName=DNS:{OWN_NAME}", "-addext",
        "basicConstraints=critical,CA:FALSE", "-CA", "ca.crt", "-CAkey", "ca.key", "-keyout", "llm.key",
        "-out", "llm.crt", "-days", "9",
    )  # fmt: skip
    return directory / "ca.crt", (directory / "llm.crt").read_text(), (directory / "llm.key").read_text()


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
def strict(cluster: Cluster) -> Gateway:
    return cluster.gateways["strict"]


@pytest.fixture
def managed(cluster: Cluster) -> Gateway:
    return cluster.gateways["managed"]
