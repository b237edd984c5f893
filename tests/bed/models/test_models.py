# SPDX-License-Identifier: Apache-2.0
"""How a server gets its models: the real one, the role's cache in real nginx, and a registry that speaks TLS.

The registry has the names of Ollama's own, redirects blobs to another host as that does, and
writes down what it is asked for.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from lab.gpuswarm_lab.model import SECOND_MODEL
from lab.gpuswarm_lab.registry_model import push_model
from lab.gpuswarm_lab.tiny_model import write_model
from tests.bed.bed import Dns, Node, Ollama, Play, Process, run_plays, store_of
from tests.bed.conftest import IMAGES, Cluster
from tests.kit.ansible import recap
from tests.kit.answers import MODEL
from tests.kit.clients import ask
from tests.kit.waiting import until

pytestmark = pytest.mark.usefixtures("new_nodes_end")

REGISTRY, BLOBS = "registry.ollama.ai", "blobs.example"
SLICE = 64 * 1024
HUGE = 23_000_000_000

REGISTRY_CONF = """
error_log stderr warn;
pid /run/nginx.pid;
events {}
http {
  log_format asked '$remote_addr $request_method $host$uri "$http_range" $status';
  access_log /dev/stdout asked;
  types {}
  default_type application/octet-stream;
  ssl_certificate /gpuswarm/tls.crt;
  ssl_certificate_key /gpuswarm/tls.key;
  server {
    listen 443 ssl;
    server_name registry.ollama.ai;
    location ~ ^/v2/(?<name>.+)/manifests/(?<tag>[^/]+)$ {
      default_type application/vnd.docker.distribution.manifest.v2+json;
      alias /gpuswarm/store/manifests/registry.ollama.ai/$name/$tag;
    }
    location ~ ^/v2/.+/blobs/sha256:(?<digest>[0-9a-f]+)$ {
      if ($request_method = GET) {
        return 307 https://blobs.example$request_uri;
      }
      alias /gpuswarm/store/blobs/sha256-$digest;
    }
  }
  server {
    listen 443 ssl;
    server_name blobs.example;
    include /gpuswarm/speed.conf;
    location ~ ^/v2/.+/blobs/sha256:(?<digest>[0-9a-f]+)$ {
      alias /gpuswarm/store/blobs/sha256-$digest;
    }
  }
}
"""


class Registry:
    """Ollama's registry, with one tiny model and the manifest of a huge one."""

    def __init__(self, node: Node, roots: dict[str, Path]) -> None:
        self.node = node
        self.directory = node.bed.directory / "registry"
        self.directory.mkdir()
        store = self.directory / "store"
        shutil.copytree(roots["ollama"] / "root" / ".ollama" / "models", store)
        manifests = store / "manifests" / REGISTRY / "library"
        self.manifest: dict[str, Any] = json.loads((manifests / MODEL / "latest").read_text())
        huge = {**self.manifest, "layers": [{"mediaType": "x", "digest": "sha256:" + "f" * 64, "size": HUGE}]}
        (manifests / "huge").mkdir()
        (manifests / "huge" / "1b").write_text(json.dumps(huge))
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-subj",
             "/CN=registry", "-addext", f"subjectAltName=DNS:{REGISTRY},DNS:{BLOBS}", "-keyout",
             self.directory / "tls.key", "-out", self.directory / "tls.crt"],
            check=True, capture_output=True,
        )  # fmt: skip
        self.certificate = self.directory / "tls.crt"
        (self.directory / "nginx.conf").write_text(REGISTRY_CONF)
        (self.directory / "speed.conf").write_text("")
        # Files of the store belong to root alone.
        subprocess.run(["chmod", "-R", "a+rX", store], check=True)
        self.process = node.start(
            "nginx", ["nginx", "-c", "/gpuswarm/nginx.conf", "-g", "daemon off;"],
            root=roots["nginx"], mounts={"/gpuswarm": self.directory},
        )  # fmt: skip
        until("the registry listens", lambda: ":443" in node.run("ss", "-Htln"))

    @property
    def model_digest(self) -> str:
        """Of the layer with the weights, the largest one."""
        return str(max(self.manifest["layers"], key=lambda layer: layer["size"])["digest"])

    @property
    def model_size(self) -> int:
        return int(max(layer["size"] for layer in self.manifest["layers"]))

    def asked(self) -> list[str]:
        """What it was asked for, one line each."""
        return [line for line in self.process.output().splitlines() if "/v2/" in line]

    def blobs_sent(self) -> list[str]:
        return [line for line in self.asked() if BLOBS in line]

    @contextmanager
    def slow(self, rate: str) -> Iterator[None]:
        """Blobs come at this rate for a while."""
        try:
            self._speed(f"limit_rate {rate};")
            yield
        finally:
            self._speed("")

    def _speed(self, text: str) -> None:
        (self.directory / "speed.conf").write_text(text)
        self.process.reload()


