# SPDX-License-Identifier: Apache-2.0
"""The ledger against a real Nova and Cinder: their actions have the moments, also of what is deleted."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.gpuswarm.ollama.plugins.module_utils._clients.ledger_sources import LedgerSources
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core import ledger
from ansible_collections.gpuswarm.ollama.plugins.module_utils._runtime import ledger_keeper
from tests.cloud.conftest import Run, World, run_module


@pytest.fixture
def sources(world: World) -> LedgerSources:
    """The cloud as the probe asks it, with a token of the member's."""
    session = world.member.session
    auth: Any = session.auth
    catalog = auth.get_access(session).service_catalog.catalog
    return LedgerSources(str(session.get_token()), catalog, str(world.member.config.region_name or ""))


def test_nova_tells_what_happened_while_nobody_looked(
    world: World, server: Run, sources: LedgerSources, tmp_path: Path
) -> None:
    config: dict[str, Any] = {"ledger": str(tmp_path / "ledger.jsonl"), "fleet": world.fleet}
    spec = world.spec("billed")

    def keep() -> list[ledger.Line]:
        found = [
            one
            for one in run_module("selectel_server_info", fleet=world.fleet)["servers"]
            if one["name"] == spec["name"]
        ]
        assert ledger_keeper.keep(config, found, int(time.time()), time.time(), sources) == []
        lines = ledger.parse((tmp_path / "ledger.jsonl").read_text(encoding="utf-8"))
        return [line for line in lines if line.name == spec["name"]]

    before = int(time.time())
    one = server(**spec)["server"]["id"]
    created = keep()
    assert {(line.kind, line.source) for line in created} == {("server", "cloud"), ("volume", "cloud")}
    (running,) = [line for line in created if line.kind == "server"]
    assert running.what is not None
    assert (running.what["state"], running.what["capacity_type"]) == ("running", "preemptible")
    assert running.what["flavor"] == spec["flavor"]
    assert before - 1 <= running.earliest == running.latest <= int(time.time())
    # Preempted and brought back between two looks
    world.shelve([one])
    shelved_by = int(time.time())
    world.act(one, "unshelve", "ACTIVE")
    both = [line for line in keep() if line.kind == "server"][1:]
    assert [line.what and line.what["state"] for line in both] == ["shelved", "running"]
    assert all(line.earliest == line.latest and line.source == "cloud" for line in both)
    assert running.latest < both[0].latest <= shelved_by + 1
    assert both[0].latest <= both[1].latest
    # Gone: Nova still knows when
    server(**spec, state="absent")
    *_, last = [line for line in keep() if line.kind == "server"]
    assert (last.what, last.source) == (None, "cloud")
    assert both[1].latest <= last.earliest <= last.latest <= int(time.time()) + 1
