# SPDX-License-Identifier: Apache-2.0
"""One policy on one trace: what it gives, and what it costs by the product's own bill."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from itertools import pairwise
from typing import Any

import yaml

from ansible_collections.gpuswarm.ollama.plugins.module_utils._core import (
    billing,
    cost,
    fleet,
    ledger,
    prices,
    recovery,
    schedule,
)
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.billing import HOUR, SERVER, Resource
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.prices import Money, PriceList
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.servers import ON_DEMAND, PREEMPTIBLE, Spec
from tests.bench.simulate.clock import Clock
from tests.bench.simulate.loop import Loop
from tests.bench.simulate.policies import NEEDED, Policy
from tests.bench.simulate.trace import Trace
from tests.bench.simulate.world import FLEET, SERVICE, Machine, Timings, World
from tests.kit.paths import ROOT
from tests.kit.roles import argument_specs

START = 1_796_083_200  # 2026-12-01T00:00:00Z, a Tuesday
SEED = 22
EXAMPLE = ROOT / "inventory" / "selectel" / "group_vars" / "all.yml"

# What servers cost where `cost_prices` does not say, as in the example inventory: the figures of the design that this
# collection began with (docs/how-to/cost.md). What matters is the proportion, a quarter of the ordinary price.
DESIGN: Mapping[str, Any] = {
    "valid_from": "2025-01-01",
    "currency": "USD",
    "vat_included": None,
    "source": "the design that this collection began with, not verified",
}
DESIGN_GPU: Mapping[str, str] = {PREEMPTIBLE: "0.75", ON_DEMAND: "3.00"}


@dataclass(frozen=True)
class Inventory:
    """What the simulation takes from an inventory: flavors, disks, and prices.

    Attributes:
        gpu: flavor of the GPU servers.
        manager: the manager's.
        volume_size: GiB of a GPU server's disk; ``manager_volume_size``: of the manager's.
        servers: price lists that have prices of the GPU flavor.
        others: those of disks.
    """

    gpu: str
    manager: str
    volume_size: int
    manager_volume_size: int
    servers: Sequence[PriceList]
    others: Sequence[PriceList]


def inventory(path: Any = EXAMPLE) -> Inventory:
    """From a file with an inventory's variables.

    :raises prices.PriceError: ``cost_prices`` is wrong.
    """
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    gpu = str(data["fleet_gpu_flavor"])
    lists = prices.parse_prices(data.get("cost_prices") or [])
    known = any({PREEMPTIBLE, ON_DEMAND} <= set(one.flavors.get(gpu, {})) for one in lists)
    design = prices.parse_prices([{**DESIGN, "flavors": {gpu: DESIGN_GPU}}])
    return Inventory(
        gpu=gpu,
        manager=str(data["fleet_manager_flavor"]),
        volume_size=int(data["fleet_gpu_volume_size"]),
        manager_volume_size=int(data["fleet_manager_volume_size"]),
        servers=lists if known else design,
        others=lists,
    )


@dataclass(frozen=True)
class Outcome:
    """What a policy gave and cost.

    Attributes:
        seconds: how long the trace is.
        any: share of the time with at least one healthy Ollama.
        every: share of it with as many as should run.
        longest: seconds of the longest time without any.
        preempted: servers that the cloud ended.
        rotations: lives that the loop renewed by itself.
        runs: of ``recover.yml``.
        hours: billed hours of GPU servers.
        surge_hours: of them, of surge servers; ``stand_in_hours``: of on-demand servers in the place of preemptible
            ones; ``double_hours``: beyond the most servers at once.
        servers: what the GPU servers cost; ``ordinary``: what as many as are needed cost on demand around the clock.
        disks: what all disks cost.
    """

    trace: str
    policy: str
    seconds: int
    any: Decimal
    every: Decimal
    longest: int
    preempted: int
    rotations: int
    runs: int
    hours: int
    surge_hours: int
    stand_in_hours: int
    double_hours: int
    servers: Money
    ordinary: Money
    disks: Money

    @property
    def relative(self) -> Decimal | None:
        """Cost of the GPU servers in per cent of on demand; None if it is not known."""
        less = prices.saving(self.servers, self.ordinary)
        return None if less is None else 100 - less

    def as_dict(self) -> dict[str, Any]:
        """For JSON; money is text."""
        plain = {key: value for key, value in vars(self).items() if isinstance(value, int | str)}
        shares = {key: f"{getattr(self, key):f}" for key in ("any", "every")}
        money = {key: getattr(self, key).as_dict() for key in ("servers", "ordinary", "disks")}
        return {**plain, **shares, **money, "relative": None if self.relative is None else f"{self.relative:f}"}


@cache
def defaults(role: str) -> Mapping[str, Any]:
    """The default of each variable of a role."""
    return {name: option.get("default") for name, option in argument_specs(role)["main"]["options"].items()}


def specs(settings: Mapping[str, Any], found: Inventory) -> list[dict[str, Any]]:
    """The servers that the fleet should have, by the role's variables."""
    role = {**defaults("fleet"), **settings}
    common = {"image": "image", "volume_type": role["fleet_gpu_volume_type"]}
    return fleet.server_specs(
        {
            "name": FLEET,
            "network": FLEET,
            "capacity_memory": role["fleet_capacity_memory"],
            "manager": {
                **common,
                "flavor": found.manager,
                "zones": role["fleet_gpu_zones"][:1],
                "volume_size": found.manager_volume_size,
            },
            "gpu_workers": {
                **common,
                "count": role["fleet_gpu_count"],
                "flavor": found.gpu,
                "zones": role["fleet_gpu_zones"],
                "volume_size": found.volume_size,
                "preemptible": role["fleet_gpu_preemptible"],
                "alternatives": role["fleet_gpu_alternatives"],
                "on_demand_fallback": role["fleet_gpu_on_demand_fallback"],
            },
        }
    )


