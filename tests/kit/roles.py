# SPDX-License-Identifier: Apache-2.0
"""What the files of the roles say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from tests.kit.paths import ROOT

ROLES = sorted(path.name for path in (ROOT / "roles").iterdir())


class Loader(yaml.SafeLoader):
    """YAML with Ansible's own tags, read as plain text."""


Loader.add_multi_constructor("!", lambda loader, _suffix, node: loader.construct_scalar(node))


def parse(text: str) -> Any:
    """What a text of YAML says."""
    return yaml.load(text, Loader=Loader)  # noqa: S506 - derived from SafeLoader


def load(path: Path) -> Any:
    """Read a file of YAML; an empty dictionary if it does not exist or is empty."""
    return (parse(path.read_text(encoding="utf-8")) if path.exists() else None) or {}


def argument_specs(role: str) -> dict[str, dict[str, Any]]:
    """The specification of each entry point, by name."""
    found: dict[str, dict[str, Any]] = load(ROOT / "roles" / role / "meta" / "argument_specs.yml")["argument_specs"]
    return found


def options(role: str) -> dict[str, dict[str, Any]]:
    """The options of all entry points, by name."""
    found: dict[str, dict[str, Any]] = {}
    for spec in argument_specs(role).values():
        found |= spec.get("options") or {}
    return found