class Cache:
    """A task of the service ``cache``: what the role's compose file says, in a node.

    Args:
        node: where it runs.
        directory: what the role has written.
        root: root file system.
        registry: where models come from.
        hosts: more names, with their addresses.
    """

    def __init__(
        self, node: Node, directory: Path, root: Path, registry: Registry, hosts: Mapping[str, str] | None = None
    ) -> None:
        self.node = node
        self.files = node.bed.directory / f"{node.name}-files"
        self.files.mkdir()
        self.service = yaml.safe_load((directory / "compose.yml").read_text())["services"]["cache"]
        self.dns = Dns(node)
        more = "".join(f"{address} {name}\n" for name, address in (hosts or {}).items())
        self.dns.hosts.write_text(f"{registry.node.address} {REGISTRY} {BLOBS}\n{more}")
        self.dns.process.started.send_signal(signal.SIGHUP)
        self.inside: dict[str, Any] = {
            "root": root,
            "mounts": {
                "/gpuswarm": directory,
                "/cache": self.files,
                "/etc/ssl/certs/ca-certificates.crt": registry.certificate,
            },
        }
        self.process: Process
        self.start()

    @property
    def url(self) -> str:
        return f"http://{self.node.address}:5000"

    def start(self) -> None:
        self.process = self.node.start("cache", self.service["entrypoint"], **self.inside)
        until("the cache is healthy", self.healthy)

    def healthy(self) -> bool:
        test = [word.replace("$$", "$") for word in self.service["healthcheck"]["test"][1:]]
        return self.node.start("health", test, **self.inside).wait(10) == 0

    def empty(self) -> None:
        """Have it forget everything."""
        self.process.kill()
        for piece in self.pieces():
            piece.unlink()
        self.start()

    def pieces(self) -> list[Path]:
        return [path for path in (self.files / "files").rglob("*") if path.is_file()]


@dataclass(frozen=True)
class World:
    cluster: Cluster
    directory: Path
    registry: Registry
    cache: Cache

    def server(self, name: str, store: Path | None = None, load_seconds: int = 0, **environment: str) -> Ollama:
        """A new server, with an empty volume or the given one."""
        node = self.cluster.bed.node(name)
        if store is None:
            store_of(node).mkdir()
        else:
            store_of(node).symlink_to(store)
        hosts = self.cluster.bed.directory / f"{name}-hosts"
        hosts.write_text(
            f"127.0.0.1 localhost\n{self.cache.node.address} cache\n{self.registry.node.address} {REGISTRY} {BLOBS}\n"
        )
        return Ollama(
            node, self.directory / "ollama", self.cluster.bed.roots["ollama"],
            {"/etc/hosts": hosts, "/gpuswarm/ca.crt": self.registry.certificate},
            load_seconds, SSL_CERT_FILE="/gpuswarm/ca.crt", **environment,
        )  # fmt: skip


