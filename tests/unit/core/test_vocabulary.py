"""The vocabulary is whole, and everything that repeats a part of it agrees with it."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.gpuswarm.ollama.plugins.module_utils._core import counters, journal, metrics
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.diagnosis import Diagnosis
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.vocabulary import (
    PASSING,
    REMEDIES,
    STEPS,
    VERDICTS,
    HealthCode,
    Pause,
    Phase,
    Step,
    Verdict,
    WorkList,
)

ROOT = Path(__file__).resolve().parents[3]


def text(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


@pytest.mark.parametrize(("rows", "kind"), [(STEPS, Step), (VERDICTS, Verdict)])
def test_each_has_a_row(rows: dict[StrEnum, object], kind: type[StrEnum]) -> None:
    assert list(rows) == list(kind)


def test_the_remedies_are_what_is_paused_as_one() -> None:
    assert [step for step in Step if STEPS[step].pause == Pause.REMEDIATION] == list(REMEDIES)


def test_a_remedy_is_counted_by_its_own_phase() -> None:
    assert [STEPS[step].phase for step in REMEDIES] == [Phase(step.value) for step in REMEDIES]


def test_what_does_not_act_is_not_written_down() -> None:
    assert [step for step in Step if STEPS[step].phase and not STEPS[step].acts] == []


def test_a_report_says_what_an_operator_does() -> None:
    assert [verdict for verdict, row in VERDICTS.items() if Step.REPORT in row.steps and not row.operator] == []


def test_what_passes_by_itself_is_waited_for() -> None:
    assert [verdict for verdict in PASSING if Step.WAIT not in VERDICTS[verdict].steps] == []


def test_the_journals_choices_are_the_phases() -> None:
    documentation = re.search(r'DOCUMENTATION = r"""(.*?)"""', text("plugins/modules/recovery_journal.py"), re.DOTALL)
    assert documentation
    assert yaml.safe_load(documentation[1])["options"]["phase"]["choices"] == [str(phase) for phase in Phase]


def test_the_filter_documents_each_step_that_it_returns() -> None:
    returned = yaml.safe_load(text("plugins/filter/diagnose.yml"))["RETURN"]["_value"]["description"]
    # Remediation puts a remedy in the place of "escalate".
    assert set(re.findall(r"V\((\w+)\)", returned)) == {str(step) for step in Step} - {Step.ESCALATE}


def test_the_health_check_prints_the_codes() -> None:
    said = re.findall(r'echo "(\w+): ', text("roles/ollama/files/healthcheck.sh"))
    assert set(said) == {str(code) for code in HealthCode}


def exported(verdicts: list[Diagnosis], *lines: dict[str, Any]) -> list[str]:
    """The samples of the metrics, without their values."""
    cycle = metrics.Cycle(at=9.0, wall=0.1, cpu=0.1, maintenance=False, cloud=True, swarm=True)
    state = counters.advance(None, counters.CounterState(), lines, 9.0)
    text = metrics.render(verdicts, state, cycle)
    return [line.rpartition(" ")[0] for line in text.splitlines() if line[0] != "#"]


@pytest.mark.parametrize("verdict", Verdict)
def test_the_metrics_name_the_verdict(verdict: Verdict) -> None:
    noticed = journal.entry("noticed", "g1", 1.0, 1.0, verdict=verdict)
    found = exported([Diagnosis("g1", verdict, Step.NONE, "")], noticed, journal.entry("done", "g1", 2.0, 2.0))
    assert f'gpuswarm_servers{{status="ABSENT",capacity_type="none",verdict="{verdict}"}}' in found
    assert f'gpuswarm_recoveries_total{{verdict="{verdict}",result="done"}}' in found
    for metric in {row.metric for row in VERDICTS.values()} - {""}:
        assert (f'{metric}{{server="g1"}}' in found) == (VERDICTS[verdict].metric == metric)


@pytest.mark.parametrize("phase", Phase)
def test_the_metrics_count_the_attempts(phase: Phase) -> None:
    metric = next((row.metric for row in STEPS.values() if row.phase == phase), "")
    found = exported([], journal.entry(phase, "g1", 1.0, 1.0))
    counted = [name for name in found if name.startswith(tuple({row.metric for row in STEPS.values()} - {""}))]
    assert counted == ([f'{metric}{{server="g1",remedy="{phase}"}}'] if metric else [])


def test_what_acts_is_on_a_list() -> None:
    assert [step for step in Step if bool(STEPS[step].lists) != STEPS[step].acts] == []


def steps_in(path: str, pattern: str) -> list[set[str]]:
    """The steps that stand where the pattern has its group, a list or a single one."""
    return [set(re.findall(r"'(\w+)'", found)) for found in re.findall(pattern, text(path))]


@pytest.mark.parametrize("work", WorkList)
def test_the_playbook_sorts_the_steps_as_the_table_does(work: WorkList) -> None:
    listed = {str(step) for step in Step if work in STEPS[step].lists}
    if work == WorkList.EXAMINE:
        pattern = r"groups: recovery_examine\n\s+loop: .*?selectattr\('step', 'equalto', ('\w+')\)"
        assert steps_in("playbooks/recover.yml", pattern) == [listed]
    else:
        pattern = rf"{work}:[^:]*?selectattr\('step', '(?:in|equalto)', (\[.*?\]|'\w+')\)"
        assert steps_in("roles/recovery/tasks/act.yml", pattern) == [listed]


def test_rejoin_knows_the_steps_of_the_table() -> None:
    rejoins = {str(step) for step in Step if WorkList.REJOIN in STEPS[step].lists}
    # What is set up again anyhow is not waited for; a remedy is not replaced by another one.
    (awaited,) = steps_in("roles/recovery/tasks/rejoin.yml", r"__recovery_step in (\[.*?\])")
    assert awaited == rejoins - {Step.CONVERGE}
    (remedies,) = steps_in("roles/recovery/tasks/rejoin.yml", r"__recovery_step not in (\[.*?\])")
    assert remedies == {str(step) for step in REMEDIES} & rejoins
