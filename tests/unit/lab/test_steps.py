from __future__ import annotations

import threading
from pathlib import Path

import pytest

from lab.gpuswarm_lab.errors import LabError
from lab.gpuswarm_lab.steps import Progress, Step, StepLog, capture, check_order, run_steps


def work(result: list[str], name: str) -> Step:
    def do(_: StepLog) -> None:
        result.append(name)

    return Step(name, do)


def test_steps_run_after_those_they_wait_for(tmp_path: Path) -> None:
    order: list[str] = []
    first = work(order, "first")
    second = Step("second", lambda _: order.append("second"), after=["first"])
    run_steps([first, second], tmp_path, Progress())
    assert order == ["first", "second"]


def test_independent_steps_run_side_by_side(tmp_path: Path) -> None:
    barrier = threading.Barrier(2, timeout=10)

    def meet(_: StepLog) -> None:
        barrier.wait()

    run_steps([Step("a", meet), Step("b", meet)], tmp_path, Progress())


def test_a_failure_names_the_step_its_log_and_what_to_do_and_starts_nothing_more(tmp_path: Path) -> None:
    order: list[str] = []

    def fail(log: StepLog) -> None:
        log.run("sh", "-c", "echo the reason; exit 3")

    after = Step("after", lambda _: order.append("after"), after=["broken thing"])
    with pytest.raises(LabError) as error:
        run_steps([Step("broken thing", fail, advice="try this"), after], tmp_path, Progress())
    message = str(error.value)
    assert message.startswith("broken thing: ")
    assert "the reason" in message
    assert str(tmp_path / "broken-thing.log") in message
    assert "What to do: try this" in message
    assert order == []


@pytest.mark.parametrize("after", [["later"], ["unknown"]])
def test_an_order_that_cannot_be_kept_is_refused(after: list[str]) -> None:
    steps = [Step("early", lambda _: None, after), Step("later", lambda _: None)]
    with pytest.raises(ValueError, match="early"):
        check_order(steps)


def test_a_command_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"did not end within 0 s"):
        StepLog(tmp_path / "log").run("sleep", "10", timeout=0.1)


def test_capture() -> None:
    assert capture("echo", " x ") == "x"
    assert capture("false", check=False) == ""
    assert capture("no-such-command-here", check=False) == ""
    with pytest.raises(LabError, match="no such command"):
        capture("no-such-command-here")