@pytest.fixture(scope="module")
def world(cluster: Cluster) -> Iterator[World]:
    directory = cluster.directory / "cached" / "stack"
    roots = cluster.bed.roots
    registry = Registry(cluster.bed.node("registry"), roots)
    cache = Cache(cluster.bed.node("cache"), directory / "ollama", roots["nginx"], registry)
    yield World(cluster, directory, registry, cache)
    cache.process.kill()
    registry.process.kill()


@pytest.fixture(scope="module")
def filled(world: World) -> World:
    """The cache has the model; a test that empties it has it filled again."""
    server = world.server("filling")
    server.wait_until_healthy()
    end(server)
    return world


def names(server: Ollama) -> list[str]:
    return [model["name"] for model in httpx.get(f"{server.url}/api/tags").json()["models"]]


def complaint(server: Ollama, words: str) -> str:
    """What the health check says, once these words are in it."""
    return until(f"it says {words}", lambda: text if words in (text := server.health()[1]) else "")


def end(*servers: Ollama) -> None:
    for server in servers:
        server.process.kill()


def test_the_first_server_fills_the_cache_and_the_second_asks_nobody_else(world: World) -> None:
    world.cache.empty()
    before, asked_before = len(world.registry.blobs_sent()), len(world.registry.asked())
    first = world.server("first")
    first.wait_until_healthy()
    assert names(first) == [f"{MODEL}:latest"], "clients see the cache's name"
    sent = world.registry.blobs_sent()[before:]
    assert sent
    assert all(line.startswith(world.cache.node.address) for line in sent), "the server asked the registry itself"

    second = world.server("second")
    second.wait_until_healthy()
    assert names(second) == [f"{MODEL}:latest"]
    assert world.registry.blobs_sent()[before:] == sent
    # The registry tells a server's size of a blob too; the cache knew it.
    assert not [line for line in world.registry.asked()[asked_before:] if "HEAD" in line]


