"""The estimate and the bill, beside sums that a person has made."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ansible_collections.gpuswarm.ollama.plugins.module_utils._core import cost
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.billing import RULES
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.journal import Recovery
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.ledger import Line
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.prices import PriceError, parse_prices


def at(day: int, hour: int = 0, minute: int = 0) -> int:
    return int(datetime(2026, 11, day, hour, minute, tzinfo=UTC).timestamp())


GPU = {
    "role": "gpu_worker",
    "flavor": "GL10",
    "availability_zone": "ru-7a",
    "volume_size": 100,
    "volume_type": "fast.{zone}",
    "preemptible": True,
}
SPECS: list[dict[str, Any]] = [
    {
        "name": "demo-manager",
        "role": "manager",
        "flavor": "SL1",
        "availability_zone": "ru-7a",
        "volume_size": 40,
        "volume_type": "fast.{zone}",
        "floating_ip_network": "external-network",
    },
    *({"name": f"demo-gpu-{number}", **GPU} for number in (1, 2, 3)),
]
PRICES: dict[str, Any] = {
    "valid_from": "2026-11-01",
    "currency": "USD",
    "vat_included": False,
    "source": "the original text",
    "read_on": "2026-11-27",
    "flavors": {"GL10": {"preemptible": "0.75", "on_demand": "3.00"}, "SL1": {"on_demand": "0.15"}},
}
WHOLE = {**PRICES, "volumes": {"fast": "0.72"}, "floating_ip": "7.20"}


def test_the_originals_sum_does_not_add_up() -> None:
    """It says about 2,400 a month for three GPU servers at 0.75 an hour and a manager at 0.15."""
    found = cost.estimate_report(SPECS, parse_prices([PRICES]), at(15))
    assert found["compute"]["month"]["amounts"] == {"USD": "1728.00"}
    assert found["compute"]["on_demand_month"]["amounts"] == {"USD": "6588.00"}


def test_an_estimate_with_everything_in_it() -> None:
    found = cost.estimate_report(SPECS, parse_prices([WHOLE]), at(15))
    # 340 GiB at 0.001 an hour, an address at 0.01
    assert found["total"]["hour"] == {"amounts": {"USD": "2.75"}, "complete": True, "unknown": []}
    assert found["total"]["on_demand_hour"]["amounts"] == {"USD": "9.50"}
    assert {row["what"]: row["quantity"] for row in found["rows"]} == {
        "SL1 on-demand in ru-7a": 1,
        "GL10 preemptible in ru-7a": 3,
        "disk fast.ru-7a (GiB)": 340,
        "floating IP": 1,
    }
    lines = cost.estimate_lines(SPECS, parse_prices([WHOLE]), at(15))
    assert "on the servers: 73.8 % less than on demand" in lines
    assert "on the whole bill: 71.1 % less than on demand" in lines
    assert lines[-1] == "prices in USD without VAT: the original text, read on 2026-11-27"


@pytest.mark.parametrize(("vat", "words"), [(True, "with VAT"), (None, "with or without VAT, which is not known")])
def test_what_is_not_known_of_taxes_is_said(vat: bool | None, words: str) -> None:
    lines = cost.estimate_lines(SPECS, parse_prices([{**WHOLE, "vat_included": vat}]), at(15))
    assert lines[-1].startswith(f"prices in USD {words}: ")


def test_an_estimate_without_every_price() -> None:
    lines = cost.estimate_lines(SPECS, parse_prices([PRICES]), at(15))
    assert [line.split("  ")[-1].strip() for line in lines if line.startswith("340 x disk")] == ["unknown"]
    assert any(line.startswith("all") and "at least 1,728.00 USD" in line for line in lines)
    assert not any(line.startswith("on the whole bill") for line in lines)
    assert "incomplete, without a price: disk fast.ru-7a (GiB), floating IP" in lines


@pytest.mark.parametrize("lists", [[], [{**WHOLE, "valid_from": "2026-12-01"}]])
def test_without_a_list_everything_is_unknown(lists: list[dict[str, Any]]) -> None:
    lines = cost.estimate_lines(SPECS, parse_prices(lists), at(15))
    assert "per hour: unknown; on demand: unknown" in lines
    assert lines[-1] == "no price list is in force: set cost_prices"
    assert cost.estimate_report(SPECS, parse_prices(lists), at(15))["prices"] is None


def server(number: int, state: str | None, moment: int, latest: int = 0, **more: Any) -> Line:
    what = {"state": state, "flavor": "GL10", "capacity_type": "preemptible", "zone": "ru-7a", "launched": "", **more}
    name = f"demo-gpu-{number}"
    return Line("server", more.get("id", name), name, moment, latest or moment, what if state else None)


def text(*lines: Line) -> str:
    return "".join(line.dump(0) + "\n" for line in lines)


def account(*lists: dict[str, Any], **more: Any) -> cost.Account:
    return cost.Account(parse_prices(list(lists or (WHOLE,))), RULES["selectel"], **more)


DISK = Line("volume", "v", "demo-gpu-1", at(1), at(1), {"size": 100, "type": "fast.ru-7a", "zone": "ru-7a"})
ADDRESS = Line("floating_ip", "f", "demo-manager", at(1), at(1), {"address": "203.0.113.7"})
# Ten hours, preempted twenty minutes into the last; back after two hours
LIVED = [
    server(1, "running", at(1)),
    server(1, "shelved", at(1, 9, 20)),
    server(1, "running", at(1, 11, 30)),
]


def test_a_day() -> None:
    found = cost.bill(text(*LIVED, DISK, ADDRESS), account(specs=SPECS), at(1), at(1, 23, 59))
    hours = {str(charge.resource): charge.hours for charge in found.charges}
    assert hours == {"GL10 preemptible in ru-7a": 23, "disk fast.ru-7a (GiB)": 2400, "floating IP": 24}
    # 23 x 0.75 + 2400 x 0.001 + 24 x 0.01
    assert found.paid.amounts == {"USD": Decimal("19.89")}
    assert found.on_demand.amounts == {"USD": Decimal("71.64")}
    # 24 x (3 x 3.00 + 0.15) and the same disk and address
    assert found.always_on_demand is not None
    assert found.always_on_demand.amounts == {"USD": Decimal("222.24")}
    assert found.rate.amounts == {"USD": Decimal("0.86")}
    # 29 more days of November
    assert found.forecast.amounts == {"USD": Decimal("19.89") + 29 * 24 * Decimal("0.86")}
    assert (found.estimated, found.damaged, found.gap_seconds) == (0, 0, 0)
    lines = cost.bill_lines(found, parse_prices([WHOLE]))
    assert lines[0] == "from 2026-11-01T00:00:00Z to 2026-11-01T23:59:00Z"
    assert "the same hours on demand, servers alone: 69.00 USD; 75.0 % less was paid" in lines
    assert "the same hours on demand: 71.64 USD; 72.2 % less was paid" in lines
    assert "on demand around the clock: 222.24 USD; 91.1 % less was paid" in lines
    assert "now 0.86 USD an hour; this month 618.45 USD if it stays so" in lines
    assert cost.status_lines(found) == [
        "cost this month: 19.89 USD; now 0.86 USD an hour; whole month 618.45 USD if it stays so",
        "  saved beside the same hours on demand: 51.75 USD (72.2 %)",
        "  saved beside on demand around the clock: 202.35 USD (91.1 %)",
    ]
    assert found.as_dict()["saved"]["on_demand"] == {
        "amounts": {"USD": "51.75"}, "complete": True, "unknown": [], "percent": "72.2",
    }  # fmt: skip
    assert found.as_dict()["paid"] == {"amounts": {"USD": "19.89"}, "complete": True, "unknown": []}


def test_prices_change_at_midnight() -> None:
    dearer = {**WHOLE, "valid_from": "2026-11-02", "flavors": {"GL10": {"preemptible": "1.00"}}}
    found = cost.bill(text(server(1, "running", at(1, 22))), account(WHOLE, dearer), at(1), at(2, 1, 30))
    (charge,) = found.charges
    assert charge.paid.amounts == {"USD": Decimal("3.50")}  # two hours at 0.75, two at 1.00
    assert (charge.paid.complete, charge.on_demand.complete) == (True, False)


def test_what_has_no_price_is_not_free() -> None:
    found = cost.bill(text(*LIVED, DISK), account(PRICES), at(1), at(1, 23, 59))
    assert (str(found.paid), found.paid.unknown) == ("at least 17.25 USD", {"disk fast.ru-7a (GiB)"})
    lines = cost.bill_lines(found, parse_prices([PRICES]))
    assert [line.split("  ")[-1].strip() for line in lines if line.startswith("disk")] == ["unknown"]
    assert "incomplete, without a price: disk fast.ru-7a (GiB)" in lines
    assert "  incomplete, without a price: disk fast.ru-7a (GiB)" in cost.status_lines(found)
    assert cost.status_lines(found)[0].startswith("cost this month: at least 17.25 USD; now at least 0.75 USD an hour;")
    lacking = "unknown, without a price: disk fast.ru-7a (GiB)"
    assert f"  saved beside the same hours on demand: {lacking}" in cost.status_lines(found)
    assert found.as_dict()["saved"] == {"on_demand": None, "always_on_demand": None}
    samples = read(cost.render(found))
    assert samples["gpuswarm_cost_unpriced_hours", "volume"] == 2400
    assert samples["gpuswarm_cost_unpriced_hours", "server"] == 0
    assert samples["gpuswarm_cost_paid", "server"] == 17.25
    assert ("gpuswarm_cost_paid", "volume") not in samples
    assert not any(name in ("gpuswarm_cost_rate", "gpuswarm_cost_forecast") for name, _ in samples)


def read(metrics: str) -> dict[tuple[str, str], float]:
    families = list(text_string_to_metric_families(metrics))
    assert all(family.documentation and family.type == "gauge" for family in families)
    return {
        (sample.name, sample.labels.get("kind", "")): sample.value for family in families for sample in family.samples
    }


def test_metrics() -> None:
    balance = cost.parse_balance({"amount": "100", "currency": "USD", "read_at": "2026-11-01T00:00:00Z"})
    found = cost.bill(text(*LIVED, DISK, ADDRESS), account(specs=SPECS, balance=balance), at(1), at(1, 23, 59))
    samples = read(cost.render(found))
    assert {name for name, _ in samples} == {name for name, _ in cost.METRICS}
    assert samples["gpuswarm_cost_paid", "server"] == 17.25
    assert samples["gpuswarm_cost_on_demand", "server"] == 69
    assert samples["gpuswarm_cost_hours", "volume"] == 2400
    assert samples["gpuswarm_cost_balance_days", ""] == 3.9  # 80.11 at 0.86 an hour
    assert samples["gpuswarm_cost_balance_left", ""] == 80.97  # the hour in which it was read is not counted again
    assert samples["gpuswarm_cost_balance_timestamp_seconds", ""] == at(1)


def test_an_empty_ledger_says_so() -> None:
    found = cost.bill("", account(), at(1), at(2))
    assert cost.bill_lines(found, [])[0].startswith("the ledger is empty")
    assert cost.status_lines(found) == ["cost this month: unknown: the ledger is empty"]
    assert found.as_dict()["ledger_began"] is None


def test_a_month_that_the_ledger_has_a_part_of_says_so() -> None:
    found = cost.bill(text(server(1, "running", at(3))), account(), at(1), at(4))
    assert cost.status_lines(found)[0].startswith("cost this month, since 2026-11-03T00:00:00Z: 18.75 USD;")


GIVEN = {"prices": [WHOLE], "rules": "selectel", "balance": {}}


@pytest.mark.parametrize(
    ("ledger", "given", "line", "data"),
    [
        (LIVED[:1], GIVEN, "cost this month: 18.00 USD; now", {"amounts": {"USD": "18.00"}, "complete": True}),
        (LIVED[:1], {}, "cost this month: unknown; now unknown an hour; whole month unknown", {"complete": False}),
        ([], GIVEN, "cost this month: unknown: the ledger is empty", None),
        (LIVED[:1], {"rules": "aws"}, "cost this month: unknown: cost_rules is 'aws'", {}),
    ],
)
def test_what_the_status_says(
    ledger: list[Line], given: dict[str, Any], line: str, data: dict[str, Any] | None
) -> None:
    found, lines = cost.status_of(text(*ledger), given, SPECS, [], at(1, 23, 59))
    assert lines[0].startswith(line)
    if data is None:
        assert found is None
    else:
        assert found is not None
        assert data.items() <= found.get("paid", {}).items()
        assert ("error" in found) == (not data)


def test_what_is_not_certain_is_shown_as_estimated() -> None:
    lines = [server(1, "running", at(1)), server(1, "shelved", at(1, 3, 30), at(1, 5, 10))]
    gap = Line("gap", "", "", at(1, 3, 30), at(1, 5, 10), {})
    found = cost.bill(text(*lines, gap) + "{torn\n", account(), at(1), at(1, 23))
    (charge,) = found.charges
    assert (charge.hours, charge.estimated) == (6, 2)
    assert "  2 server hours of it are estimated" in cost.status_lines(found)
    assert "  nobody observed the cloud for 1.7 h of it" in cost.status_lines(found)
    assert "  1 lines of the ledger cannot be read" in cost.status_lines(found)
    shown = cost.bill_lines(found, [])
    assert "1 lines of the ledger cannot be read" in shown
    assert any(line.startswith("nobody observed the cloud for 1.7 h") for line in shown)


def test_stand_ins_that_replace_each_other_within_an_hour_are_billed_once() -> None:
    lines = [
        server(2, "running", at(1), capacity_type="on_demand"),
        server(2, None, at(1, 0, 20)),
        server(2, "running", at(1, 0, 30), capacity_type="on_demand", id="b"),
        server(2, None, at(1, 2), id="b"),
    ]
    found = cost.bill(text(*lines), account(specs=SPECS), at(1), at(1, 5)).preemption
    assert (found.stand_in_hours, found.stand_ins.amounts) == (2, {"USD": Decimal("4.50")})


def test_what_preemption_costs() -> None:
    lines = [
        server(1, "running", at(1)),
        server(1, None, at(1, 5, 10)),
        # in another zone, within the same hour
        server(1, "running", at(1, 5, 20), zone="ru-7b", id="b"),
        server(2, "running", at(1), capacity_type="on_demand"),
        server(2, None, at(1, 2)),
        server(4, "running", at(1, 3), surge=True),
        server(4, None, at(1, 3, 10)),
    ]
    recoveries = [
        Recovery("demo-gpu-1", "lost", at(1, 5, 10), "done", 20 * 60.0),
        Recovery("demo-gpu-1", "lost", at(1, 5, 50)),  # still running
        Recovery("demo-gpu-3", "lost", at(1, 1), "done", 600.0),  # never paid
    ]
    found = cost.bill(text(*lines), account(specs=SPECS, recoveries=recoveries), at(1), at(1, 5, 59)).preemption
    assert found.idle_seconds == 10 * 60 + 9 * 60
    assert found.idle.amounts == {"USD": Decimal("0.75") * (10 * 60) / 3600 + Decimal("0.75") * (9 * 60) / 3600}
    assert (found.stand_in_hours, found.stand_ins.amounts) == (2, {"USD": Decimal("4.50")})
    assert (found.surge_hours, found.double_hours) == (1, 1)
    # 50 minutes of the surge server's hour, 50 of the first zone's; 20 of the second's, and none of those to come
    assert found.part_hours_seconds == (50 + 50 + 20) * 60
    shown = cost.bill_lines(
        cost.bill(text(*lines), account(specs=SPECS, recoveries=recoveries), at(1), at(1, 5, 59)), []
    )
    assert [line.split(":")[0] for line in shown if line.split(":")[0] in WHY] == list(WHY)


WHY = (
    "paid while servers were recovered",
    "on-demand stand-ins",
    "surge servers",
    "hours billed twice, after changes of zone or flavor",
    "billed beyond what ran, as hours are whole",
)


def test_a_month_that_is_over_has_no_forecast() -> None:
    found = cost.bill(text(*LIVED), account(), at(1), at(30, 23, 59) + 59)
    assert found.ended
    assert not any(line.startswith("now ") for line in cost.bill_lines(found, parse_prices([WHOLE])))
    assert found.forecast.amounts == found.paid.amounts


@pytest.mark.parametrize(
    ("balance", "days"),
    [
        ({"amount": "86", "currency": "USD", "read_at": "2026-11-02T00:00:00Z"}, "4.2"),
        ({"amount": "1", "currency": "USD", "read_at": "2026-11-01T00:00:00Z"}, "0.0"),
        ({"amount": "-12.5", "currency": "USD", "read_at": "2026-11-02T00:00:00Z"}, "0.0"),
        ({"amount": "86", "currency": "RUB", "read_at": "2026-11-01T00:00:00Z"}, None),
        ({}, None),
    ],
)
def test_how_long_the_balance_lasts(balance: dict[str, str], days: str | None) -> None:
    own = account(balance=cost.parse_balance(balance))
    found = cost.bill(text(*LIVED, DISK, ADDRESS), own, at(1), at(2) - 1)
    assert found.balance_days == (None if days is None else Decimal(days))
    assert (found.as_dict()["balance"] is None) == (not balance)


@pytest.mark.parametrize(
    ("lists", "currency", "line"),
    [
        ([WHOLE], "USD", "the balance lasts 4.1 days, by what was read 2d4h ago"),
        ([WHOLE], "RUB", "how long the balance in RUB lasts is unknown: prices are in USD"),
        ([PRICES], "USD", "how long the balance lasts is unknown, by what was read 2d4h ago"),
    ],
)
def test_an_old_balance_says_how_old_it_is(lists: list[dict[str, Any]], currency: str, line: str) -> None:
    balance = cost.parse_balance({"amount": "129", "currency": currency, "read_at": "2026-11-01T00:00:00Z"})
    lived = [server(1, "running", at(1)), DISK, ADDRESS]
    found = cost.bill(text(*lived), account(*lists, balance=balance), at(1), at(3, 4, 30))
    assert f"  {line}" in cost.status_lines(found)
    assert line in cost.bill_lines(found, parse_prices(lists))
    told = found.as_dict()["balance"]
    assert (told["amount"], told["age_seconds"]) == ("129", (2 * 24 + 4) * 3600 + 1800)
    assert (told["left"] is None) == ("unknown" in line)
    assert ("gpuswarm_cost_balance_days", "") not in read(cost.render(found)) or "unknown" not in line


@pytest.mark.parametrize(
    ("moments", "newest"),
    [(("2026-11-01", "2026-11-02"), "2"), (("2026-11-02", "2026-11-01"), "1"), ((None, "2026-11-01"), "2"), ((), None)],
)
def test_of_two_balances_the_newest_counts(moments: tuple[str | None, ...], newest: str | None) -> None:
    data = [
        {"amount": str(number), "currency": "RUB", "read_at": f"{moment}T00:00:00Z"} if moment else {}
        for number, moment in enumerate(moments, start=1)
    ]
    found = cost.newest_balance(*data)
    assert (found and str(found.amount)) == newest
    given = dict(zip(("balance", "read_balance"), data, strict=False))
    assert cost.account_of(given).balance == found


@pytest.mark.parametrize(
    ("balance", "message"),
    [
        ({"amount": "1"}, "cost_balance is .*: it must have amount, currency and read_at"),
        ("12", "cost_balance is '12': it must have amount"),
        (
            {"amount": "x", "currency": "RUB", "read_at": "2026-11-01"},
            "cost_balance.amount is 'x': it must be a number",
        ),
        ({"amount": "1", "currency": "RUB", "read_at": "now"}, "cost_balance.read_at is 'now': it must be a time"),
    ],
)
def test_a_wrong_balance(balance: object, message: str) -> None:
    with pytest.raises(PriceError, match=message):
        cost.parse_balance(balance)


def test_unknown_rules() -> None:
    with pytest.raises(PriceError, match="cost_rules is 'aws': it must be one of selectel, existence, running"):
        cost.rules_named("aws")
