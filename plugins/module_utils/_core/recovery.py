# Copyright: (c) 2026, gpuswarm contributors
# SPDX-License-Identifier: Apache-2.0
"""What the recovery loop decides, put together for the probe and for the playbooks, so that both decide the same."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from . import diagnosis, fleet, remediation, rotation
from .diagnosis import Diagnosis, Observation
from .remediation import RemediationPolicy
from .vocabulary import PASSING, REMEDIES, Step


@dataclass(frozen=True)
class RecoverySettings:
    """Everything that the decisions depend on in addition to the observation."""

    service: str
    labels: Mapping[str, str] = field(default_factory=dict)
    limits: diagnosis.Limits = field(default_factory=diagnosis.Limits)
    remediation: RemediationPolicy = field(default_factory=RemediationPolicy)
    schedule: Sequence[Mapping[str, Any]] = ()
    timezone: str = "UTC"

    @classmethod
    def from_mapping(cls, data: Mapping[str, Any]) -> RecoverySettings:
        """From what the role ``recovery`` passes to its filters and writes for its probe.

        :param data: ``service``, ``labels``, ``limits`` and ``rotation`` (attributes of `diagnosis.Limits` and
            `rotation.RotationPolicy`), ``remediation`` (attributes of `remediation.RemediationPolicy`), ``schedule``,
            ``timezone``.
        :raises ValueError: a name is not known or a value is no number.
        """
        policy = dict(data.get("remediation") or {})
        if "limits" in policy:
            policy["limits"] = _remedies(policy["limits"])
        turn = dict(data.get("rotation") or {})
        switches = {name: bool(turn.pop(name)) for name in ("enabled", "surge", "full_hour") if name in turn}
        forced = str(turn.pop("forced", ""))
        return cls(
            service=str(data["service"]),
            labels={str(key): str(value) for key, value in (data.get("labels") or {}).items()},
            limits=diagnosis.Limits(
                **_numbers(diagnosis.Limits, data.get("limits") or {}),
                rotation=rotation.RotationPolicy(**switches, forced=forced, **_numbers(rotation.RotationPolicy, turn)),
            ),
            remediation=RemediationPolicy(
                **{"limits": policy.pop("limits")} if "limits" in policy else {},
                **_numbers(RemediationPolicy, policy),
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
            raise ValueError(f"{name} is {value!r}: it must be a number") from error
        if numbers[name] < 0:
            raise ValueError(f"{name} is {value!r}: it must be a number from 0")
    return numbers


def _remedies(limits: Mapping[str, Any]) -> dict[str, int]:
    wrong = sorted(set(limits) - set(REMEDIES))
    if wrong:
        raise ValueError(f"recovery_remediation has {', '.join(wrong)}; the remedies are {', '.join(REMEDIES)}")
    counts = {}
    for remedy, value in limits.items():
        if isinstance(value, bool) or not str(value).isdigit():
            raise ValueError(f"recovery_remediation.{remedy} is {value!r}: it must be a whole number from 0")
        counts[remedy] = int(str(value))
    return counts


def assess(
    specs: Sequence[Mapping[str, Any]],
    seen: Observation,
    settings: RecoverySettings,
    lines: Iterable[Mapping[str, Any]],
) -> list[Diagnosis]:
    """What is wrong with each server and what is due now; see ``diagnosis.diagnose`` and ``remediation.plan``.

    :param specs: the desired servers (``fleet.server_specs``).
    :param lines: the recovery journal, oldest first.
    :raises schedule.ScheduleError: the schedule is wrong.
    """
    lines, turn = list(lines), settings.limits.rotation
    surge = fleet.surge_specs(specs) if turn.enabled and turn.surge else []
    if any(_stranger(server, spec) for spec in surge for server in seen.servers or ()):
        surge = []
    if settings.schedule:
        from . import schedule  # noqa: PLC0415  (time zones: at_most_one for those who have a schedule)

        specs = schedule.apply(specs, settings.schedule, settings.timezone, seen.now)
    for spec in surge:
        failed = remediation.failed_within(lines, str(spec["name"]), seen.now, turn.margin)
        seen = replace(seen, surge_failed=failed)
    verdicts = diagnosis.diagnose([*specs, *surge], seen, settings.service, settings.labels, settings.limits)
    return remediation.plan(verdicts, lines, seen.now, settings.remediation)


def _stranger(server: Mapping[str, Any], spec: Mapping[str, Any]) -> bool:
    """Whether the name of the surge server is taken by one that the loop has not made, and must not delete."""
    return server["name"] == spec["name"] and not fleet.is_surge(server)


def outcomes(verdicts: Iterable[Mapping[str, Any]], healthy: Collection[str]) -> list[dict[str, Any]]:
    """The result of a run for each server: the verdicts with ``outcome``.

    :param verdicts: ``Diagnosis.as_dict`` of each, from the observation at the end of the run.
    :param healthy: names of the servers whose Ollama the run has seen healthy.
    :returns: ``outcome`` is "done"; "running" (it was healthy, and is on its way to be so again: the next cycle
        ends the recovery); or "failed".
    """
    return [{**verdict, "outcome": _outcome(verdict, healthy)} for verdict in verdicts]


def _outcome(verdict: Mapping[str, Any], healthy: Collection[str]) -> str:
    if verdict["as_desired"]:
        return "done"
    # "restore": the recovery whose end has not been journalled.
    passing = verdict["verdict"] in PASSING and verdict["step"] in (Step.WAIT, Step.RESTORE)
    return "running" if passing and verdict["server"] in healthy else "failed"
