# Copyright: (c) 2026, gpuswarm contributors
# SPDX-License-Identifier: Apache-2.0
"""Keeps the ledger: from what the probe has observed anyway, and a question to the cloud when something has changed.

The probe calls `keep` in every cycle. A cycle in which nothing has changed reads and writes one small file. Volumes
and addresses are listed once an hour and after a server has changed. Prices, and the arithmetic with them, are imported
only when the metrics are made anew: then, and after a change of the prices.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ansible_collections.gpuswarm.ollama.plugins.module_utils._clients.ledger_sources import LedgerSources, UntoldError
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core import ledger
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.billing import (
    FLOATING_IP,
    HOUR,
    SERVER,
    VOLUME,
    month_start,
)

from . import ledger_file, state_files

if TYPE_CHECKING:
    from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.cost import Bill
    from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.journal import Recovery

PAUSE = 60  # seconds before the cloud is asked again that did not answer
LATE = 60  # seconds after which a recovery waits for the ledger; making and deleting a server takes longer
WATCHED = 60  # seconds before volumes are listed again of which one is being created or deleted
MOST_QUESTIONS = 10  # in one cycle; a fleet that comes up for the first time takes several


class Sources(Protocol):
    """What is asked of the cloud (`LedgerSources`)."""

    def actions(self, server_id: str) -> list[dict[str, Any]] | None:
        """What was done to a server."""

    def volumes(self) -> list[dict[str, Any]]:
        """The project's volumes."""

    def floating_ips(self) -> list[dict[str, Any]]:
        """The project's addresses."""


def is_late(config: Mapping[str, Any], at: int) -> bool:
    """Whether the ledger has been kept, and not for some time now.

    :param config: ``ledger`` (path); empty: none is kept.
    :param at: now, in epoch seconds of the cloud's clock.
    """
    path = str(config.get("ledger") or "")
    looked = ledger_file.load(path).looked if path else 0
    return 0 < looked < at - LATE


def keep(
    config: Mapping[str, Any], servers: Sequence[Mapping[str, Any]], at: int, written: float, sources: Sources
) -> list[str]:
    """Writes down what has changed, and the metrics when they have; what went wrong, in words.

    :param config: ``ledger`` (path), ``fleet``; for the metrics ``cost`` (path of the prices), ``cost_metrics``,
        ``journal`` and ``specs``.
    :param servers: the fleet's servers, as modules return them.
    :param at: when they were so, in epoch seconds of the cloud's clock; ``written``: now, by this machine's clock.
    :raises OSError: the ledger cannot be written.
    """
    path = str(config["ledger"])
    state = ledger_file.load(path)
    messages: list[str] = []
    lines: list[ledger.Line] = []
    changes = ledger.changed_servers(servers, state.objects)
    created = {str(server["id"]): str(server.get("created_at") or "") for server in servers}
    unwritten: set[str] = set()
    for index, (one, name, what) in enumerate(changes):
        before = state.objects.get((SERVER, one))
        # A new one was not there when the cloud was last observed.
        seen = state.rested.get(one, 0) if before else state.looked
        span = ledger.Span(seen, at, ledger.moment(created[one]) if created.get(one) else 0)
        found: list[ledger.Line] = []
        if index < MOST_QUESTIONS and (at >= state.ask_at or state.ask_at > at + PAUSE):
            try:
                told = sources.actions(one)
                actions = None if told is None else ledger.actions_of(told)
                found = ledger.server_lines(one, name, what, before, actions, span)
            except UntoldError as error:
                messages.append(str(error))
            state.ask_at = state.ask_at if found else at + PAUSE
        if not found and before is None:
            found = ledger.unasked(one, name, what, span)
        lines += found
        unwritten |= set() if found else {one}
    if lines or at >= state.list_at or state.list_at > at + 2 * HOUR:
        lines += _assets(config, state, at, sources, messages)
    if state.looked and at - state.looked > ledger.LONGEST_PAUSE:
        lines.append(ledger.Line(ledger.GAP, "", "", state.looked, at, {}))
    if lines:
        ledger_file.append(path, lines, written)
        state.objects = ledger.last_lines([*state.objects.values(), *lines])
    state.looked = at
    resting = {str(server["id"]): at for server in servers if ledger.at_rest(server)}
    known = {one for kind, one in state.objects if kind == SERVER}
    state.rested |= {one: moment for one, moment in resting.items() if one not in unwritten}
    state.rested = {one: moment for one, moment in state.rested.items() if one in known}
    messages += _metrics(config, state, at)
    ledger_file.save(path, state)
    return messages


