# Copyright: (c) 2026, gpuswarm contributors
# SPDX-License-Identifier: Apache-2.0
"""systemd's ExecCondition for the recovery: exit status 0 starts it, 1 means that there is nothing to do.

The argument is the path of the probe's configuration. What is printed goes to the journal.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path

from ansible_collections.gpuswarm.ollama.plugins.module_utils import probe

LOOK_CLOSER = 0
NOTHING_TO_DO = 1


def main() -> int:
    """Look once, say what was found."""
    try:
        reasons = probe.look(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), datetime.now(UTC))
    except probe.NoTokenError as error:
        print(f"looking closer: {error}")
        return LOOK_CLOSER
    except probe.SilentError as error:
        print(f"nothing is done: {error}")
        return NOTHING_TO_DO
    for reason in reasons:
        print(reason)
    return LOOK_CLOSER if reasons else NOTHING_TO_DO


sys.exit(main())
