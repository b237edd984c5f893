# Copyright: (c) 2026, gpuswarm contributors
# SPDX-License-Identifier: Apache-2.0
"""Is there anything for the recovery loop to do? One look at the cloud and one at the swarm, without Ansible.

Runs on the manager as systemd's ``ExecCondition`` with the path of its configuration: exit status 0 starts the
recovery, 1 means that nothing is lost. Only the standard library is imported, because it runs every few seconds: the
cloud's token is the one that the last recovery left in its cache. Without a token that is still good the recovery is
started; it gets a new one and finds nothing to do.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .cloud import COMPUTE_MICROVERSION, TokenCache, endpoint
from .diagnosis import CONVERGE, RESTORE, Verdict, diagnose
from .servers import Server, ours
from .swarm import nodes_from_api

DOCKER_SOCKET = "/var/run/docker.sock"
TIMEOUT = 5.0  # seconds for each of the two looks

LOOK_CLOSER = 0
NOTHING_TO_DO = 1


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
    :raises SilentError: the cloud did not answer, or not in JSON.
    """
    token, catalog = read_token(config.get("token_cache"), now)
    url = endpoint(catalog, "compute", config.get("interface") or "public", config.get("region") or None)
    request = urllib.request.Request(  # noqa: S310 (the address is the catalog's)
        f"{url}/servers/detail",
        headers={"X-Auth-Token": token, "OpenStack-API-Version": f"compute {COMPUTE_MICROVERSION}"},
    )
    context = ssl.create_default_context(cafile=config.get("cacert") or None) if url.startswith("https") else None
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT, context=context) as answer:  # noqa: S310
            servers = json.load(answer)["servers"]
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.UNAUTHORIZED:
            raise NoTokenError("the cloud does not take the token any more") from error
        raise SilentError(f"the cloud answers with HTTP {error.code}") from error
    except (OSError, ValueError, KeyError, http.client.HTTPException) as error:
        raise SilentError(f"the cloud does not answer: {error}") from error
    return [server.as_result() for server in ours([Server.from_api(data) for data in servers], str(config["fleet"]))]


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


def main(arguments: Sequence[str]) -> int:
    """Look once; prints why, for the journal. Returns the exit status."""
    try:
        config = json.loads(Path(arguments[1]).read_text(encoding="utf-8"))
        now = datetime.now(UTC)
        servers = list_servers(config, now)
        nodes = nodes_from_api(list_nodes())
        reasons = worth_a_run(diagnose(config["specs"], servers, nodes, [], config["ollama_service"], config["labels"]))
    except NoTokenError as error:
        print(f"looking closer: {error}")
        return LOOK_CLOSER
    except SilentError as error:
        print(f"nothing is done: {error}")
        return NOTHING_TO_DO
    for reason in reasons:
        print(reason)
    return LOOK_CLOSER if reasons else NOTHING_TO_DO


if __name__ == "__main__":
    sys.exit(main(sys.argv))
