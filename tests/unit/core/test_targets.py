"""Which servers Prometheus scrapes, and under what labels."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.diagnosis import Diagnosis
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.targets import UNNEEDED, file_sd
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.vocabulary import Step, Verdict


def found(verdicts: list[Diagnosis], servers: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    groups = json.loads(file_sd(verdicts, servers))
    assert all(len(group["targets"]) == 1 and group.keys() == {"targets", "labels"} for group in groups)
    return [(group["targets"][0], group["labels"]["server"], group["labels"]["role"]) for group in groups]


@pytest.mark.parametrize(
    ("servers", "target"),
    [
        ([{"name": "g", "fixed_ip": "10.0.0.5"}], "10.0.0.5"),
        ([{"name": "g", "fixed_ip": "fd00::5"}], "[fd00::5]"),
        ([{"name": "g", "fixed_ip": None}], "g"),
        ([{"name": "other", "fixed_ip": "10.0.0.6"}], "g"),
        ([{"name": "g", "fixed_ip": "10.0.0.5"}, {"name": "g", "fixed_ip": "10.0.0.7"}], "10.0.0.5"),
        ([], "g"),
    ],
)
def test_what_is_asked(servers: list[dict[str, Any]], target: str) -> None:
    lost = Diagnosis("g", Verdict.LOST, Step.RESTORE, "", "gpu_worker")
    assert found([lost], servers) == [(target, "g", "gpu_worker")]


@pytest.mark.parametrize("verdict", Verdict)
def test_who_is_asked(verdict: Verdict) -> None:
    """Everyone that there should be, however it is."""
    verdicts = [
        Diagnosis("m", Verdict.HEALTHY, Step.NONE, "", "manager"),
        Diagnosis("g", verdict, Step.NONE, "", "gpu_worker"),
    ]
    manager = ("m", "m", "manager")
    assert found(verdicts, []) == ([manager] if verdict in UNNEEDED else [("g", "g", "gpu_worker"), manager])


def test_the_order_of_servers_is_no_change() -> None:
    verdicts = [Diagnosis(name, Verdict.HEALTHY, Step.NONE, "", "gpu_worker") for name in ("b", "a", "c")]
    assert file_sd(verdicts, []) == file_sd(verdicts[::-1], [])
