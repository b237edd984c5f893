"""Words that keep coming back although there is a plainer one: few, and exact."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# A task's name is an imperative on its object.
TASK = re.compile(r"^ *- name: (Say|Tell|Have|Keep|Give|Let|Ask|Go|Write down|Take leave|See)\b", re.MULTILINE)
# An error says what must be.
ERROR = re.compile(r"(?:raise|fail_msg|wrong:|msg=)[^\n]* (?:is|are) wanted\b")
DIALECT = re.compile(r"\b(?:wants? it not|needs? it not|is none to|none to touch|not wanted any more)\b")
# More of it, that is easily written.
CODE_DIALECT = re.compile(
    r"\b(?:(?:cannot|could not) be had|(?:is|are) wanted|in the stead of|(?:has|have) come to|came of|such a one)\b"
)
# Words that have a successor: capacity_type and strategy, remediation and remedy, surge server, drain and so on.
OLD_WORDS = re.compile(
    r"\b(?:tiers?|recovery_ladder\w*|ladders?|rungs?|servers? more(?! time)|extra servers?|spare servers?"
    r"|recovery_leav(?:er|ing)|leavers?|recovery_retir(?:ee|ing)|retirees?|recovery_adrift|quiesce|doubtful"
    r"|rotation_of|ways? back)\b",
    re.IGNORECASE,
)
CODE = (
    *("plugins/**/*.py", "plugins/**/*.yml", "roles/**/*.yml", "roles/**/*.py", "roles/**/*.sh", "roles/**/*.j2"),
    *("playbooks/**/*.yml", "molecule/**/*.yml", "molecule/**/*.py", "tests/**/*.py", "lab/**/*.py", "demo/**/*.py"),
    *("inventory/**/*.yml", "galaxy.yml", "Makefile"),
)


def files(*patterns: str) -> list[Path]:
    """Files of the checkout by glob patterns."""
    return sorted(path for pattern in patterns for path in ROOT.glob(pattern))


def found(pattern: re.Pattern[str], paths: list[Path]) -> list[str]:
    """Where a pattern stands: file, line and words."""
    hits = []
    for path in paths:
        text = path.read_text(encoding="utf-8")
        hits += [
            f"{path.relative_to(ROOT)}:{text.count(chr(10), 0, match.start()) + 1}: {match[0].strip()}"
            for match in pattern.finditer(text)
        ]
    return hits


@pytest.mark.parametrize(
    ("pattern", "bad", "good"),
    [
        (TASK, "    - name: Tell\n", "    - name: Print the status\n"),
        (TASK, "- name: Keep its node", "- name: Record its node"),
        (
            ERROR,
            'raise ValueError(f"{value!r}: a number is wanted")',
            'raise ValueError(f"{value!r}: it must be a number")',
        ),
        (DIALECT, "a status that is none to touch", "a status that must not be changed"),
        (CODE_DIALECT, "it cannot be had from the registry", "it cannot be pulled from the registry"),
        (CODE_DIALECT, "how many servers are wanted", "how many servers should run"),
        (OLD_WORDS, "recovery_ladder: {}", "recovery_remediation: {}"),
        (OLD_WORDS, "one GPU server more", "one more GPU server"),
        (OLD_WORDS, "# the next rung", "# the next remedy"),
    ],
)
def test_the_patterns_can_fail(pattern: re.Pattern[str], bad: str, good: str) -> None:
    assert pattern.search(bad)
    assert not pattern.search(good)


def test_task_names_are_imperatives_on_their_object() -> None:
    playbooks = files("roles/**/*.yml", "playbooks/**/*.yml", "molecule/**/*.yml")
    examples = files("plugins/**/*.yml", "plugins/**/*.py")
    assert found(TASK, playbooks + examples) == []


def test_errors_say_what_must_be() -> None:
    assert found(ERROR, files("plugins/**/*.py", "roles/**/*.yml", "roles/**/*.j2", "playbooks/**/*.yml")) == []


@pytest.mark.parametrize("pattern", [CODE_DIALECT, OLD_WORDS], ids=["dialect", "words"])
def test_old_words_do_not_come_back(pattern: re.Pattern[str]) -> None:
    # CHANGELOG.md says what was renamed.
    prose = [path for path in files("*.md", "docs/**/*.md", "roles/*/*.md", "lab/*.md") if path.name != "CHANGELOG.md"]
    paths = prose + [path for path in files(*CODE) if path.is_file() and path != Path(__file__).resolve()]
    assert len(paths) > 300
    assert found(pattern, paths) == []


def test_prose_is_current_english() -> None:
    assert (
        found(
            DIALECT,
            files("*.md", "docs/**/*.md", "roles/**/*.md", "plugins/**/*.py", "roles/**/*.yml", "playbooks/**/*.yml"),
        )
        == []
    )
