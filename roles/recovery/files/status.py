# Copyright: (c) 2026, gpuswarm contributors
# SPDX-License-Identifier: Apache-2.0
"""How the fleet is, as the recovery loop sees it: a table, or JSON with -o json. Looks once, changes nothing.

Exit status 0 when every server is as it is wanted to be, 1 when one is not or knowledge is partial.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "collections" / "current"))

from ansible_collections.gpuswarm.ollama.plugins.module_utils import journal, probe, recovery, status


def main() -> int:
    """Look, and print."""
    parser = argparse.ArgumentParser(prog="gpuswarm-status", description="How the fleet is.")
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table")
    parser.add_argument("--configuration", type=Path, required=True, help="the probe's configuration")
    arguments = parser.parse_args()
    try:
        config = json.loads(arguments.configuration.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        parser.error(f"{arguments.configuration} cannot be read: {error}. Run it as root; site.yml writes the file")
    sight = probe.look(config, time.time())
    text = journal.read(str(config["journal"]))
    verdicts = recovery.assess(
        config["specs"],
        sight.seen(time.time()),
        recovery.Settings.from_mapping(config["settings"]),
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
    told = status.report([verdict.as_dict() for verdict in verdicts], text, loop, "; ".join(sight.told))
    print(json.dumps(told, indent=2) if arguments.output == "json" else "\n".join(status.table(told, time.time())))
    return 0 if told["well"] else 1


sys.exit(main())
