"""The filters of the role cost: what they refuse, and that a playbook gets what the core computes."""

from __future__ import annotations

import json
import time
from datetime import UTC, date, datetime
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.gpuswarm.ollama.plugins.filter import cost
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.ledger import Line
from tests.kit.paths import ROOT
from tests.kit.roles import load

NOW = int(datetime(2026, 12, 15, 12, 30, tzinfo=UTC).timestamp())
PRICES: list[dict[str, Any]] = [
    {
        "valid_from": date(2026, 11, 1),
        "currency": "RUB",
        "vat_included": True,
        "source": "test",
        "flavors": {"GL10": {"preemptible": 0.75, "on_demand": "3"}},
    }
]
SPECS = [{"name": "g", "flavor": "GL10", "availability_zone": "z", "volume_size": 10, "preemptible": True}]
WHAT = {"state": "running", "flavor": "GL10", "capacity_type": "preemptible", "zone": "z", "launched": ""}
LEDGER = Line("server", "id", "g", NOW - 40 * 86400, NOW - 40 * 86400, WHAT).dump(NOW)


@pytest.fixture(autouse=True)
def _now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: float(NOW))


def test_settings_are_json() -> None:
    found = cost.cost_settings(PRICES, "selectel", {})
    assert json.loads(json.dumps(found)) == found
    assert found["prices"][0]["valid_from"] == "2026-11-01"
    assert (found["rules"], found["balance"]) == ("selectel", {})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([{}],), r"cost_prices\[0\].currency is None"),
        ((PRICES, "aws"), "cost_rules is 'aws'"),
        ((PRICES, "selectel", {"amount": 1}), "cost_balance is"),
    ],
)
def test_wrong_settings(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(AnsibleFilterError, match=message):
        cost.cost_settings(*arguments)


def test_an_estimate() -> None:
    data = cost.cost_estimate(SPECS, PRICES, "json")
    assert data["compute"]["month"]["amounts"] == {"RUB": "540.00"}
    assert "on the servers: 75.0 % less than on demand" in cost.cost_estimate(SPECS, PRICES)
    with pytest.raises(AnsibleFilterError, match="cost_output is 'csv': it must be one of table, json"):
        cost.cost_estimate(SPECS, PRICES, "csv")
    with pytest.raises(AnsibleFilterError, match=r"cost_prices\[0\].currency is None"):
        cost.cost_estimate(SPECS, [{}])


@pytest.mark.parametrize(("month", "hours"), [("", 14 * 24 + 13), ("2026-12", 14 * 24 + 13), ("2026-11", 25 * 24 + 12)])
def test_a_bill(month: str, hours: int) -> None:
    data = cost.cost_bill(LEDGER, PRICES, specs=SPECS, month=month, output="json")
    (charge,) = data["charges"]
    assert charge["hours"] == hours
    assert float(charge["paid"]["amounts"]["RUB"]) == hours * 0.75
    assert any("% less was paid" in line for line in cost.cost_bill(LEDGER, PRICES, month=month))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"month": "november"}, "cost_month is 'november': it must be a month such as"),
        ({"month": "2027-01"}, "cost_month is '2027-01': it must not lie in the future"),
        ({"rules": "x"}, "cost_rules is 'x'"),
        ({"output": "x"}, "cost_output is 'x'"),
    ],
)
def test_a_wrong_question(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(AnsibleFilterError, match=message):
        cost.cost_bill(LEDGER, PRICES, **arguments)


def test_the_examples_prices_say_where_they_are_from() -> None:
    lists = load(ROOT / "inventory" / "selectel" / "group_vars" / "all.yml")["cost_prices"]
    assert cost.cost_settings(lists)
    assert all(one["source"] and one["read_on"] for one in lists)


def test_what_of_a_month_has_been_debited() -> None:
    assert cost.cost_period("") == {"start": "2026-11-30T21:00:00Z", "end": "2026-12-15T11:00:00Z"}
    assert cost.cost_period("2026-11", "UTC", whole=True) == {
        "start": "2026-11-01T00:00:00Z", "end": "2026-12-01T00:00:00Z",
    }  # fmt: skip
    with pytest.raises(AnsibleFilterError, match="can only be compared for a month that is over"):
        cost.cost_period("2026-12", whole=True)


# Made up: Selectel describes the columns of its report, and does not publish their names.
COLUMNS = {"id": "object id", "amount": "total", "name": "object"}


@pytest.mark.parametrize(
    "text",
    [
        "object id,object,total\nid,g,271.50\n",
        "\ufeffobject id;object;total\r\nid;g;271,50\r\n",
        'object id\tobject\ttotal\nid\tg\t"271,50"\n',
    ],
)
def test_a_report(text: str) -> None:
    assert cost.cost_report(text, COLUMNS) == [{"id": "id", "name": "g", "type": "", "project": "", "amount": "271.50"}]


@pytest.mark.parametrize(("text", "message"), [("", "the report is empty"), ("a,b\n1,2\n", "the report has 'a', 'b'")])
def test_a_wrong_report(text: str, message: str) -> None:
    with pytest.raises(AnsibleFilterError, match=message):
        cost.cost_report(text, COLUMNS)


PERIOD = {"start": "2026-12-01T00:00:00Z", "end": "2026-12-02T00:00:00Z"}


@pytest.mark.parametrize(("amount", "agrees"), [("18.00", True), ("18.19", False)])
def test_the_ledger_beside_what_is_billed(amount: str, agrees: bool) -> None:
    billed = [{"id": "id", "name": "g", "type": "cloud_vm", "project": "p", "amount": amount}]
    found = cost.cost_verify(LEDGER, PRICES, billed, PERIOD, "RUB")
    assert json.loads(json.dumps(found)) == found
    assert (found["agrees"], found["here"], found["there"]) == (agrees, "18.00", amount)
    assert f"{int(agrees)} of 1 objects agree" in found["lines"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"currency": "KZT"}, "cost_prices are in RUB, and the cloud bills in KZT"),
        ({"tolerance": "-1"}, "cost_verify_tolerance is '-1': it must be a number from 0"),
        ({"rules": "aws"}, "cost_rules is 'aws'"),
        ({"price_lists": []}, "cost_prices has no price for GL10 preemptible in z"),
    ],
)
def test_what_cannot_be_compared(more: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"price_lists": PRICES, "billed": [], "period": PERIOD, "currency": "RUB", **more}
    with pytest.raises(AnsibleFilterError, match=message):
        cost.cost_verify(LEDGER, **arguments)


def test_of_two_balances_the_newest_counts_in_a_bill() -> None:
    old, new = (
        {"amount": amount, "currency": "RUB", "read_at": f"2026-12-{day}T00:00:00Z"}
        for amount, day in (("1", "01"), ("9", "02"))
    )
    for balance in ([old, new], [new, {}], new):
        assert cost.cost_bill(LEDGER, PRICES, balance=balance, output="json")["balance"]["amount"] == "9"
