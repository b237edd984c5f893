"""A role's defaults and its argument specification must tell the same story."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
ROLES = sorted(path for path in (ROOT / "roles").iterdir() if path.is_dir())
UNSET = object()


class Loader(yaml.SafeLoader):
    """YAML with Ansible's own tags, read as plain text."""


Loader.add_multi_constructor("!", lambda loader, _suffix, node: loader.construct_scalar(node))


def load(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    data = yaml.load(path.read_text(encoding="utf-8"), Loader=Loader)  # noqa: S506 - derived from SafeLoader
    return data or {}


def documented_options(role: Path) -> dict[str, dict[str, Any]]:
    specs = load(role / "meta" / "argument_specs.yml").get("argument_specs", {})
    options: dict[str, dict[str, Any]] = {}
    for entry in specs.values():
        options.update(entry.get("options") or {})
    return options


@pytest.fixture(params=ROLES, ids=lambda role: role.name)
def role(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def test_every_role_has_what_a_reader_looks_for(role: Path) -> None:
    missing = [
        name for name in ("README.md", "meta/argument_specs.yml", "tasks/main.yml") if not (role / name).exists()
    ]
    assert not missing, f"{role.name} lacks {missing}"


def test_every_default_is_documented(role: Path) -> None:
    undocumented = set(load(role / "defaults" / "main.yml")) - set(documented_options(role))
    assert not undocumented, (
        f"in defaults/main.yml of {role.name}, but not in meta/argument_specs.yml: {sorted(undocumented)}"
    )


def test_every_optional_argument_has_its_default(role: Path) -> None:
    defaults = load(role / "defaults" / "main.yml")
    for name, option in documented_options(role).items():
        if option.get("required"):
            assert name not in defaults, f"{role.name}: {name} is required, so it cannot have a default"
            assert "default" not in option, f"{role.name}: {name} is required, so it cannot have a default"
        else:
            assert name in defaults, f"{role.name}: {name} is optional, so defaults/main.yml must set it"


def test_documented_defaults_are_the_real_ones(role: Path) -> None:
    defaults = load(role / "defaults" / "main.yml")
    different = {
        name: {"documented": option.get("default", UNSET), "real": defaults[name]}
        for name, option in documented_options(role).items()
        if name in defaults
        and option.get("default", UNSET if defaults[name] not in (None, "") else defaults[name]) != defaults[name]
    }
    assert not different, f"{role.name}: {different}"


def test_arguments_carry_the_roles_name(role: Path) -> None:
    foreign = [name for name in documented_options(role) if not name.startswith(f"{role.name}_")]
    # Shared by all roles: set by the inventory, not by a role.
    assert set(foreign) <= {"fleet_name"}, f"{role.name}: {foreign}"


def test_arguments_are_described(role: Path) -> None:
    bare = [
        name
        for name, option in documented_options(role).items()
        if not option.get("description") or not option.get("type")
    ]
    assert not bare, f"{role.name}: without description or type: {bare}"
