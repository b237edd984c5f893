# Copyright: (c) 2026, gpuswarm contributors
# SPDX-License-Identifier: Apache-2.0
"""What the ledger asks the cloud: a server's actions, the volumes and the addresses of the project.

On ``http`` and the cached token, like the probe that keeps the ledger.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.errors import ConfigError

from .http import NoAnswerError, get
from .tokens import COMPUTE_MICROVERSION, endpoint

TIMEOUT = 5.0  # seconds for each question
MAX_PAGES = 20  # of a list; a page has up to a thousand entries


class UntoldError(Exception):
    """The cloud did not answer a question about what is billed; the message says which, and why."""


class LedgerSources:
    """The cloud, as the ledger asks it."""

    def __init__(
        self,
        token: str,
        catalog: Sequence[Mapping[str, Any]],
        region: str = "",
        interface: str = "public",
        cafile: str = "",
    ) -> None:
        """Asks nothing yet. Args: token and catalog of Keystone; cafile as in `http.get`."""
        self._headers = {"X-Auth-Token": token}
        self._catalog, self._region, self._interface, self._cafile = catalog, region, interface, cafile

    def actions(self, server_id: str) -> list[dict[str, Any]] | None:
        """Everything that was done to a server, also to one that is deleted (``GET /servers/ID/os-instance-actions``).

        Returns: None if Nova does not have them, or not for this user.

        Raises:
            UntoldError: there is no answer.
        """
        what = f"the actions of the server {server_id}"
        status, data = self._get("compute", f"/servers/{server_id}/os-instance-actions", what)
        if status in (403, 404):
            return None
        return _entries(data, "instanceActions", status, what)

    def volumes(self) -> list[dict[str, Any]]:
        """The project's volumes.

        Raises:
            UntoldError: there is no whole list.
        """
        found: list[dict[str, Any]] = []
        for _page in range(MAX_PAGES):
            marker = f"&marker={found[-1]['id']}" if found else ""
            status, data = self._get("volume", f"/volumes/detail?limit=1000{marker}", "the volumes")
            page = _entries(data, "volumes", status, "the volumes")
            found += page
            if not page or not data.get("volumes_links"):
                return found
        raise UntoldError(f"the cloud does not tell the volumes: there are more than {len(found)}")

    def floating_ips(self) -> list[dict[str, Any]]:
        """The project's floating IPs.

        Raises:
            UntoldError: there is no list.
        """
        status, data = self._get("network", "/floatingips", "the floating IPs")
        return _entries(data, "floatingips", status, "the floating IPs")

    def _get(self, service: str, path: str, what: str) -> tuple[int, dict[str, Any]]:
        try:
            url = endpoint(self._catalog, service, self._interface, self._region or None)
            # Cinder answers 400 to the version of another service.
            version = {"OpenStack-API-Version": f"compute {COMPUTE_MICROVERSION}"} if service == "compute" else {}
            status, body = get(url + path, self._headers | version, TIMEOUT, self._cafile)
            data = json.loads(body or b"{}")
        except (ConfigError, NoAnswerError, ValueError) as error:
            raise UntoldError(f"the cloud does not tell {what}: {error}") from error
        return status, data if isinstance(data, dict) else {}


def _entries(data: Mapping[str, Any], key: str, status: int, what: str) -> list[dict[str, Any]]:
    entries = data.get(key)
    if status != 200 or not isinstance(entries, list):
        raise UntoldError(f"the cloud does not tell {what}: HTTP {status}")
    return entries
