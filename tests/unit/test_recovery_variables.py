"""What the role recovery gives its loop: the variables that it reads, and defaults that are those of the code."""

from __future__ import annotations

import re
from typing import Any

from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.diagnosis import Limits
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.remediation import RemediationPolicy
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.rotation import RotationPolicy
from tests.kit.paths import ROOT
from tests.kit.roles import load

ROLE = ROOT / "roles" / "recovery"
# What only site.yml uses: it writes what the loop on the manager reads.
INSTALLATION = {"main.yml", "collections.yml", "configuration.yml", "environment.yml", "key.yml"}
# Where the manager has its own values.
OWN = {"recovery_rotate", "recovery_evidence", "recovery_balanced"}
NAME = re.compile(r"\b(?:__)?recovery_[a-z_]+\b")


def read_by_the_loop(defaults: dict[str, Any], variables: dict[str, Any]) -> set[str]:
    """Names of defaults that the loop's tasks read, directly or through the role's internal variables."""
    tasks = [path for path in (ROLE / "tasks").glob("*.yml") if path.name not in INSTALLATION]
    texts = [path.read_text(encoding="utf-8") for path in [*tasks, ROOT / "playbooks" / "recover.yml"]]
    todo = {name for text in texts for name in NAME.findall(text)}
    seen: set[str] = set()
    while todo:
        name = todo.pop()
        seen.add(name)
        if name in variables:
            todo |= set(NAME.findall(str(variables[name]))) - seen
    return seen & set(defaults)


def test_the_loop_gets_every_variable_that_it_reads() -> None:
    defaults, variables = load(ROLE / "defaults" / "main.yml"), load(ROLE / "vars" / "main.yml")
    read = read_by_the_loop(defaults, variables)
    assert {"recovery_rejoin_timeout", "recovery_remediation", "recovery_schedule"} <= read, "the search is wrong"
    assert read - OWN == set(variables["__recovery_carried"])


def test_the_codes_defaults_are_the_roles() -> None:
    defaults = load(ROLE / "defaults" / "main.yml")
    remediation, rotation, limits = RemediationPolicy(), RotationPolicy(), Limits()
    code = {
        "recovery_remediation": {str(step): count for step, count in remediation.limits.items()},
        "recovery_remediation_window": remediation.window,
        "recovery_remediation_pause": remediation.pause,
        "recovery_retry_pause": remediation.retry_pause,
        "recovery_longest_retry_pause": remediation.longest_retry_pause,
        "recovery_max_age": rotation.max_age,
        "recovery_rotation_margin": rotation.margin,
        "recovery_rotation_surge": rotation.surge,
        "recovery_rotation_full_hour": rotation.full_hour,
        "recovery_return_after": rotation.return_after,
        "recovery_rejoin_timeout": limits.boot_grace,
        "recovery_healthy_timeout": limits.healthy_timeout,
    }
    assert code == {name: defaults[name] for name in code}


def test_what_the_loop_must_not_forget_is_backed_up() -> None:
    variables = load(ROLE / "vars" / "main.yml")
    kept = {variables["__recovery_probe"].get(name) for name in ("journal", "ledger", "counters")}
    assert None not in kept
    # As it was before its last rotation, the journal counts no less.
    assert kept | {"{{ recovery_journal_file }}.1"} == set(variables["__recovery_backup"]["optional"])
