"""What the cloud bills beside the ledger. The answers follow Selectel's published interfaces; none was seen live."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from ansible_collections.gpuswarm.ollama.plugins.module_utils._core import invoice
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.billing import RULES
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.invoice import InvoiceError, Item, Period
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.ledger import Line
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.prices import PriceList, parse_prices


def at(day: int, hour: int = 0, minute: int = 0) -> int:
    return int(datetime(2026, 11, day, hour, minute, tzinfo=UTC).timestamp())


# ---------------------------------------------------------------- answers, as published, never seen live

CONSUMPTION = {
    "status": "success",
    "data": [
        {
            "account_id": "12345",
            "provider_key": "vpc",
            "value": 1001,
            "period": "2026-11-01T00:00:00",
            "project": {"id": "p", "name": "demo"},
            "object": {"id": "A", "name": "demo-gpu-1", "type": "cloud_vm", "parent_id": None},
            "metric": None,
        },
        {"value": 5, "project": None, "object": None},
    ],
}
BALANCES: dict[str, Any] = {
    "status": "success",
    "data": {
        "settings": {"mode": "prepay", "currency": "rub"},
        "billings": [
            {"billing_type": "storage", "final_sum": 7, "balances_values_sum": 7, "debt_sum": 0, "balances": []},
            {"billing_type": "primary", "final_sum": -1250, "balances_values_sum": 0, "debt_sum": 1250, "balances": []},
        ],
    },
}


def test_consumption() -> None:
    assert invoice.consumption(CONSUMPTION) == [
        Item("A", "demo-gpu-1", "cloud_vm", "p", Decimal("10.01")),
        Item("", "", "", "", Decimal("0.05")),
    ]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ([], "the consumption must have data"),
        ({"status": "success", "data": {}}, "the consumption must have data"),
        ({"status": "error", "data": []}, "the status of the consumption is 'error': it must be success"),
        ({"data": [1]}, r"the consumption's data\[0\] must be an object"),
        (
            {"data": [{"value": 1.5}]},
            r"the consumption's data\[0\].value is 1.5: it must be a whole number of hundredths",
        ),
        ({"data": [{"value": None}]}, "value is None: it must be a whole number"),
        ({"data": [{"value": True}]}, "value is True: it must be a whole number"),
    ],
)
def test_another_answer_than_published(answer: object, message: str) -> None:
    with pytest.raises(InvoiceError, match=message):
        invoice.consumption(answer)


def test_the_balance_that_servers_are_paid_from() -> None:
    assert invoice.balance(BALANCES) == (Decimal("-12.50"), "RUB")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "data.settings.currency is missing"),
        ({"settings": {"currency": "rub"}}, "of the types none: one of them must be primary or vpc"),
        ({"settings": {"currency": "rub"}, "billings": [{"billing_type": "storage"}]}, "of the types storage"),
        (
            {"settings": {"currency": "rub"}, "billings": [{"billing_type": "vpc"}]},
            "the balance's final_sum is None: it must be a whole number",
        ),
    ],
)
def test_another_balance_than_published(data: dict[str, Any], message: str) -> None:
    with pytest.raises(InvoiceError, match=message):
        invoice.balance({"data": data})


COLUMNS = {"id": "Object ID", "amount": "Total", "name": "Object", "type": "", "project": "Project ID"}


@pytest.mark.parametrize(
    ("written", "amount"),
    [("1234.56", "1234.56"), ("1 234,56", "1234.56"), ("1\u00a0234,56", "1234.56"), ("-3", "-3"), ("0", "0")],
)
def test_a_report(written: str, amount: str) -> None:
    rows = [{"Object ID": " a ", "Object": "demo-gpu-1", "Project ID": "p", "Total": written}]
    assert invoice.report(rows, COLUMNS) == [Item("a", "demo-gpu-1", "", "p", Decimal(amount))]


@pytest.mark.parametrize(
    ("rows", "columns", "message"),
    [
        ([], COLUMNS, "the report is empty"),
        ([{"a": "1"}], {}, "cost_verify_columns must name columns .* id and amount are required; the report has 'a'"),
        ([{"a": "1"}], {"id": "a", "amount": "b"}, "cost_verify_columns must name"),
        ([{"a": "1"}], {"id": "a", "amount": "a", "cost": "a"}, "cost_verify_columns must name"),
        ([{"a": "1"}, {"a": ""}], {"id": "a", "amount": "a"}, "line 3 of the report, 'a' is ''"),
        ([{"a": "NaN"}], {"id": "a", "amount": "a"}, "line 2 of the report, 'a' is 'NaN': it must be an amount"),
    ],
)
def test_a_wrong_report(rows: list[dict[str, str]], columns: dict[str, str], message: str) -> None:
    with pytest.raises(InvoiceError, match=message):
        invoice.report(rows, columns)


def test_items_survive_as_data() -> None:
    items = invoice.consumption(CONSUMPTION)
    assert invoice.items_of([{**item._asdict(), "amount": str(item.amount)} for item in items]) == items


# ---------------------------------------------------------------- when

MOSCOW = "Europe/Moscow"


@pytest.mark.parametrize(
    ("month", "zone", "now", "whole", "period"),
    [
        ("2026-11", "UTC", at(30) + 30 * 86400, True, (at(1), at(30) + 86400)),
        # Months begin three hours earlier there.
        ("2026-11", MOSCOW, at(30) + 30 * 86400, True, (at(1) - 3 * 3600, at(30, 21))),
        # The hour from 10 to 11 is debited from 11 on.
        ("", MOSCOW, at(15, 12, 59), False, (at(1) - 3 * 3600, at(15, 11))),
        ("", MOSCOW, at(30, 22, 30), False, None),
        ("2026-11", MOSCOW, at(30, 22, 30), True, (at(1) - 3 * 3600, at(30, 21))),
        ("2026-11", MOSCOW, at(30, 21, 59), True, None),
        ("2026-12", "UTC", at(15), False, None),
    ],
)
def test_what_has_been_debited(month: str, zone: str, now: int, whole: bool, period: tuple[int, int] | None) -> None:
    if period is None:
        with pytest.raises(InvoiceError, match="cost_month is"):
            invoice.period(month, zone, now, whole=whole)
    else:
        assert invoice.period(month, zone, now, whole=whole) == period


@pytest.mark.parametrize(
    ("month", "zone", "message"),
    [
        ("november", "UTC", "cost_month is 'november': it must be a month"),
        ("", "Mars", "cost_verify_timezone is 'Mars': it must be a time zone"),
    ],
)
def test_a_wrong_month(month: str, zone: str, message: str) -> None:
    with pytest.raises(InvoiceError, match=message):
        invoice.period(month, zone, at(15), whole=False)


def test_the_clocks_of_a_zone() -> None:
    assert invoice.local(at(1) - 1, invoice.zone_of(MOSCOW)) == "2026-11-01T02:59:59"


# ---------------------------------------------------------------- both

LISTS = parse_prices(
    [
        {
            "valid_from": "2026-11-01",
            "currency": "RUB",
            "vat_included": True,
            "source": "test",
            "flavors": {"GL10": {"preemptible": "30.00"}},
            "volumes": {"fast": "7.20"},
            "floating_ip": "72.00",
        }
    ]
)
DAY = Period(at(2), at(3))


def server(one: str, state: str | None, earliest: int, latest: int = 0, **more: Any) -> Line:
    what = {"state": state, "flavor": "GL10", "capacity_type": "preemptible", "zone": "z", "launched": "", **more}
    return Line("server", one, f"demo-gpu-{one}", earliest, latest or earliest, what if state else None)


DISK = Line("volume", "v", "demo-gpu-a", at(1), at(1), {"size": 100, "type": "fast", "zone": "z"})
ADDRESS = Line("floating_ip", "f", "demo-manager", at(1), at(1), {"address": "203.0.113.7"})
LIVED = [server("a", "running", at(1)), DISK, ADDRESS]


def text(*lines: Line) -> str:
    return "".join(line.dump(0) + "\n" for line in lines)


def own(*lines: Line, lists: list[PriceList] = LISTS, when: Period = DAY) -> list[invoice.Own]:
    return invoice.own_objects(text(*lines), lists, RULES["selectel"], when)


def test_each_object_by_itself() -> None:
    found = own(*LIVED)
    assert [(one.kind, one.id, one.hours, one.most.amounts["RUB"]) for one in found] == [
        ("server", "a", 24, Decimal("720.00")),
        ("volume", "v", 2400, Decimal(24)),
        ("floating_ip", "f", 24, Decimal("2.4")),
    ]
    assert found[2].names == ("203.0.113.7",)
    assert all(one.most == one.least and not one.estimated for one in found)


def test_what_two_share_in_an_hour_is_counted_for_both() -> None:
    lines = [server("a", "running", at(1)), server("a", None, at(2, 5, 10)), server("b", "running", at(2, 5, 20))]
    assert {one.id: one.hours for one in own(*lines)} == {"a": 6, "b": 19}


def test_what_was_gone_before_or_came_later_is_left_out() -> None:
    lines = [server("a", "running", at(1)), server("a", None, at(1, 23, 30)), server("b", "running", at(3, 0, 10))]
    assert own(*lines) == []


def item(one: str, amount: str, name: str = "", project: str = "p", kind: str = "cloud_vm") -> Item:
    return Item(one, name, kind, project, Decimal(amount))


SAME_ITEMS = [item("A", "700.00"), item("a", "20"), item("v", "24.00"), item("x", "2.40", name="203.0.113.7")]


def rows(
    lines: list[Line], items: list[Item], tolerance: str = "1", ignored: tuple[str, ...] = ()
) -> list[invoice.Row]:
    return invoice.compare(own(*lines), items, "RUB", Decimal(tolerance), ignored)[0]


@pytest.mark.parametrize(
    ("items", "tolerance", "ignored", "different"),
    [
        (SAME_ITEMS, "0", (), []),
        # By an address where the id is another.
        ([*SAME_ITEMS[:3], item("203.0.113.7", "2.40")], "0", (), []),
        (SAME_ITEMS[:3], "1", (), [("only here", "f", Decimal("2.4"), None)]),
        ([*SAME_ITEMS, item("n", "3.5")], "1", (), [("only there", "n", None, Decimal("3.5"))]),
        ([*SAME_ITEMS, item("n", "3.5", name="web")], "1", ("web",), []),
        ([*SAME_ITEMS, item("n", "3.5")], "1", ("n",), []),
        ([*SAME_ITEMS, item("n", "0")], "1", (), []),
        ([*SAME_ITEMS, item("n", "3.5", project="other")], "1", (), []),
        # 720 and 727.28: one per cent of the larger one
        ([item("a", "727.27"), *SAME_ITEMS[2:]], "1", (), []),
        ([item("a", "727.28"), *SAME_ITEMS[2:]], "1", (), [("differs", "a", Decimal(720), Decimal("727.28"))]),
        ([item("a", "712.80"), *SAME_ITEMS[2:]], "1", (), []),
        ([item("a", "712.79"), *SAME_ITEMS[2:]], "1", (), [("differs", "a", Decimal(720), Decimal("712.79"))]),
        ([item("a", "720.01"), *SAME_ITEMS[2:]], "0", (), [("differs", "a", Decimal(720), Decimal("720.01"))]),
    ],
)
def test_differences(items: list[Item], tolerance: str, ignored: tuple[str, ...], different: list[Any]) -> None:
    found = [row for row in rows(LIVED, items, tolerance, ignored) if row.result != "same"]
    assert [(row.result, row.id, row.here, row.there) for row in found] == different


@pytest.mark.parametrize(
    ("amount", "result"), [("89.99", "differs"), ("90", "same"), ("150", "same"), ("150.01", "differs")]
)
def test_hours_that_are_not_certain_may_be_billed_or_not(amount: str, result: str) -> None:
    lines = [server("a", "running", at(2)), server("a", "shelved", at(2, 2, 30), at(2, 4, 30))]
    (row,) = rows(lines, [item("a", amount)], "0")
    assert (row.result, row.hours, row.estimated) == (result, 5, 2)


def test_what_is_billed_for_no_object_and_elsewhere_is_told() -> None:
    items = [*SAME_ITEMS, item("", "1.5"), item("", "2", project="other"), item("n", "9", project="other")]
    assert invoice.compare(own(*LIVED), items, "RUB", Decimal(1))[1:] == (Decimal("1.5"), 1)


@pytest.mark.parametrize(
    ("lines", "items", "currency", "message"),
    [
        ([], SAME_ITEMS, "RUB", "the ledger has no object in this period"),
        (LIVED, SAME_ITEMS, "", "cost_verify_currency is empty"),
        (LIVED, SAME_ITEMS, "KZT", "cost_prices are in RUB, and the cloud bills in KZT: both must be the same"),
        (
            [*LIVED, server("b", "running", at(1), flavor="L4")],
            SAME_ITEMS,
            "RUB",
            "the bill is incomplete, as cost_prices has no price for L4 preemptible in z: each must have one",
        ),
        (
            LIVED,
            [item("n", "1", name="web")],
            "RUB",
            "of the ledger's 3 objects the cloud bills none, but 1 others such as",
        ),
        (
            LIVED,
            [],
            "RUB",
            "of the ledger's 3 objects the cloud bills none, but 0 others: it must be the fleet's account",
        ),
    ],
)
def test_what_cannot_be_compared(lines: list[Line], items: list[Item], currency: str, message: str) -> None:
    with pytest.raises(InvoiceError, match=message):
        invoice.compare(own(*lines), items, currency, Decimal(1))


def test_without_a_price_list_nothing_is_free() -> None:
    with pytest.raises(InvoiceError, match="the bill is incomplete"):
        invoice.compare(own(*LIVED, lists=[]), SAME_ITEMS, "RUB", Decimal(1))


def test_the_comparison_for_people_and_as_data() -> None:
    items = [
        item("a", "750.00"),
        *SAME_ITEMS[2:],
        item("n", "3.5", name="web"),
        item("", "1.5"),
        item("m", "1", project="q"),
    ]
    found = invoice.Comparison(DAY, "RUB", *invoice.compare(own(*LIVED), items, "RUB", Decimal(1)), notes=["a note"])
    assert not found.agrees
    head, *cells, same, beside, elsewhere, note = found.lines()
    assert head == "from 2026-11-02T00:00:00Z to 2026-11-03T00:00:00Z, in RUB"
    assert [line.split() for line in cells] == [
        ["result", "hours", "estimated", "here", "billed", "difference"],
        ["server", "demo-gpu-a", "(a)", "differs", "24", "720.00", "750.00", "30.00"],
        ["cloud_vm", "web", "(n)", "only", "there", "-", "3.50", "3.50"],
        ["all", "746.40", "779.90", "33.50"],
    ]
    assert same == "2 of 4 objects agree"
    assert beside == "billed for no object, as traffic, and not compared: 1.50"
    assert elsewhere == "1 objects in other projects are not compared"
    assert note == "a note"
    told = found.as_dict()
    assert (told["agrees"], told["here"], told["there"]) == (False, "746.40", "779.90")
    assert told["objects"][0]["difference"] == "30.00"
    assert told["objects"][-1]["here"] is None


def test_why_the_ledger_may_lack_something() -> None:
    gap = Line("gap", "", "", at(1, 23), at(2, 1, 30), {})
    assert invoice.notes_of(text(*LIVED), DAY) == []
    notes = invoice.notes_of(text(server("a", "running", at(2, 6)), gap) + "{torn\n", DAY)
    assert notes == [
        "the ledger begins at 2026-11-02T06:00:00Z: what there was before is only there",
        "nobody observed the cloud for 1.5 h: what came and went meanwhile is only there",
        "1 lines of the ledger cannot be read",
    ]
