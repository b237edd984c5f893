"""How far a playbook is, as the demonstration shows it."""

from __future__ import annotations

from typing import Any

import pytest

from demo import run
from tests.kit.commands import Done

OUTPUT = """PLAY [Servers and network] ***
TASK [gpuswarm.ollama.fleet : Look] ***
ok: [localhost]
TASK [gpuswarm.ollama.fleet : Create] ***
TASK [Log in] ***
TASK [gpuswarm.ollama.docker : Install] ***
"""
RECAP = "m   : ok=5   changed=2   unreachable=0   failed=0\ng   : ok=5   changed=1   unreachable=0   failed=0\n"


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    def playbook(_: str, *, show: Any, **__: Any) -> Done:
        for line in request.param.splitlines():
            show(line)
        return Done(0, request.param, "", 61.5)

    monkeypatch.setattr("tests.kit.lab.playbook", playbook)


@pytest.mark.usefixtures("said")
@pytest.mark.parametrize("said", [OUTPUT + RECAP], indirect=True)
def test_each_play_and_role_is_shown_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert run.play("site") == (61.5, 3)
    assert capsys.readouterr().out.splitlines() == [
        "   0:00  Servers and network",
        "   0:00    gpuswarm.ollama.fleet",
        "   0:00    gpuswarm.ollama.docker",
    ]


@pytest.mark.usefixtures("said")
@pytest.mark.parametrize("said", [OUTPUT], indirect=True)
def test_a_run_without_a_recap_is_no_success() -> None:
    with pytest.raises(run.DemoError, match="site ended without a recap"):
        run.play("site")
