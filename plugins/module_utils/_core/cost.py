# Copyright: (c) 2026, gpuswarm contributors
# SPDX-License-Identifier: Apache-2.0
"""What the fleet costs: an estimate before, the bill so far, and both beside the same fleet on demand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from . import billing, ledger
from .billing import FLOATING_IP, HOUR, SERVER, VOLUME, BillingRules, Interval, Resource
from .journal import Recovery
from .metrics import Family, Sample, text
from .prices import MONTH_HOURS, Money, PriceError, PriceList, difference, in_force, number, parse_prices, saving
from .servers import ON_DEMAND, PREEMPTIBLE, Spec
from .status import span

TENTH = Decimal("0.1")


def rules_named(name: object) -> BillingRules:
    """The rules of the variable ``cost_rules``.

    :raises PriceError: there are none of this name.
    """
    if str(name) not in billing.RULES:
        raise PriceError(f"cost_rules is {name!r}: it must be one of {', '.join(billing.RULES)}")
    return billing.RULES[str(name)]


# ---------------------------------------------------------------- before


@dataclass(frozen=True)
class EstimateRow:
    """One kind of thing in the fleet that should be, per hour: as configured, and on demand."""

    resource: Resource
    quantity: int
    price: Money
    on_demand: Money


def desired(specs: Iterable[Mapping[str, Any]]) -> Counter[Resource]:
    """What a fleet has by its specifications (``fleet.server_specs``): servers, GiB by disk type, addresses."""
    found: Counter[Resource] = Counter()
    for options in specs:
        spec = Spec.from_options(options)
        zone = spec.availability_zone
        found[Resource(SERVER, spec.flavor, spec.capacity_type, zone)] += 1
        found[Resource(VOLUME, spec.disk_type or "", "", spec.volume_zone)] += spec.volume_size
        if spec.floating_ip_network:
            found[Resource(FLOATING_IP)] += 1
    return found


def estimate(specs: Iterable[Mapping[str, Any]], lists: Sequence[PriceList], now: int) -> list[EstimateRow]:
    """What an hour of the fleet costs at the prices of ``now`` (epoch seconds)."""
    prices = in_force(lists, now)
    return [
        EstimateRow(
            resource,
            quantity,
            _priced(prices, resource, quantity),
            _priced(prices, resource.on_demand, quantity),
        )
        for resource, quantity in desired(specs).items()
    ]


def estimate_report(specs: Sequence[Mapping[str, Any]], lists: Sequence[PriceList], now: int) -> dict[str, Any]:
    """The estimate as data: ``rows``, ``compute`` and ``total``, each per hour and month, and the ``prices`` used."""
    rows = estimate(specs, lists, now)
    prices = in_force(lists, now)
    month = prices.month_hours if prices else MONTH_HOURS
    compute = [row for row in rows if row.resource.kind == SERVER]
    return {
        "month_hours": month,
        "prices": _about(prices),
        "rows": [
            {"what": str(row.resource), "quantity": row.quantity, **_both(row.price, row.on_demand, month)}
            for row in rows
        ],
        "compute": _both(total_of(row.price for row in compute), total_of(row.on_demand for row in compute), month),
        "total": _both(total_of(row.price for row in rows), total_of(row.on_demand for row in rows), month),
    }


def estimate_lines(specs: Sequence[Mapping[str, Any]], lists: Sequence[PriceList], now: int) -> list[str]:
    """The same for people."""
    rows = estimate(specs, lists, now)
    prices = in_force(lists, now)
    month = prices.month_hours if prices else MONTH_HOURS
    cells = [("", f"per month ({month} h)", "on demand")]
    cells += [
        (f"{row.quantity} x {row.resource}", str(row.price.times(month)), str(row.on_demand.times(month)))
        for row in rows
    ]
    compute = [row for row in rows if row.resource.kind == SERVER]
    sums = []
    for name, part in (("servers", compute), ("all", rows)):
        paid, ordinary = total_of(row.price for row in part), total_of(row.on_demand for row in part)
        cells.append((name, str(paid.times(month)), str(ordinary.times(month))))
        sums.append((name, paid, ordinary))
    lines = _columns(cells)
    lines.append(f"per hour: {sums[1][1]}; on demand: {sums[1][2]}")
    lines += [
        f"{'on the servers' if name == 'servers' else 'on the whole bill'}: {share} % less than on demand"
        for name, paid, ordinary in sums
        if (share := saving(paid, ordinary)) is not None
    ]
    return [*lines, *_lacking(sums[1][1].plus(sums[1][2])), _source(prices)]


# ---------------------------------------------------------------- during, and compared


@dataclass(frozen=True)
class Charge:
    """What was billed of one resource at the prices of one list.

    Attributes:
        hours: quantity times hours: server hours, GiB hours, address hours. All that may have been billed.
        estimated: those of them that are not certain.
        paid: what they cost; ``on_demand``: what they would have cost at the ordinary price.
    """

    resource: Resource
    hours: int
    estimated: int
    paid: Money
    on_demand: Money


@dataclass(frozen=True)
class Preemption:
    """What preemption itself costs, in the period.

    Attributes:
        idle_seconds: time that servers ran, and were paid, while they were being recovered.
        idle: what that time cost.
        surge_hours: billed hours of surge servers.
        stand_in_hours: billed hours of on-demand servers in the place of preemptible ones.
        stand_ins: what those cost more than preemptible ones would have.
        double_hours: billed server hours beyond the most servers at once: from changes of zone or flavor.
        part_hours_seconds: time that was billed and in which no server ran, because hours are billed whole.
    """

    idle_seconds: int = 0
    idle: Money = field(default_factory=Money)
    surge_hours: int = 0
    stand_in_hours: int = 0
    stand_ins: Money = field(default_factory=Money)
    double_hours: int = 0
    part_hours_seconds: int = 0


@dataclass(frozen=True)
class Balance:
    """What was left on the account at a moment (epoch seconds); less than 0: a debt."""

    amount: Decimal
    currency: str
    moment: int


@dataclass(frozen=True)
class Bill:
    """The bill of a period.

    Attributes:
        since: its beginning; ``until``: its end so far; epoch seconds.
        began: when the ledger begins, None: it is empty.
        charges: what was billed.
        always_on_demand: the fleet that should be, on demand for every hour since the ledger began; None: not known.
        rate: what an hour costs as it is now.
        forecast: the whole month, if everything stays as it is now.
        balance: what was left on the account when it was last read; None: not known.
        balance_left: that, less what was billed since; None: not known.
        balance_days: days until it is empty; None: not known.
        gap_seconds: time in which nobody observed the cloud.
        damaged: lines of the ledger that cannot be read.
    """

    since: int
    until: int
    began: int | None
    charges: Sequence[Charge]
    preemption: Preemption
    always_on_demand: Money | None
    rate: Money
    forecast: Money
    balance: Balance | None = None
    balance_left: Decimal | None = None
    balance_days: Decimal | None = None
    gap_seconds: int = 0
    damaged: int = 0

    @property
    def paid(self) -> Money:
        """The sum."""
        return total_of(charge.paid for charge in self.charges)

    @property
    def on_demand(self) -> Money:
        """The same hours at the ordinary price."""
        return total_of(charge.on_demand for charge in self.charges)

    @property
    def ended(self) -> bool:
        """Whether it is a whole month, that is over."""
        return self.until + 1 == billing.month_end(self.since)

    @property
    def estimated(self) -> int:
        """Server hours that are not certain."""
        return sum(charge.estimated for charge in self.charges if charge.resource.kind == SERVER)

    def as_dict(self) -> dict[str, Any]:
        """As data; money is text."""
        gone = self.preemption
        return {
            "since": ledger.iso(self.since),
            "until": ledger.iso(self.until),
            "ledger_began": None if self.began is None else ledger.iso(self.began),
            "charges": [
                {
                    "what": str(charge.resource),
                    **charge.resource._asdict(),
                    "hours": charge.hours,
                    "estimated_hours": charge.estimated,
                    "paid": charge.paid.as_dict(),
                    "on_demand": charge.on_demand.as_dict(),
                }
                for charge in self.charges
            ],
            "paid": self.paid.as_dict(),
            "on_demand": self.on_demand.as_dict(),
            "always_on_demand": None if self.always_on_demand is None else self.always_on_demand.as_dict(),
            "saved": {
                "on_demand": _saved(self.paid, self.on_demand),
                "always_on_demand": None if self.always_on_demand is None else _saved(self.paid, self.always_on_demand),
            },
            "preemption": {
                "idle_seconds": gone.idle_seconds,
                "idle": gone.idle.as_dict(),
                "surge_hours": gone.surge_hours,
                "stand_in_hours": gone.stand_in_hours,
                "stand_ins": gone.stand_ins.as_dict(),
                "double_hours": gone.double_hours,
                "part_hours_seconds": gone.part_hours_seconds,
            },
            "rate": self.rate.as_dict(),
            "forecast": self.forecast.as_dict(),
            "balance": None
            if self.balance is None
            else {
                "amount": f"{self.balance.amount:f}",
                "currency": self.balance.currency,
                "read_at": ledger.iso(self.balance.moment),
                "age_seconds": self.until - self.balance.moment,
                "left": None if self.balance_left is None else f"{self.balance_left:f}",
            },
            "balance_days": None if self.balance_days is None else f"{self.balance_days:f}",
            "gap_seconds": self.gap_seconds,
            "damaged_lines": self.damaged,
        }


@dataclass(frozen=True)
class Account:
    """Everything that a bill is made from besides the ledger."""

    lists: Sequence[PriceList]
    rules: BillingRules
    specs: Sequence[Mapping[str, Any]] = ()
    recoveries: Sequence[Recovery] = ()
    balance: Balance | None = None


def account_of(
    given: Mapping[str, Any], specs: Sequence[Mapping[str, Any]] = (), recoveries: Sequence[Recovery] = ()
) -> Account:
    """What the manager makes the bill from.

    :param given: the file that the role cost writes there (``prices``, ``rules``, ``balance``), and as ``read_balance``
        what the playbook cost_balance has written since; empty: there is none.
    :raises PriceError: it is wrong.
    """
    return Account(
        lists=parse_prices(given.get("prices") or []),
        rules=rules_named(given.get("rules") or "selectel"),
        specs=specs,
        recoveries=recoveries,
        balance=newest_balance(given.get("balance"), given.get("read_balance")),
    )


def newest_balance(*data: object) -> Balance | None:
    """The balance that was read last, out of several (`parse_balance`); None: none is known.

    :raises PriceError: one is wrong.
    """
    known = [balance for one in data if (balance := parse_balance(one)) is not None]
    return max(known, key=lambda balance: balance.moment, default=None)


def parse_balance(data: object) -> Balance | None:
    """The variable ``cost_balance``: ``amount``, ``currency`` and ``read_at``; empty: not known.

    :raises PriceError: it is wrong.
    """
    if not data:
        return None
    if not isinstance(data, Mapping) or set(data) != {"amount", "currency", "read_at"}:
        raise PriceError(f"cost_balance is {data!r}: it must have amount, currency and read_at, or nothing at all")
    try:
        at = ledger.moment(str(data["read_at"]))
    except ValueError as error:
        raise PriceError(
            f'cost_balance.read_at is {data["read_at"]!r}: it must be a time such as "2026-11-27T09:00:00Z"'
        ) from error
    return Balance(number(data["amount"], "cost_balance.amount", signed=True), str(data["currency"]), at)


def bill(ledger_text: str, account: Account, since: int, now: int) -> Bill:
    """The bill from ``since`` (epoch seconds, the beginning of an hour) to ``now``; the present hour counts whole."""
    lines = ledger.parse(ledger_text)
    rules, lists = account.rules, account.lists
    possible = ledger.intervals(lines, rules, now + 1, certain=False)
    high = billing.grid(possible, rules, since, now + 1)
    low = billing.grid(ledger.intervals(lines, rules, now + 1, certain=True), rules, since, now + 1)
    charges = charges_of(high, low, lists)
    began = min((line.earliest for line in lines if line.kind != ledger.GAP), default=None)
    rate = _rate(lines, account, now)
    balance_left = _balance_left(possible, account, now)
    paid = total_of(charge.paid for charge in charges)
    left = max(0, (billing.month_end(now) - 1) // HOUR - now // HOUR)
    gaps = [
        min(line.latest, now) - max(line.earliest, since)
        for line in lines
        if line.kind == ledger.GAP and line.latest > since
    ]
    return Bill(
        since=since,
        until=now,
        began=began,
        charges=charges,
        preemption=_preemption(possible, high, account, since, now),
        always_on_demand=_always(charges, account, max(since, began), now) if account.specs and began else None,
        rate=rate,
        forecast=paid.plus(rate.times(left)),
        balance=account.balance,
        balance_left=balance_left,
        balance_days=_days_left(balance_left, account.balance, rate),
        gap_seconds=sum(gap for gap in gaps if gap > 0),
        damaged=len([row for row in ledger_text.splitlines() if row.strip()]) - len(lines),
    )


def charges_of(
    high: Mapping[Resource, Mapping[int, int]], low: Mapping[Resource, Mapping[int, int]], lists: Sequence[PriceList]
) -> list[Charge]:
    """What the hours of a grid (`billing.grid`) cost.

    :param high: hours that may have been billed; ``low``: those of them that are certain.
    """
    charges = []
    for resource, billed in sorted(high.items()):
        certain = low.get(resource, {})
        paid, ordinary = Money(), Money()
        for prices, hours in _by_list(billed, lists):
            paid = paid.plus(_priced(prices, resource, hours))
            ordinary = ordinary.plus(_priced(prices, resource.on_demand, hours))
        total = sum(billed.values())
        charges.append(Charge(resource, total, total - sum(certain.values()), paid, ordinary))
    return charges


def _by_list(billed: Mapping[int, int], lists: Sequence[PriceList]) -> list[tuple[PriceList | None, int]]:
    """Quantity hours by the list whose prices hold for them; None: there is none."""
    sums: dict[int, tuple[PriceList | None, int]] = {}
    for hour, quantity in billed.items():
        prices = in_force(lists, hour * HOUR)
        key = prices.valid_from if prices else -1
        sums[key] = (prices, sums.get(key, (None, 0))[1] + quantity)
    return list(sums.values())


def _rate(lines: Iterable[ledger.Line], account: Account, now: int) -> Money:
    """What an hour costs as it is now."""
    prices = in_force(account.lists, now)
    there: Counter[Resource] = Counter()
    for line in ledger.last_lines(lines).values():
        resource = ledger.billed_resource(line, account.rules)
        if resource is not None:
            there[resource] += ledger.quantity(line)
    return total_of(_priced(prices, resource, quantity) for resource, quantity in there.items())


def _always(charges: Iterable[Charge], account: Account, since: int, now: int) -> Money:
    """The servers that should be, on demand in every hour; disks and addresses as they were billed."""
    every = dict.fromkeys(billing.hours(since, now + 1), 1)
    total = total_of(charge.paid for charge in charges if charge.resource.kind != SERVER)
    for prices, hours in _by_list(every, account.lists):
        for resource, quantity in desired(account.specs).items():
            if resource.kind == SERVER:
                total = total.plus(_priced(prices, resource.on_demand, quantity * hours))
    return total


def _preemption(
    possible: Sequence[Interval], high: Mapping[Resource, Mapping[int, int]], account: Account, since: int, now: int
) -> Preemption:
    servers = [
        item._replace(start=max(item.start, since), end=min(item.end, now))
        for item in possible
        if item.resource.kind == SERVER and item.end > since and item.start < now
    ]
    idle_seconds, idle = _idle(servers, account, now)
    preemptible = {spec["name"] for spec in account.specs if spec.get("preemptible")}
    stand_in: Counter[tuple[Resource, int]] = Counter()
    surge: set[tuple[str, int]] = set()
    for item in servers:
        hours = billing.hours(item.start, item.end)
        if item.surge:
            surge |= {(item.id, hour) for hour in hours}
        elif item.name in preemptible and item.resource.capacity_type == ON_DEMAND:
            stand_in.update({(item.resource, hour): 1 for hour in hours})
    # One that takes the place of another within an hour is billed once.
    stand_in = Counter({(one, hour): min(count, high[one].get(hour, 0)) for (one, hour), count in stand_in.items()})
    stand_ins = Money()
    for (resource, hour), count in stand_in.items():
        prices = in_force(account.lists, hour * HOUR)
        cheap = prices.cost(resource._replace(capacity_type=PREEMPTIBLE), count) if prices else None
        dear = prices.cost(resource, count) if prices else None
        more = None if cheap is None or dear is None else dear - cheap
        stand_ins.add(more, prices.currency if prices else "", str(resource))
    billed: Counter[int] = Counter()
    for resource, of_hour in high.items():
        if resource.kind == SERVER:
            billed.update(of_hour)
    one = Resource(SERVER)
    at_once = billing.grid([item._replace(resource=one) for item in servers], _AT_ONCE, since, now + 1).get(one, {})
    ran = sum(item.end - item.start for item in servers)
    running = sum(item.end == now for item in servers)
    return Preemption(
        idle_seconds=idle_seconds,
        idle=idle,
        surge_hours=len(surge),
        stand_in_hours=sum(stand_in.values()),
        stand_ins=stand_ins,
        double_hours=sum(max(0, count - at_once.get(hour, count)) for hour, count in billed.items()),
        # The present hour of those that run has not ended.
        part_hours_seconds=max(0, sum(billed.values()) * HOUR - ran - (HOUR - now % HOUR) * running),
    )


def _idle(servers: Iterable[Interval], account: Account, now: int) -> tuple[int, Money]:
    """Time in which servers ran while they were being recovered, and what it cost."""
    seconds, money = 0, Money()
    for item in servers:
        for recovery in account.recoveries:
            if recovery.server != item.name:
                continue
            ended = now if recovery.seconds is None else recovery.started + recovery.seconds
            both = int(min(item.end, ended) - max(item.start, recovery.started))
            if both <= 0:
                continue
            seconds += both
            prices = in_force(account.lists, item.start)
            hour = prices.cost(item.resource, 1) if prices else None
            amount = None if hour is None else hour * both / HOUR
            money.add(amount, prices.currency if prices else "", str(item.resource))
    return seconds, money


def _balance_left(possible: Iterable[Interval], account: Account, now: int) -> Decimal | None:
    """What is left of the balance; None: not known."""
    balance = account.balance
    if balance is None:
        return None
    billed = billing.grid(possible, account.rules, balance.moment + HOUR - 1, now + 1)
    spent = total_of(charge.paid for charge in charges_of(billed, {}, account.lists))
    if not spent.complete or not set(spent.amounts) <= {balance.currency}:
        return None
    return balance.amount - spent.amounts.get(balance.currency, Decimal(0))


def _days_left(left: Decimal | None, balance: Balance | None, rate: Money) -> Decimal | None:
    """Days until the balance is empty if everything stays as it is; None: not known."""
    if left is None or balance is None or not rate.complete or set(rate.amounts) != {balance.currency}:
        return None
    each = rate.amounts[balance.currency]
    return (max(Decimal(0), left) / each / 24).quantize(TENTH) if each else None


_AT_ONCE = BillingRules(states=frozenset(), maximum=True)


# ---------------------------------------------------------------- for people


def bill_lines(found: Bill, lists: Sequence[PriceList]) -> list[str]:
    """The bill as a table, and what it is compared with."""
    if found.began is None:
        return ["the ledger is empty: the recovery loop has not observed a server yet"]
    cells = [("", "hours", "estimated", "paid", "on demand")]
    cells += [
        (
            str(charge.resource),
            str(charge.hours),
            str(charge.estimated or ""),
            str(charge.paid),
            str(charge.on_demand),
        )
        for charge in found.charges
    ]
    cells.append(("all", "", "", str(found.paid), str(found.on_demand)))
    lines = [f"from {ledger.iso(max(found.since, found.began))} to {ledger.iso(found.until)}", *_columns(cells)]
    lines += _compared(found)
    lines += _why(found.preemption)
    if not found.ended:
        lines.append(f"now {found.rate} an hour; this month {found.forecast} if it stays so")
    if found.balance is not None and not found.ended:
        lines.append(_balance_line(found, found.balance))
    if found.gap_seconds:
        lines.append(
            f"nobody observed the cloud for {Decimal(found.gap_seconds) / HOUR:.1f} h; servers that were made and "
            "deleted meanwhile are missing"
        )
    if found.damaged:
        lines.append(f"{found.damaged} lines of the ledger cannot be read")
    return [*lines, *_lacking(found.paid.plus(found.on_demand)), _source(in_force(lists, found.until))]


def status_lines(found: Bill) -> list[str]:
    """What the status says of the cost."""
    if found.began is None:
        return ["cost this month: unknown: the ledger is empty"]
    begun = f", since {ledger.iso(found.began)}" if found.began > found.since else ""
    lines = [
        f"cost this month{begun}: {found.paid}; now {found.rate} an hour; whole month {found.forecast} if it stays so"
    ]
    compared = [("the same hours on demand", found.on_demand)]
    if found.always_on_demand is not None:
        compared.append(("on demand around the clock", found.always_on_demand))
    lines += [f"  saved beside {name}: {_saved_text(found.paid, other)}" for name, other in compared]
    if found.estimated:
        lines.append(f"  {found.estimated} server hours of it are estimated")
    if found.gap_seconds:
        lines.append(f"  nobody observed the cloud for {Decimal(found.gap_seconds) / HOUR:.1f} h of it")
    if found.damaged:
        lines.append(f"  {found.damaged} lines of the ledger cannot be read")
    if found.balance is not None:
        lines.append(f"  {_balance_line(found, found.balance)}")
    return lines + [f"  {line}" for line in _lacking(found.paid)]


def status_of(
    ledger_text: str,
    given: Mapping[str, Any],
    specs: Sequence[Mapping[str, Any]],
    recoveries: Sequence[Recovery],
    now: int,
) -> tuple[dict[str, Any] | None, list[str]]:
    """What the status says of this month's cost: as data, and in lines.

    :param given: as `account_of` takes it.
    :returns: the data is None when nothing is known yet, and has ``error`` when the prices are wrong.
    """
    try:
        found = bill(ledger_text, account_of(given, specs, recoveries), billing.month_start(now), now)
    except PriceError as error:
        return status_failed(str(error))
    return None if found.began is None else found.as_dict(), status_lines(found)


def status_failed(why: str) -> tuple[dict[str, Any], list[str]]:
    """The same when there can be no bill."""
    return {"error": why}, [f"cost this month: unknown: {why}"]


def _balance_line(found: Bill, balance: Balance) -> str:
    """How long the balance lasts, and how old the figure is that this rests on."""
    read = f"by what was read {span(found.until - balance.moment)} ago"
    if found.balance_days is not None:
        return f"the balance lasts {found.balance_days} days, {read}"
    others = {*found.rate.amounts, *found.paid.amounts} - {balance.currency}
    if others:
        return f"how long the balance in {balance.currency} lasts is unknown: prices are in {', '.join(sorted(others))}"
    return f"how long the balance lasts is unknown, {read}"


def _saved_text(paid: Money, other: Money) -> str:
    left, share = difference(other, paid), saving(paid, other)
    if left is None:
        lacks = sorted(paid.unknown | other.unknown)
        return f"unknown, without a price: {', '.join(lacks)}" if lacks else "unknown"
    return str(left) if share is None else f"{left} ({share} %)"


def _compared(found: Bill) -> list[str]:
    lines = []
    servers = [charge for charge in found.charges if charge.resource.kind == SERVER]
    pairs = [
        (
            "the same hours on demand, servers alone",
            total_of(c.paid for c in servers),
            total_of(c.on_demand for c in servers),
        ),
        ("the same hours on demand", found.paid, found.on_demand),
    ]
    if found.always_on_demand is not None:
        pairs.append(("on demand around the clock", found.paid, found.always_on_demand))
    for name, paid, other in pairs:
        share = saving(paid, other)
        lines.append(f"{name}: {other}" + (f"; {share} % less was paid" if share is not None else ""))
    return lines


def _why(found: Preemption) -> list[str]:
    lines = []
    if found.idle_seconds:
        lines.append(f"paid while servers were recovered: {Decimal(found.idle_seconds) / HOUR:.1f} h, {found.idle}")
    if found.stand_in_hours:
        lines.append(f"on-demand stand-ins: {found.stand_in_hours} h, {found.stand_ins} more than preemptible")
    if found.surge_hours:
        lines.append(f"surge servers: {found.surge_hours} h")
    if found.double_hours:
        lines.append(f"hours billed twice, after changes of zone or flavor: {found.double_hours}")
    if found.part_hours_seconds:
        lines.append(f"billed beyond what ran, as hours are whole: {Decimal(found.part_hours_seconds) / HOUR:.1f} h")
    return lines


def _lacking(money: Money) -> list[str]:
    return [f"incomplete, without a price: {', '.join(sorted(money.unknown))}"] if money.unknown else []


def _source(prices: PriceList | None) -> str:
    if prices is None:
        return "no price list is in force: set cost_prices"
    tax = {True: "with VAT", False: "without VAT", None: "with or without VAT, which is not known"}[prices.vat_included]
    read = f", read on {prices.read_on}" if prices.read_on else ""
    return f"prices in {prices.currency} {tax}: {prices.source}{read}"


def _about(prices: PriceList | None) -> dict[str, Any] | None:
    if prices is None:
        return None
    return {
        "currency": prices.currency,
        "vat_included": prices.vat_included,
        "source": prices.source,
        "read_on": prices.read_on,
        "valid_from": ledger.iso(prices.valid_from),
    }


def _columns(cells: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    return [
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]


# ---------------------------------------------------------------- for Prometheus

METRICS = (
    ("gpuswarm_cost_paid", "Cost of this month's hours so far, by what is billed; absent while a price is unknown."),
    ("gpuswarm_cost_on_demand", "What the same hours would have cost on demand; absent while a price is unknown."),
    ("gpuswarm_cost_always_on_demand", "What the fleet would have cost on demand around the clock this month."),
    ("gpuswarm_cost_rate", "Cost of an hour as the fleet is now; absent while a price is unknown."),
    ("gpuswarm_cost_forecast", "Cost of the whole month if the fleet stays as it is; absent while a price is unknown."),
    ("gpuswarm_cost_hours", "Hours billed this month, by what is billed: of servers, GiB and addresses."),
    ("gpuswarm_cost_estimated_hours", "Server hours of this month that are not certain."),
    ("gpuswarm_cost_unpriced_hours", "Hours billed this month that have no price, by what is billed."),
    ("gpuswarm_cost_idle_seconds", "Time of this month in which servers were paid while they were recovered."),
    (
        "gpuswarm_cost_balance_left",
        "What is left of the account's balance: as it was read, less what was billed since.",
    ),
    ("gpuswarm_cost_balance_days", "Days until the balance is empty if the fleet stays as it is."),
    ("gpuswarm_cost_balance_timestamp_seconds", "When the balance was read that these two rest on."),
    ("gpuswarm_cost_timestamp_seconds", "When these metrics were computed."),
)


def render(found: Bill) -> str:
    """The metrics in Prometheus' text format. What is unknown is left out, never 0."""
    samples: dict[str, list[Sample]] = {name: [] for name, _text in METRICS}

    def put(name: str, labels: Mapping[str, str], value: float | Decimal) -> None:
        # Prometheus has nothing but floats; the sums themselves are exact.
        samples[f"gpuswarm_cost_{name}"].append((f"gpuswarm_cost_{name}", labels, float(value)))

    def put_money(name: str, labels: Mapping[str, str], money: Money) -> None:
        for currency, amount in sorted(money.amounts.items()) if money.complete else ():
            put(name, {**labels, "currency": currency}, amount)

    groups: dict[tuple[str, str], list[Charge]] = {}
    for charge in found.charges:
        groups.setdefault((charge.resource.kind, charge.resource.capacity_type or "none"), []).append(charge)
    for (kind, capacity_type), charges in groups.items():
        labels = {"kind": kind, "capacity_type": capacity_type}
        put_money("paid", labels, total_of(charge.paid for charge in charges))
        put_money("on_demand", labels, total_of(charge.on_demand for charge in charges))
        put("hours", labels, sum(charge.hours for charge in charges))
        put("unpriced_hours", labels, sum(charge.hours for charge in charges if not charge.paid.complete))
    if found.always_on_demand is not None:
        put_money("always_on_demand", {}, found.always_on_demand)
    put_money("rate", {}, found.rate)
    put_money("forecast", {}, found.forecast)
    put("estimated_hours", {}, found.estimated)
    put("idle_seconds", {}, found.preemption.idle_seconds)
    if found.balance is not None:
        put("balance_timestamp_seconds", {}, found.balance.moment)
        if found.balance_left is not None:
            put("balance_left", {"currency": found.balance.currency}, found.balance_left)
    if found.balance_days is not None:
        put("balance_days", {}, found.balance_days)
    put("timestamp_seconds", {}, found.until)
    families: list[Family] = [(name, "gauge", description, samples[name]) for name, description in METRICS]
    return text(families)


# ---------------------------------------------------------------- shared


def _saved(paid: Money, other: Money) -> dict[str, Any] | None:
    """What was saved beside something dearer, as data; None: not known."""
    left, share = difference(other, paid), saving(paid, other)
    if left is None:
        return None
    return {**left.as_dict(), "percent": None if share is None else f"{share:f}"}


def _priced(prices: PriceList | None, resource: Resource, quantity_hours: int) -> Money:
    money = Money()
    amount = prices.cost(resource, quantity_hours) if prices else None
    money.add(amount, prices.currency if prices else "", str(resource))
    return money


def total_of(parts: Iterable[Money]) -> Money:
    """The sum of sums."""
    total = Money()
    for part in parts:
        total = total.plus(part)
    return total


def _both(price: Money, on_demand: Money, month: int) -> dict[str, Any]:
    return {
        "hour": price.as_dict(),
        "month": price.times(month).as_dict(),
        "on_demand_hour": on_demand.as_dict(),
        "on_demand_month": on_demand.times(month).as_dict(),
    }
