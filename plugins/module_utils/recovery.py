# Copyright: (c) 2026, gpuswarm contributors
# SPDX-License-Identifier: Apache-2.0
"""What the recovery loop decides, put together for the probe and for the playbooks, so that both come to the same.

Pure: no I/O and no Ansible import.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from . import diagnosis, escalation, fleet, rotation
from .diagnosis import Seen, Verdict

NO_ANSWER = "the module that restores servers ended without a word about it"

# Steps for which recover.yml has something to do.
ACTING = frozenset(
    {
        diagnosis.EXAMINE,
        diagnosis.RESTORE,
        diagnosis.CONVERGE,
        diagnosis.RELEASE,
        diagnosis.ROTATE,
        diagnosis.REST,
        diagnosis.RETIRE,
        *diagnosis.RUNGS,
    }
)


@dataclass(frozen=True)
class Settings:
    """Everything that the decisions depend on besides what is observed."""

    service: str
    labels: Mapping[str, str] = field(default_factory=dict)
    limits: diagnosis.Limits = field(default_factory=diagnosis.Limits)
    ladder: escalation.Policy = field(default_factory=escalation.Policy)
    schedule: Sequence[Mapping[str, Any]] = ()
    timezone: str = "UTC"

    @classmethod
    def from_mapping(cls, data: Mapping[str, Any]) -> Settings:
        """From what the role ``recovery`` passes to its filters and writes for its probe.

        :param data: ``service``, ``labels``, ``limits`` and ``rotation`` (attributes of `diagnosis.Limits` and
            `rotation.Policy`), ``ladder`` (attributes of `escalation.Policy`), ``schedule``, ``timezone``.
        :raises ValueError: a name is not known or a value is no number.
        """
        ladder = dict(data.get("ladder") or {})
        if "limits" in ladder:
            ladder["limits"] = _rungs(ladder["limits"])
        turn = dict(data.get("rotation") or {})
        enabled, surge = bool(turn.pop("enabled", False)), bool(turn.pop("surge", False))
        forced = str(turn.pop("forced", ""))
        return cls(
            service=str(data["service"]),
            labels={str(key): str(value) for key, value in (data.get("labels") or {}).items()},
            limits=diagnosis.Limits(
                **_numbers(diagnosis.Limits, data.get("limits") or {}),
                rotation=rotation.Policy(
                    enabled=enabled, surge=surge, forced=forced, **_numbers(rotation.Policy, turn)
                ),
            ),
            ladder=escalation.Policy(
                **{"limits": ladder.pop("limits")} if "limits" in ladder else {},
                **_numbers(escalation.Policy, ladder),
            ),
            schedule=tuple(data.get("schedule") or ()),
            timezone=str(data.get("timezone") or "UTC"),
        )


def _numbers(kind: type[Any], data: Mapping[str, Any]) -> dict[str, Any]:
    known = {item.name for item in fields(kind)}
    wrong = sorted(set(data) - known)
    if wrong:
        raise ValueError(f"{', '.join(wrong)}: unknown; {', '.join(sorted(known))} are known")
    numbers = {}
    for name, value in data.items():
        try:
            numbers[name] = float(value)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{name} is {value!r}: a number is wanted") from error
        if numbers[name] < 0:
            raise ValueError(f"{name} is {value!r}: a number from 0 is wanted")
    return numbers


def _rungs(limits: Mapping[str, Any]) -> dict[str, int]:
    wrong = sorted(set(limits) - set(diagnosis.RUNGS))
    if wrong:
        raise ValueError(f"recovery_ladder has {', '.join(wrong)}; its rungs are {', '.join(diagnosis.RUNGS)}")
    counts = {}
    for rung, value in limits.items():
        if isinstance(value, bool) or not str(value).isdigit():
            raise ValueError(f"recovery_ladder.{rung} is {value!r}: a whole number from 0 is wanted")
        counts[rung] = int(str(value))
    return counts


def assess(
    specs: Sequence[Mapping[str, Any]], seen: Seen, settings: Settings, lines: Iterable[Mapping[str, Any]]
) -> list[Verdict]:
    """What is wrong with each server and what is due now; see ``diagnosis.diagnose`` and ``escalation.plan``.

    :param specs: the desired servers (``fleet.server_specs``).
    :param lines: the recovery journal, oldest first.
    :raises schedule.ScheduleError: the schedule is wrong.
    """
    lines, turn = list(lines), settings.limits.rotation
    extra = fleet.surge_specs(specs) if turn.enabled and turn.surge else []
    if any(_stranger(server, spec) for spec in extra for server in seen.servers or ()):
        extra = []
    if settings.schedule:
        from . import schedule  # noqa: PLC0415  (time zones: only for those who have a schedule)

        specs = schedule.apply(specs, settings.schedule, settings.timezone, seen.now)
    for spec in extra:
        failed = escalation.failed_within(lines, str(spec["name"]), seen.now, turn.margin)
        seen = replace(seen, surge_failed=failed)
    verdicts = diagnosis.diagnose([*specs, *extra], seen, settings.service, settings.labels, settings.limits)
    return escalation.plan(verdicts, lines, seen.now, settings.ladder)


def _stranger(server: Mapping[str, Any], spec: Mapping[str, Any]) -> bool:
    """Whether the name of the extra server is taken by one that the loop has not made, and must not delete."""
    return server["name"] == spec["name"] and not fleet.is_surge(server)


def worth_a_run(verdicts: Iterable[Verdict]) -> list[str]:
    """Why the recovery should run, one reason a server; empty when it should not."""
    reasons = []
    for verdict in verdicts:
        if verdict.step in ACTING:
            reasons.append(f"{verdict.server}: {verdict.verdict}, {verdict.reason} -> {verdict.step}")
        if verdict.stale_node_ids:
            reasons.append(f"{verdict.server}: its node was replaced, {', '.join(verdict.stale_node_ids)} can go")
    return reasons


# What a server may be again for a moment after its Ollama was healthy, and what passes by itself.
_PASSING = frozenset({"booting", "node_unknown", "ollama_starting", "ollama_missing"})


def outcomes(verdicts: Iterable[Mapping[str, Any]], healthy: Collection[str]) -> list[dict[str, Any]]:
    """What a run has come to for each server: the verdicts with ``outcome``.

    :param verdicts: ``Verdict.as_dict`` of each, from the observation at the end of the run.
    :param healthy: names of the servers whose Ollama the run has seen healthy.
    :returns: ``outcome`` is "done"; "running" (it was healthy, and is on its way to be so again: the next look at the
        fleet ends the recovery); or "failed".
    """
    return [{**verdict, "outcome": _outcome(verdict, healthy)} for verdict in verdicts]


def _outcome(verdict: Mapping[str, Any], healthy: Collection[str]) -> str:
    if verdict["well"]:
        return "done"
    # "restore": the recovery that has not been written down as ended.
    passing = verdict["verdict"] in _PASSING and verdict["step"] in (diagnosis.WAIT, diagnosis.RESTORE)
    return "running" if passing and verdict["server"] in healthy else "failed"


def restore_results(result: Mapping[str, Any], lost: Iterable[str]) -> dict[str, list[dict[str, Any]]]:
    """Sorts the servers that were to be restored by what came of it; none is left out.

    :param result: what the module ``selectel_fleet`` returned: ``servers``, each with ``error`` if it failed. A run
        that failed as a whole, at the login for example, has only its ``msg``.
    :param lost: names of the servers that were to be restored.
    :returns: ``restored``: the module's results; ``failed``: the same, with ``name`` and ``error`` at least.
    """
    told = {str(server["name"]): dict(server) for server in result.get("servers") or []}
    error = str(result.get("msg") or NO_ANSWER)
    every = [told.get(name, {"name": name, "error": error}) for name in lost]
    return {
        "restored": [server for server in every if "error" not in server],
        "failed": [server for server in every if "error" in server],
    }
