# Copyright: (c) 2026, gpuswarm contributors
# SPDX-License-Identifier: Apache-2.0
"""How the fleet is and what it costs, as the recovery loop sees it: a table, or JSON with -o json. Changes nothing.

Exit status 0 when every server is as it should be, 1 when one is not or knowledge is partial.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "collections" / "current"))

from ansible_collections.gpuswarm.ollama.plugins.module_utils._core import journal, recovery, status
from ansible_collections.gpuswarm.ollama.plugins.module_utils._runtime import (
    journal_file,
    ledger_keeper,
    observe,
    probe,
)


def main() -> int:
    """Observe, and print."""
    parser = argparse.ArgumentParser(prog="gpuswarm-status", description="How the fleet is.")
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table")
    parser.add_argument("--configuration", type=Path, required=True, help="the probe's configuration")
    arguments = parser.parse_args()
    try:
        config = json.loads(arguments.configuration.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        parser.error(f"{arguments.configuration} cannot be read: {error}. Run it as root; site.yml writes the file")
    snapshot = observe.observe(config, time.time())
    text = journal_file.read(str(config["journal"]))
    verdicts = recovery.assess(
        config["specs"],
        snapshot.observation(time.time()),
        recovery.RecoverySettings.from_mapping(config["settings"]),
        journal.parse(text),
    )
    timer = subprocess.run(
        ["/usr/bin/systemctl", "is-active", "gpuswarm-recover.timer"],
        capture_output=True,
        text=True,
        check=False,
        timeout=10,
    ).stdout.strip()
    loop = status.loop_state(timer, probe.maintenance(config))
    bill, bill_lines = ledger_keeper.status(config, int(time.time()))
    data = status.report([verdict.as_dict() for verdict in verdicts], text, loop, "; ".join(snapshot.errors), bill)
    lines = status.table(data, time.time()) + bill_lines
    print(json.dumps(data, indent=2) if arguments.output == "json" else "\n".join(lines))
    return 0 if data["as_desired"] else 1


sys.exit(main())
