# SPDX-License-Identifier: Apache-2.0
"""What the role does with its variables: idempotent, true in check mode, and clear about what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from ansible_collections.gpuswarm.ollama.tests.integration.gateway.bed import write_roles

KEY = "k" * 32
TLS = {"gateway_tls_names": ["192.0.2.1", "gateway.example"]}
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
    "models": ({"gateway_metrics_models": ["a b"]}, "a list of names of models is wanted"),
    "where": ({"gateway_placement_constraints": []}, "set gateway_update=roll"),
}


def test_every_wrong_variable_has_its_message(tmp_path: Path) -> None:
    said = write_roles(tmp_path, {name: variables for name, (variables, _) in WRONG.items()}, check=False)
    for name, (_, message) in WRONG.items():
        assert f"fatal: [{name}]" in said
        assert message in " ".join(said.split()), name
        assert not (tmp_path / name / "gateway" / "nginx.conf").exists(), "nothing was written"
    assert KEY not in said
    assert "secret-word" not in said


def test_check_mode_then_a_run_then_nothing_more(tmp_path: Path) -> None:
    variants = {"one": {**TLS, "gateway_update": "roll", "gateway_api_keys": [{"name": "a", "key": KEY}]}}
    assert "failed=0" in write_roles(tmp_path, variants, "--check")
    assert [path for path in (tmp_path / "one").rglob("*") if path.is_file()] == []
    write_roles(tmp_path, variants)
    files = {path: path.read_bytes() for path in (tmp_path / "one").rglob("*") if path.is_file()}
    assert "changed=0" in write_roles(tmp_path, variants)
    assert {path: path.read_bytes() for path in (tmp_path / "one").rglob("*") if path.is_file()} == files

    compose = yaml.safe_load((tmp_path / "one" / "gateway" / "compose.yml").read_text())
    service = compose["services"]["gateway"]
    assert {item["target"] for item in service["secrets"]} == {
        "/gpuswarm/private/keys.conf", "/gpuswarm/private/tls.crt", "/gpuswarm/private/tls.key",
    }  # fmt: skip
    for item in (*service["secrets"], *service["configs"]):
        kind = compose["secrets"] if item in service["secrets"] else compose["configs"]
        assert Path(kind[item["source"]]["file"]).is_file()
    assert [item["type"] for item in service["volumes"]] == ["volume"], "nothing of the manager's own file system"

    # A key that changes is another secret, and nothing else changes but the version.
    before = {name: item["name"] for name, item in compose["secrets"].items()}
    variants["one"]["gateway_api_keys"] = [{"name": "a", "key": KEY + "2"}]
    write_roles(tmp_path, variants)
    compose = yaml.safe_load((tmp_path / "one" / "gateway" / "compose.yml").read_text())
    after = {name: item["name"] for name, item in compose["secrets"].items()}
    assert {name for name in after if after[name] != before[name]} == {"gateway_api_keys"}
