# SPDX-License-Identifier: Apache-2.0
"""Ansible's programs on this checkout, and what they say. ``options`` are those of :func:`commands.run`."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.kit import commands
from tests.kit.commands import Done
from tests.kit.paths import ROOT

LIMIT_S = 900
TASK_CHARACTERS = 4000  # at -vvv a task can say a great deal
RECAP = re.compile(r"^(\S+) +: ((?:\w+=\d+ *)+)$", re.MULTILINE)


def run(program: str, *arguments: str | Path, limit_s: float = LIMIT_S, **options: Any) -> Done:
    """Run one of Ansible's programs, with the checkout as the collection (default limit: 900 seconds).

    Raises:
        KitError: It took too long, or failed; the message has what the failed tasks said.
    """
    return commands.run([program, *arguments], limit_s=limit_s, evidence=failures, **options)


def playbook(
    name: str | Path,
    *arguments: str | Path,
    inventory: str | Path,
    variables: Mapping[str, Any] | None = None,
    **options: Any,
) -> Done:
    """Run a playbook; raises as :func:`run` does.

    Args:
        name: Name of one of the product's own, or the file of another.
        arguments: More of the command line.
        inventory: File or directory.
        variables: Extra variables; they are handed over in a file that only this user can read (default: none).
    """
    file = name if isinstance(name, Path) else ROOT / "playbooks" / f"{name}.yml"
    with tempfile.NamedTemporaryFile("w", prefix="variables-", suffix=".json") as extra:
        json.dump(variables or {}, extra)
        extra.flush()
        more = ("-e", f"@{extra.name}") if variables else ()
        return run("ansible-playbook", "-i", inventory, file, *arguments, *more, **options)


def listing(inventory: str | Path, **options: Any) -> dict[str, Any]:
    """Read an inventory with ``ansible-inventory --list``; raises as :func:`run` does."""
    return parse_listing(run("ansible-inventory", "-i", inventory, "--list", **options).stdout)


def parse_listing(text: str) -> dict[str, Any]:
    """Read what ``ansible-inventory --list`` printed.

    >>> parse_listing('{"name": {"__ansible_unsafe": "gpu-1"}}')
    {'name': 'gpu-1'}
    """
    # What the cloud told is marked as not to be templated.
    found: dict[str, Any] = json.loads(text, object_hook=lambda item: item.get("__ansible_unsafe", item))
    return found


def recap(output: str) -> dict[str, dict[str, int]]:
    """Read the PLAY RECAP: counts (``ok``, ``changed``, ``failed`` ...) by host; of several runs the last one's."""
    return {
        host: {name: int(number) for name, _, number in (word.partition("=") for word in counts.split())}
        for host, counts in RECAP.findall(output)
    }


def changed(output: str) -> dict[str, int]:
    """Count what was changed, by host."""
    return {host: counts["changed"] for host, counts in recap(output).items()}


def failures(output: str) -> list[str]:
    """Find what Ansible says of the tasks that failed, and should not have; at -vvv it is far from the end."""
    parts = re.split(r"^(?=TASK |PLAY |RUNNING HANDLER )", output, flags=re.MULTILINE)
    failed = [part for part in parts if "\nfatal: " in part and "\n...ignoring" not in part]
    return [part[:TASK_CHARACTERS].rstrip() for part in failed]


def step_of(line: str) -> str:
    """Name the play or, indented, the role that a line of output begins; empty for any other line.

    >>> step_of("TASK [gpuswarm.ollama.docker : Install Docker] ****")
    '  gpuswarm.ollama.docker'
    """
    found = re.match(r"(?:PLAY \[(?P<play>[^]]*)|TASK \[(?P<role>.+?) : )", line)
    return found["play"] or f"  {found['role']}" if found else ""
