# SPDX-License-Identifier: Apache-2.0
"""What the cloud modules share: argument specifications, and how a run's outcomes become one message and one diff."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .errors import CloudError
from .outcome import Outcome
from .servers import ROLES, Spec
from .strategies import TIMEOUTS

DEFAULT_TIMEOUT = 900  # seconds; a GPU server is usable after about three minutes


def cloud_arguments() -> dict[str, Any]:
    """The options of the documentation fragment `cloud`."""
    return {
        "cloud": {"type": "str"},
        "auth": {
            "type": "dict",
            "options": {
                "auth_url": {"type": "str"},
                "username": {"type": "str"},
                "user_id": {"type": "str"},
                "password": {"type": "str", "no_log": True},
                "project_name": {"type": "str"},
                "project_id": {"type": "str"},
                "user_domain_name": {"type": "str"},
                "user_domain_id": {"type": "str"},
                "project_domain_name": {"type": "str"},
                "project_domain_id": {"type": "str"},
                "application_credential_id": {"type": "str"},
                "application_credential_name": {"type": "str"},
                "application_credential_secret": {"type": "str", "no_log": True},
            },
        },
        "region_name": {"type": "str"},
        "interface": {"type": "str", "choices": ["public", "internal", "admin"]},
        "validate_certs": {"type": "bool"},
        "ca_cert": {"type": "path"},
        "api_timeout": {"type": "float", "default": 30.0},
        "compute_microversion": {"type": "str", "default": "2.72"},
        "token_cache": {"type": "path", "no_log": False},
    }


def server_arguments() -> dict[str, Any]:
    """The options that specify one server, its name left out."""
    return {
        "role": {"type": "str", "choices": list(ROLES), "default": "gpu_worker"},
        "flavor": {"type": "str"},
        "image": {"type": "str"},
        "availability_zone": {"type": "str"},
        "network": {"type": "str"},
        "security_groups": {"type": "list", "elements": "str", "default": []},
        "key_name": {"type": "str", "no_log": False},
        "volume_size": {"type": "int", "default": 20},
        "volume_type": {"type": "str"},
        "volume_availability_zone": {"type": "str"},
        "preemptible": {"type": "bool", "default": False},
        "preemptible_tag": {"type": "str", "default": "preemptible"},
        "floating_ip_network": {"type": "str"},
        "restart_stopped": {"type": "bool", "default": False},
        "metadata": {"type": "dict", "default": {}},
        "tags": {"type": "list", "elements": "str", "default": []},
        "user_data": {"type": "str"},
        "alternatives": {
            "type": "list",
            "elements": "dict",
            "default": [],
            "options": {
                "availability_zone": {"type": "str"},
                "flavor": {"type": "str"},
                "volume_type": {"type": "str"},
                "volume_availability_zone": {"type": "str"},
            },
        },
        "on_demand_fallback": {"type": "bool", "default": False},
        "strategy_timeouts": {
            "type": "dict",
            "options": {strategy.value: {"type": "int", "default": seconds} for strategy, seconds in TIMEOUTS.items()},
        },
        "capacity_memory": {"type": "path"},
    }


def specs(servers: Sequence[dict[str, Any]]) -> list[Spec]:
    """Specs from modules' options.

    Raises:
        CloudError: two servers have the same name.
    """
    found = [Spec.from_options(server) for server in servers]
    names = [spec.name for spec in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise CloudError(f"`servers` names {', '.join(twice)} more than once: every server needs a name of its own")
    return found


def merged_diff(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """One diff for all servers that change."""
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    for outcome in outcomes:
        if outcome.changed:
            before[outcome.name], after[outcome.name] = outcome.diff()
    return {"before": before, "after": after}


def failures(outcomes: Sequence[Outcome]) -> str | None:
    """One message for all servers that failed, None if none did. The same reason is given once."""
    reasons: dict[str, list[str]] = {}
    for outcome in outcomes:
        if outcome.error is not None:
            reasons.setdefault(str(outcome.error), []).append(outcome.name)
    if not reasons:
        return None
    if len(outcomes) == 1:
        return next(iter(reasons))
    count = sum(len(names) for names in reasons.values())
    said = [_named(names, reason) for reason, names in reasons.items()]
    return f"{count} of {len(outcomes)} servers failed. " + " | ".join(said)


def _named(names: Sequence[str], reason: str) -> str:
    return reason if len(names) == 1 and reason.startswith(f"{names[0]}:") else f"{', '.join(names)}: {reason}"