def test_two_servers_at_once_share_one_transfer(world: World) -> None:
    world.cache.empty()
    before = len(world.registry.blobs_sent())
    servers = [world.server(f"twin-{number}") for number in (1, 2)]
    for server in servers:
        server.wait_until_healthy()
    asked = [line.split('"')[1] for line in world.registry.blobs_sent()[before:] if world.registry.model_digest in line]
    assert len(asked) == len(set(asked)) == -(-world.registry.model_size // SLICE)


def test_a_transfer_that_is_cut_off_goes_on_after_the_last_piece(world: World) -> None:
    world.cache.empty()
    url = f"{world.cache.url}/data/v2/library/{MODEL}/blobs/{world.registry.model_digest}"
    part = httpx.get(url, headers={"Range": f"bytes=0-{3 * SLICE - 1}"})
    assert part.status_code == 206
    assert len(part.content) == 3 * SLICE
    before = len(world.registry.blobs_sent())
    server = world.server("resumed")
    server.wait_until_healthy()
    asked = [line.split('"')[1] for line in world.registry.blobs_sent()[before:] if world.registry.model_digest in line]
    assert f"bytes={3 * SLICE}-{4 * SLICE - 1}" in asked
    assert not {f"bytes={n * SLICE}-{(n + 1) * SLICE - 1}" for n in range(3)} & set(asked)


def test_a_server_that_is_stopped_while_it_pulls_goes_on_where_it_was(world: World) -> None:
    before = len(world.registry.blobs_sent())
    with world.registry.slow("60k"):
        server = world.server("stopped", GPUSWARM_CACHE="")
        blob = server.store / "models" / "blobs" / world.registry.model_digest.replace(":", "-")
        partial = blob.with_name(f"{blob.name}-partial")
        until("it has got some of it", lambda: partial.exists() and partial.stat().st_blocks * 512 > 150_000)
        server.process.send(signal.SIGTERM)
        server.process.wait(30)
    server.restart()
    server.wait_until_healthy()
    lines = [line for line in world.registry.blobs_sent()[before:] if world.registry.model_digest in line]
    begins = [int(line.split("bytes=")[1].split("-")[0]) for line in lines]
    assert begins[-1] > 100_000, lines


def test_what_has_gone_bad_in_the_cache_is_not_accepted_and_heals(filled: World) -> None:
    world = filled
    spoilt = max(world.cache.pieces(), key=lambda path: path.stat().st_size)
    with spoilt.open("r+b") as file:
        file.seek(-100, os.SEEK_END)
        file.write(b"spoilt")
    server = world.server("doubting")
    server.wait_until_healthy()
    log = server.process.output()
    assert "digest mismatch" in log
    assert "port 5001" in log
    assert "pulling from" not in log, "the registry was asked directly"
    end(server)

    before = world.registry.blobs_sent()
    trusting = world.server("trusting")
    trusting.wait_until_healthy()
    assert "mismatch" not in trusting.process.output()
    assert world.registry.blobs_sent() == before


def test_the_registry_away_is_no_matter_for_what_the_cache_has(filled: World) -> None:
    world = filled
    world.registry.node.vanish()
    try:
        server = world.server("offline")
        server.wait_until_healthy(seconds=120)
    finally:
        world.registry.node.come_back()


def test_without_the_cache_a_server_keeps_what_it_has_and_a_new_one_asks_the_registry(world: World) -> None:
    owner = world.server("owner")
    owner.wait_until_healthy()
    end(owner)
    world.cache.process.kill()
    try:
        before = len(world.registry.blobs_sent())
        owner.restart()
        owner.wait_until_healthy()
        assert len(world.registry.blobs_sent()) == before
        end(owner)

        new = world.server("new")
        new.wait_until_healthy()
        assert f"{MODEL} was pulled from {REGISTRY}" in new.process.output()
        assert names(new) == [f"{MODEL}:latest"]
        end(new)
    finally:
        world.cache.start()


def test_a_name_that_a_cut_off_pull_left_is_tidied_away(world: World) -> None:
    server = world.server("untidy")
    server.wait_until_healthy()
    end(server)
    manifests = server.store / "models" / "manifests"
    left = manifests / "cache:5001" / "library" / MODEL
    shutil.copytree(manifests / REGISTRY / "library" / MODEL, left)
    server.restart()
    server.wait_until_healthy()
    until("the name is gone", lambda: not (left / "latest").exists())
    assert names(server) == [f"{MODEL}:latest"]
    assert server.health() == (True, "ready")


def test_the_cache_keeps_to_its_size(world: World, tmp_path: Path) -> None:
    directory = tmp_path / "small"
    shutil.copytree(world.directory / "ollama", directory)
    text = (directory / "cache.conf").read_text()
    assert "max_size=30g" in text
    (directory / "cache.conf").write_text(text.replace("max_size=30g", "max_size=256k"))
    cache = Cache(world.cluster.bed.node("small"), directory, world.cluster.bed.roots["nginx"], world.registry)
    url = f"{cache.url}/data/v2/library/{MODEL}/blobs/{world.registry.model_digest}"
    assert len(httpx.get(url).content) == world.registry.model_size
    # It looks at its size every ten seconds, and when it is new.
    cache.process.reload()
    until("it has thrown away the oldest", lambda: 0 < sum(p.stat().st_size for p in cache.pieces()) <= 384 * 1024)


def test_the_labs_second_model_comes_out_of_its_image_registry(world: World, tmp_path: Path) -> None:
    # Plain HTTP, and blobs that are sent without a redirect, which Ollama of some versions does not take by itself.
    bed = world.cluster.bed
    node = bed.node("images")
    config = tmp_path / "registry.yml"
    config.write_text(
        f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {tmp_path}/images}}}}\nhttp: {{addr: ':5000'}}\n"
    )
    node.start("registry", ["docker-registry", "serve", config], env={"OTEL_TRACES_EXPORTER": "none"})
    address = f"{node.address}:5000"
    until("it answers", lambda: httpx.get(f"http://{address}/v2/").is_success)
    write_model(tmp_path / "second.gguf", layers=3)
    push_model(address, SECOND_MODEL, world.registry.directory / "store", (tmp_path / "second.gguf").read_bytes())

    cache = Cache(
        bed.node("labcache"), world.cluster.directory / "lab" / "stack" / "ollama", bed.roots["nginx"], world.registry,
        {IMAGES.partition(":")[0]: node.address},
    )  # fmt: skip
    server = replace(world, cache=cache).server("labgpu", GPUSWARM_MODELS=SECOND_MODEL)
    server.wait_until_healthy()
    assert names(server) == [f"{SECOND_MODEL}:latest"]
    assert f"{SECOND_MODEL} was pulled through the cache" in server.process.output()
    assert ask(server.url, SECOND_MODEL, stream=False, tokens=8).complete


