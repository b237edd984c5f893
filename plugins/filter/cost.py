# Copyright: (c) 2026, gpuswarm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters about money: the prices, the estimate, the bill.

Each is documented in the file of its name.
"""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.gpuswarm.ollama.plugins.module_utils._core import (
    billing,
    cost,
    invoice,
    journal,
    ledger,
    prices,
)

OUTPUTS = ("table", "json")


def cost_settings(
    price_lists: Sequence[Mapping[str, Any]], rules: str = "selectel", balance: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """What the manager is given, checked."""
    try:
        prices.parse_prices(price_lists)
        cost.rules_named(rules)
        cost.parse_balance(balance)
    except prices.PriceError as error:
        raise AnsibleFilterError(str(error)) from error
    return {"prices": _plain(price_lists), "rules": str(rules), "balance": _plain(balance or {})}


def cost_estimate(
    specs: Sequence[Mapping[str, Any]], price_lists: Sequence[Mapping[str, Any]], output: str = "table"
) -> Any:
    """What the fleet that should be costs, as a table or as data."""
    _check_output(output)
    try:
        lists = prices.parse_prices(price_lists)
    except prices.PriceError as error:
        raise AnsibleFilterError(str(error)) from error
    make = cost.estimate_report if output == "json" else cost.estimate_lines
    return make(specs, lists, int(time.time()))


def cost_bill(
    text: str,
    price_lists: Sequence[Mapping[str, Any]],
    rules: str = "selectel",
    balance: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
    specs: Sequence[Mapping[str, Any]] = (),
    journal: str = "",
    month: str = "",
    output: str = "table",
) -> Any:
    """The bill of a month, as a table or as data."""
    _check_output(output)
    now = int(time.time())
    since, until = _month(month, now)
    balances = balance if isinstance(balance, Sequence) else [balance]
    try:
        account = cost.Account(
            lists=prices.parse_prices(price_lists),
            rules=cost.rules_named(rules),
            specs=specs,
            recoveries=_recoveries(journal),
            balance=cost.newest_balance(*balances) if until == now else None,
        )
    except prices.PriceError as error:
        raise AnsibleFilterError(str(error)) from error
    found = cost.bill(text, account, since, until)
    return found.as_dict() if output == "json" else cost.bill_lines(found, account.lists)


def cost_period(month: str, timezone: str = "Europe/Moscow", whole: bool = False) -> dict[str, str]:
    """What of a month has been debited, and can be compared."""
    try:
        found = invoice.period(str(month), timezone, int(time.time()), whole=whole)
    except invoice.InvoiceError as error:
        raise AnsibleFilterError(str(error)) from error
    return {"start": ledger.iso(found.since), "end": ledger.iso(found.until)}


def cost_report(text: str, columns: Mapping[str, str]) -> list[dict[str, str]]:
    """What is billed for each object, out of a report of the control panel."""
    plain = text.removeprefix("\ufeff")
    head = plain.split("\n", 1)[0]
    rows = list(csv.DictReader(io.StringIO(plain), delimiter=max(",;\t", key=head.count)))
    try:
        items = invoice.report(rows, columns)
    except invoice.InvoiceError as error:
        raise AnsibleFilterError(str(error)) from error
    return [{**item._asdict(), "amount": f"{item.amount:f}"} for item in items]


def cost_verify(
    text: str,
    price_lists: Sequence[Mapping[str, Any]],
    billed: Sequence[Mapping[str, Any]],
    period: Mapping[str, str],
    currency: str,
    rules: str = "selectel",
    tolerance: str = "1",
    ignore: Sequence[str] = (),
) -> dict[str, Any]:
    """The ledger beside what the cloud bills, as data, with lines for people in it."""
    when = invoice.Period(ledger.moment(period["start"]), ledger.moment(period["end"]))
    try:
        own = invoice.own_objects(text, prices.parse_prices(price_lists), cost.rules_named(rules), when)
        slack = prices.number(tolerance, "cost_verify_tolerance")
        found = invoice.Comparison(
            when,
            currency,
            *invoice.compare(own, invoice.items_of(billed), currency, slack, ignore),
            notes=invoice.notes_of(text, when),
        )
    except (prices.PriceError, invoice.InvoiceError) as error:
        raise AnsibleFilterError(str(error)) from error
    return {**found.as_dict(), "lines": found.lines()}


def _recoveries(text: str) -> list[journal.Recovery]:
    return journal.recoveries(journal.parse(text))


def _check_output(output: str) -> None:
    if output not in OUTPUTS:
        raise AnsibleFilterError(f"cost_output is {output!r}: it must be one of {', '.join(OUTPUTS)}")


def _month(month: str, now: int) -> tuple[int, int]:
    """The first second of a month, and its last one, or now."""
    if not month:
        return billing.month_start(now), now
    try:
        since = int(datetime.strptime(str(month), "%Y-%m").replace(tzinfo=UTC).timestamp())
    except ValueError as error:
        raise AnsibleFilterError(f'cost_month is {month!r}: it must be a month such as "2026-11"') from error
    if since > now:
        raise AnsibleFilterError(f"cost_month is {month!r}: it must not lie in the future")
    return since, min(now, billing.month_end(since) - 1)


def _plain(value: Any) -> Any:
    """As JSON has it: YAML makes dates of what looks like one."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    return value.isoformat() if isinstance(value, date) else value


class FilterModule:
    """The filters, as Ansible looks for them."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Names and functions."""
        return {
            "cost_bill": cost_bill,
            "cost_estimate": cost_estimate,
            "cost_period": cost_period,
            "cost_report": cost_report,
            "cost_settings": cost_settings,
            "cost_verify": cost_verify,
        }
