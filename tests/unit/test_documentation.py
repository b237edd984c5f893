# SPDX-License-Identifier: Apache-2.0
"""The options of one server and of each of many are the same ones, documented alike; every filter is documented."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from ansible_collections.gpuswarm.ollama.plugins.doc_fragments.cloud import ModuleDocFragment as CloudFragment
from ansible_collections.gpuswarm.ollama.plugins.doc_fragments.server import ModuleDocFragment as ServerFragment
from ansible_collections.gpuswarm.ollama.plugins.filter import cost, fleet, recovery
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.arguments import cloud_arguments, server_arguments
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.servers import Spec


def _options(text: str) -> dict[str, Any]:
    return dict(yaml.safe_load(text)["options"])


ONE = _options(ServerFragment.DOCUMENTATION)
MANY = _options(ServerFragment.FLEET)["servers"]["suboptions"]


def test_one_and_many_are_documented_alike() -> None:
    many = {name: option for name, option in MANY.items() if name != "name"}
    assert json.loads(json.dumps(many).replace("O(servers[].", "O(")) == ONE


def test_every_argument_is_documented_and_known_to_the_specification() -> None:
    assert set(server_arguments()) == set(ONE)
    assert set(cloud_arguments()) == set(_options(CloudFragment.DOCUMENTATION))
    for name, argument in server_arguments().items():
        default = Spec("x").__dict__[name]
        given = argument.get("default")
        assert Spec.from_options({"name": "x", name: given}).__dict__[name] == default
        assert ONE[name].get("default") == given


def test_descriptions_are_text() -> None:
    for option in (*ONE.values(), *_options(CloudFragment.DOCUMENTATION).values()):
        lines = option["description"] if isinstance(option["description"], list) else [option["description"]]
        assert all(isinstance(line, str) for line in lines), lines


def test_every_filter_is_documented_in_the_file_of_its_name() -> None:
    files = {path.stem: path for path in (Path(__file__).resolve().parents[2] / "plugins" / "filter").glob("*.yml")}
    assert set(files) == {name for module in (cost, fleet, recovery) for name in module.FilterModule().filters()}
    for name, path in files.items():
        documented = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert list(documented) == ["DOCUMENTATION", "EXAMPLES", "RETURN"]
        assert documented["DOCUMENTATION"]["name"] == name
