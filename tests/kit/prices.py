# SPDX-License-Identifier: Apache-2.0
"""A list of prices as ``cost_prices`` has it, and a server in the ledger that it has a price for."""

from __future__ import annotations

PRICES = {
    "valid_from": "2020-01-01",
    "currency": "RUB",
    "vat_included": True,
    "source": "test",
    "flavors": {"GL10": {"preemptible": "30.00", "on_demand": "100.00"}},
}
WHAT = {"state": "running", "flavor": "GL10", "capacity_type": "preemptible", "zone": "z", "launched": ""}
