"""The processes below one, and their memory."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.kit.processes import below, descendants, pss_mib


@pytest.mark.parametrize(
    ("parents", "expected"),
    [({}, set()), ({2: 1, 3: 2, 4: 3, 5: 9}, {2, 3, 4}), ({1: 1, 2: 1}, {1, 2})],
)
def test_descendants(parents: dict[int, int], expected: set[int]) -> None:
    assert descendants(parents, 1) == expected


def test_names_with_spaces_and_parentheses_are_no_matter() -> None:
    assert below(1, {2: "2 (a ) b) S 1 2 2", 3: "3 (sh) S 2 2 2", 4: "4 (x) S 9 9"}) == {2, 3}


def test_what_runs_now() -> None:
    with subprocess.Popen(["sleep", "60"]) as child:
        assert child.pid in below(os.getpid())
        child.kill()
    assert child.pid not in below(os.getpid())
    assert pss_mib([os.getpid()]) > 1
    assert pss_mib([child.pid]) == 0
