"""Price lists, and sums that know what they lack."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.billing import Resource
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.prices import (
    Money,
    PriceError,
    in_force,
    parse_prices,
    saving,
)

LIST: dict[str, Any] = {
    "valid_from": "2026-11-01",
    "currency": "RUB",
    "vat_included": True,
    "source": "the panel",
    "flavors": {"GL10": {"preemptible": "0.75", "on_demand": 3}},
    "volumes": {"fast": "7.20", "basic.ru-7b": "3.60"},
    "floating_ip": "72",
}
GPU = Resource("server", "GL10", "preemptible", "ru-7a")


def moment(day: int, month: int = 11) -> int:
    return int(datetime(2026, month, day, 12, tzinfo=UTC).timestamp())


@pytest.mark.parametrize(
    ("resource", "hours", "cost"),
    [
        (GPU, 3 * 720, "1620.00"),
        (GPU.on_demand, 2, "6"),
        (Resource("volume", "fast.ru-7a", "", "ru-7a"), 100 * 720, "720.00"),
        (Resource("volume", "basic.ru-7b", "", "ru-7b"), 720, "3.60"),
        (Resource("floating_ip"), 10, "1"),
        (Resource("server", "GL20", "preemptible", "ru-7a"), 1, None),
        (Resource("volume", "fast.ru-7b", "", "ru-7a"), 1, None),  # not the zone that its name says
        (Resource("volume", "basic.ru-7a", "", "ru-7a"), 1, None),
        (Resource("volume", "", "", "ru-7a"), 1, None),
    ],
)
def test_cost(resource: Resource, hours: int, cost: str | None) -> None:
    (prices,) = parse_prices([LIST])
    assert prices.cost(resource, hours) == (None if cost is None else Decimal(cost))


def test_numbers_are_what_was_written() -> None:
    (prices,) = parse_prices([{**LIST, "flavors": {"GL10": {"preemptible": 0.1, "on_demand": "0.3"}}}])
    assert prices.cost(GPU, 3) == prices.cost(GPU.on_demand, 1) == Decimal("0.3")


@pytest.mark.parametrize(
    ("day", "month", "source"),
    [(31, 10, None), (1, 11, "first"), (14, 11, "first"), (15, 11, "second"), (1, 12, None), (2, 12, "third")],
)
def test_the_list_in_force(day: int, month: int, source: str | None) -> None:
    days: dict[str, dict[str, Any]] = {
        "third": {"valid_from": date(2026, 12, 2)},
        "first": {},
        "second": {"valid_from": "2026-11-15"},
    }
    days["second"]["valid_until"] = "2026-12-01"
    found = in_force(parse_prices([{**LIST, **own, "source": name} for name, own in days.items()]), moment(day, month))
    assert (found.source if found else None) == source


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"valid_from": "1.11.2026"}, r"cost_prices\[0\].valid_from is '1.11.2026': it must be a day"),
        ({"valid_until": "2026-11-01"}, "valid_until is 2026-11-01: it must be later"),
        ({"currency": ""}, "currency is '': it must be a text"),
        ({"source": None}, "source is None: it must be a text"),
        ({"vat_included": "yes"}, "vat_included is 'yes': it must be true, false, or null"),
        ({"month_hours": 0}, "month_hours is 0: it must be a whole number"),
        ({"flavors": {"GL10": "0.75"}}, "flavors.GL10 is '0.75': it must be a mapping with preemptible"),
        ({"flavors": {"GL10": {"spot": 1}}}, "flavors.GL10 is .*: it must be a mapping with preemptible"),
        ({"flavors": {"GL10": {"preemptible": "free"}}}, "flavors.GL10.preemptible is 'free': it must be a number"),
        ({"flavors": ["GL10"]}, "flavors is .*: it must be a mapping"),
        ({"volumes": {"fast": -1}}, "volumes.fast is -1: it must be a number from 0"),
        ({"volumes": "fast"}, "volumes is 'fast': it must be a mapping"),
        ({"floating_ip": "NaN"}, "floating_ip is 'NaN': it must be a number"),
        ({"floating_ip": True}, "floating_ip is True: it must be a number"),
        ({"flavour": {}}, "has flavour: it must have only valid_from"),
    ],
)
def test_what_is_wrong_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(PriceError, match=message):
        parse_prices([{**LIST, **change}])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("none", "cost_prices is 'none': it must be a list"),
        (["x"], r"cost_prices\[0\] is 'x': it must be a mapping"),
        ([LIST, LIST], "two lists with valid_from 2026-11-01"),
    ],
)
def test_wrong_lists(data: object, message: str) -> None:
    with pytest.raises(PriceError, match=message):
        parse_prices(data)


def money(amount: str | None, currency: str = "RUB", unknown: str = "") -> Money:
    return Money({} if amount is None else {currency: Decimal(amount)}, {unknown} if unknown else set())


@pytest.mark.parametrize(
    ("sum_", "text"),
    [
        (money("1234.5"), "1,234.50 RUB"),
        (money("0"), "0.00 RUB"),
        (money(None, unknown="disk"), "unknown"),
        (money("2", unknown="disk"), "at least 2.00 RUB"),
        (money("2").plus(money("3", "USD")), "2.00 RUB + 3.00 USD"),
        (money(None), "nothing"),
    ],
)
def test_unknown_is_not_zero(sum_: Money, text: str) -> None:
    assert str(sum_) == text
    assert sum_.as_dict()["complete"] == ("disk" not in sum_.as_dict()["unknown"])


@pytest.mark.parametrize(
    ("paid", "compared", "share"),
    [
        (money("3.33"), money("10.32"), "67.7"),
        (money("3"), money("10"), "70.0"),
        (money("3", unknown="disk"), money("10"), None),
        (money("3"), money("10", unknown="GL10"), None),
        (money("3"), money("10", "USD"), None),
        (money("0"), money("0"), None),
        (money(None), money(None), None),
    ],
)
def test_a_saving_needs_both_to_be_known(paid: Money, compared: Money, share: str | None) -> None:
    assert saving(paid, compared) == (None if share is None else Decimal(share))
