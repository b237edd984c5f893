# SPDX-License-Identifier: Apache-2.0
"""The order in which servers are deleted; what happens to each of them is tested against a cloud (tests/cloud)."""

from __future__ import annotations

import threading
from unittest.mock import Mock

import pytest

from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.servers import FLEET, ROLE, Server
from ansible_collections.gpuswarm.ollama.plugins.module_utils._runtime import provision
from ansible_collections.gpuswarm.ollama.plugins.module_utils._runtime.job import Job


def server(name: str, role: str) -> Server:
    return Server(id=name, name=name, status="ACTIVE", metadata={FLEET: "llm", ROLE: role})


@pytest.mark.parametrize("names", [None, ["llm-gpu-1", "llm-gpu-2", "llm-manager"]])
def test_the_manager_is_deleted_before_the_others_which_go_side_by_side(
    names: list[str] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = threading.Barrier(2)
    ended: list[str] = []

    def absent(job: Job) -> None:
        if "gpu" in job.spec.name:
            both.wait(timeout=30)
        ended.append(job.spec.name)

    monkeypatch.setattr(Job, "absent", absent)
    cloud = Mock()
    cloud.servers.return_value = [
        server("llm-gpu-1", "gpu_worker"), server("llm-gpu-2", "gpu_worker"), server("llm-manager", "manager")
    ]  # fmt: skip
    fleet = provision.Fleet(cloud, "llm")
    fleet.run.leftovers = Mock(owners=Mock(return_value=set()))
    assert [outcome.name for outcome in fleet.absent(names)] == ["llm-gpu-1", "llm-gpu-2", "llm-manager"]
    assert ended[0] == "llm-manager"
    assert sorted(ended[1:]) == ["llm-gpu-1", "llm-gpu-2"]
