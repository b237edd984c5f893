"""The ledger: what is written when something has changed, and what is read of it. Moments are seconds."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.gpuswarm.ollama.plugins.module_utils._core import ledger
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.billing import RULES
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.ledger import (
    InstanceAction,
    Line,
    Span,
    server_lines,
)

BORN = 1_000


def iso(moment: int) -> str:
    return ledger.iso(moment)


def what(state: str, launched: int = BORN, **more: Any) -> dict[str, Any]:
    own = {"flavor": "GL10", "capacity_type": "preemptible", "zone": "z"}
    return {"state": state, **own, "launched": iso(launched), **more}


def line(state: str, at: int = BORN, launched: int = BORN) -> Line:
    return Line("server", "id", "gpu-1", at, at, what(state, launched))


def did(*actions: tuple[str, int, int]) -> list[InstanceAction]:
    return [InstanceAction(*action) for action in actions]


def told(lines: list[Line]) -> list[tuple[str | None, int, int]]:
    return [(item.what["state"] if item.what else None, item.earliest, item.latest) for item in lines]


SHELVE, UNSHELVE = ("shelve", 5000, 5010), ("unshelve", 6000, 6030)
SEEN = Span(seen=4990, now=6040)
Steps = list[tuple[str | None, int, int]]


@pytest.mark.parametrize(
    ("before", "now", "actions", "span", "expected"),
    [
        # new: from the request to create it, whenever it was seen
        (None, what("running", 30), did(("create", 10, 35)), Span(0, 40), [("running", 10, 10)]),
        (None, what("running", 30), None, Span(0, 40, created=10), [("running", 10, 10)]),
        (None, what("running", 30), did(), Span(20, 40), [("running", 20, 30)]),
        # preempted: to the end of the shelving; by a cloud that tells nobody: between two looks
        (line("running"), what("shelved"), did(SHELVE), Span(4990, 5012), [("shelved", 5010, 5010)]),
        (line("running"), what("shelved"), did(), Span(4990, 4995), [("shelved", 4990, 4995)]),
        (line("running"), what("shelved"), None, Span(4990, 4995), [("shelved", 4990, 4995)]),
        # back: from the request, and not from when it was up
        (
            line("shelved", 5010),
            what("running", 6030),
            did(SHELVE, UNSHELVE),
            Span(5990, 6040),
            [("running", 6000, 6000)],
        ),
        # nobody looked: a gap is closed
        (
            line("running"),
            what("running", 6030),
            did(SHELVE, UNSHELVE),
            SEEN,
            [("shelved", 5010, 5010), ("running", 6000, 6000)],
        ),
        (
            line("running"),
            None,
            did(SHELVE, ("delete", 5600, 5602)),
            SEEN,
            [("shelved", 5010, 5010), (None, 5602, 5602)],
        ),
        # attempts without an end between them: the first have failed
        (
            line("shelved", 2000),
            what("running", 6030),
            did(("unshelve", 3000, 3005), ("unshelve", 4000, 4005), UNSHELVE),
            Span(5990, 6040),
            [("running", 6000, 6000)],
        ),
        (
            line("shelved", 2000),
            what("running", 6030),
            did(("unshelve", 5995, 5999), UNSHELVE),
            Span(5990, 6040),
            [("running", 5995, 6000), ("running", 6000, 6000)],
        ),
        (line("shelved", 5010), what("shelved", flavor="GL20"), did(UNSHELVE), SEEN, [("shelved", 5010, 6040)]),
        # an action that Nova marks as failed
        (
            line("shelved", 5010),
            what("running", 6030),
            [InstanceAction("unshelve", 5500, 5600, failed=True), *did(UNSHELVE)],
            Span(5400, 6040),
            [("running", 6000, 6000)],
        ),
        # shut off is not shelved
        (line("running"), what("stopped"), did(("stop", 5000, 5003)), Span(4990, 5005), [("stopped", 5003, 5003)]),
        (
            line("stopped"),
            what("shelved"),
            did(("shelve", 5000, 5003), ("shelveOffload", 5004, 5005)),
            Span(4990, 5006),
            [("shelved", 5003, 5003)],
        ),
        # launched again, and Nova tells nothing about it
        (
            line("running"),
            what("running", 6030),
            did(("reboot", 5000, 5001)),
            SEEN,
            [("shelved", 4990, 6030), ("running", 6030, 6030)],
        ),
        (line("running"), what("running", zone="y"), did(), SEEN, [("running", 4990, 6040)]),
        # unshelved without a recorded end: it was off at some time before
        (
            line("running"),
            what("running", 6030),
            did(UNSHELVE),
            SEEN,
            [("shelved", 4990, 6000), ("running", 6000, 6000)],
        ),
        # gone: by the end of its deletion, before which it may have been preempted; not while Nova knows of none, as a
        # list may be a part
        (line("running"), None, did(("delete", 5000, 5004)), Span(4990, 5006), [(None, 4990, 5004)]),
        (line("running"), None, did(), SEEN, []),
        (line("running"), None, None, SEEN, [(None, 4990, 6040)]),
        (line("running"), None, did(("delete", 9000, 9004)), Span(4990, 9010), [(None, 4990, 9004)]),
        (
            line("shelved", 2000),
            None,
            did(UNSHELVE, ("delete", 7000, 7004)),
            Span(4990, 9010),
            [("running", 6000, 7004), (None, 7004, 7004)],
        ),
    ],
)
def test_what_happened_meanwhile(
    before: Line | None, now: dict[str, Any] | None, actions: list[InstanceAction] | None, span: Span, expected: Steps
) -> None:
    lines = server_lines("id", "gpu-1", now, before, actions, span)
    assert told(lines) == expected
    assert not lines or lines[-1].what == now
    assert all((item.source == "observed") >= (item.earliest != item.latest and not actions) for item in lines)


def test_a_batch_of_which_only_the_beginning_was_written_is_found_to_be_unfinished() -> None:
    span = Span(1990, 6040)
    actions = did(("unshelve", 2000, 2020), SHELVE, UNSHELVE)
    first, *_ = server_lines("id", "gpu-1", what("running", 6030), line("shelved", 1500), actions, span)
    assert first.what != what("running", 6030)
    rest = server_lines("id", "gpu-1", what("running", 6030), first, actions, span)
    assert told(rest) == [("shelved", 5010, 5010), ("running", 6000, 6000)]


def test_a_new_server_that_runs_is_written_down_before_nova_answers() -> None:
    assert told(ledger.unasked("id", "gpu-1", what("running", 1030), Span(0, 1040, BORN))) == [("running", 1000, 1030)]
    assert ledger.unasked("id", "gpu-1", what("shelved"), Span(0, 1040, BORN)) == []


def server(**more: Any) -> dict[str, Any]:
    return {
        "id": "id",
        "name": "gpu-1",
        "status": "ACTIVE",
        "task_state": None,
        "flavor": "GL10",
        "capacity_type": "preemptible",
        "availability_zone": "z",
        "launched_at": iso(BORN),
        "metadata": {},
        **more,
    }


KNOWN = {("server", "id"): line("running")}


@pytest.mark.parametrize(
    ("servers", "changed"),
    [
        ([server()], []),
        ([server(task_state="shelving")], []),
        ([server(status="REBOOT")], []),
        ([server(status="SHELVED_OFFLOADED")], ["shelved"]),
        ([server(launched_at=iso(2000))], ["running"]),
        ([server(capacity_type="on_demand")], ["running"]),
        ([server(metadata={"rotation_surge": "true"})], ["running"]),
        ([], [None]),
        ([server(), server(id="b", status="BUILD", launched_at=None)], []),
        ([server(), server(id="b", status="ERROR", launched_at=None)], []),
        ([server(), server(id="b", launched_at=None)], ["running"]),  # a cloud that does not tell
    ],
)
def test_changes(servers: list[dict[str, Any]], changed: list[str | None]) -> None:
    found = ledger.changed_servers(servers, KNOWN)
    assert [billed["state"] if billed else None for _, _, billed in found] == changed


def test_while_the_cloud_is_at_work_a_server_is_not_at_rest() -> None:
    assert ledger.at_rest(server(status="SHUTOFF"))
    assert not ledger.at_rest(server(task_state="unshelving"))
    assert not ledger.at_rest(server(status="BUILD"))


def test_lines_are_read_as_they_were_written() -> None:
    lines = [line("running"), Line("volume", "v", "gpu-1", 5, 9, None, "observed"), Line("gap", "", "", 1, 2, {})]
    text = "\n".join(item.dump(0) for item in lines)
    assert ledger.parse(text) == lines
    assert ledger.last_lines(lines) == {("server", "id"): lines[0]}


@pytest.mark.parametrize(
    "damage",
    [
        "",
        "{",
        "[]",
        "null",
        '"x"',
        '{"kind": "server"}',
        '{"kind": "x", "what": null}',
        "\x00\x00",
        line("a").dump(0)[:-9],
    ],
)
def test_a_damaged_line_is_skipped(damage: str) -> None:
    good = line("running").dump(0)
    assert ledger.parse(f"{good}\n{damage}\n{good}\n") == [line("running")] * 2


VOLUME: dict[str, Any] = {
    "id": "v",
    "status": "in-use",
    "size": 100,
    "volume_type": "fast.z",
    "availability_zone": "z",
    "created_at": "2026-11-01T10:00:00.000000",
    "metadata": {"gpuswarm_fleet": "demo", "gpuswarm_server": "gpu-1"},
}
ADDRESS = {
    "id": "f",
    "floating_ip_address": "203.0.113.7",
    "created_at": "2026-11-01T10:00:00Z",
    "description": "gpuswarm_fleet=demo gpuswarm_server=gpu-1",
}


def test_assets() -> None:
    (volume,) = ledger.volumes_of(
        "demo", [VOLUME, {**VOLUME, "metadata": {}}, {**VOLUME, "status": "creating"}, {"id": "x", "size": 1}]
    )
    (address,) = ledger.addresses_of("demo", [ADDRESS, {**ADDRESS, "description": "mine"}])
    born = ledger.moment("2026-11-01T10:00:00Z")
    assert volume == {"id": "v", "name": "gpu-1", "created": born, "what": {"size": 100, "type": "fast.z", "zone": "z"}}
    assert (address["name"], address["created"]) == ("gpu-1", born)
    (first,) = ledger.asset_lines("volume", [volume], {}, 0, born + 50)
    assert (first.earliest, first.latest, first.source) == (born, born, "cloud")
    known = {("volume", "v"): first}
    assert ledger.asset_lines("volume", [volume], known, born + 50, born + 90) == []
    bigger = {**volume, "what": {**volume["what"], "size": 200}}
    (grown,) = ledger.asset_lines("volume", [bigger], known, born + 50, born + 90)
    (gone,) = ledger.asset_lines("volume", [], known, born + 50, born + 90)
    for found in (grown, gone):
        assert (found.earliest, found.latest, found.source) == (born + 50, born + 90, "observed")
    assert gone.what is None
    # one whose creation nobody tells was made since the last list
    (unknown,) = ledger.asset_lines("volume", [{**volume, "created": None}], {}, born + 50, born + 90)
    assert (unknown.earliest, unknown.latest) == (born + 50, born + 90)


def test_actions_are_read() -> None:
    data = {"action": "shelve", "start_time": "2026-11-01T10:00:00.000000", "message": None}
    at = ledger.moment("2026-11-01T10:00:00Z")
    assert ledger.actions_of([data]) == did(("shelve", at, at))
    later = {**data, "updated_at": "2026-11-01T10:00:09.000000", "message": "Error"}
    assert ledger.actions_of([later]) == [InstanceAction("shelve", at, at + 9, failed=True)]


def test_an_object_is_not_billed_twice_while_its_state_is_uncertain() -> None:
    lines = [line("stopped", 100), Line("server", "id", "gpu-1", 200, 300, what("running"), "observed")]
    found = ledger.intervals(lines, RULES["selectel"], 900, certain=False)
    assert [(item.start, item.end) for item in found] == [(100, 300), (300, 900)]


def test_what_is_certain_and_what_may_be() -> None:
    lines = [
        line("running", 100),
        Line("server", "id", "gpu-1", 200, 300, what("shelved"), "observed"),
        Line("server", "id", "gpu-1", 400, 500, what("running"), "observed"),
        Line("volume", "v", "gpu-1", 50, 50, {"size": 7, "type": "t", "zone": "z"}),
        Line("floating_ip", "f", "gpu-1", 60, 60, {}),
        Line("gap", "", "", 1, 2, {}),
    ]

    def spans(*, certain: bool) -> list[tuple[str, int, int, int]]:
        found = ledger.intervals(lines, RULES["selectel"], 900, certain=certain)
        return [(item.resource.kind, item.quantity, item.start, item.end) for item in found]

    others = [("volume", 7, 50, 900), ("floating_ip", 1, 60, 900)]
    assert spans(certain=True) == [("server", 1, 100, 200), ("server", 1, 500, 900), *others]
    assert spans(certain=False) == [("server", 1, 100, 300), ("server", 1, 400, 900), *others]
