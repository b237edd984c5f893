# SPDX-License-Identifier: Apache-2.0
"""What the roles do with their variables: idempotent, true in check mode, and clear about what is wrong."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.bed.bed import Play, run_plays
from tests.bed.conftest import REPLICAS, Cluster, States
from tests.kit.ansible import recap

KEY = "k" * 32
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "half": ({"gateway_tls_certificate": "x"}, "gateway_tls_certificate and gateway_tls_key belong together"),
    "name": ({"gateway_api_keys": [{"name": 'a"; b', "key": KEY}]}, "names in gateway_api_keys"),
    "none": ({"gateway_api_keys": [{"name": "a"}]}, "has either sha256 or key"),
    "digest": ({"gateway_api_keys": [{"name": "a", "sha256": "abc"}]}, "64 hexadecimal digits"),
    "weak": ({"gateway_api_keys": [{"name": "a", "key": "secret-word"}]}, "shorter than 20 characters"),
    "twice": (
        {"gateway_api_keys": [{"name": "a", "key": KEY}], "gateway_admin_keys": [{"name": "b", "key": KEY}]},
        "the same key stands twice",
    ),
    "rate": ({"gateway_rate_per_key": "fast"}, "are such as 5r/s"),
    "ports": ({"gateway_port": 443}, "are both 443"),
    "metrics": ({"gateway_metrics_port": 80}, "gateway_metrics_port is 80"),
    "models": ({"gateway_metrics_models": ["a b"]}, "must be a list of names of models"),
    "where": ({"gateway_placement_constraints": []}, "set gateway_update=roll"),
}


WRONG_SERVERS: dict[str, tuple[str, Any]] = {
    "url": ("ollama_models", ["http://10.0.0.1/library/mine"]),
    "words": ("ollama_models", ["two words"]),
    "endpoint": ("ollama_endpoints", [{"path": "api/tags"}]),
    "twice_there": ("ollama_models", ["tiny", "library/TINY:latest"]),
    "context": ("ollama_context_length", 0),
    "reserve": ("ollama_disk_reserve", "a lot"),
    "upstream": ("ollama_cache_upstream", "registry.ollama.ai"),
    "unit": ("ollama_cache_max_size", "30 GB"),
    "slice": ("ollama_cache_slice", "0"),
}


@dataclass(frozen=True)
class Refusals:
    """What one run said of hosts each of which has one wrong variable."""

    directory: Path
    said: str


@pytest.fixture(scope="module")
def refusals(tmp_path_factory: pytest.TempPathFactory) -> Refusals:
    directory = tmp_path_factory.mktemp("wrong")
    hosts: dict[str, dict[str, Any]] = {
        **{name: {"tried": "gateway", "tried_tasks": "files", **variables} for name, (variables, _) in WRONG.items()},
        **{
            name: {"tried": "ollama", "tried_tasks": "main", key: value} for name, (key, value) in WRONG_SERVERS.items()
        },
    }
    for name, variables in hosts.items():
        (own := directory / name).mkdir()
        variables.update(cluster_directory=str(own))
    # One play: where all hosts of a play have failed, Ansible begins no other.
    play = Play("{{ tried }}", hosts, tasks_from="{{ tried_tasks }}")
    return Refusals(directory, run_plays(directory, [play], check=False))


def test_every_wrong_variable_of_the_gateway_has_its_message(refusals: Refusals) -> None:
    for name, (_, message) in WRONG.items():
        assert message in refusal(refusals, name)
    assert KEY not in refusals.said
    assert "secret-word" not in refusals.said


def refusal(refusals: Refusals, host: str) -> str:
    """What was said of a host, which failed before anything was written."""
    assert recap(refusals.said)[host]["failed"] == 1
    assert not [path for path in (refusals.directory / host).rglob("*") if path.is_file()]
    [said] = re.findall(
        rf"^(?:fatal: )?\[{re.escape(host)}\]: FAILED.*?(?=^\S|\Z)", refusals.said, re.MULTILINE | re.DOTALL
    )
    return " ".join(said.split()).replace("''", "'")  # YAML doubles them


@pytest.mark.parametrize("host", WRONG_SERVERS)
def test_a_wrong_variable_of_the_servers_is_named(refusals: Refusals, host: str) -> None:
    variable, value = WRONG_SERVERS[host]
    said = refusal(refusals, host)
    assert f"{variable} is {value}" in said or (variable in said and f"{value}" in said), said


def test_the_volume_gets_its_driver_options(cluster: Cluster) -> None:
    compose = yaml.safe_load((cluster.directory / "nfs" / "stack" / "ollama" / "compose.yml").read_text())
    options = REPLICAS["nfs"]["ollama_volume_driver_opts"]
    assert compose["volumes"] == {"ollama_nfs": {"name": "ollama_nfs", "driver_opts": options}}
    assert compose["services"]["ollama"]["volumes"] == ["ollama_nfs:/root/.ollama"]
    assert "cache" not in compose["services"]


def files_of(directory: Path) -> dict[Path, bytes]:
    return {path.relative_to(directory): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_check_mode_then_a_run_then_nothing_more(states: States) -> None:
    assert files_of(states.directory / "in check mode") == {}
    assert states.changed("in check mode") > 0
    assert states.changed("again") == 0
    first = states.directory / "first"
    assert files_of(first)
    assert files_of(states.directory / "again") == files_of(first)

    compose = yaml.safe_load((first / "compose.yml").read_text())
    service = compose["services"]["gateway"]
    assert {item["target"] for item in service["secrets"]} == {
        "/gpuswarm/private/keys.conf", "/gpuswarm/private/tls.crt", "/gpuswarm/private/tls.key",
    }  # fmt: skip
    for item in (*service["secrets"], *service["configs"]):
        kind = compose["secrets"] if item in service["secrets"] else compose["configs"]
        assert Path(kind[item["source"]]["file"]).is_file()
    assert [item["type"] for item in service["volumes"]] == ["tmpfs", "tmpfs", "volume"], (
        "nothing of the manager's own file system"
    )


def test_a_key_that_changes_is_another_secret_and_nothing_else_is_but_the_version(states: States) -> None:
    def secrets(state: str) -> dict[str, str]:
        compose = yaml.safe_load((states.directory / state / "compose.yml").read_text())
        return {name: item["name"] for name, item in compose["secrets"].items()}

    before, after = secrets("first"), secrets("other key")
    assert {name for name in after if after[name] != before[name]} == {"gateway_api_keys"}
