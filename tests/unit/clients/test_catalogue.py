# SPDX-License-Identifier: Apache-2.0
"""Names become ids; a list that lacks a name gets a second look."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.gpuswarm.ollama.plugins.module_utils._clients import catalogue
from ansible_collections.gpuswarm.ollama.plugins.module_utils._clients.cloud import Cloud, Deadline
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.errors import PreflightError
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.servers import Spec

SPEC = Spec(
    name="s",
    flavor="f",
    image="i",
    availability_zone="z",
    network="n",
    key_name="k",
    volume_type="t",
    security_groups=("g",),
    floating_ip_network="ext",
)


class Replicas(Cloud):
    """An API whose first answers come from a replica that lags behind: it lacks some things."""

    def __init__(self, lacks: str = "", answers: int = 1) -> None:  # makes no connection
        self.region = "r"
        self.deadline = Deadline(60)
        self.lacks, self.answers = lacks, answers
        self.reads: Counter[str] = Counter()

    def pages(self, service: str, path: str, key: str, doing: str) -> Iterator[dict[str, Any]]:
        yield from self.get(service, path, key, doing)

    def get(self, service: str, path: str, key: str, doing: str) -> Any:
        assert doing.startswith("listing the ")
        asked = service + path.partition("?")[0]
        self.reads[asked] += 1
        lists: dict[str, list[dict[str, Any]]] = {
            "flavors": [{"id": "1", "name": "f"}],
            "images": [{"id": "2", "name": "i", "status": "active", "min_disk": 1}],
            "networks": [
                {"id": "3", "name": "n", "subnets": ["s"]},
                {"id": "4", "name": "ext", "subnets": ["s"], "router:external": True},
            ],
            "security_groups": [{"id": "5", "name": "g"}],
            "keypairs": [{"keypair": {"name": "k"}}],
            "availabilityZoneInfo": [{"zoneName": "z"}],
            "volume_types": [{"id": "6", "name": "t"}],
        }
        if asked == self.lacks and self.reads[asked] <= self.answers:
            return []
        return lists[key]


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "SECOND_LOOK", 0.0)


def resolve(cloud: Replicas, *specs: Spec, assume_existing: tuple[str, ...] = ()) -> list[catalogue.Resolved]:
    made = catalogue.Catalogue(cloud, assume_existing)
    return [made.resolve(spec) for spec in specs]


def test_every_list_is_read_once() -> None:
    cloud = Replicas()
    first, second = resolve(cloud, SPEC, SPEC)
    assert first == second == catalogue.Resolved("1", "2", "3", ("5",), "4")
    assert set(cloud.reads.values()) == {1}
    assert len(cloud.reads) == len(catalogue.LISTS)


@pytest.mark.parametrize(
    "lacks",
    [
        "compute/flavors",
        "image/images",
        "network/networks",
        "network/security-groups",
        "compute/os-keypairs",
        "compute/os-availability-zone",
        "volume/os-availability-zone",
        "volume/types",
    ],
)
def test_a_list_that_lags_behind_is_read_again(lacks: str) -> None:
    cloud = Replicas(lacks)
    assert resolve(cloud, SPEC)[0].flavor_id == "1"
    assert cloud.reads[lacks] == 2
    assert sum(cloud.reads.values()) == len(catalogue.LISTS) + 1


def test_what_is_not_there_is_looked_for_twice_and_no_more() -> None:
    cloud = Replicas("compute/flavors", answers=99)
    made = catalogue.Catalogue(cloud)
    for _server in range(3):
        with pytest.raises(PreflightError, match="flavor 'f' does not exist in region r: there is none at all"):
            made.resolve(SPEC)
    assert cloud.reads["compute/flavors"] == 2


def test_what_is_pending_is_not_looked_for_again() -> None:
    cloud = Replicas("compute/os-keypairs", answers=99)
    assert resolve(cloud, SPEC, assume_existing=("k",))[0].image_id == "2"
    assert cloud.reads["compute/os-keypairs"] == 1
