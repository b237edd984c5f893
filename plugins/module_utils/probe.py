# Copyright: (c) 2026, gpuswarm contributors
# SPDX-License-Identifier: Apache-2.0
"""Is there anything for the recovery loop to do? One look at the cloud and one at the swarm, without Ansible.

The program around it is ``roles/recovery/files/probe.py``. Only the standard library is imported, as it runs every few
seconds: the cloud's token is the one that the last recovery left in its cache. Without a token that is still good the
recovery is started; it gets a new one and finds nothing to do.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
import urllib.parse
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from .cloud import COMPUTE_MICROVERSION, TokenCache, endpoint
from .diagnosis import CONVERGE, RESTORE, Verdict, diagnose
from .servers import Server, ours
from .swarm import nodes_from_api

DOCKER_SOCKET = "/var/run/docker.sock"
TIMEOUT = 5.0  # seconds for each of the two looks


class NoTokenError(Exception):
    """There is no token, or the cloud does not take it any more."""


class SilentError(Exception):
    """Somebody did not answer, so nothing is known and nothing is done."""


def worth_a_run(verdicts: Sequence[Verdict]) -> list[str]:
    """Why the recovery should run, one reason a server; empty when it should not."""
    return [f"{v.server}: {v.verdict}, {v.reason}" for v in verdicts if v.step in (RESTORE, CONVERGE)] + [
        f"{v.server}: its node was replaced, {', '.join(v.stale_node_ids)} can go" for v in verdicts if v.stale_node_ids
    ]


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


def list_servers(config: Mapping[str, Any], now: datetime) -> list[dict[str, Any]]:
    """The fleet's servers, as modules return them.

    :raises NoTokenError: see ``read_token``; also when the cloud refuses the token.
    :raises SilentError: the cloud did not answer, or makes no sense.
    """
    token, catalog = read_token(config.get("token_cache"), now)
    url = endpoint(catalog, "compute", config.get("interface") or "public", config.get("region") or None)
    headers = {"X-Auth-Token": token, "OpenStack-API-Version": f"compute {COMPUTE_MICROVERSION}"}
    status, body = _get(url + "/servers/detail", headers, str(config.get("cacert") or ""))
    if status == http.HTTPStatus.UNAUTHORIZED:
        raise NoTokenError("the cloud does not take the token any more")
    if status != http.HTTPStatus.OK:
        raise SilentError(f"the cloud answers with HTTP {status}")
    try:
        servers = json.loads(body)["servers"]
    except (ValueError, KeyError, TypeError) as error:
        raise SilentError("the cloud's answer makes no sense") from error
    return [server.as_result() for server in ours([Server.from_api(data) for data in servers], str(config["fleet"]))]


def _get(url: str, headers: Mapping[str, str], cacert: str) -> tuple[int, bytes]:
    """Status and body of an address that the catalog names.

    :raises SilentError: there is no answer within the time-out.
    """
    parts = urllib.parse.urlsplit(url)
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        context = ssl.create_default_context(cafile=cacert or None)
        connection = http.client.HTTPSConnection(parts.netloc, timeout=TIMEOUT, context=context)
    else:
        connection = http.client.HTTPConnection(parts.netloc, timeout=TIMEOUT)
    try:
        connection.request("GET", parts.path, headers=dict(headers))
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise SilentError(f"the cloud does not answer: {error}") from error
    finally:
        connection.close()


class _UnixConnection(http.client.HTTPConnection):
    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT)
        self.sock.connect(DOCKER_SOCKET)


def list_nodes() -> list[dict[str, Any]]:
    """The swarm's nodes out of the Docker API.

    :raises SilentError: Docker did not answer, or leads no swarm.
    """
    connection = _UnixConnection("localhost")
    try:
        connection.request("GET", "/nodes")
        answer = connection.getresponse()
        data = json.load(answer)
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise SilentError(f"Docker does not answer: {error}") from error
    finally:
        connection.close()
    if answer.status != http.HTTPStatus.OK or not isinstance(data, list):
        raise SilentError(f"Docker answers with HTTP {answer.status}: {data.get('message', '') if data else ''}")
    return data


def look(config: Mapping[str, Any], now: datetime) -> list[str]:
    """Look once at both; why the recovery should run.

    :param config: ``fleet``, ``specs``, ``region``, ``interface``, ``cacert``, ``token_cache`` (directory),
        ``ollama_service``, ``labels``.
    :raises NoTokenError: see ``list_servers``.
    :raises SilentError: the cloud or Docker did not answer.
    """
    servers = list_servers(config, now)
    nodes = nodes_from_api(list_nodes())
    return worth_a_run(diagnose(config["specs"], servers, nodes, [], config["ollama_service"], config["labels"]))