def recovery_settings(settings: Mapping[str, Any]) -> recovery.RecoverySettings:
    """What the loop decides by, by the role's variables."""
    role = {**defaults("recovery"), **settings}
    return recovery.RecoverySettings.from_mapping(
        {
            "service": SERVICE,
            "limits": {
                "boot_grace": role["recovery_rejoin_timeout"],
                "healthy_timeout": role["recovery_healthy_timeout"],
            },
            "rotation": {
                "enabled": role["recovery_rotation"],
                "surge": role["recovery_rotation_surge"],
                "full_hour": role["recovery_rotation_full_hour"],
                "max_age": role["recovery_max_age"],
                "margin": role["recovery_rotation_margin"],
                "return_after": role["recovery_return_after"],
            },
            "remediation": {
                "retry_pause": role["recovery_retry_pause"],
                "longest_retry_pause": role["recovery_longest_retry_pause"],
            },
            "schedule": role["recovery_schedule"],
            "timezone": role["recovery_timezone"],
        }
    )


def play(trace: Trace, policy: Policy, found: Inventory, timings: Timings | None = None) -> tuple[World, Loop]:
    """Lets the loop live through a trace."""
    settings = policy.settings(trace.zones)
    decided, servers = recovery_settings(settings), specs(settings, found)
    clock = Clock(START)
    world = World(clock, trace, timings or Timings(), int(decided.limits.rotation.max_age), SEED)
    for spec in map(Spec.from_options, servers):
        # What there is no room for at the beginning, the loop creates.
        if spec.role == fleet.ROLE_GPU_WORKER and world.has_room(spec):
            disk = world.new_disk(spec)
            world.existing(Machine(f"{spec.name}-0", spec, disk, clock.now))
    loop = Loop(world, servers, decided, SEED, policy.rest)
    world.watch(loop.notice)
    clock.run(START + trace.seconds)
    loop.ledger.keep(loop.servers())
    return world, loop


