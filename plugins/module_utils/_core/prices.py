# Copyright: (c) 2026, gpuswarm contributors
# SPDX-License-Identifier: Apache-2.0
"""Price lists, and sums of money that know what they lack.

Money is `Decimal` from the variable to the printed line. What has no price is unknown: it makes a sum incomplete, and
is never zero nor another thing's price.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from typing import Any

from .billing import SERVER, VOLUME, Resource
from .servers import ON_DEMAND, PREEMPTIBLE

CENT = Decimal("0.01")
MONTH_HOURS = 720

_KEYS = ("valid_from", "valid_until", "currency", "vat_included", "source", "read_on", "month_hours")
_PRICES = ("flavors", "volumes", "floating_ip")


class PriceError(ValueError):
    """A price list is wrong; the message names the variable and the fix."""


@dataclass(frozen=True)
class PriceList:
    """Prices that are in force from one day on.

    Attributes:
        valid_from: epoch seconds (midnight UTC); ``valid_until``: the first moment at which they are not, None: until
            another list begins.
        vat_included: whether the prices include value added tax; None: not known.
        source: where they were read; ``read_on``: when.
        month_hours: hours of the month that monthly prices are for.
        flavors: by flavor and capacity type, per server and hour.
        volumes: by type, per GiB and month.
        floating_ip: per address and month.
    """

    valid_from: int
    valid_until: int | None
    currency: str
    vat_included: bool | None
    source: str
    read_on: str
    month_hours: int
    flavors: Mapping[str, Mapping[str, Decimal]]
    volumes: Mapping[str, Decimal]
    floating_ip: Decimal | None

    def cost(self, resource: Resource, quantity_hours: int) -> Decimal | None:
        """What so many hours of a resource cost; None when it has no price."""
        if resource.kind == SERVER:
            price = self.flavors.get(resource.key, {}).get(resource.capacity_type)
            return None if price is None else price * quantity_hours
        if resource.kind == VOLUME:
            # "fast.ru-7a" by its own price, or by that of "fast" in every zone.
            price = self.volumes.get(resource.key, self.volumes.get(resource.key.removesuffix(f".{resource.zone}")))
        else:
            price = self.floating_ip
        return None if price is None else price * quantity_hours / self.month_hours


@dataclass
class Money:
    """A sum by currency, and the names of what it lacks because there is no price."""

    amounts: dict[str, Decimal] = field(default_factory=dict)
    unknown: set[str] = field(default_factory=set)

    def add(self, amount: Decimal | None, currency: str, name: str) -> None:
        """Add an amount; None adds to what is unknown."""
        if amount is None:
            self.unknown.add(name)
        else:
            self.amounts[currency] = self.amounts.get(currency, Decimal(0)) + amount

    def plus(self, other: Money) -> Money:
        """Both together."""
        both = Money(dict(self.amounts), self.unknown | other.unknown)
        for currency, amount in other.amounts.items():
            both.add(amount, currency, "")
        return both

    def times(self, factor: int | Decimal) -> Money:
        """So many times as much."""
        return Money({currency: amount * factor for currency, amount in self.amounts.items()}, set(self.unknown))

    @property
    def complete(self) -> bool:
        """Whether everything in it had a price."""
        return not self.unknown

    def __str__(self) -> str:
        known = " + ".join(f"{amount.quantize(CENT):,} {currency}" for currency, amount in sorted(self.amounts.items()))
        if not self.unknown:
            return known or "nothing"
        return f"at least {known}" if known else "unknown"

    def as_dict(self) -> dict[str, Any]:
        """For JSON: the amounts as text, exact."""
        return {
            "amounts": {currency: f"{amount:f}" for currency, amount in sorted(self.amounts.items())},
            "complete": self.complete,
            "unknown": sorted(self.unknown),
        }


def saving(paid: Money, compared: Money) -> Decimal | None:
    """How many per cent less than something else; None unless both are complete and in one currency."""
    left = difference(compared, paid)
    if left is None:
        return None
    currency = next(iter(left.amounts))
    whole = compared.amounts[currency]
    return (100 * left.amounts[currency] / whole).quantize(Decimal("0.1")) if whole else None


def difference(one: Money, other: Money) -> Money | None:
    """So much more one sum is than the other; None unless both are complete and in the same one currency."""
    if not (one.complete and other.complete) or len(one.amounts) != 1 or set(one.amounts) != set(other.amounts):
        return None
    (currency,) = one.amounts
    return Money({currency: one.amounts[currency] - other.amounts[currency]})


def parse_prices(data: object) -> list[PriceList]:
    """The variable ``cost_prices``, the oldest list first.

    :raises PriceError: it is wrong.
    """
    if not isinstance(data, Sequence) or isinstance(data, str):
        raise PriceError(f"cost_prices is {data!r}: it must be a list of price lists")
    lists = sorted((_price_list(number, item) for number, item in enumerate(data)), key=lambda one: one.valid_from)
    for one, other in pairwise(lists):
        if one.valid_from == other.valid_from:
            day = datetime.fromtimestamp(one.valid_from, UTC).date()
            raise PriceError(f"cost_prices has two lists with valid_from {day}: they must begin on different days")
    return lists


def in_force(lists: Iterable[PriceList], moment: int) -> PriceList | None:
    """The list that holds at a moment (epoch seconds); None when there is none."""
    begun = [one for one in lists if one.valid_from <= moment]
    last = begun[-1] if begun else None
    return None if last is None or (last.valid_until is not None and moment >= last.valid_until) else last


def number(value: object, where: str, *, signed: bool = False) -> Decimal:
    """An amount of money, as it was written.

    :param signed: whether it may be negative, as a debt is.
    :raises PriceError: it is none.
    """
    try:
        # A number without quotes comes as a float, whose shortest text is what was written.
        amount = Decimal(str(value).strip())
    except InvalidOperation:
        amount = Decimal("NaN")
    if isinstance(value, bool) or not amount.is_finite() or (amount < 0 and not signed):
        least = "" if signed else " from 0"
        raise PriceError(f'{where} is {value!r}: it must be a number{least} such as "0.75"')
    return amount


def _price_list(index: int, item: object) -> PriceList:
    where = f"cost_prices[{index}]"
    if not isinstance(item, Mapping):
        raise PriceError(f"{where} is {item!r}: it must be a mapping with {', '.join((*_KEYS, *_PRICES))}")
    unknown = sorted(set(item) - {*_KEYS, *_PRICES})
    if unknown:
        raise PriceError(f"{where} has {', '.join(unknown)}: it must have only {', '.join((*_KEYS, *_PRICES))}")
    for key in ("currency", "source"):
        if not isinstance(item.get(key), str) or not item[key].strip():
            raise PriceError(f"{where}.{key} is {item.get(key)!r}: it must be a text")
    if not isinstance(item.get("vat_included", ""), bool | None):
        raise PriceError(
            f"{where}.vat_included is {item.get('vat_included')!r}: it must be true, false, or null if it is not known"
        )
    month = item.get("month_hours", MONTH_HOURS)
    if isinstance(month, bool) or not str(month).isdigit() or int(month) < 1:
        raise PriceError(f"{where}.month_hours is {month!r}: it must be a whole number of hours, e.g. 720")
    start = _day(item.get("valid_from"), f"{where}.valid_from")
    end = None if item.get("valid_until") is None else _day(item["valid_until"], f"{where}.valid_until")
    if end is not None and end <= start:
        raise PriceError(f"{where}.valid_until is {item['valid_until']}: it must be later than valid_from")
    floating_ip = item.get("floating_ip")
    return PriceList(
        valid_from=start,
        valid_until=end,
        currency=item["currency"].strip(),
        vat_included=item["vat_included"],
        source=item["source"].strip(),
        read_on=str(item.get("read_on") or ""),
        month_hours=int(month),
        flavors=_flavors(item.get("flavors") or {}, f"{where}.flavors"),
        volumes=_numbers(item.get("volumes") or {}, f"{where}.volumes"),
        floating_ip=None if floating_ip is None else number(floating_ip, f"{where}.floating_ip"),
    )


def _flavors(found: object, where: str) -> dict[str, dict[str, Decimal]]:
    if not isinstance(found, Mapping):
        raise PriceError(f"{where} is {found!r}: it must be a mapping from flavors to prices")
    prices = {}
    for flavor, both in found.items():
        if not isinstance(both, Mapping) or not both or not set(both) <= {PREEMPTIBLE, ON_DEMAND}:
            raise PriceError(
                f"{where}.{flavor} is {both!r}: it must be a mapping with {PREEMPTIBLE}, {ON_DEMAND} or both"
            )
        prices[str(flavor)] = _numbers(both, f"{where}.{flavor}")
    return prices


def _numbers(found: object, where: str) -> dict[str, Decimal]:
    if not isinstance(found, Mapping):
        raise PriceError(f"{where} is {found!r}: it must be a mapping from names to prices")
    return {str(name): number(value, f"{where}.{name}") for name, value in found.items()}


def _day(value: object, where: str) -> int:
    try:
        day = value if isinstance(value, date) else date.fromisoformat(str(value))
        return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
    except ValueError as error:
        raise PriceError(f'{where} is {value!r}: it must be a day such as "2026-11-01"') from error
