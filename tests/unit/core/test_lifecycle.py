# SPDX-License-Identifier: Apache-2.0
"""Every status and task state that Nova knows, and what is done about it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.lifecycle import (
    GRACE,
    REQUEST,
    STARTS_FROM,
    TRANSITIONAL,
    Kind,
    Poll,
    WaitResult,
    drift,
    evaluate_wait,
    next_action,
    parse_time,
)
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.servers import (
    CAPACITY_TYPE,
    FLEET,
    IMAGE,
    ROLE,
    Address,
    Server,
    Spec,
)

NOW = datetime(2026, 1, 1, 12, 0, 10, tzinfo=UTC)
NO_HOST = "No valid host was found. There are not enough hosts available."


def server(status: str, task_state: str | None = None, **more: Any) -> Server:
    return Server(id="s1", name="gpu-1", status=status, task_state=task_state, **more)


AT_REST = [
    ("ACTIVE", False, Kind.NONE),
    ("ACTIVE", True, Kind.NONE),
    ("SHELVED", False, Kind.UNSHELVE),
    ("SHELVED_OFFLOADED", False, Kind.UNSHELVE),
    ("EXPIRED", False, Kind.UNSHELVE),
    ("SHUTOFF", False, Kind.REPORT),
    ("SHUTOFF", True, Kind.START),
    ("PAUSED", False, Kind.UNPAUSE),
    ("SUSPENDED", False, Kind.RESUME),
    ("SOFT_DELETED", False, Kind.RESTORE),
    ("ERROR", False, Kind.RECREATE),
    ("DELETED", False, Kind.CREATE),
    ("BUILD", False, Kind.WAIT),
    ("REBOOT", False, Kind.WAIT),
    ("HARD_REBOOT", False, Kind.WAIT),
    ("REBUILD", False, Kind.WAIT),
    ("RESIZE", False, Kind.WAIT),
    ("REVERT_RESIZE", False, Kind.WAIT),
    ("MIGRATING", False, Kind.WAIT),
    ("PASSWORD", False, Kind.WAIT),
    ("RESCUE", True, Kind.REPORT),
    ("VERIFY_RESIZE", True, Kind.REPORT),
    ("UNKNOWN", True, Kind.REPORT),
    ("SOMETHING_NEW", True, Kind.REPORT),
]


@pytest.mark.parametrize(("status", "restart_stopped", "kind"), AT_REST)
def test_at_rest(status: str, restart_stopped: bool, kind: Kind) -> None:
    action = next_action(server(status), Spec("gpu-1", restart_stopped=restart_stopped), NOW)
    assert action.kind is kind
    assert action.reason


@pytest.mark.parametrize("status", sorted({status for status, _restart, _kind in AT_REST}))
@pytest.mark.parametrize("task_state", ["spawning", "shelving", "unshelving", "powering-off", "deleting", "scheduling"])
@pytest.mark.parametrize("restart_stopped", [True, False])
def test_a_task_state_means_wait(status: str, task_state: str, restart_stopped: bool) -> None:
    action = next_action(server(status, task_state), Spec("gpu-1", restart_stopped=restart_stopped), NOW)
    assert action.kind is Kind.WAIT
    assert task_state in action.reason


def test_no_server() -> None:
    assert next_action(None, Spec("gpu-1"), NOW).kind is Kind.CREATE


def test_reasons() -> None:
    shelved = server("SHELVED_OFFLOADED", updated_at="2026-01-01T12:00:00Z")
    assert next_action(shelved, Spec("gpu-1"), NOW).reason.startswith("SHELVED_OFFLOADED for 10 s")
    assert NO_HOST in next_action(server("ERROR", fault=NO_HOST), Spec("gpu-1"), NOW).reason
    assert "restart_stopped" in next_action(server("SHUTOFF"), Spec("gpu-1"), NOW).reason


def test_every_single_step_action_has_a_request_and_a_start() -> None:
    assert set(REQUEST) == set(STARTS_FROM)
    assert not any(starts & TRANSITIONAL for starts in STARTS_FROM.values())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-01T12:00:10Z", NOW),
        ("2026-01-01T12:00:10.000000", NOW),
        ("2026-01-01T14:00:10+02:00", NOW),
        ("", None),
        (None, None),
        ("yesterday", None),
    ],
)
def test_parse_time(text: str | None, expected: datetime | None) -> None:
    assert parse_time(text) == expected


def polls(*states: str | None, step: float = 0.5) -> list[Poll]:
    """One poll per text: STATUS, STATUS/task_state, or None for a server that is gone."""
    found = []
    for index, state in enumerate(states):
        status, _, task = (state or "").partition("/")
        fault = NO_HOST if status == "ERROR" else None
        found.append(Poll(server(status, task or None, fault=fault) if state else None, step * (index + 1)))
    return found


@pytest.mark.parametrize(
    ("kind", "seen", "verdict"),
    [
        # create
        (Kind.CREATE, ("BUILD/scheduling",), WaitResult.WAIT),
        (Kind.CREATE, ("BUILD",), WaitResult.WAIT),
        (Kind.CREATE, ("BUILD/spawning", "ACTIVE"), WaitResult.DONE),
        (Kind.CREATE, ("BUILD/scheduling", "ERROR"), WaitResult.NO_CAPACITY),
        (Kind.CREATE, ("BUILD/scheduling", None), WaitResult.GONE),
        (Kind.CREATE, ("ACTIVE/powering-off",), WaitResult.WAIT),
        # unshelve
        (Kind.UNSHELVE, ("SHELVED_OFFLOADED/unshelving",), WaitResult.WAIT),
        (Kind.UNSHELVE, ("SHELVED_OFFLOADED/spawning", "ACTIVE"), WaitResult.DONE),
        (Kind.UNSHELVE, ("SHELVED_OFFLOADED/unshelving", "SHELVED_OFFLOADED"), WaitResult.NO_CAPACITY),
        (Kind.UNSHELVE, ("SHELVED/unshelving", "SHELVED"), WaitResult.NO_CAPACITY),
        (Kind.UNSHELVE, ("EXPIRED",), WaitResult.UNSURE),
        (Kind.UNSHELVE, ("SHELVED_OFFLOADED",), WaitResult.UNSURE),
        (Kind.UNSHELVE, ("SHELVED_OFFLOADED", "SHELVED_OFFLOADED"), WaitResult.UNSURE),
        (Kind.UNSHELVE, ("SHELVED_OFFLOADED", "SHELVED_OFFLOADED/unshelving"), WaitResult.WAIT),
        (Kind.UNSHELVE, ("ERROR",), WaitResult.NO_CAPACITY),
        (Kind.UNSHELVE, (None,), WaitResult.GONE),
        (Kind.UNSHELVE, ("SHUTOFF",), WaitResult.SETTLED),
        # the others
        (Kind.START, ("SHUTOFF/powering-on", "ACTIVE"), WaitResult.DONE),
        (Kind.START, ("SHUTOFF",), WaitResult.UNSURE),
        (Kind.RESTORE, ("SOFT_DELETED/restoring", "ACTIVE"), WaitResult.DONE),
        (Kind.RESUME, ("SUSPENDED/resuming",), WaitResult.WAIT),
        (Kind.UNPAUSE, ("ACTIVE",), WaitResult.DONE),
        # somebody else's work
        (Kind.WAIT, ("ACTIVE/shelving", "SHELVED_OFFLOADED"), WaitResult.SETTLED),
        (Kind.WAIT, ("ERROR",), WaitResult.SETTLED),
        (Kind.WAIT, ("BUILD", "ACTIVE"), WaitResult.DONE),
        (Kind.WAIT, ("ACTIVE/deleting", None), WaitResult.GONE),
        # delete
        (Kind.DELETE, ("ACTIVE/deleting",), WaitResult.WAIT),
        (Kind.DELETE, ("ACTIVE",), WaitResult.WAIT),
        (Kind.DELETE, ("BUILD",), WaitResult.WAIT),
        (Kind.DELETE, ("ERROR",), WaitResult.WAIT),
        (Kind.DELETE, ("SOFT_DELETED",), WaitResult.SETTLED),
        (Kind.DELETE, ("DELETED",), WaitResult.GONE),
        (Kind.DELETE, (None,), WaitResult.GONE),
    ],
)
def test_judge(kind: Kind, seen: tuple[str | None, ...], verdict: WaitResult) -> None:
    assert evaluate_wait(kind, polls(*seen))[0] is verdict


@pytest.mark.parametrize(
    ("kind", "status", "verdict"),
    [
        (Kind.UNSHELVE, "SHELVED_OFFLOADED", WaitResult.NO_CAPACITY),
        (Kind.UNSHELVE, "EXPIRED", WaitResult.NO_CAPACITY),
        (Kind.START, "SHUTOFF", WaitResult.FAILED),
        (Kind.RESUME, "SUSPENDED", WaitResult.FAILED),
        (Kind.DELETE, "ERROR", WaitResult.FAILED),
    ],
)
def test_standing_still_is_an_answer_after_a_while(kind: Kind, status: str, verdict: WaitResult) -> None:
    assert evaluate_wait(kind, polls(status, status, step=GRACE))[0] is verdict


def test_a_create_that_fails_for_another_reason() -> None:
    seen = [Poll(server("ERROR", fault="Build of instance aborted: Volume did not finish being created"), 1.0)]
    assert evaluate_wait(Kind.CREATE, seen)[0] is WaitResult.FAILED
    assert evaluate_wait(Kind.UNSHELVE, seen)[0] is WaitResult.SETTLED  # decided again: an ERROR is made anew


SPEC = Spec(
    "gpu-1",
    flavor="big",
    image="debian",
    availability_zone="a",
    network="private",
    preemptible=True,
    security_groups=("web",),
    tags=("x",),
    metadata={"k": "v"},
)
AS_SPECIFIED = server(
    "ACTIVE",
    availability_zone="a",
    flavor="big",
    tags=("preemptible", "x"),
    security_groups=("web",),
    metadata={"k": "v", ROLE: "gpu_worker", FLEET: "f", IMAGE: "debian", CAPACITY_TYPE: "preemptible"},
)


def test_no_drift() -> None:
    found = drift(AS_SPECIFIED, SPEC)
    assert not found
    assert not found.unchangeable


@pytest.mark.parametrize(
    ("changes", "summary"),
    [
        ({"tags": ("preemptible",)}, "set tags x"),
        ({"tags": ("x",)}, "set tags preemptible"),
        ({"metadata": {**AS_SPECIFIED.metadata, "k": "w"}}, "set metadata k"),
        ({"metadata": {**AS_SPECIFIED.metadata, ROLE: "manager"}}, f"set metadata {ROLE}"),
        ({"security_groups": ("default",)}, "set security groups"),
    ],
)
def test_drift_that_is_mended(changes: dict[str, Any], summary: str) -> None:
    found = drift(Server(**{**AS_SPECIFIED.__dict__, **changes}), SPEC)
    assert found
    assert found.summary() == summary
    assert not found.unchangeable


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"flavor": "small"}, "flavor"),
        ({"availability_zone": "b"}, "zone"),
        ({"metadata": {**AS_SPECIFIED.metadata, IMAGE: "old"}}, "image"),
        ({"tags": ("x",), "metadata": {**AS_SPECIFIED.metadata, CAPACITY_TYPE: "on_demand"}}, "on-demand"),
    ],
)
def test_drift_that_is_only_reported(changes: dict[str, Any], word: str) -> None:
    found = drift(Server(**{**AS_SPECIFIED.__dict__, **changes}), SPEC)
    assert not found
    assert len(found.unchangeable) == 1
    assert word in found.unchangeable[0]


def test_a_server_that_is_on_no_host_has_no_zone_to_differ() -> None:
    assert not drift(Server(**{**AS_SPECIFIED.__dict__, "availability_zone": ""}), SPEC).unchangeable


def test_groups_and_address_are_compared_at_rest_only() -> None:
    spec = Spec(**{**SPEC.__dict__, "floating_ip_network": "ext"})
    building = Server(**{**AS_SPECIFIED.__dict__, "status": "BUILD", "security_groups": ()})
    assert not drift(building, spec)
    assert drift(AS_SPECIFIED, spec).floating_ip
    addressed = Server(**{**AS_SPECIFIED.__dict__, "addresses": (Address("private", "198.51.100.1", 4, True),)})
    assert not drift(addressed, spec)
