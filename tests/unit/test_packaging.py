"""The three ways to install (tarball, Galaxy, pip) must agree."""

from __future__ import annotations

import json
import sys
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).resolve().parents[2]
GALAXY = yaml.safe_load((ROOT / "galaxy.yml").read_text(encoding="utf-8"))
PINNED = {
    item["name"]: item["version"]
    for item in yaml.safe_load((ROOT / "requirements.yml").read_text(encoding="utf-8"))["collections"]
}


def requirements(path: Path) -> list[Requirement]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line.strip() and not line.startswith(("#", "-r "))]


def installed_collection(name: str) -> str:
    location = Path(str(metadata.distribution("ansible").locate_file("ansible_collections")), *name.split("."))
    manifest = json.loads((location / "MANIFEST.json").read_text(encoding="utf-8"))
    return str(manifest["collection_info"]["version"])


def test_galaxy_users_get_every_dependency() -> None:
    assert set(PINNED) == set(GALAXY["dependencies"])


@pytest.mark.parametrize("name", sorted(PINNED))
def test_pinned_collections_are_in_the_supported_range(name: str) -> None:
    assert PINNED[name] in SpecifierSet(GALAXY["dependencies"][name])


@pytest.mark.parametrize("name", sorted(PINNED))
def test_pip_brings_a_supported_collection(name: str) -> None:
    version = installed_collection(name)
    assert version in SpecifierSet(GALAXY["dependencies"][name])
    if sys.version_info < (3, 12):
        assert version == PINNED[name], "requirements.yml and the `ansible` package for Python 3.11 differ"


def test_every_pin_stands_in_one_place() -> None:
    files = ("roles/recovery/files/requirements.txt", "requirements.txt", "requirements-dev.txt")
    seen: dict[tuple[str, str], str] = {}
    for name in files:
        for requirement in requirements(ROOT / name):
            key = (requirement.name.lower(), str(requirement.marker))
            assert key not in seen, f"{requirement.name} is in {seen[key]} and in {name}"
            assert [specifier.operator for specifier in requirement.specifier] == ["=="], (
                f"{name}: {requirement} is not pinned"
            )
            seen[key] = name


def test_version_has_its_section_in_the_changelog() -> None:
    assert f"\n## [{GALAXY['version']}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
