# SPDX-License-Identifier: Apache-2.0
"""What can go wrong with the cloud, as exceptions, and how an answer of an OpenStack API becomes one of them.

Every message names the thing that is wrong and what to do about it.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any


class CloudError(Exception):
    """Base of all errors of this collection's cloud side.

    ``kind`` is a short machine-readable word that modules return as ``error_kind``.
    """

    kind = "error"


class ConfigError(CloudError):
    """The connection settings are incomplete or contradict each other."""

    kind = "config"


class AuthError(CloudError):
    """Keystone refused the credentials."""

    kind = "auth"


class UnreachableError(CloudError):
    """No usable answer from an API, after every retry that was safe."""

    kind = "unreachable"


class PreflightError(CloudError):
    """Something that the specification names does not exist; nothing was created."""

    kind = "preflight"

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(dict.fromkeys(problems))
        super().__init__("; ".join(self.problems))


class AmbiguousError(CloudError):
    """Two things carry the name that one should carry."""

    kind = "ambiguous"


class NoCapacityError(CloudError):
    """The cloud has no room for the server where it was asked for."""

    kind = "no_capacity"


class QuotaError(CloudError):
    """A quota of the project is used up."""

    kind = "quota"


class TimedOutError(CloudError):
    """The module's time-out has passed."""

    kind = "timeout"


class StateError(CloudError):
    """A resource went into a state that cannot be repaired from here."""

    kind = "state"


class FailedError(StateError):
    """What was requested was begun and failed; elsewhere it may succeed."""


class ApiError(CloudError):
    """An API refused a request for good."""

    kind = "api"

    def __init__(self, message: str, status: int, detail: str) -> None:
        super().__init__(message)
        self.status = status
        self.detail = detail


class ConflictError(ApiError):
    """HTTP 409: somebody else is acting on the thing; read it again."""

    kind = "conflict"


class GoneError(ApiError):
    """HTTP 404: the thing is not (or no longer) there."""

    kind = "gone"


class LostAnswerError(CloudError):
    """A write may or may not have been carried out: look before it is repeated."""

    kind = "lost_answer"


_NO_CAPACITY = re.compile(
    r"no valid host|exhausted all hosts|exceeded max(imum)? (number of retries|scheduling attempts)"
    r"|insufficient compute resources|no hosts? available|not enough (capacity|resources)",
    re.IGNORECASE,
)


def is_no_capacity(message: str) -> bool:
    """True if a fault or an API message says that no compute host had room.

    >>> is_no_capacity("No valid host was found. There are not enough hosts available.")
    True
    """
    return bool(_NO_CAPACITY.search(message))


def api_message(body: str) -> str:
    """The human sentence in an error body of Nova, Cinder, Neutron, Glance or Keystone.

    Args:
        body: the answer's text; may be empty, HTML or not JSON at all.

    Returns:
        One line, at most 400 characters, empty if there is nothing to say.
    """
    text = body.strip()
    try:
        data: Any = json.loads(text)
    except ValueError:
        text = re.sub(r"<(style|script|title)[^>]*>.*?</\1>", " ", text, flags=re.DOTALL | re.IGNORECASE)
        return " ".join(re.sub(r"<[^>]+>", " ", text).split())[:400]
    if isinstance(data, dict):
        inner = next((v for v in data.values() if isinstance(v, dict) and "message" in v), data)
        message = inner.get("message")
        if isinstance(message, dict):  # microversion errors and others that nest once more
            message = message.get("message", json.dumps(message))
        if message:
            return " ".join(str(message).split())[:400]
    return " ".join(text.split())[:400]


def quota_name(message: str) -> str | None:
    """The quota that an "over quota" message speaks about.

    Returns:
        The names as the API spells them, joined by commas; "unnamed" if it does not say; None if the message
        is not about a quota.

    >>> quota_name("Quota exceeded for cores, ram: Requested 8, 4096, but already used 8, 4096 of 10, 9 cores, ram")
    'cores, ram'
    >>> quota_name("Quota exceeded for resources: ['port'].")
    'port'
    >>> quota_name("VolumeLimitExceeded: Maximum number of volumes allowed (10) exceeded for quota 'volumes'.")
    'volumes'
    """
    if not re.search(r"quota|limit ?exceeded|overlimit", message, re.IGNORECASE):
        return None
    for pattern in (
        r"exceeded for resources: \[([^\]]*)\]",
        r"[Qq]uota exceeded for ([\w, ]+):",
        r"exceeded for quota '([^']+)'",
        r"(gigabytes\w*|volumes\w*|snapshots\w*) quota",
        r"[Qq]uota exceeded,? (?:too many )?(\w[\w ]*?)(?:[.:,]|$)",
    ):
        found = re.search(pattern, message)
        if found:
            return ", ".join(word.strip(" '\"") for word in found.group(1).split(","))
    return "unnamed" if re.search(r"quota.*exceed|exceed.*quota|overlimit", message, re.IGNORECASE) else None


def from_response(doing: str, method: str, url: str, status: int, body: str, request_id: str | None) -> CloudError:
    """The error for an answer with an HTTP status of 400 or more.

    Args:
        doing: what was attempted, as the message's beginning ("creating the volume of gpu-1").
        method: the HTTP method.
        url: the full address, without query secrets.
        status: the HTTP status.
        body: the answer's text.
        request_id: OpenStack's request id, for the provider's support.
    """
    detail = api_message(body)
    where = f"HTTP {status} from {method} {url}" + (f", request id {request_id}" if request_id else "")
    said = detail or "no explanation given"
    quota = quota_name(detail) if status in (403, 409, 413) else None
    if quota:
        return QuotaError(
            f"{doing}: the project's quota is used up ({quota}): {said} ({where}). "
            "Raise that quota in the control panel or remove what is not needed."
        )
    message = f"{doing}: {said} ({where})"
    if is_no_capacity(detail) or (status == 400 and "availability zone" in detail and "not available" in detail):
        return NoCapacityError(message)
    if status == 401:
        return AuthError(f"{message}. The token was refused twice; check that the user is enabled.")
    kind = {404: GoneError, 409: ConflictError}.get(status, ApiError)
    return kind(message + _ADVICE.get(status, ""), status, detail)


_ADVICE = {
    403: ". The user needs the role 'member' in this project.",
    406: ". Set `compute_microversion` to what this cloud supports.",
}


def unknown(what: str, wanted: str, existing: Iterable[str], option: str, where: str = "") -> str:
    """One sentence for a name that does not exist: what was requested, what exists, what to do.

    Args:
        what: the kind of thing ("flavor").
        wanted: the name that was not found.
        existing: all names there are.
        option: the option to change.
        where: where was looked, for example "region ru-7".
    """
    names = sorted({name for name in existing if name})
    close = difflib.get_close_matches(wanted, names, n=5, cutoff=0.4) or names[:5]
    message = f"{what} '{wanted}' does not exist" + (f" in {where}" if where else "")
    if not names:
        return f"{message}: there is none at all; create it first, then set `{option}`"
    more = len(names) - len(close)
    listed = ", ".join(close) + (f" and {more} more" if more > 0 else "")
    return f"{message}; there is: {listed}. Set `{option}` to one that exists"
