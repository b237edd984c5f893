"""The three packages of plugins/module_utils use each other in one direction, and every class has a name of its own."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "ansible_collections.gpuswarm.ollama.plugins.module_utils"

# Each may use itself and what stands before it.
ORDER = ("_core", "_clients", "_runtime")

# All that _core may import besides itself. Time zones are data, though Python reads them from files.
PURE = frozenset(
    {
        "__future__",
        "collections",
        "dataclasses",
        "datetime",
        "decimal",
        "difflib",
        "enum",
        "ipaddress",
        "itertools",
        "json",
        "re",
        "typing",
        "zoneinfo",
    }
)
PURE_PARTS = frozenset({"pathlib.PurePath", "pathlib.PurePosixPath"})
CLOCKS = frozenset({"now", "utcnow", "today"})  # of datetime and date
OUTSIDE = frozenset({"open", "input", "print", "exec", "eval", "__import__"})

# What only _clients may use to reach others.
NETWORK = frozenset({"asyncio", "docker", "http", "keystoneauth1", "openstack", "requests", "socket", "ssl", "urllib"})

# Classes whose names Ansible prescribes.
PRESCRIBED = frozenset({"FilterModule", "InventoryModule", "LookupModule", "ModuleDocFragment"})


def sources() -> dict[str, str]:
    """Text of every module, by its name below module_utils."""
    folder = ROOT / "plugins" / "module_utils"
    return {
        ".".join(path.relative_to(folder).with_suffix("").parts): path.read_text(encoding="utf-8")
        for path in sorted(folder.rglob("*.py"))
    }


def imported(name: str, tree: ast.AST) -> Iterator[str]:
    """Full dotted name of everything that a module imports, wherever in it that stands."""
    home = f"{PACKAGE}.{name}".split(".")
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(home[: -node.level]) if node.level else ""
            origin = ".".join(part for part in (base, node.module) if part)
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def own(name: str, modules: Mapping[str, str]) -> str | None:
    """The module of ours that an imported name is or belongs to; None for what comes from elsewhere."""
    if not name.startswith(f"{PACKAGE}."):
        return None
    inner = name.removeprefix(f"{PACKAGE}.")
    return inner if inner in modules else inner.rpartition(".")[0] or inner


def impure(name: str, tree: ast.AST) -> list[str]:
    """What a module of _core does that only others may."""
    found = [
        f"{name} imports {wanted}, but _core must be pure"
        for wanted in imported(name, tree)
        if not wanted.startswith(f"{PACKAGE}.") and wanted.partition(".")[0] not in PURE and wanted not in PURE_PARTS
    ]
    clocks = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
        if alias.name in ("datetime", "date")
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in CLOCKS:
            owner = ast.unparse(node.value)
            if owner.partition(".")[0] in clocks:
                found.append(f"{name} reads the clock ({owner}.{node.attr}), but the time must be an argument")
        elif isinstance(node, ast.Name) and node.id in OUTSIDE:
            found.append(f"{name} uses {node.id}(), but _core must be pure")
    return found


def circle(graph: Mapping[str, Sequence[str]]) -> list[str]:
    """Modules that import each other in a circle; empty when there is none."""
    done: set[str] = set()

    def walk(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return []
        for other in graph.get(name, ()):
            found = walk(other, [*path, name])
            if found:
                return found
        done.add(name)
        return []

    return next((found for name in graph if (found := walk(name, []))), [])


def faults(modules: Mapping[str, str]) -> list[str]:
    """Everything that is wrong with how modules use each other, one sentence each."""
    found = []
    graph: dict[str, list[str]] = {}
    for name, text in modules.items():
        tree, room = ast.parse(text), name.partition(".")[0]
        if room not in ORDER:
            found.append(f"{name} must be in one of {', '.join(ORDER)}")
            continue
        everything = list(imported(name, tree))
        uses = {module for wanted in everything if (module := own(wanted, modules))} - {name}
        graph[name] = sorted(uses)
        allowed = ORDER[: ORDER.index(room) + 1]
        found += [
            f"{name} imports {other}, but {room} may not" for other in graph[name] if other.split(".")[0] not in allowed
        ]
        if room == "_core":
            found += impure(name, tree)
        if room == "_runtime":
            found += [
                f"{name} imports {wanted}, but only _clients talk to others"
                for wanted in everything
                if wanted.partition(".")[0] in NETWORK
            ]
    around = circle(graph)
    return [*found, f"a circle: {' -> '.join(around)}"] if around else found


def test_packages_use_each_other_in_one_direction() -> None:
    assert faults(sources()) == []


def test_all_of_it_is_looked_at() -> None:
    modules = sources()
    assert {name.partition(".")[0] for name in modules} == set(ORDER)
    runtime = {own(name, modules) for name in imported("_runtime.probe", ast.parse(modules["_runtime.probe"]))}
    assert {"_core.recovery", "_core.diagnosis", "_clients.http", "_runtime.observe"} <= runtime


@pytest.mark.parametrize(
    ("module", "text", "expected"),
    [
        ("_core.a", "import os", "_core.a imports os, but _core must be pure"),
        ("_core.a", "import os.path as p", "_core.a imports os.path"),
        ("_core.a", "from time import time", "_core.a imports time.time"),
        ("_core.a", "import socket, subprocess", "_core.a imports subprocess"),
        ("_core.a", "def f():\n    import requests", "_core.a imports requests"),
        ("_core.a", "from openstack import connection", "_core.a imports openstack.connection"),
        ("_core.a", "import docker", "_core.a imports docker"),
        ("_core.a", "import random", "_core.a imports random"),
        ("_core.a", "from pathlib import Path, PurePosixPath", "_core.a imports pathlib.Path,"),
        ("_core.a", "from ansible.module_utils.basic import AnsibleModule", "_core.a imports ansible.module_utils"),
        ("_core.a", "from datetime import datetime as dt\nx = dt.now()", "_core.a reads the clock (dt.now)"),
        ("_core.a", "import datetime\nx = datetime.date.today", "_core.a reads the clock (datetime.date.today)"),
        ("_core.a", "open('x')", "_core.a uses open()"),
        ("_core.a", f"from {PACKAGE}._clients import http", "_core.a imports _clients.http, but _core may not"),
        ("_core.a", f"from {PACKAGE}._clients.http import get", "_core.a imports _clients.http, but _core may not"),
        ("_core.a", f"import {PACKAGE}._runtime.probe", "_core.a imports _runtime.probe, but _core may not"),
        ("_core.a", "from .._clients.http import get", "_core.a imports _clients.http, but _core may not"),
        ("_core.a", "from .._clients import http", "_core.a imports _clients.http, but _core may not"),
        ("_core.a", "def f():\n    from .._runtime import probe", "_core.a imports _runtime.probe, but _core may not"),
        ("_core.a", "from . import b", "a circle: _core.b -> _core.a -> _core.b"),
        (
            "_clients.http",
            "import os\nfrom .._runtime import probe",
            "_clients.http imports _runtime.probe, but _clients",
        ),
        ("_runtime.probe", "import socket", "_runtime.probe imports socket, but only _clients talk to others"),
        ("stray", "", "stray must be in one of"),
    ],
)
def test_what_is_wrong_is_found(module: str, text: str, expected: str) -> None:
    good = {"_core.b": "from .a import x", "_core.a": "", "_clients.http": "import os", "_runtime.probe": "import time"}
    assert faults(good) == []
    assert any(sentence.startswith(expected) for sentence in faults({**good, module: text}))


def test_what_is_right_is_not_complained_about() -> None:
    good = "from datetime import UTC, datetime\nfrom pathlib import PurePosixPath\nx = datetime.fromtimestamp(0, UTC)"
    modules = {
        "_core.a": f"{good}\n\ndef f(seen):\n    return seen.now",
        "_clients.http": f"import socket\nfrom {PACKAGE}._core import a\nfrom {PACKAGE}._core.a import f",
        "_runtime.probe": f"import time\nfrom {PACKAGE}._clients import http\nfrom . import lock",
        "_runtime.lock": f"from {PACKAGE}._core.a import f",
    }
    assert faults(modules) == []


def repeated(texts: Mapping[str, str]) -> dict[str, list[str]]:
    """Names that several classes have, with the files."""
    found: dict[str, list[str]] = {}
    for file, text in texts.items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ClassDef) and node.name not in PRESCRIBED:
                found.setdefault(node.name, []).append(file)
    return {name: files for name, files in found.items() if len(files) > 1}


@pytest.mark.parametrize("folder", ["plugins", "lab", "demo"])
def test_every_class_has_a_name_of_its_own(folder: str) -> None:
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    assert repeated({str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in files}) == {}


def test_a_name_that_is_used_twice_is_found() -> None:
    texts = {
        "a": "class One: ...\nclass FilterModule: ...",
        "b": "def f():\n    class One: ...\nclass FilterModule: ...",
    }
    assert repeated(texts) == {"One": ["a", "b"]}
