"""A role's defaults and its argument specification must tell the same story."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kit.paths import ROOT
from tests.kit.roles import ROLES, load, options

UNSET = object()


@pytest.fixture(params=ROLES)
def role(request: pytest.FixtureRequest) -> Path:
    return ROOT / "roles" / str(request.param)


def test_every_role_has_what_a_reader_looks_for(role: Path) -> None:
    missing = [name for name in ("README.md", "meta/argument_specs.yml") if not (role / name).exists()]
    assert not missing, f"{role.name} lacks {missing}"
    # The one that others depend on does nothing by itself.
    assert (role / "tasks" / "main.yml").exists() == (role.name != "cluster")


def test_every_default_is_documented(role: Path) -> None:
    undocumented = set(load(role / "defaults" / "main.yml")) - set(options(role.name))
    assert not undocumented, (
        f"in defaults/main.yml of {role.name}, but not in meta/argument_specs.yml: {sorted(undocumented)}"
    )


def test_every_optional_argument_has_its_default(role: Path) -> None:
    defaults = load(role / "defaults" / "main.yml")
    for name, option in options(role.name).items():
        if option.get("required"):
            assert name not in defaults, f"{role.name}: {name} is required, so it cannot have a default"
            assert "default" not in option, f"{role.name}: {name} is required, so it cannot have a default"
        else:
            assert name in defaults, f"{role.name}: {name} is optional, so defaults/main.yml must set it"


def test_documented_defaults_are_the_real_ones(role: Path) -> None:
    defaults = load(role / "defaults" / "main.yml")
    different = {
        name: {"documented": option.get("default", UNSET), "real": defaults[name]}
        for name, option in options(role.name).items()
        if name in defaults
        and option.get("default", UNSET if defaults[name] not in (None, "") else defaults[name]) != defaults[name]
    }
    assert not different, f"{role.name}: {different}"


def test_arguments_carry_the_roles_name(role: Path) -> None:
    foreign = [name for name in options(role.name) if not name.startswith(f"{role.name}_")]
    # Shared by all roles: set by the inventory, not by a role.
    assert set(foreign) <= {"fleet_name"}, f"{role.name}: {foreign}"


def test_arguments_are_described(role: Path) -> None:
    bare = [
        name for name, option in options(role.name).items() if not option.get("description") or not option.get("type")
    ]
    assert not bare, f"{role.name}: without description or type: {bare}"
