"""Ansible runs the role cost with an account's billing, which a server answers for as Selectel publishes it."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.ledger import Line
from tests.kit import ansible
from tests.kit.https_server import certificate, https_server
from tests.kit.prices import PRICES, WHAT

TOKEN = "secret-token_12345"
# The month before this one, which is over everywhere.
MONTH = (datetime.now(UTC).replace(day=1) - timedelta(days=5)).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
BEGAN = int((MONTH - timedelta(days=40)).timestamp())
GONE = int((MONTH + timedelta(days=1)).timestamp())
LEDGER = [Line("server", "a", "g", BEGAN, BEGAN, WHAT), Line("server", "a", "g", GONE, GONE, None)]
ANSWERS: dict[str, list[tuple[int, Any]]] = {
    "/v3/balances": [
        (200, {"data": {"settings": {"currency": "rub"}, "billings": [{"billing_type": "vpc", "final_sum": 5000}]}})
    ],
    "/v1/cloud_billing/statistic/consumption": [
        (200, {"status": "success", "data": [{"value": 72000, "project": {"id": "p"}, "object": {"id": "a"}}]})
    ],
}


def role(entry: str, **variables: Any) -> dict[str, Any]:
    return {
        "ansible.builtin.import_role": {"name": "gpuswarm.ollama.cost", "tasks_from": entry},
        "vars": variables,
        "ignore_errors": True,
    }


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, dict[str, list[dict[str, Any]]]]:
    """The directory, all that Ansible said, and what each task has done, in order."""
    directory = tmp_path_factory.mktemp("manager")
    ledger = directory / "state" / "ledger.jsonl"
    ledger.parent.mkdir()
    ledger.write_text("".join(line.dump(0) + "\n" for line in LEDGER), encoding="utf-8")
    config = {"ledger": str(ledger), "journal": str(directory / "none"), "specs": []}
    (directory / "probe.json").write_text(json.dumps(config), encoding="utf-8")
    (directory / "report.csv").write_text("object,total\na,800.00\n", encoding="utf-8")
    with https_server(pem := certificate(directory), ANSWERS) as server:
        report = {
            "cost_verify_report": str(directory / "report.csv"),
            "cost_verify_columns": {"id": "object", "amount": "total"},
            "cost_verify_currency": "RUB",
        }
        month = {"cost_month": f"{MONTH:%Y-%m}"}
        verified = [role("verify", **month), role("verify", **month, **report)]
        tasks = [role("main"), role("balance"), *verified, role("bill")]
        (directory / "play.yml").write_text(
            json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]), encoding="utf-8"
        )
        done = ansible.playbook(
            directory / "play.yml",
            "-vvv",
            inventory="localhost,",
            variables={
                "ansible_connection": "local",
                "ansible_python_interpreter": sys.executable,
                "cluster_directory": str(directory / "opt"),
                "cluster_configuration_directory": str(directory),
                "cluster_state_directory": str(directory / "state"),
                "cost_prices": [PRICES],
                "cost_output": "json",
                "cost_api_url": server.url,
                "cost_api_ca_file": str(pem),
                "cost_verify_timezone": "UTC",
            },
            env={"ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json", "SELECTEL_TOKEN": TOKEN},
            limit_s=300,
        )
        assert [headers["X-Token"] for _path, headers in server.asked] == [TOKEN] * 3
    (play,) = json.loads(done.stdout[done.stdout.index("\n{") :])["plays"]
    found: dict[str, list[dict[str, Any]]] = {}
    for task in play["tasks"]:
        found.setdefault(task["task"]["name"].rpartition(" : ")[2], []).append(task["hosts"]["localhost"])
    return directory, done.output, found


Run = tuple[Path, str, dict[str, list[dict[str, Any]]]]


def test_the_token_is_nowhere(run: Run) -> None:
    directory, output, _tasks = run
    assert "Read what the account was billed" in output, "the module's task must be in it"
    assert TOKEN not in output
    assert not [path for path in directory.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]


def test_the_manager_gets_the_balance_and_the_alerts(run: Run) -> None:
    directory, _output, _tasks = run
    balance = directory / "state" / "balance.json"
    assert json.loads(balance.read_text()) == {
        "amount": "50.00", "currency": "RUB", "read_at": "2026-11-15T08:12:31Z",
    }  # fmt: skip
    assert balance.stat().st_mode & 0o777 == 0o600
    rules = json.loads((directory / "opt" / "stack" / "cost" / "rules.json").read_text())
    assert rules["groups"][0]["name"] == "gpuswarm-cost"


def test_the_bill_knows_the_balance(run: Run) -> None:
    (bill,) = run[2]["Print the bill"]
    assert bill["msg"]["balance"]["amount"] == "50.00"


def test_the_ledger_is_compared_with_the_api_and_with_a_report(run: Run) -> None:
    api, report = (one["msg"] for one in run[2]["Print the comparison"])
    assert (api["agrees"], api["here"], api["there"]) == (True, "720.00", "720.00")
    assert (report["agrees"], report["here"], report["there"]) == (False, "720.00", "800.00")
    agreed, differed = run[2]["Require that both agree"]
    assert not agreed.get("failed")
    assert differed["failed"]
    assert differed["msg"].startswith("1 of 1 objects differ by more than cost_verify_tolerance")
