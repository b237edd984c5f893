# Copyright: (c) 2026, gpuswarm contributors
# SPDX-License-Identifier: Apache-2.0
"""One observation of the cloud and one of the swarm, without Ansible.

The cloud's token is the one that the last recovery left in its cache. Only the standard library is imported, and little
of it: the probe observes every few seconds.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ansible_collections.gpuswarm.ollama.plugins.module_utils._clients import docker, http
from ansible_collections.gpuswarm.ollama.plugins.module_utils._clients.tokens import (
    COMPUTE_MICROVERSION,
    TokenCache,
    endpoint,
)
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.diagnosis import Observation
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.servers import Server, owned_by_fleet
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.swarm import (
    Node,
    Task,
    nodes_from_api,
    tasks_from_api,
)

TIMEOUT = 5.0  # seconds for each question


class NoTokenError(Exception):
    """There is no token, or the cloud does not take it any more."""


class SilentError(Exception):
    """Somebody did not answer, so nothing is known and nothing is done."""


@dataclass
class Snapshot:
    """What one observation gave; ``errors`` says what did not answer, in words.

    ``cloud_time`` is the cloud's own clock (epoch seconds), which no step of this machine's clock disturbs; None when
    it does not tell.
    """

    servers: list[dict[str, Any]] | None = None
    cloud_time: int | None = None
    nodes: list[Node] | None = None
    tasks: list[Task] | None = None
    token: bool = True
    errors: list[str] = field(default_factory=list)

    def observation(self, now: float) -> Observation:
        """The same, as decisions take it."""
        return Observation(self.servers, self.nodes, self.tasks, now)


def read_token(directory: str | None, now: datetime) -> tuple[str, list[dict[str, Any]]]:
    """Token and catalog that were saved last.

    :raises NoTokenError: there is none, or it ends within a minute.
    """
    folder = Path(directory or os.path.join(os.environ.get("XDG_CACHE_HOME", "~/.cache"), "gpuswarm")).expanduser()  # noqa: PTH118
    files = sorted(folder.glob("token-*.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    for file in files:
        try:
            state = json.loads(TokenCache.read(file) or "")
            token = state["body"]["token"]
            if (datetime.fromisoformat(token["expires_at"]) - now).total_seconds() > 60:
                return str(state["auth_token"]), list(token["catalog"])
        except (ValueError, KeyError, TypeError):
            continue
    raise NoTokenError("there is no token of the cloud in the cache")


def compute(config: Mapping[str, Any], now: datetime) -> tuple[str, dict[str, str]]:
    """Nova's address, and the headers of a request to it.

    :raises NoTokenError: see ``read_token``.
    """
    token, catalog = read_token(config.get("token_cache"), now)
    url = endpoint(catalog, "compute", config.get("interface") or "public", config.get("region") or None)
    return url, {"X-Auth-Token": token, "OpenStack-API-Version": f"compute {COMPUTE_MICROVERSION}"}


def list_servers(config: Mapping[str, Any], now: datetime) -> tuple[list[dict[str, Any]], int | None]:
    """The fleet's servers, and the cloud's clock (epoch seconds; None: it does not tell).

    The servers are as modules return them, and have ``updated_at`` (when the cloud last changed them, ISO 8601).

    :raises NoTokenError: see ``read_token``; also when the cloud refuses the token.
    :raises SilentError: the cloud did not answer, or cannot be parsed.
    """
    url, headers = compute(config, now)
    cafile = str(config.get("cacert") or "")
    try:
        status, body, date = http.get_dated(url + "/servers/detail", headers, TIMEOUT, cafile)
    except http.NoAnswerError as error:
        raise SilentError(f"the cloud does not answer: {error}") from error
    if status == 401:
        raise NoTokenError("the cloud does not take the token any more")
    if status != 200:
        raise SilentError(f"the cloud answers with HTTP {status}")
    try:
        servers = json.loads(body)["servers"]
    except (ValueError, KeyError, TypeError) as error:
        raise SilentError("the cloud's answer cannot be parsed") from error
    tags = [spec["preemptible_tag"] for spec in config.get("specs", []) if spec.get("preemptible_tag")]
    mine = owned_by_fleet([Server.from_api(data) for data in servers], str(config["fleet"]))
    return [{**server.as_result(*tags[:1]), "updated_at": server.updated_at} for server in mine], date


def observe(config: Mapping[str, Any], now: float) -> Snapshot:
    """Observe both once.

    :param config: ``fleet``, ``specs`` (the first ``preemptible_tag`` is the fleet's), ``region``, ``interface``,
        ``cacert``, ``token_cache`` (directory), ``docker_socket``, and ``settings``
        (`recovery.RecoverySettings.from_mapping`).
    """
    snapshot = Snapshot()
    try:
        snapshot.servers, snapshot.cloud_time = list_servers(config, datetime.fromtimestamp(now, UTC))
    except NoTokenError as error:
        snapshot.token = False
        snapshot.errors.append(str(error))
    except SilentError as error:
        snapshot.errors.append(str(error))
    socket = str(config.get("docker_socket") or docker.SOCKET)
    service = str(config["settings"]["service"])
    try:
        snapshot.nodes = nodes_from_api(docker.nodes(TIMEOUT, socket))
        services = docker.services_named([service], TIMEOUT, socket)
        snapshot.tasks = tasks_from_api(docker.tasks([service], TIMEOUT, socket), services)
    except docker.DockerSilentError as error:
        snapshot.nodes = snapshot.tasks = None
        snapshot.errors.append(str(error))
    return snapshot
