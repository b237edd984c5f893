"""What a recovery came to: every lost server is either restored or failed."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.gpuswarm.ollama.plugins.module_utils.recovery import NO_ANSWER, restore_results

WELL = {"name": "f-gpu-1", "action": "unshelve"}
ILL = {"name": "f-gpu-2", "action": "report", "error": "no room"}


@pytest.mark.parametrize(
    ("result", "lost", "restored", "failed"),
    [
        pytest.param({"skipped": True, "changed": False}, [], [], [], id="nothing was lost"),
        pytest.param({"servers": [WELL]}, ["f-gpu-1"], [WELL], [], id="restored"),
        pytest.param(
            {"servers": [WELL, ILL], "msg": "1 of 2 servers failed"},
            ["f-gpu-1", "f-gpu-2"],
            [WELL],
            [ILL],
            id="one of two",
        ),
        pytest.param(
            {"failed": True, "msg": "Keystone refused"},
            ["f-gpu-1"],
            [],
            [{"name": "f-gpu-1", "error": "Keystone refused"}],
            id="failed as a whole",
        ),
        pytest.param(
            {"failed": True, "servers": [WELL], "msg": "lost"},
            ["f-gpu-1", "f-gpu-2"],
            [WELL],
            [{"name": "f-gpu-2", "error": "lost"}],
            id="one is not spoken of",
        ),
        pytest.param({}, ["f-gpu-1"], [], [{"name": "f-gpu-1", "error": NO_ANSWER}], id="no word at all"),
    ],
)
def test_every_lost_server_is_restored_or_failed(
    result: dict[str, Any], lost: list[str], restored: list[dict[str, Any]], failed: list[dict[str, Any]]
) -> None:
    assert restore_results(result, lost) == {"restored": restored, "failed": failed}
