# SPDX-License-Identifier: Apache-2.0
"""``pool.py NAME ...``: openstacksdk alone, one thread for each server that is shelved."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import openstack

names = set(sys.argv[1:])
cloud = openstack.connect()
servers = [server for server in cloud.compute.servers() if server.name in names]
shelved = [server for server in servers if server.status in ("SHELVED", "SHELVED_OFFLOADED")]


def bring_back(server: openstack.compute.v2.server.Server) -> None:
    """Requests the unshelve and waits for its end."""
    cloud.compute.unshelve_server(server)  # type: ignore[no-untyped-call]
    cloud.compute.wait_for_server(server, wait=600)


with ThreadPoolExecutor(max(1, len(shelved))) as pool:
    list(pool.map(bring_back, shelved))