@contextmanager
def volume(directory: Path, size: str) -> Iterator[Path]:
    """A file system of this size."""
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", directory], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", "--lazy", directory], check=True)


@pytest.mark.parametrize("cache", ["cache", ""], ids=["through the cache", "from the registry"])
def test_a_model_that_does_not_fit_is_not_pulled_and_the_replica_says_so(
    world: World, tmp_path: Path, cache: str
) -> None:
    with volume(tmp_path / "volume", "64m") as store:
        server = world.server(f"full-{cache or 'direct'}", store, GPUSWARM_MODELS="huge:1b", GPUSWARM_CACHE=cache)
        text = complaint(server, "it needs")
        assert not server.health()[0]
        assert text.startswith("not_loaded: huge:1b is not loaded: it needs 21.4GiB more"), text
        assert "64.0MiB are free and 2.0GiB stay so (ollama_disk_reserve)" in text
        assert "fleet_gpu_volume_size" in text
        assert "playbook prune" in text
        assert f"gpuswarm: huge:1b: {text.partition(' is not loaded: ')[2]}" in server.process.output()
        assert not list((store / "models" / "blobs").glob("*")), "it began to pull"


def test_it_is_pulled_once_there_is_room(world: World, tmp_path: Path) -> None:
    with volume(tmp_path / "volume", "16m") as store:
        (store / "ballast").write_bytes(b"x" * (14 << 20))
        server = world.server("freed", store, GPUSWARM_DISK_RESERVE=str(4 << 20))
        complaint(server, "it needs")
        (store / "ballast").unlink()
        server.wait_until_healthy()
        assert server.health() == (True, "ready")


def test_a_model_that_does_not_exist(world: World) -> None:
    server = world.server("asking", GPUSWARM_MODELS="nosuch:7b")
    text = complaint(server, "cannot be pulled")
    assert text.startswith(
        f"not_loaded: nosuch:7b is not loaded: it cannot be pulled from {REGISTRY}: pull model manifest: "
    ), text


def run(server: Ollama, directory: Path, tasks_from: str, runs: Mapping[str, Mapping[str, Any]], *options: str) -> str:
    """Run one of the role's lists of tasks against a server, once for each of the runs, one after another.

    ``docker`` enters the server's node instead of a container. Which models the server has after a run, is in a file
    with the name of the run.

    Args:
        server: which runs.
        directory: for the files.
        tasks_from: the list of tasks.
        runs: variables, by the run's name.
        options: of ansible-playbook.

    Returns:
        What Ansible said.
    """
    shim = directory / "bin" / "docker"
    shim.parent.mkdir(exist_ok=True)
    env = " ".join(f"'{key}={value}'" for key, value in server.inside["env"].items())
    shim.write_text(
        f"#!/bin/bash\n[ $1 = ps ] && echo replica && exit\nshift 2\n"
        f"exec nsenter --target {server.process.pid} --mount --pid --net --root --wd "
        f'env -i PATH=/usr/local/bin:/usr/bin:/bin {env} "$@"\n'
    )
    shim.chmod(0o755)
    plays = [
        Play("ollama", {name: variables}, tasks_from, then=f"docker exec replica ollama list >{directory}/{name}")
        for name, variables in runs.items()
    ]
    return run_plays(directory, plays, *options, programs=shim.parent, check=False)


