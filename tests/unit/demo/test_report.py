from __future__ import annotations

from demo.model import Timeline
from demo.report import load_summary, moment, servers_table, table, timeline_table
from tests.kit.answers import Answer


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert table(("a", "name"), [("long cell", 1), ("x", "y")]).splitlines() == [
        "a          name",
        "---------  ----",
        "long cell  1",
        "x          y",
    ]


def test_times() -> None:
    assert (moment(0), moment(12.34)) == ("T+0", "T+12.3 s")


def test_timeline_lists_what_is_missing_last() -> None:
    text = timeline_table(Timeline(100.0, noticed=105.0, dropped=101.5)).splitlines()
    assert text[2:5] == ["T+0      preempted", "T+1.5 s  gateway dropped it", "T+5.0 s  noticed"]
    assert text[-1] == "-        answers again"


def test_unknown_states_are_dashes() -> None:
    assert servers_table([{"name": "gpu-1", "cloud": "ACTIVE"}]).splitlines()[-1].split() == [
        *("gpu-1", "-", "-", "-", "ACTIVE", "-", "-"),
    ]


def test_load() -> None:
    answers = [
        Answer(1.0, 1.1, 2.0, complete=True, upstreams=("10.0.1.5",)),
        Answer(1.0, 2.5, 3.0, complete=True, upstreams=("10.0.1.5", "10.0.1.6")),
        Answer(1.0, 1.1, 1.2, complete=False, upstreams=("10.0.1.5",)),
        Answer(1.0, None, 1.2, complete=False),
    ]
    text = load_summary(answers, {"10.0.1.5": "gpu-1"})
    assert "4 answers asked for, 2 got, 1 failed before their first byte, 1 cut while running" in text
    assert "1 times the gateway went on to another server" in text
    assert "longest 1.50 s" in text
    assert "10.0.1.6 1, gpu-1 1" in text


def test_no_load() -> None:
    assert load_summary([], {}) == "0 answers asked for, 0 got, 0 failed before their first byte, 0 cut while running"
