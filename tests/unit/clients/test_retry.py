# SPDX-License-Identifier: Apache-2.0
"""When a request is sent again."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ansible_collections.gpuswarm.ollama.plugins.module_utils._clients.retry import (
    ATTEMPTS,
    CAP,
    Failure,
    backoff,
    next_delay,
    parse_retry_after,
)

REFUSED = Failure(sent=False)
LOST = Failure(sent=True)
MALFORMED = Failure(sent=True, status=200, malformed=True)


def answered(status: int, retry_after: float | None = None) -> Failure:
    return Failure(sent=True, status=status, retry_after=retry_after)


@pytest.mark.parametrize(
    ("failure", "read", "write"),
    [
        (REFUSED, True, True),  # never reached the API
        (LOST, True, False),
        (MALFORMED, True, False),
        (answered(429), True, True),  # turned away at the door
        (answered(500), True, False),
        (answered(502), True, False),
        (answered(503), True, False),
        (answered(504), True, False),
        (answered(400), False, False),
        (answered(403), False, False),
        (answered(404), False, False),
        (answered(409), False, False),
        (answered(501), False, False),
    ],
)
def test_what_is_repeated(failure: Failure, read: bool, write: bool) -> None:
    assert (next_delay(failure, 1, repeatable=True) is not None) is read
    assert (next_delay(failure, 1, repeatable=False) is not None) is write


def test_bounds() -> None:
    assert next_delay(REFUSED, ATTEMPTS, repeatable=True) is None
    assert next_delay(answered(429, 7.0), 1, repeatable=True) == 7.0
    assert next_delay(answered(503, 3600.0), 1, repeatable=True) is None


def test_backoff_grows_and_is_capped() -> None:
    longest = [backoff(attempt, lambda: 1.0) for attempt in range(1, 9)]
    assert longest == sorted(longest)
    assert longest[0] == 0.5
    assert longest[-1] == CAP
    assert backoff(3, lambda: 0.0) == backoff(3, lambda: 1.0) / 2


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("5", 5.0),
        ("-3", 0.0),
        ("Thu, 01 Jan 2026 12:00:30 GMT", 30.0),
        ("Thu, 01 Jan 2026 11:00:00 GMT", 0.0),
        ("soon", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after(value: str | None, expected: float | None) -> None:
    assert parse_retry_after(value, datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)) == expected