def listed(file: Path) -> list[str]:
    """Names in what ``ollama list`` has printed."""
    return sorted(line.split()[0] for line in file.read_text().splitlines()[1:])


def test_prune_lists_and_removes_what_is_not_wanted(world: World, tmp_path: Path) -> None:
    server = world.server("pruned")
    server.wait_until_healthy()
    httpx.post(f"{server.url}/api/copy", json={"source": MODEL, "destination": "old:7b"}).raise_for_status()
    there, both = [f"{MODEL}:latest"], ["old:7b", f"{MODEL}:latest"]

    said = run(server, tmp_path, "prune", {"checking": {"ollama_prune": "true"}}, "--check", "--diff")
    assert "checking: old:7b" in said
    assert "checking: old:7b;" not in said
    assert recap(said)["checking"]["changed"] == 1
    assert listed(tmp_path / "checking") == both

    said = run(server, tmp_path, "prune", {
        "listing": {},
        "removing": {"ollama_prune": "true", "ollama_models": ["qwen3:30b"]},
        "again": {"ollama_prune": "true"},
    })  # fmt: skip
    assert "listing: old:7b; -e ollama_prune=true removes them" in said
    assert recap(said)["listing"]["changed"] == 0
    assert listed(tmp_path / "listing") == both
    assert recap(said)["removing"]["changed"] == 1
    assert listed(tmp_path / "removing") == there, "what the running replica is configured with was removed"
    assert "again: nothing to remove" in said
    assert recap(said)["again"]["changed"] == 0
    assert names(server) == there
    server.wait_until_healthy()


def test_a_model_more_is_pulled_by_the_running_replica(world: World, tmp_path: Path) -> None:
    server = world.server("growing", GPUSWARM_MODELS="other", OLLAMA_NOPRUNE="1")
    until("it answers", lambda: httpx.get(f"{server.url}/api/version").is_success)
    assert names(server) == []
    said = run(server, tmp_path, "pull", {
        "pulling": {},
        "again": {},
        "refused": {"ollama_models": [MODEL, "nosuch:7b"]},
    })  # fmt: skip
    assert recap(said)["pulling"]["changed"] == 1
    assert listed(tmp_path / "pulling") == [f"{MODEL}:latest"]
    assert recap(said)["again"] == {**recap(said)["again"], "changed": 0, "failed": 0}
    assert recap(said)["refused"]["failed"] == 1
    assert f"On refused, of ollama_models: nosuch:7b: it cannot be pulled from {REGISTRY}: pull model manifest:" in said
    assert "Nothing that runs was changed." in said


def test_models_that_do_not_fit_into_the_gpu_end_a_rollout(cluster: Cluster, tmp_path: Path) -> None:
    gpu = tmp_path / "nvidia-smi"
    gpu.write_text("#!/bin/bash\necho 514\n")
    gpu.chmod(0o755)
    server = Ollama(
        cluster.bed.node("gpu-small"), cluster.directory / "plain" / "stack" / "ollama", cluster.bed.roots["ollama"],
        {"/usr/local/bin/nvidia-smi": gpu},
    )  # fmt: skip
    server.wait_until_healthy()
    said = run(server, tmp_path, "pull", {
        "fits": {"ollama_require_gpu": True, "ollama_num_parallel": 1},
        "not_asked": {"ollama_num_parallel": 2},
        "too_many": {"ollama_require_gpu": True, "ollama_num_parallel": 2},
    })  # fmt: skip
    assert {name: recap(said)[name]["failed"] for name in ("fits", "not_asked", "too_many")} == {
        "fits": 0, "not_asked": 0, "too_many": 1,
    }  # fmt: skip
    words = " ".join(said.split())
    assert "The models do not fit into the GPU's memory on too_many: tiny 0.0 GiB of weights and" in words
    assert "2 layers x 4 KV heads x 32 x 2 bytes x 2048 tokens x 2 requests" in words
    assert "Set a smaller ollama_context_length" in words