def _assets(
    config: Mapping[str, Any], state: ledger_file.LedgerState, at: int, sources: Sources, messages: list[str]
) -> list[ledger.Line]:
    """New lines of volumes and addresses."""
    fleet = str(config["fleet"])
    try:
        volumes, addresses = sources.volumes(), sources.floating_ips()
    except UntoldError as error:
        messages.append(str(error))
        state.list_at = at + PAUSE
        return []
    lines = ledger.asset_lines(VOLUME, ledger.volumes_of(fleet, volumes), state.objects, state.listed, at)
    lines += ledger.asset_lines(FLOATING_IP, ledger.addresses_of(fleet, addresses), state.objects, state.listed, at)
    passing = any(volume.get("status") in ("creating", "deleting") for volume in volumes)
    state.listed, state.list_at = at, at + WATCHED if passing else (at // HOUR + 1) * HOUR
    return lines


def from_token(config: Mapping[str, Any], token: str, catalog: Sequence[Mapping[str, Any]]) -> LedgerSources:
    """The cloud that the probe's configuration and the cached token name."""
    return LedgerSources(
        token,
        catalog,
        str(config.get("region") or ""),
        str(config.get("interface") or "public"),
        str(config.get("cacert") or ""),
    )


def _metrics(config: Mapping[str, Any], state: ledger_file.LedgerState, at: int) -> list[str]:
    """Makes the metrics anew after a change of the ledger or the prices, and every hour."""
    path = str(config.get("cost_metrics") or "")
    if not path:
        return []
    given = " ".join(str(_changed(str(config.get(name) or ""))) for name in ("cost", "balance"))
    made_from = f"{ledger_file.size(str(config['ledger']))} {given} {at // HOUR}"
    if made_from == state.metrics:
        return []
    state.metrics = made_from
    from ansible_collections.gpuswarm.ollama.plugins.module_utils._clients.files import replace_file  # noqa: PLC0415
    from ansible_collections.gpuswarm.ollama.plugins.module_utils._core import cost  # noqa: PLC0415

    try:
        replace_file(Path(path), cost.render(bill(config, at)), 0o644)
    except (OSError, ValueError) as error:
        return [f"the cost's metrics cannot be written to {path}: {error}"]
    return []


def _changed(path: str) -> int:
    """When a file was last changed, in nanoseconds; 0: there is none."""
    try:
        return os.stat(path).st_mtime_ns if path else 0  # noqa: PTH116 - Path.stat costs more, in every cycle
    except OSError:
        return 0


def bill(config: Mapping[str, Any], now: int) -> Bill:
    """The bill of this month, from the ledger and the prices on this machine.

    :param config: ``ledger``, ``cost``, ``balance``, ``journal`` (paths), ``specs``.
    :param now: epoch seconds.
    :raises ValueError: the prices are wrong.
    """
    from ansible_collections.gpuswarm.ollama.plugins.module_utils._core import cost  # noqa: PLC0415

    account = cost.account_of(_given(config), config.get("specs") or [], _recoveries(config))
    return cost.bill(state_files.text_of(str(config["ledger"])), account, month_start(now), now)


def status(config: Mapping[str, Any], now: int) -> tuple[dict[str, Any] | None, list[str]]:
    """What the status says of the cost, as data and in lines (`cost.status_of`).

    :param config: as `bill` takes it; without ``ledger`` nothing is known.
    """
    from ansible_collections.gpuswarm.ollama.plugins.module_utils._core import cost  # noqa: PLC0415

    if not config.get("ledger"):
        return None, []
    try:
        given = _given(config)
    except ValueError as error:
        return cost.status_failed(str(error))
    text = state_files.text_of(str(config["ledger"]))
    return cost.status_of(text, given, config.get("specs") or [], _recoveries(config), now)


def _given(config: Mapping[str, Any]) -> dict[str, Any]:
    """What the role cost has written, as `cost.account_of` takes it.

    :raises ValueError: a file is damaged.
    """
    given, balance = (_json(str(config.get(name) or "")) for name in ("cost", "balance"))
    return {**given, "read_balance": balance}


def _json(path: str) -> dict[str, Any]:
    """An object of JSON; empty: there is no such file.

    :raises ValueError: it is damaged; the message names it.
    """
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8")) if path else {}
    except OSError:
        return {}
    except ValueError as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    if not isinstance(data, dict):
        raise ValueError(f"{path} cannot be read: it must hold an object of JSON")  # noqa: TRY004 - of the file's text
    return data


def _recoveries(config: Mapping[str, Any]) -> list[Recovery]:
    from ansible_collections.gpuswarm.ollama.plugins.module_utils._core import journal  # noqa: PLC0415

    from . import journal_file  # noqa: PLC0415

    return journal.recoveries(journal.parse(journal_file.read(str(config.get("journal") or ""))))
