# SPDX-License-Identifier: Apache-2.0
"""Names of the lab's cluster, as ``inventory/lab`` sets them: none of them is the product's default."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from tests.kit.paths import ROOT

VARIABLES: dict[str, Any] = yaml.safe_load((ROOT / "inventory/lab/group_vars/all.yml").read_text(encoding="utf-8"))

STACK: str = VARIABLES["cluster_stack"]
OLLAMA, GATEWAY = f"{STACK}_ollama", f"{STACK}_gateway"
USER: str = VARIABLES["ansible_user"]
LABELS: dict[str, str] = VARIABLES["cluster_labels"]

# On the manager: software, configuration, state.
SOFTWARE = Path(VARIABLES["cluster_directory"])
CONFIGURATION = Path(VARIABLES["cluster_configuration_directory"])
STATE = Path(VARIABLES["cluster_state_directory"])
JOURNAL = STATE / "journal.jsonl"
PYTHON = SOFTWARE / "venv" / "bin" / "python"
PROBE_SETTINGS = CONFIGURATION / "probe.json"
MAINTENANCE = CONFIGURATION / "maintenance"
