# Copyright: (c) 2026, gpuswarm contributors
# SPDX-License-Identifier: Apache-2.0
"""What the cloud says that it bills, beside the ledger: object by object.

Selectel publishes two interfaces: Billing API and Billing Statistics API (docs.selectel.ru/api/balance and
/api/balance-statistics), and describes the columns of its usage report without naming them. No answer of theirs has
been seen live. What is taken from programs of others, as it is not published: that sums are in hundredths of the
currency, that times are those of Moscow, and that the last hour of a period is the one that its end lies in.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from . import billing, ledger
from .billing import FLOATING_IP, HOUR, BillingRules
from .cost import charges_of, total_of
from .prices import CENT, Money, PriceList

# Columns of the usage report, as the variable names them: those that must be there, and those that may be.
REQUIRED_COLUMNS = ("id", "amount")
COLUMNS = (*REQUIRED_COLUMNS, "name", "type", "project")

# Balances that servers are paid from: the one of the account, or that of the cloud platform (docs: "Balances").
_BALANCES = ("primary", "vpc")

SAME, DIFFERS, ONLY_HERE, ONLY_THERE = "same", "differs", "only here", "only there"


class InvoiceError(ValueError):
    """There is nothing to compare, or it cannot be compared; the message says what must be."""


class Item(NamedTuple):
    """What is billed for something; an empty id: for nothing that has one, as traffic."""

    id: str
    name: str
    type: str
    project: str
    amount: Decimal


class Period(NamedTuple):
    """From the beginning of an hour to that of another (epoch seconds, the end not included)."""

    since: int
    until: int


# ---------------------------------------------------------------- what the cloud answers


def consumption(answer: object) -> list[Item]:
    """The items of an answer of ``/v1/cloud_billing/statistic/consumption``, grouped by object.

    :raises InvoiceError: it is another answer.
    """
    rows = _data(answer, "the consumption", list)
    items = []
    for index, row in enumerate(rows):
        where = f"the consumption's data[{index}]"
        if not isinstance(row, Mapping):
            raise InvoiceError(f"{where} must be an object")
        thing, project = row.get("object") or {}, row.get("project") or {}
        items.append(
            Item(
                str(thing.get("id") or ""),
                str(thing.get("name") or ""),
                str(thing.get("type") or ""),
                str(project.get("id") or thing.get("project_id") or ""),
                _hundredths(row.get("value"), f"{where}.value"),
            )
        )
    return items


def balance(answer: object) -> tuple[Decimal, str]:
    """What is left, and its currency, out of an answer of ``/v3/balances``.

    :raises InvoiceError: it is another answer, or has no balance that servers are paid from.
    """
    data = _data(answer, "the balances", dict)
    code = str((data.get("settings") or {}).get("currency") or "").upper()
    if not code:
        raise InvoiceError("the balances' data.settings.currency is missing: it must name the account's currency")
    of_type = {str(one.get("billing_type")): one for one in data.get("billings") or () if isinstance(one, Mapping)}
    found = next((of_type[name] for name in _BALANCES if name in of_type), None)
    if found is None:
        raise InvoiceError(
            f"the balances' data.billings are of the types {', '.join(sorted(of_type)) or 'none'}: one of them must be "
            f"{' or '.join(_BALANCES)}"
        )
    return _hundredths(found.get("final_sum"), "the balance's final_sum"), code


def _data(answer: object, what: str, kind: type) -> Any:
    data = answer.get("data") if isinstance(answer, Mapping) else None
    if not isinstance(data, kind):
        raise InvoiceError(f"{what} must have data, in the form that docs.selectel.ru describes")
    status = answer.get("status", "success") if isinstance(answer, Mapping) else ""
    # An example of the balances has no value for it.
    if kind is list and status != "success":
        raise InvoiceError(f"the status of {what} is {status!r}: it must be success")
    return data


def _hundredths(value: object, where: str) -> Decimal:
    """An amount in the currency, of a whole number of hundredths."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvoiceError(f"{where} is {value!r}: it must be a whole number of hundredths of the currency")
    return value * CENT


