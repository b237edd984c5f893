# SPDX-License-Identifier: Apache-2.0
"""What is compared: settings of the inventory, by the names of the product's variables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

NEEDED = 3  # servers; `fleet_gpu_count` of the example inventory


@dataclass(frozen=True)
class Policy:
    """Variables that differ from the roles' defaults.

    Attributes:
        name: for people.
        zones: how many of the trace's zones it uses; 0: all. They are dealt out in turn (``fleet_gpu_zones``), and each
            may take the servers of the others (``fleet_gpu_alternatives``).
        variables: others, by name.
        rest: seconds that the loop is not asked for while nothing happens (`loop.Loop`). Twenty minutes are short
            beside the lives of servers, and too long where it is minutes that are compared.
    """

    name: str
    zones: int = 1
    variables: Mapping[str, Any] = field(default_factory=dict)
    rest: int = 1200

    def settings(self, zones: Sequence[str]) -> dict[str, Any]:
        """All variables, for a trace with these zones."""
        used = list(zones[: self.zones or None])
        others = [{"zone": zone} for zone in used] if len(used) > 1 else []
        return {"fleet_gpu_zones": used, "fleet_gpu_alternatives": others, **self.variables}


_ON_DEMAND = {"fleet_gpu_on_demand_fallback": True}
_SURGE = {"recovery_rotation_surge": True}

ORDINARY = Policy("on demand around the clock", variables={"fleet_gpu_preemptible": False})
RECOMMENDED = Policy("two zones, stand-ins", 2, _ON_DEMAND)

CAPACITY: Sequence[Policy] = (
    ORDINARY,
    Policy("one zone"),
    Policy("one zone, one more server", variables={"fleet_gpu_count": NEEDED + 1}),
    Policy("one zone, stand-ins", variables=_ON_DEMAND),
    Policy("two zones", 2),
    Policy("two zones, one more server", 2, {"fleet_gpu_count": NEEDED + 1}),
    RECOMMENDED,
    Policy("two zones, stand-ins, surge", 2, {**_ON_DEMAND, **_SURGE}),
    Policy("two zones, stand-ins, one more server", 2, {**_ON_DEMAND, "fleet_gpu_count": NEEDED + 1}),
)

_NIGHT = {"days": ["mon", "tue", "wed", "thu", "fri"], "count": 1}


def _nights(start: str, end: str) -> dict[str, Any]:
    return {**_ON_DEMAND, "recovery_schedule": [{**_NIGHT, "from": start, "to": end}]}


TIMING: Sequence[Policy] = (
    Policy("surge, just after the full hour", 2, {**_ON_DEMAND, **_SURGE}, 300),
    Policy("surge, at any time", 2, {**_ON_DEMAND, **_SURGE, "recovery_rotation_full_hour": False}, 300),
    Policy("nights from 19:50 to 08:00", 2, _nights("19:50", "08:00"), 300),
    Policy("nights from 20:00 to 08:00", 2, _nights("20:00", "08:00"), 300),
    Policy("nights from 20:10 to 07:50", 2, _nights("20:10", "07:50"), 300),
)
