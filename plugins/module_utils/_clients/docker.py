# Copyright: (c) 2026, gpuswarm contributors
# SPDX-License-Identifier: Apache-2.0
"""Questions to the Docker API on this machine: the swarm's nodes, tasks and services. Standard library only.

``docker_swarm_info`` of community.docker answers the same, but with the swarm's join tokens in the result, and it costs
a Python process for every look; a wait polls much cheaper in here.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .http import NoAnswerError, get_unix

SOCKET = "/var/run/docker.sock"
TIMEOUT = 5.0  # seconds for one question


class DockerSilentError(Exception):
    """Docker does not answer, or is no manager of a swarm; the message says which."""


def nodes(timeout: float = TIMEOUT, path: str = SOCKET) -> list[dict[str, Any]]:
    """The swarm's nodes (``GET /nodes``).

    :raises DockerSilentError: there is no list.
    """
    return _list("/nodes", timeout, path)


def tasks(services: Iterable[str] = (), timeout: float = TIMEOUT, path: str = SOCKET) -> list[dict[str, Any]]:
    """The tasks (``GET /tasks``), of the named services only if there are names.

    A service that does not exist has no tasks, for which Docker itself has an error.

    :raises DockerSilentError: there is no list.
    """
    wanted = set(services)
    if not wanted:
        return _list("/tasks", timeout, path)
    ids = [service["ID"] for service in services_named(wanted, timeout, path)]
    if not ids:
        return []
    quoted = "%2C".join(f"%22{name}%22%3Atrue" for name in ids)  # ids are letters and digits
    return _list(f"/tasks?filters=%7B%22service%22%3A%7B{quoted}%7D%7D", timeout, path)


def services(timeout: float = TIMEOUT, path: str = SOCKET) -> list[dict[str, Any]]:
    """The services (``GET /services``).

    :raises DockerSilentError: there is no list.
    """
    return _list("/services", timeout, path)


def services_named(names: Iterable[str], timeout: float = TIMEOUT, path: str = SOCKET) -> list[dict[str, Any]]:
    """The services of these names; those that do not exist are left out.

    :raises DockerSilentError: there is no list.
    """
    wanted = set(names)
    return [service for service in services(timeout, path) if service.get("Spec", {}).get("Name") in wanted]


def node_events(path: str = SOCKET) -> Iterator[dict[str, Any]]:
    """The swarm's node events, as they happen, until Docker ends the stream (``GET /events``).

    :raises OSError: Docker cannot be reached.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(path)
        # HTTP/1.0: one event a line, without chunks in between.
        connection.sendall(
            b"GET /events?filters=%7B%22type%22%3A%5B%22node%22%5D%7D HTTP/1.0\r\nHost: localhost\r\n\r\n"
        )
        with connection.makefile("rb") as stream:
            for line in stream:
                if line.startswith(b"{"):
                    yield json.loads(line)


def went_down(event: Mapping[str, Any]) -> str:
    """Name of the node that an event says is down now; empty when it says something else."""
    attributes = event.get("Actor", {}).get("Attributes") or {}
    return str(attributes.get("name", "?")) if attributes.get("state.new") == "down" else ""


def _list(target: str, timeout: float, path: str) -> list[dict[str, Any]]:
    try:
        status, body = get_unix(path, target, timeout)
        data: Any = json.loads(body)
    except NoAnswerError as error:
        raise DockerSilentError(f"Docker does not answer: {error}") from error
    except ValueError as error:
        raise DockerSilentError(f"Docker's answer to {target} cannot be parsed") from error
    if status != 200 or not isinstance(data, list):
        message = data.get("message", "") if isinstance(data, Mapping) else ""
        raise DockerSilentError(f"Docker answers with HTTP {status}: {message}")
    return data
