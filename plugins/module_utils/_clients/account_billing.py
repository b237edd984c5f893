# Copyright: (c) 2026, gpuswarm contributors
# SPDX-License-Identifier: Apache-2.0
"""What Selectel tells an account of its balance and of what it is billed: two questions, with the account's token.

For the operator's computer: such a token does not belong on the manager. No answer has been seen live (`invoice`).
"""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from ansible_collections.gpuswarm.ollama.plugins.module_utils._core import invoice

from .http import NoAnswerError, get_dated
from .retry import Failure, next_delay

URL = "https://api.selectel.ru"
TIMEOUT = 60.0  # seconds for each request; a month of an account's consumption is no small question
PROVIDER = "vpc"  # Selectel's name of what servers, disks and addresses are billed as

# By the kind of token: a static one of the account, or one of Keystone's for the account (IAM).
HEADERS = {"static": "X-Token", "iam": "X-Auth-Token"}

_REFUSED = (401, 403)


class UnaskedError(Exception):
    """The account's billing does not answer, or may not be asked; the message says why, and never has the token."""


def token_of(variable: str, file: str) -> str:
    """The account's token, out of a file if one is named, or else an environment variable.

    Raises:
        UnaskedError: there is none, or the file can be read by others.
    """
    if file:
        token, where = _private(Path(file).expanduser()), file
    else:
        token, where = os.environ.get(variable, ""), f"the environment variable {variable}"
    token = token.strip()
    if not token:
        raise UnaskedError(f"{where} is empty: it must hold a token of the account")
    if not token.isascii() or not token.isprintable() or " " in token:
        raise UnaskedError(f"what is in {where} must be a token, which has neither spaces nor other signs than ASCII")
    return token


def _private(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & 0o077:
                raise UnaskedError(
                    f"{path} has the mode {mode:04o}: nobody but its owner must be able to read it (0600)"
                )
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise UnaskedError(f"{path} cannot be read: {error}") from error


class AccountBilling:
    """The interfaces, as an account's token opens them."""

    def __init__(
        self,
        token: str,
        kind: str = "static",
        url: str = URL,
        cafile: str = "",
        timeout: float = TIMEOUT,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Asks nothing yet.

        Args:
            token: of the account.
            kind: of `HEADERS`.
            url: where the interfaces are; https only.
            cafile: as in `http.get`.
            timeout: seconds for each request.
            sleep: waits so many seconds.

        Raises:
            UnaskedError: the address is not one of https.
        """
        if not url.startswith("https://"):
            raise UnaskedError(f"{url} must begin with https://, as the account's token is sent there")
        self._headers = {HEADERS[kind]: token}
        self._url, self._cafile, self._timeout, self._sleep = url.rstrip("/"), cafile, timeout, sleep

    def balance(self) -> tuple[dict[str, str], int | None]:
        """What is left: ``amount`` and ``currency``; and when, by the answer's clock (epoch seconds; None: untold).

        Raises:
            UnaskedError: there is no answer.
            InvoiceError: it is not as published.
        """
        answer, at = self._get("/v3/balances", "the balance")
        amount, currency = invoice.balance(answer)
        return {"amount": f"{amount:f}", "currency": currency}, at

    def objects(self, when: invoice.Period, zone: str) -> list[dict[str, str]]:
        """What is billed in a period, by object: `invoice.Item`, with the amount as text.

        Args:
            when: the period.
            zone: of the clocks that the API goes by.

        Raises:
            UnaskedError: there is no answer.
            InvoiceError: it is not as published.
        """
        clock = invoice.zone_of(zone)
        query = urlencode(
            {
                "provider_keys": PROVIDER,
                "start": invoice.local(when.since, clock),
                # The hour that the end lies in is part of it.
                "end": invoice.local(when.until - 1, clock),
                "group_type": "object",
                "period_group_type": "all",
                "locale": "en",
            }
        )
        answer, _at = self._get(f"/v1/cloud_billing/statistic/consumption?{query}", "the consumption")
        return [{**item._asdict(), "amount": f"{item.amount:f}"} for item in invoice.consumption(answer)]

    def _get(self, path: str, what: str) -> tuple[Any, int | None]:
        attempt = 0
        while True:
            attempt += 1
            failure, why = Failure(sent=True), ""
            try:
                status, body, at = get_dated(self._url + path, self._headers, self._timeout, self._cafile)
                if status == 200:
                    return json.loads(body), at
                failure, why = Failure(sent=True, status=status), f"HTTP {status}"
            except NoAnswerError as error:
                why = str(error)
            except ValueError:
                failure, why = Failure(sent=True, status=200, malformed=True), "the answer is not JSON"
            delay = next_delay(failure, attempt, repeatable=True)
            if delay is None:
                hint = ": the token must be one of the account, with a role for its billing"
                raise UnaskedError(
                    f"{self._url} does not tell {what}: {why}{hint if failure.status in _REFUSED else ''}"
                )
            self._sleep(delay)
