# SPDX-License-Identifier: Apache-2.0
"""The cloud's API, as an ordinary member of the lab's project or another user of a clouds.yaml."""

from __future__ import annotations

import time
from pathlib import Path

import openstack
import openstack.config
from openstack.compute.v2.server import Server
from openstack.connection import Connection

from tests.kit.lab import LAB

# Of Nova's API, where tags and descriptions of servers can be read.
MICROVERSION = "2.72"


def connect(clouds: Path = LAB.member_clouds, cloud: str = "lab", microversion: str | None = None) -> Connection:
    """Connect to a cloud of a clouds.yaml (default: as the lab's member), whatever the environment says.

    ``microversion`` is that of Nova's API (default: the oldest).
    """
    config = openstack.config.OpenStackConfig(config_files=[str(clouds)], load_envvars=False)
    return Connection(config=config.get_one(cloud, compute_default_microversion=microversion))


def server(connection: Connection, name: str) -> Server:
    """Read a server that exists, with all details."""
    found = connection.compute.find_server(name, ignore_missing=False)
    return connection.compute.get_server(found.id)


def delete_with_disk(connection: Connection, name: str) -> float:
    """Delete a server and its disks; when that was asked for, in seconds since 1970."""
    found = server(connection, name)
    volumes = [connection.block_storage.get_volume(volume["id"]) for volume in found.attached_volumes]
    asked = time.time()
    connection.compute.delete_server(found.id)
    connection.compute.wait_for_delete(found, interval=0.5, wait=60)
    for volume in volumes:
        connection.block_storage.delete_volume(volume.id)
        connection.block_storage.wait_for_delete(volume, interval=0.5, wait=60)
    return asked