def simulate(trace: Trace, policy: Policy, found: Inventory) -> Outcome:
    """What a policy gives and costs on a trace."""
    world, loop = play(trace, policy, found)
    until = START + trace.seconds
    text = loop.ledger.text()
    rules = billing.RULES["selectel"]
    bill = cost.bill(text, cost.Account(found.servers, rules, loop.specs), START, until - 1)
    assets = cost.bill(text, cost.Account(found.others, rules), START, until - 1)
    gpus = [charge for charge in bill.charges if charge.resource.kind == SERVER and charge.resource.key == found.gpu]
    preemptible = any(spec["preemptible"] for spec in loop.specs)
    one = Resource(SERVER, found.gpu, ON_DEMAND, trace.zones[0])
    price_list = prices.in_force(found.servers, START)
    ordinary = Money()
    each = price_list.cost(one, NEEDED * -(-trace.seconds // HOUR)) if price_list else None
    ordinary.add(each, price_list.currency if price_list else "", str(one))
    up = _shares(world, loop, until)
    return Outcome(
        trace=trace.name,
        policy=policy.name,
        seconds=trace.seconds,
        any=up[0],
        every=up[1],
        longest=up[2],
        preempted=world.preempted,
        rotations=loop.rotations,
        runs=loop.runs,
        hours=sum(charge.hours for charge in gpus),
        surge_hours=bill.preemption.surge_hours,
        # `cost.Preemption` has an hour once more for each stand-in of one server that followed another within it.
        stand_in_hours=sum(c.hours for c in gpus if preemptible and c.resource.capacity_type == ON_DEMAND),
        double_hours=bill.preemption.double_hours,
        servers=total([charge.paid for charge in gpus]),
        ordinary=ordinary,
        disks=total([charge.paid for charge in assets.charges if charge.resource.kind == billing.VOLUME]),
    )


def _shares(world: World, loop: Loop, until: int) -> tuple[Decimal, Decimal, int]:
    """Shares of the time with one and with all that should run, in per cent, and the longest without any."""
    settings, some, every, longest, without = loop.settings, 0, 0, 0, 0
    # A schedule changes on full minutes; ten of them divide what the policies use.
    marks = range(START, until, 600) if settings.schedule else ()
    counts = dict(world.served)
    now = 0
    for start, end in pairwise(sorted({START, *counts, *marks, until})):
        now = counts.get(start, now)
        needed = NEEDED
        if settings.schedule:
            needed = schedule.wanted(settings.schedule, settings.timezone, start, NEEDED)
        some += (end - start) * (now > 0)
        every += (end - start) * (now >= needed)
        without = 0 if now else without + end - start
        longest = max(longest, without)
    whole = Decimal(until - START)
    return 100 * some / whole, 100 * every / whole, longest


def total(parts: Sequence[Money]) -> Money:
    """The sum."""
    found = Money()
    for part in parts:
        found = found.plus(part)
    return found


def independent_hours(world: World, until: int) -> dict[Resource, dict[int, int]]:
    """Billed server hours by a second count: for each hour the moment of it at which most was in use."""
    uses: dict[Resource, list[tuple[int, int]]] = {}
    for machine, start, end in world.billed(until):
        spec = machine.spec
        resource = Resource(SERVER, spec.flavor, spec.capacity_type, spec.availability_zone)
        uses.setdefault(resource, []).append((start, end))
    found: dict[Resource, dict[int, int]] = {}
    for resource, spans in uses.items():
        for hour in range(START // HOUR, -(-until // HOUR)):
            near = [(start, end) for start, end in spans if start < (hour + 1) * HOUR and end > hour * HOUR]
            moments = {hour * HOUR} | {start for start, _ in near if start >= hour * HOUR}
            most = max(sum(start <= at < end for start, end in near) for at in moments)
            if most:
                found.setdefault(resource, {})[hour] = most
    return found


def ledger_hours(loop: Loop, until: int, *, certain: bool) -> dict[Resource, dict[int, int]]:
    """The same by the product's ledger and bill: what was certainly billed, or all that may have been."""
    rules = billing.RULES["selectel"]
    lines = [line for line in ledger.parse(loop.ledger.text()) if line.kind == SERVER]
    found = billing.grid(ledger.intervals(lines, rules, until, certain=certain), rules, START, until)
    manager = next(spec["flavor"] for spec in loop.specs if spec["role"] == fleet.ROLE_MANAGER)
    return {resource: hours for resource, hours in found.items() if resource.key != manager}
