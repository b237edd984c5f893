"""Fixtures of the scenarios' testinfra tests."""

from __future__ import annotations

import pytest
from openstack.connection import Connection

from tests.kit import cloud as kit
from tests.kit.cluster import Cluster, Host, read_cluster
from tests.kit.docker import Docker


# Read for every module: a server that was created anew has another id, and another host key.
@pytest.fixture(scope="module")
def cluster() -> Cluster:
    return read_cluster()


@pytest.fixture(scope="module")
def manager(cluster: Cluster) -> Host:
    return cluster.connect(cluster.manager)


@pytest.fixture(scope="module")
def docker(manager: Host) -> Docker:
    return Docker(manager)


@pytest.fixture(scope="session")
def cloud() -> Connection:
    """The lab's cloud, as an ordinary member of the project."""
    return kit.connect()