def report(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> list[Item]:
    """The items of a usage report out of the control panel.

    :param rows: by the names of its columns.
    :param columns: those names, by `COLUMNS`.
    :raises InvoiceError: columns are missing, or an amount is none.
    """
    there = list(rows[0]) if rows else []
    if not rows:
        raise InvoiceError("the report is empty: it must have a line with the names of its columns, and others")
    lacking = [name for name in REQUIRED_COLUMNS if not columns.get(name)]
    unknown = sorted({*columns} - {*COLUMNS})
    absent = sorted({name for name in columns.values() if name and name not in there})
    if lacking or unknown or absent:
        raise InvoiceError(
            f"cost_verify_columns must name columns of the report as {', '.join(COLUMNS)}, of which "
            f"{' and '.join(REQUIRED_COLUMNS)} are required; the report has {', '.join(map(repr, there))}"
        )
    items = []
    for number, row in enumerate(rows, start=2):
        cells = {name: str(row.get(columns.get(name) or "") or "").strip() for name in COLUMNS}
        amount = _written(cells.pop("amount"), f"line {number} of the report, {columns['amount']!r}")
        items.append(Item(**cells, amount=amount))
    return items


def _written(text: str, where: str) -> Decimal:
    """An amount as people write it: spaces between thousands, a comma or a point before the hundredths."""
    plain = "".join(text.split()).replace(",", ".")
    try:
        amount = Decimal(plain)
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite():
        raise InvoiceError(f'{where} is {text!r}: it must be an amount such as "1234.56"')
    return amount


def items_of(data: Iterable[Mapping[str, Any]]) -> list[Item]:
    """Items that were data for a while (`Item._asdict`, the amount as text)."""
    return [
        Item(str(one["id"]), str(one["name"]), str(one["type"]), str(one["project"]), Decimal(str(one["amount"])))
        for one in data
    ]


# ---------------------------------------------------------------- when


def zone_of(name: str) -> ZoneInfo:
    """The time zone of that name.

    :raises InvoiceError: there is none.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise InvoiceError(f"cost_verify_timezone is {name!r}: it must be a time zone such as Europe/Moscow") from error


def local(moment: int, zone: ZoneInfo) -> str:
    """A moment (epoch seconds) by the clocks of a zone, without saying which: as the API takes and gives times."""
    return datetime.fromtimestamp(moment, zone).replace(tzinfo=None).isoformat()


def period(month: str, zone: str, now: int, *, whole: bool) -> Period:
    """What of a month has been debited.

    :param month: such as ``2026-11``, by the clocks of ``zone``; empty: the present one.
    :param whole: whether only the whole month can be compared, as with a report.
    :raises InvoiceError: nothing has, or less than the whole month.
    """
    at = zone_of(zone)
    try:
        first = datetime.strptime(month, "%Y-%m").replace(tzinfo=at) if month else datetime.fromtimestamp(now, at)
    except ValueError as error:
        raise InvoiceError(f'cost_month is {month!r}: it must be a month such as "2026-11"') from error
    months = first.year * 12 + first.month
    start = int(datetime(first.year, first.month, 1, tzinfo=at).timestamp())
    end = int(datetime(months // 12, months % 12 + 1, 1, tzinfo=at).timestamp())
    # An hour is debited in the hour after it.
    debited = now // HOUR * HOUR - HOUR
    if whole and debited < end:
        raise InvoiceError(
            f"cost_month is {month!r}: a report (cost_verify_report) can only be compared for a month that is over"
        )
    if debited <= start:
        raise InvoiceError(f"cost_month is {month!r}: nothing of that month has been debited yet")
    return Period(start, min(end, debited))


# ---------------------------------------------------------------- what the ledger has


@dataclass(frozen=True)
class Own:
    """What the ledger has of an object in a period.

    Attributes:
        names: what the cloud may call it besides its id, as an address.
        hours: quantity times hours that may have been billed; ``estimated``: those of them that are not certain.
        most: what they cost all together; ``least``: what the certain ones cost.
    """

    kind: str
    id: str
    name: str
    names: tuple[str, ...]
    hours: int
    estimated: int
    most: Money
    least: Money


def own_objects(ledger_text: str, lists: Sequence[PriceList], rules: BillingRules, when: Period) -> list[Own]:
    """What the ledger has, each object by itself: what two of them shared in an hour is counted for both."""
    lines = ledger.parse(ledger_text)
    alone = replace(rules, maximum=False)
    whole = {certain: ledger.intervals(lines, rules, when.until, certain=certain) for certain in (False, True)}
    addresses = {
        line.id: str(line.what.get("address") or "") for line in lines if line.kind == FLOATING_IP and line.what
    }
    found = []
    for kind, one in dict.fromkeys((item.resource.kind, item.id) for item in whole[False]):
        mine = {
            certain: billing.grid(
                (item for item in items if (item.resource.kind, item.id) == (kind, one)), alone, *when
            )
            for certain, items in whole.items()
        }
        charges = charges_of(mine[False], mine[True], lists)
        if not charges:
            continue
        name = next(item.name for item in whole[False] if (item.resource.kind, item.id) == (kind, one))
        found.append(
            Own(
                kind,
                one,
                name,
                (addresses[one],) if addresses.get(one) else (),
                sum(charge.hours for charge in charges),
                sum(charge.estimated for charge in charges),
                total_of(charge.paid for charge in charges),
                total_of(charge.paid for charge in charges_of(mine[True], {}, lists)),
            )
        )
    return found


# ---------------------------------------------------------------- both


@dataclass(frozen=True)
class Row:
    """An object here and there.

    Attributes:
        result: same, differs, only here, or only there.
        here: what the ledger's hours cost; ``there``: what the cloud bills; None: it is not there.
    """

    result: str
    id: str
    name: str
    type: str
    here: Decimal | None
    there: Decimal | None
    hours: int = 0
    estimated: int = 0

    @property
    def difference(self) -> Decimal:
        """So much more the cloud bills."""
        return (self.there or Decimal(0)) - (self.here or Decimal(0))

    def as_dict(self) -> dict[str, Any]:
        """As data; money is text."""
        return {
            "result": self.result,
            "id": self.id,
            "name": self.name,
            "type": self.type,
            "hours": self.hours,
            "estimated_hours": self.estimated,
            "here": None if self.here is None else f"{self.here:f}",
            "there": None if self.there is None else f"{self.there:f}",
            "difference": f"{self.difference:f}",
        }


@dataclass(frozen=True)
class Comparison:
    """The ledger beside what the cloud bills.

    Attributes:
        without_object: what is billed in the same projects for nothing that has an id, as traffic. It is not compared.
        elsewhere: how many objects are billed in other projects.
        notes: why the ledger may lack something.
    """

    when: Period
    currency: str
    rows: Sequence[Row]
    without_object: Decimal
    elsewhere: int
    notes: Sequence[str] = field(default_factory=tuple)

    @property
    def agrees(self) -> bool:
        """Whether there is no difference."""
        return all(row.result == SAME for row in self.rows)

    @property
    def here(self) -> Decimal:
        """The sum of the ledger."""
        return sum((row.here or Decimal(0) for row in self.rows), Decimal(0))

    @property
    def there(self) -> Decimal:
        """The sum of the cloud."""
        return sum((row.there or Decimal(0) for row in self.rows), Decimal(0))

    def as_dict(self) -> dict[str, Any]:
        """As data; money is text."""
        return {
            "since": ledger.iso(self.when.since),
            "until": ledger.iso(self.when.until),
            "currency": self.currency,
            "agrees": self.agrees,
            "objects": [row.as_dict() for row in self.rows],
            "here": f"{self.here:f}",
            "there": f"{self.there:f}",
            "without_object": f"{self.without_object:f}",
            "elsewhere": self.elsewhere,
            "notes": list(self.notes),
        }

    def lines(self) -> list[str]:
        """For people: the differences, and the sums."""
        cells = [("", "result", "hours", "estimated", "here", "billed", "difference")]
        cells += [
            (
                f"{row.type} {row.name or row.id}".strip() + (f" ({row.id})" if row.name and row.id else ""),
                row.result,
                str(row.hours or ""),
                str(row.estimated or ""),
                "-" if row.here is None else _shown(row.here),
                "-" if row.there is None else _shown(row.there),
                _shown(row.difference),
            )
            for row in self.rows
            if row.result != SAME
        ]
        same = sum(row.result == SAME for row in self.rows)
        cells.append(("all", "", "", "", _shown(self.here), _shown(self.there), _shown(self.there - self.here)))
        widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
        lines = [f"from {ledger.iso(self.when.since)} to {ledger.iso(self.when.until)}, in {self.currency}"]
        lines += [
            "  ".join(
                cell.ljust(width) if at < 2 else cell.rjust(width) for at, (cell, width) in enumerate(pairs)
            ).rstrip()
            for pairs in (list(zip(row, widths, strict=True)) for row in cells)
        ]
        lines.append(f"{same} of {len(self.rows)} objects agree")
        if self.without_object:
            lines.append(f"billed for no object, as traffic, and not compared: {_shown(self.without_object)}")
        if self.elsewhere:
            lines.append(f"{self.elsewhere} objects in other projects are not compared")
        return [*lines, *self.notes]


def compare(
    own: Sequence[Own], items: Iterable[Item], currency: str, tolerance: Decimal, ignored: Collection[str] = ()
) -> tuple[list[Row], Decimal, int]:
    """The rows, what is billed for no object, and how many objects are billed in other projects.

    Hours that are not certain may be billed or not. What is billed in projects that have none of the ledger's objects
    is somebody else's.

    :param currency: of ``items``.
    :param tolerance: per cent of an object's amount that it may differ by.
    :param ignored: ids or names of objects that are billed and not of the fleet.
    :raises InvoiceError: it cannot be compared: prices are missing, or of another currency, or nothing is the same.
    """
    _comparable(own, currency)
    sums: dict[str, Item] = {}
    nameless: dict[str, Decimal] = {}
    for item in items:
        if not item.id:
            nameless[item.project] = nameless.get(item.project, Decimal(0)) + item.amount
            continue
        key = item.id.lower()
        before = sums.get(key)
        sums[key] = item if before is None else before._replace(amount=before.amount + item.amount)
    by_name = {name: key for key, item in sums.items() for name in (key, item.name) if name}
    matched: dict[str, str] = {}
    for one in own:
        key = next((by_name[name] for name in (one.id.lower(), *one.names) if name in by_name), "")
        if key:
            matched[one.id] = key
    if own and not matched:
        shown = [f"{item.type} {item.name or item.id}".strip() for item in list(sums.values())[:3]]
        raise InvoiceError(
            f"of the ledger's {len(own)} objects the cloud bills none, but {len(sums)} others"
            f"{' such as ' + ', '.join(shown) if shown else ''}: it must be the fleet's account, and the same month"
        )
    rows = [_row(one, sums[matched[one.id]] if one.id in matched else None, currency, tolerance) for one in own]
    projects = {sums[key].project for key in matched.values()}
    others = [item for key, item in sums.items() if key not in matched.values()]
    rows += [
        Row(ONLY_THERE, item.id, item.name, item.type, None, item.amount)
        for item in others
        if item.project in projects and item.amount and not {item.id, item.name} & set(ignored)
    ]
    beside = sum((amount for project, amount in nameless.items() if project in projects), Decimal(0))
    return rows, beside, sum(item.project not in projects for item in others)


def _comparable(own: Sequence[Own], currency: str) -> None:
    """See that every object has a price in that currency.

    :raises InvoiceError: not.
    """
    if not own:
        raise InvoiceError("the ledger has no object in this period: there is nothing to compare")
    if not currency:
        raise InvoiceError("cost_verify_currency is empty: a report does not say its currency, so it must be given")
    unknown = sorted(set().union(*(one.most.unknown for one in own)))
    if unknown:
        raise InvoiceError(
            f"the bill is incomplete, as cost_prices has no price for {', '.join(unknown)}: each must have one"
        )
    others = sorted({code for one in own for code in one.most.amounts} - {currency})
    if others:
        raise InvoiceError(
            f"cost_prices are in {', '.join(others)}, and the cloud bills in {currency}: both must be the same"
        )


def _row(one: Own, item: Item | None, currency: str, tolerance: Decimal) -> Row:
    most, least = (money.amounts.get(currency, Decimal(0)) for money in (one.most, one.least))
    if item is None:
        return Row(ONLY_HERE, one.id, one.name, one.kind, most, None, one.hours, one.estimated)
    slack = tolerance / 100 * max(most, item.amount)
    result = SAME if least - slack <= item.amount <= most + slack else DIFFERS
    return Row(result, one.id, one.name, one.kind, most, item.amount, one.hours, one.estimated)


def notes_of(ledger_text: str, when: Period) -> list[str]:
    """Why the ledger may lack something in a period."""
    lines = ledger.parse(ledger_text)
    gaps = sum(
        max(0, min(line.latest, when.until) - max(line.earliest, when.since))
        for line in lines
        if line.kind == ledger.GAP
    )
    damaged = len([row for row in ledger_text.splitlines() if row.strip()]) - len(lines)
    began = min((line.earliest for line in lines if line.kind != ledger.GAP), default=when.until)
    notes = []
    if began > when.since:
        notes.append(f"the ledger begins at {ledger.iso(began)}: what there was before is only there")
    if gaps:
        notes.append(
            f"nobody observed the cloud for {Decimal(gaps) / HOUR:.1f} h: what came and went meanwhile is only there"
        )
    if damaged:
        notes.append(f"{damaged} lines of the ledger cannot be read")
    return notes


def _shown(amount: Decimal) -> str:
    return f"{amount.quantize(CENT):,}"
