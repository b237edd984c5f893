"""When the recovery runs, with which settings, and what it came to: every lost server is either restored or failed."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.diagnosis import Diagnosis
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.plan import NO_ANSWER, restore_results, worth_a_run
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.recovery import RecoverySettings, outcomes
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.vocabulary import Step, Verdict

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


@pytest.mark.parametrize(
    ("verdict", "step", "seen_healthy", "expected"),
    [
        ("healthy", "none", True, "done"),
        ("healthy", "restore", True, "done"),  # the head start's recovery, not yet written down as ended
        ("healthy", "none", False, "done"),
        ("too_old", "wait", True, "done"),
        # between two tasks: it goes on
        ("ollama_missing", "wait", True, "running"),
        ("ollama_missing", "restore", True, "running"),
        ("ollama_starting", "wait", True, "running"),
        ("booting", "wait", True, "running"),
        ("node_unknown", "wait", True, "running"),
        # recovery_healthy_timeout is over, or the run never came so far
        ("ollama_missing", "wait", False, "failed"),
        ("ollama_starting", "restore", False, "failed"),
        ("booting", "wait", False, "failed"),
        # no service, sick, or lost again
        ("ollama_missing", "report", True, "failed"),
        ("ollama_unhealthy", "wait", True, "failed"),
        ("node_down", "examine", True, "failed"),
        ("lost", "restore", True, "failed"),
        ("duplicate", "report", True, "failed"),
    ],
)
def test_outcomes(verdict: str, step: str, seen_healthy: bool, expected: str) -> None:
    found = outcomes(
        [Diagnosis("g", Verdict(verdict), Step(step), "r").as_dict()], ["g"] if seen_healthy else ["another"]
    )
    assert [(item["server"], item["outcome"]) for item in found] == [("g", expected)]


@pytest.mark.parametrize(
    ("step", "stale", "reasons"),
    [
        ("none", [], 0),
        ("wait", [], 0),
        ("report", [], 0),
        ("escalate", [], 0),  # remediation has put a remedy in the place of it
        ("examine", [], 1),
        ("restore", [], 1),
        ("converge", [], 1),
        ("release", [], 1),
        ("restart_docker", [], 1),
        ("reboot", [], 1),
        ("replace", [], 1),
        ("rotate", [], 1),
        ("rest", [], 1),
        ("remove_surge", [], 1),
        ("none", ["old"], 1),
        ("restore", ["old"], 2),
    ],
)
def test_worth_a_run(step: str, stale: list[str], reasons: int) -> None:
    assert len(worth_a_run([Diagnosis("g", Verdict.LOST, Step(step), "r", stale_node_ids=stale)])) == reasons


def test_settings() -> None:
    settings = RecoverySettings.from_mapping(
        {
            "service": "s",
            "labels": {"node.gpu": "true"},
            "limits": {"boot_grace": "60"},
            "rotation": {"enabled": True, "surge": True, "max_age": 600},
            "remediation": {"limits": {"reboot": 3}, "pause": 5},
        }
    )
    assert settings.limits.boot_grace == 60
    assert settings.limits.rotation.enabled
    assert settings.limits.rotation.surge
    assert settings.limits.rotation.max_age == 600
    assert settings.remediation.limits == {"reboot": 3}
    assert settings.remediation.pause == 5
    assert RecoverySettings.from_mapping({"service": "s"}) == RecoverySettings(service="s")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"limits": {"boot_grase": 1}}, "boot_grase: unknown"),
        ({"limits": {"boot_grace": "long"}}, "boot_grace is 'long'"),
        ({"rotation": {"margin": -1}}, "margin is -1"),
        ({"remediation": {"limits": {"reboots": 1}}}, "recovery_remediation has reboots"),
        ({"remediation": {"limits": {"reboot": -1}}}, "recovery_remediation.reboot is -1"),
    ],
)
def test_wrong_settings_are_named(data: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        RecoverySettings.from_mapping({"service": "s", **data})
