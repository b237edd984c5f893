# Copyright: (c) 2026, gpuswarm contributors
# SPDX-License-Identifier: Apache-2.0
"""systemd's ExecCondition for the recovery: exit status 0 starts it, 1 means that there is nothing to do.

The argument is the path of the probe's configuration. What is printed goes to the journal. The collections lie beside
this file; Python is started without its site packages (-I -S), of which nothing is needed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "collections" / "current"))

from ansible_collections.gpuswarm.ollama.plugins.module_utils._runtime import probe


def main() -> int:
    """Run one cycle, and print what was found."""
    status, messages = probe.run(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    for line in messages:
        print(line)
    return status


sys.exit(main())
