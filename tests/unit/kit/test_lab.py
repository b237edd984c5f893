"""The lab's commands and environment."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from lab.gpuswarm_lab.model import Lab
from tests.kit import lab
from tests.kit.commands import Done, KitError
from tests.kit.paths import BUILD, ROOT


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The command lines that were run; none is."""
    seen: list[str] = []

    def run(command: Sequence[str | Path], **_: Any) -> Done:
        seen.append(" ".join(map(str, command)).removeprefix(f"{ROOT}/"))
        return Done(0, "", "", 0.0)

    monkeypatch.setattr("tests.kit.commands.run", run)
    return seen


@pytest.mark.parametrize(
    ("output", "epoch"),
    [
        (["preempted gpu-1 0a1b at 1970-01-01T00:01:00.500+00:00"], 60.5),
        (["waiting", "preempted gpu-1 0a1b at 1970-01-01T01:01:00.500+01:00"], 60.5),
        (["waiting"], None),
        (["preempted gpu-1"], None),
        ([], None),
    ],
)
def test_kill_time(output: list[str], epoch: float | None) -> None:
    if epoch is None:
        with pytest.raises(KitError, match="did not say when"):
            lab.kill_time(output)
    else:
        assert lab.kill_time(output) == epoch


@pytest.mark.parametrize(("which", "directory"), [(lab.LAB, "lab"), (lab.FAKE, "lab-fake")])
def test_variables(which: Any, directory: str) -> None:
    assert lab.variables(which) == {
        "OS_CLIENT_CONFIG_FILE": f"{BUILD}/{directory}/clouds.yaml",
        "OS_CLOUD": "lab",
        "GPUSWARM_LAB_DIR": f"{BUILD}/{directory}",
    }


def test_a_zone_without_room_has_room_again(commands: list[str]) -> None:
    with lab.without_room("ru-7b") as release:
        assert commands == ["lab/lab exhaust ru-7b"]
        release()
    assert commands[1:] == ["lab/lab release ru-7b"] * 2
    commands.clear()
    with pytest.raises(OSError, match="x"), lab.without_room("ru-7a", lab.FAKE):
        raise OSError("x")
    assert commands == ["lab/lab --fake exhaust ru-7a", "lab/lab --fake release ru-7a"]


def test_a_cloud_that_is_named_is_used(commands: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    named = {"OS_CLIENT_CONFIG_FILE": "/somewhere/clouds.yaml", "OS_CLOUD": "other"}
    for name, value in named.items():
        monkeypatch.setenv(name, value)
    with lab.cloud() as found:
        assert found == named
    assert commands == []


@pytest.mark.parametrize("there", [True, False])
def test_without_a_name_it_is_the_lab_in_memory(
    commands: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, there: bool
) -> None:
    fake = Lab(fake=True, root=tmp_path)
    monkeypatch.setattr(lab, "FAKE", fake)
    monkeypatch.delenv("OS_CLIENT_CONFIG_FILE", raising=False)
    if there:
        fake.state.mkdir()
        fake.env_file.touch()
    with lab.cloud() as found:
        assert commands == ([] if there else ["lab/lab --fake up"])
        assert found == lab.variables(fake)
        assert os.environ.items() >= found.items()
    assert commands[1:] == ([] if there else ["lab/lab --fake down"])
    assert "OS_CLIENT_CONFIG_FILE" not in os.environ
