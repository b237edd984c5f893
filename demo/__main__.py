"""`python -m demo`: run the demonstration. `python -m demo down`: remove the cluster and the lab."""

from __future__ import annotations

import argparse
import sys

from demo.run import down, run
from tests.kit.commands import KitError


def main(arguments: list[str]) -> int:
    """Parse the command line and run what it names; 0 only if everything that should happen did."""
    parser = argparse.ArgumentParser(prog="demo", description=__doc__)
    parser.add_argument("what", nargs="?", choices=("up", "down"), default="up", help="what to do (default: up)")
    parser.add_argument("--clients", type=int, default=4, help="clients that keep asking (default: 4)")
    parser.add_argument(
        "--limit", type=float, default=300, help="seconds to wait for the cluster to come back (default: 300)"
    )
    parser.add_argument("--victim", default="", help="GPU server to preempt (default: the last one by name)")
    options = parser.parse_args(arguments)
    try:
        if options.what == "down":
            return down()
        return run(clients=options.clients, limit_s=options.limit, victim=options.victim)
    except KitError as problem:
        print(f"\nThe demonstration stopped: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted. The cluster is still there: `make demo-down` removes it.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
