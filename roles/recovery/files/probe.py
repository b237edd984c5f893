# Copyright: (c) 2026, gpuswarm contributors
# SPDX-License-Identifier: Apache-2.0
"""systemd's ExecCondition for the recovery: exit status 0 starts it, 1 means that there is nothing to do.

A probe that crashes sees no loss any more. Its exit status is 255 then, by which systemd takes the unit for failed and
raises the alert, every five minutes as long as it goes on; in between it is 1.

The argument is the path of the probe's configuration. What is printed goes to the journal. The collections lie beside
this file; Python is started without its site packages (-I -S), of which nothing is needed.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "collections" / "current"))

NOTHING_TO_DO = 1
CRASHED = 255
ALERT_PAUSE = 300.0  # seconds


def main() -> int:
    """Run one cycle, and print what was found."""
    alerted = Path(os.environ.get("RUNTIME_DIRECTORY", "/run/gpuswarm")) / "probe-crashed"
    try:
        # Here, as collections of another version may lack something.
        from ansible_collections.gpuswarm.ollama.plugins.module_utils._runtime import probe  # noqa: PLC0415

        status, messages = probe.run(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    except Exception as error:  # noqa: BLE001 (whatever it is, it must not pass for "nothing to do")
        import traceback  # noqa: PLC0415 (not in every cycle)

        traceback.print_exc()
        print(f"the recovery loop does not see anything until this is mended: {type(error).__name__}: {error}")
        return NOTHING_TO_DO if _alerted_lately(alerted) else CRASHED
    alerted.unlink(missing_ok=True)
    for line in messages:
        print(line)
    return status


def _alerted_lately(file: Path) -> bool:
    """Whether this crash has raised the alert not long ago; if not, it is noted that it does now."""
    with contextlib.suppress(OSError):
        if 0 <= time.time() - file.stat().st_mtime < ALERT_PAUSE:
            return True
    with contextlib.suppress(OSError):
        file.touch()
    return False


sys.exit(main())
