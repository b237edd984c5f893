"""The three ways to install (tarball, Galaxy, pip) must agree, and the example inventory must do for a stranger."""

from __future__ import annotations

import configparser
import json
import re
import sys
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "inventory" / "selectel"
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
    releases = yaml.safe_load((ROOT / "changelogs" / "changelog.yaml").read_text(encoding="utf-8"))["releases"]
    assert GALAXY["version"] in releases
    # antsibull-changelog writes it, and escapes dots.
    sections = re.findall(r"^## v(\S+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sections[0].replace("\\", "") == GALAXY["version"]


def settings(path: Path) -> dict[tuple[str, str], str]:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(path, encoding="utf-8")
    return {(section, name): value for section in parser.sections() for name, value in parser[section].items()}


def test_the_example_has_the_settings_that_are_tested() -> None:
    tested, example = settings(ROOT / "ansible.cfg"), settings(EXAMPLE / "ansible.cfg")
    assert {name for _, name in set(tested) - set(example)} == {"collections_path", "home", "control_path_dir"}
    assert {setting: tested.get(setting) for setting in example} == example


def test_names_of_the_cloud_in_the_example_are_to_be_looked_up() -> None:
    lines = (EXAMPLE / "group_vars" / "all.yml").read_text(encoding="utf-8").splitlines()
    named = [line for line in lines if re.match(r"fleet_\w*(flavor|image|zones|external_network):", line)]
    assert len(named) == 7
    assert [line for line in named if "# look up" not in line] == []
