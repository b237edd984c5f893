# SPDX-License-Identifier: Apache-2.0
"""The cloud's token between two runs, and the addresses in its catalog.

Apart from ``cloud`` because the probe reads both every few seconds: what it does not need is imported where it is used.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.errors import ConfigError

# Service types in the order of preference, and the version to append where the catalog's address has none
SERVICES: dict[str, tuple[tuple[str, ...], str]] = {
    "compute": (("compute",), "/v2.1"),
    "network": (("network",), "/v2.0"),
    "image": (("image",), "/v2"),
    "volume": (("volumev3", "block-storage", "block-store", "volume"), "/v3"),
}

COMPUTE_MICROVERSION = "2.72"


def endpoint(
    catalog: Sequence[Mapping[str, Any]], service: str, interface: str = "public", region: str | None = None
) -> str:
    """The address of a service in a Keystone catalog, with its version.

    Args:
        catalog: the token's catalog (Keystone v3).
        service: a key of `SERVICES`.
        interface: public, internal or admin.
        region: the region's name; None takes the first.

    Raises:
        ConfigError: there is none; the message says what the catalog has instead.

    >>> endpoint([{"type": "network", "endpoints": [
    ...     {"interface": "public", "region": "r1", "url": "https://net.example/"}]}], "network", region="r1")
    'https://net.example/v2.0'
    """
    types, version = SERVICES[service]
    regions: set[str] = set()
    for wanted in types:
        for entry in catalog:
            if entry.get("type") != wanted:
                continue
            for point in entry.get("endpoints") or ():
                where = str(point.get("region") or point.get("region_id") or "")
                regions.add(where)
                if point.get("interface") == interface and region in (None, "", where):
                    url = str(point["url"]).rstrip("/")
                    return url if re.search(r"/v\d+(\.\d+)?(/|$)", url) else url + version
    if regions:
        there = ", ".join(sorted(regions))
        raise ConfigError(
            f"the cloud has no {interface} {service} endpoint in region '{region}'; regions that have one: {there}. "
            "Set `region_name` (or `interface`) accordingly"
        )
    kinds = ", ".join(sorted(str(e.get("type")) for e in catalog)) or "nothing"
    raise ConfigError(
        f"the cloud's catalog has no {service} service; it has: {kinds}. Is the token scoped to a project?"
    )


class TokenCache:
    """Keystone's token between two runs, in a file that only its owner can read.

    A token is good for the whole project until it expires, so the file is as secret as clouds.yaml itself. A missing,
    damaged or too widely readable file is no error: a new token is asked for.

    The file is JSON: {"auth_state": text for keystoneauth's set_auth_state}.
    """

    def __init__(self, directory: str | None, key: str | None) -> None:
        """Args: directory as in `CloudSettings.token_cache`; key identifies the credentials, None: no cache."""
        if directory is None:
            directory = str(Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "gpuswarm")
        self.path: Path | None = None
        if directory and key:
            import hashlib  # noqa: PLC0415  (not needed by the probe)

            digest = hashlib.sha256(key.encode()).hexdigest()[:32]  # the key itself may not be fit for a file's name
            self.path = Path(directory).expanduser() / f"token-{digest}.json"

    def load(self) -> str | None:
        """The saved state, None if there is none that can be trusted."""
        return self.read(self.path) if self.path else None

    @staticmethod
    def read(path: Path) -> str | None:
        """The state that a file holds, None if it cannot be trusted."""
        try:
            with path.open(encoding="utf-8") as file:
                status = os.fstat(file.fileno())
                if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
                    return None
                state = json.load(file)["auth_state"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return state if isinstance(state, str) else None

    def save(self, state: str | None) -> None:
        """Replaces the file as a whole; a directory that cannot be written to is no error."""
        if self.path is None or not state:
            return
        from .files import replace_private  # noqa: PLC0415  (not needed by the probe)

        replace_private(self.path, json.dumps({"auth_state": state}))
