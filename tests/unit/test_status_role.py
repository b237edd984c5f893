"""The role status prints what the month has cost, from the files that the manager has: Ansible itself runs it."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.ledger import Line
from tests.kit import ansible
from tests.kit.prices import PRICES, WHAT


def printed(directory: Path, *runs: tuple[Path, str]) -> list[Any]:
    """What the role prints, for each of the directories and outputs."""
    role = {"ansible.builtin.import_role": {"name": "gpuswarm.ollama.status"}}
    plays = [
        {
            "hosts": "localhost",
            "gather_facts": False,
            "vars": {"cluster_configuration_directory": str(files), "status_output": output},
            "tasks": [role],
        }
        for files, output in runs
    ]
    book = directory / "plays.yml"
    book.write_text(json.dumps(plays), encoding="utf-8")
    done = ansible.playbook(
        book,
        inventory="localhost,",
        variables={
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "recovery_verdicts": [],
            "recovery_journal_text": "",
            "recovery_unknown": "",
        },
        env={"ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json"},
        limit_s=180,
    )
    return [play["tasks"][-1]["hosts"]["localhost"]["msg"] for play in json.loads(done.stdout)["plays"]]


def manager(directory: Path, prices: dict[str, Any] | None) -> Path:
    """A directory with a manager's files; the server runs since an hour ago."""
    directory.mkdir()
    since = int(time.time()) - 3600
    ledger, cost = directory / "ledger.jsonl", directory / "cost.json"
    ledger.write_text(Line("server", "id", "g", since, since, WHAT).dump(0) + "\n", encoding="utf-8")
    if prices:
        cost.write_text(json.dumps({"prices": [prices], "rules": "selectel", "balance": {}}), encoding="utf-8")
    config = {"ledger": str(ledger), "cost": str(cost), "specs": []}
    (directory / "probe.json").write_text(json.dumps(config), encoding="utf-8")
    return directory


def test_the_cost_is_in_both_outputs(tmp_path: Path) -> None:
    (tmp_path / "bare").mkdir()
    lines, unpriced, bare = printed(
        tmp_path,
        (manager(tmp_path / "whole", PRICES), "table"),
        (manager(tmp_path / "unpriced", None), "json"),
        (tmp_path / "bare", "json"),
    )
    assert any(line.startswith("cost this month") and "30.00 RUB an hour" in line for line in lines)
    assert any(line.startswith("  saved beside the same hours on demand: ") and "(70.0 %)" in line for line in lines)
    assert unpriced["cost"]["paid"] == {"amounts": {}, "complete": False, "unknown": ["GL10 preemptible in z"]}
    assert bare["cost"] is None
