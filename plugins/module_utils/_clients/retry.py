# SPDX-License-Identifier: Apache-2.0
"""When an HTTP request is sent again, and after how long: a table that can be read and tested."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

ATTEMPTS = 6  # per request, the first included
BASE = 0.5  # seconds before the second attempt, at most; doubles each time
CAP = 8.0  # seconds between two attempts, at most
RETRY_AFTER_CAP = 60.0  # a server that asks for more than this is taken as not answering (seconds)

TRANSIENT_STATUSES = frozenset({500, 502, 503, 504})


@dataclass(frozen=True)
class Failure:
    """The result of one attempt.

    Attributes:
        sent: whether the request can have reached the API. False only if there was no connection at all.
        status: the HTTP status, None if there was no answer.
        retry_after: seconds that the API asked to wait, None if it did not say.
        malformed: the answer was a success, but could not be read.
    """

    sent: bool
    status: int | None = None
    retry_after: float | None = None
    malformed: bool = False


def transient(failure: Failure) -> bool:
    """Whether the same request may succeed later."""
    if failure.status is None or failure.malformed:
        return True
    return failure.status == 429 or failure.status in TRANSIENT_STATUSES


def uncertain(failure: Failure) -> bool:
    """Whether a write that failed like this may have been carried out all the same."""
    if not failure.sent:
        return False
    return failure.status is None or failure.malformed or failure.status in TRANSIENT_STATUSES


def backoff(attempt: int, rng: Callable[[], float] = random.random) -> float:
    """Seconds to wait after the given attempt (counted from 1): exponential, capped, jittered by half."""
    return min(CAP, BASE * 2.0 ** (attempt - 1)) * (0.5 + 0.5 * rng())


def next_delay(
    failure: Failure, attempt: int, *, repeatable: bool, rng: Callable[[], float] = random.random
) -> float | None:
    """Seconds until the next attempt, None if there should be none. Whether there is that much time, the caller knows.

    Args:
        failure: the result of the attempt.
        attempt: which attempt that was, counted from 1.
        repeatable: whether the request does no harm when carried out twice (reads, deletes, sets).
        rng: a number in [0, 1).
    """
    if attempt >= ATTEMPTS or not transient(failure) or (uncertain(failure) and not repeatable):
        return None
    delay = backoff(attempt, rng)
    if failure.retry_after is not None:
        if failure.retry_after > RETRY_AFTER_CAP:
            return None
        delay = max(delay, failure.retry_after)
    return delay


def parse_retry_after(value: str | None, now: datetime | None = None) -> float | None:
    """Seconds out of a Retry-After header: a number or a date; None if it is missing or damaged."""
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        when = parsedate_to_datetime(value)
    except (TypeError, ValueError):
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return max(0.0, (when - (now or datetime.now(UTC))).total_seconds())
