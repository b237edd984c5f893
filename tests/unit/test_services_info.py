"""The module services_info on real files."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.gpuswarm.ollama.plugins.modules import services_info

ROUTES = {"routes": [{"prefix": "/chat/", "port": 9004}], "serves": ["tiny"], "ready": {"path": "/x", "port": 9004}}
FILES: dict[str, Any] = {
    "chat/routes.json": ROUTES,
    "chat/targets.json": [{"port": 9004}],
    "chat/rules.json": {"groups": [{"name": "a", "rules": [{"record": "a:b", "expr": "1"}]}]},
    "chat/dashboards/b.json": {"uid": "b", "title": "B", "panels": [{}]},
    "chat/dashboards/a.json": {"uid": "a", "title": "A", "panels": [{}]},
    "chat/dashboards/notes.txt": "not one",
    "off/routes.json": {"routes": [{"prefix": "/off/", "port": 1}]},
}


def run(directory: Path, *services: str) -> dict[str, Any]:
    printed = io.StringIO()
    arguments = {"directory": str(directory), "services": list(services)}
    with patch_module_args(arguments), redirect_stdout(printed), pytest.raises(SystemExit):
        services_info.main()
    result: dict[str, Any] = json.loads(printed.getvalue())
    return result


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    for name, data in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(json.dumps(data), encoding="utf-8")
    return tmp_path


def test_what_registered_services_plug_in_with(stack: Path) -> None:
    found = run(stack, "chat", "quiet")
    assert found["changed"] is False
    assert [(route["upstream"], route["prefix"]) for route in found["routes"]] == [("chat_9004", "/chat/")]
    assert found["ready"] == {"upstream": "chat_9004", "path": "/x"}
    assert found["serves"] == ["tiny"]
    assert [target["path"] for target in found["targets"]] == ["/metrics"]
    assert found["rules"] == {"chat": f"{stack}/chat/rules.json"}
    assert found["dashboards"] == [f"{stack}/chat/dashboards/{name}.json" for name in "ab"]


def test_nothing_is_registered(stack: Path) -> None:
    found = run(stack)
    found.pop("invocation", None)  # what ansible-core before 2.21 adds
    assert found == {
        "changed": False, "routes": [], "ready": {}, "serves": [], "targets": [], "rules": {}, "dashboards": [],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("chat/routes.json", b"{}", "chat/routes.json: file.routes is missing"),
        ("chat/targets.json", b"\xff", "must be readable text"),
        ("chat/dashboards/a.json", b'{"uid": "b"}', "chat/dashboards/a.json: dashboard.title is missing"),
        ("off/routes.json", json.dumps(ROUTES).encode(), "overlap"),
    ],
)
def test_an_error_names_the_file(stack: Path, name: str, content: bytes, words: str) -> None:
    (stack / name).write_bytes(content)
    failed = run(stack, "chat", "off")
    assert failed["failed"]
    assert words in failed["msg"]
