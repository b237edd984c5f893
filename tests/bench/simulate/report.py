# SPDX-License-Identifier: Apache-2.0
"""The tables, and what they recommend."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import ROUND_FLOOR, Decimal

from tests.bench.simulate.month import Outcome
from tests.bench.simulate.policies import CAPACITY, TIMING, Policy
from tests.kit.paths import ROOT
from tests.kit.reference import table

PAGE = ROOT / "docs" / "benchmarks.md"
BLOCK = re.compile(r"(<!-- simulated: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
ENOUGH = Decimal("99.9")  # per cent of the time with at least one healthy Ollama, for a policy to be recommended

HEAD = (
    *("policy", "one healthy, %", "all healthy, %", "longest without, min", "preempted", "rotated", "server hours"),
    *("of surge servers", "of stand-ins", "double", "GPU servers per month", "% of on demand"),
)
MONTH = 720 * 3600


def row(found: Outcome) -> tuple[str, ...]:
    """An outcome as a row; a trace that is no month is scaled to one in its price alone."""
    monthly = found.servers.times(Decimal(MONTH) / found.seconds)
    return (
        found.policy,
        # Rounded down: 100.00 is said of nothing but the whole time.
        *(str(share.quantize(Decimal("0.01"), ROUND_FLOOR)) for share in (found.any, found.every)),
        f"{Decimal(found.longest) / 60:.0f}",
        *(f"{number:,}" for number in (found.preempted, found.rotations, found.hours)),
        *(str(number) for number in (found.surge_hours, found.stand_in_hours, found.double_hours)),
        str(monthly),
        "unknown" if found.relative is None else f"{found.relative:.1f}",
    )


def rows(outcomes: Iterable[Outcome], trace: str, policies: Sequence[Policy]) -> str:
    """The table of a trace."""
    found = {outcome.policy: outcome for outcome in outcomes if outcome.trace == trace}
    return table(HEAD, [row(found[policy.name]) for policy in policies if policy.name in found])


def tables(outcomes: Sequence[Outcome], traces: Sequence[str], timed: Sequence[str]) -> dict[str, str]:
    """All tables by name: of each trace the policies for capacity, and of some those for timing.

    :param timed: the traces on which the timing was compared.
    """
    return {trace: rows(outcomes, trace, CAPACITY) for trace in traces} | {
        f"timing-{trace}": rows(outcomes, trace, TIMING) for trace in timed
    }


def recommended(outcomes: Sequence[Outcome]) -> str | None:
    """The cheapest policy that had a healthy Ollama for 99.9 % of the time on every trace; None if there is none."""
    costs: dict[str, Decimal] = {}
    for policy in CAPACITY:
        own = [outcome for outcome in outcomes if outcome.policy == policy.name]
        relative = [outcome.relative for outcome in own if outcome.relative is not None]
        if own and all(outcome.any >= ENOUGH for outcome in own) and len(relative) == len(own):
            costs[policy.name] = sum(relative, Decimal(0))
    return min(costs, key=lambda name: costs[name], default=None)


def filled(text: str, found: Mapping[str, str]) -> str:
    """A page with these tables; what was not simulated stays."""
    return BLOCK.sub(
        lambda block: f"{block[1]}\n{found[block[2]]}\n\n{block[3]}" if block[2] in found else block[0], text
    )
