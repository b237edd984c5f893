"""The rules that the role cost writes: in the contract of services, on metrics that the code exports.

Without ``promtool`` nobody evaluates them here; the grammar is seen to as far as their selectors and operators go.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from ansible_collections.gpuswarm.ollama.plugins.module_utils._core import cost, services
from tests.kit.paths import ROOT
from tests.kit.roles import load

ROLE = ROOT / "roles" / "cost"
METRIC = re.compile(r"\bgpuswarm_[a-z_]+\b")


def rules() -> dict[str, Any]:
    """The rules, as Ansible writes them."""
    text = (ROLE / "vars" / "main.yml").read_text(encoding="utf-8")
    templar = Templar(loader=DataLoader(), variables=load(ROLE / "defaults" / "main.yml"))

    def filled(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: filled(item) for key, item in value.items()}
        if isinstance(value, list):
            return [filled(item) for item in value]
        return templar.template(trust_as_template(value)) if isinstance(value, str) else value

    found: dict[str, Any] = filled(yaml.safe_load(text)["__cost_alerts"])
    return found


RULES = rules()
ALERTS = {rule["alert"]: rule for group in RULES["groups"] for rule in group["rules"]}


def test_they_keep_the_contract_of_services() -> None:
    found = services.service("cost", {services.RULES: json.dumps(RULES)})
    assert len(found.rules) == 1
    assert "GpuswarmBalanceLow" in ALERTS


@pytest.mark.parametrize("alert", ALERTS)
def test_every_metric_is_exported(alert: str) -> None:
    exported = {name for name, _text in cost.METRICS}
    rule = ALERTS[alert]
    texts = [rule["expr"], *rule["annotations"].values()]
    named = {name for text in texts for name in METRIC.findall(text)}
    assert named
    assert named <= exported


def test_the_thresholds_are_the_variables() -> None:
    assert ALERTS["GpuswarmBalanceLow"]["expr"].endswith("< 7")
    assert ALERTS["GpuswarmBalanceOld"]["expr"].endswith(f"> {7 * 86400}")


NOW = 1_800_000_000


@pytest.mark.parametrize(
    ("alert", "metrics", "fires"),
    [
        ("GpuswarmBalanceLow", {"balance_days": 7.1, "timestamp_seconds": NOW}, False),
        ("GpuswarmBalanceLow", {"balance_days": 6.9, "timestamp_seconds": NOW}, True),
        # Computed half a day ago
        ("GpuswarmBalanceLow", {"balance_days": 7.1, "timestamp_seconds": NOW - 43200}, True),
        ("GpuswarmBalanceLow", {"balance_days": 0, "timestamp_seconds": NOW}, True),
        ("GpuswarmBalanceOld", {"balance_timestamp_seconds": NOW - 6 * 86400}, False),
        ("GpuswarmBalanceOld", {"balance_timestamp_seconds": NOW - 8 * 86400}, True),
        ("GpuswarmCostUnpriced", {"unpriced_hours": 0}, False),
        ("GpuswarmCostUnpriced", {"unpriced_hours": 1}, True),
        ("GpuswarmCostStale", {"timestamp_seconds": NOW - 3600}, False),
        ("GpuswarmCostStale", {"timestamp_seconds": NOW - 9000}, True),
    ],
)
def test_when_they_fire(alert: str, metrics: dict[str, float], fires: bool) -> None:
    """Python counts these expressions as Prometheus does, with one series each."""
    names: dict[str, Any] = {f"gpuswarm_cost_{name}": value for name, value in metrics.items()}
    assert eval(ALERTS[alert]["expr"], {"time": lambda: NOW, **names}) == fires  # noqa: S307


@pytest.mark.parametrize("alert", ALERTS)
def test_parts_are_closed(alert: str) -> None:
    rule = ALERTS[alert]
    assert rule["expr"].count("(") == rule["expr"].count(")")
    for text in rule["annotations"].values():
        assert text.count("{{") == text.count("}}")
        assert len(re.findall(r"\{\{ (?:with|range|if)\b", text)) == text.count("{{ end }}")


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed")
def test_prometheus_reads_them(tmp_path: Path) -> None:
    file = tmp_path / "rules.json"
    file.write_text(json.dumps(RULES), encoding="utf-8")
    subprocess.run(["promtool", "check", "rules", "--lint-fatal", str(file)], check=True, timeout=30)
