# SPDX-License-Identifier: Apache-2.0
"""What capacity policies and the timing give and cost in a month of preemptions, without a cloud.

Run by ``make simulate``: writes build/simulation.json and build/simulation.md, and fills in the tables of
docs/benchmarks.md if the traces are those of the repository.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path

from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.prices import PriceError
from tests.bench.simulate import report
from tests.bench.simulate.generate import SYNTHETIC
from tests.bench.simulate.month import EXAMPLE, Inventory, Outcome, inventory, simulate
from tests.bench.simulate.policies import CAPACITY, TIMING, Policy
from tests.bench.simulate.trace import TRACES, Trace, TraceError, read
from tests.bench.simulate.world import Timings
from tests.kit.paths import BUILD, ROOT

RESULT = BUILD / "simulation.json"
TIMED = "shortages"  # the trace of the repository on which the timing is compared


def jobs(traces: Sequence[Trace], timed: Sequence[str]) -> list[tuple[Trace, Policy]]:
    """What is simulated."""
    both = [(trace, policy) for trace in traces for policy in CAPACITY]
    return both + [(trace, policy) for trace in traces if trace.name in timed for policy in TIMING]


def outcomes(work: Sequence[tuple[Trace, Policy]], found: Inventory, workers: int) -> list[Outcome]:
    """All of them, side by side."""
    if workers == 1:
        return [simulate(trace, policy, found) for trace, policy in work]
    with ProcessPoolExecutor(workers) as pool:
        futures = [pool.submit(simulate, trace, policy, found) for trace, policy in work]
        for done in as_completed(futures):
            print(f"simulated: {done.result().trace}, {done.result().policy}", file=sys.stderr, flush=True)
        return [future.result() for future in futures]


def main() -> int:
    """Simulate, print, write."""
    parser = argparse.ArgumentParser(prog="simulate", description="Capacity policies in a month of preemptions.")
    parser.add_argument(
        "--trace",
        type=Path,
        action="append",
        help="a directory of spot-traces or spothedge_ae with one JSON file for each zone, or a file as in "
        "tests/bench/simulate/traces; can be given several times; without it, those of the repository",
    )
    parser.add_argument("--inventory", type=Path, default=EXAMPLE, help="file with cost_prices and flavors")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes")
    arguments = parser.parse_args()
    began = time.monotonic()
    try:
        paths = arguments.trace or [TRACES / f"{name}.json" for name in SYNTHETIC]
        traces = [read(path) for path in paths]
        found = inventory(arguments.inventory)
    except (TraceError, PriceError, OSError, KeyError) as error:
        parser.error(str(error))
    timed = [trace.name for trace in traces] if arguments.trace else [TIMED]
    results = outcomes(jobs(traces, timed), found, arguments.workers)
    tables = report.tables(results, [trace.name for trace in traces], timed)
    text = "\n\n".join(f"## {name}\n\n{rows}" for name, rows in tables.items())
    best = report.recommended(results)
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    data = {
        "seconds": round(time.monotonic() - began, 1),
        "timings": asdict(Timings()),
        "recommended": best,
        "outcomes": [outcome.as_dict() for outcome in results],
    }
    RESULT.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
    RESULT.with_suffix(".md").write_text(text + "\n", encoding="utf-8")
    print(text)
    print(f"\ncheapest with at least one healthy Ollama {report.ENOUGH} % of the time on every trace: {best}")
    print(f"written to {RESULT.relative_to(ROOT)}")
    if not arguments.trace and arguments.inventory == EXAMPLE:
        page = report.PAGE.read_text(encoding="utf-8")
        report.PAGE.write_text(report.filled(page, tables), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
