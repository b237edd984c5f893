# SPDX-License-Identifier: Apache-2.0
"""The recovery loop on the manager: what it writes down, whether all is well, and other settings for a while."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from tests.kit.cluster import Host
from tests.kit.names import CONFIGURATION, JOURNAL, PROBE_SETTINGS, PYTHON
from tests.kit.waiting import TRANSIENT, until

# Changes the manager's copy of the loop's settings: the variables of its playbooks, and what its probe reads.
SETTINGS = """
import json, os, sys, yaml
variables, probe, *files = json.loads(sys.argv[1])
for path, changes in zip(files, (variables, probe)):
    with open(path) as file:
        data = yaml.safe_load(file)  # JSON is YAML
    target = data if changes is variables else data["settings"]
    for key, value in changes.items():
        target[key] = {**target[key], **value} if changes is probe and isinstance(value, dict) else value
    with open(path + ".new", "w") as file:
        json.dump(data, file)
    os.chmod(path + ".new", 0o600)
    os.replace(path + ".new", path)
"""
SETTINGS_FILES = (str(CONFIGURATION / "manager" / "group_vars" / "all.yml"), str(PROBE_SETTINGS))


def journal(manager: Host, server: str | None, since: float) -> list[dict[str, Any]]:
    """What the recovery journal says of a server, or of all, since then (seconds since 1970)."""
    lines = [json.loads(line) for line in manager.file(str(JOURNAL)).content_string.splitlines()]
    return [line for line in lines if server in (None, line["server"]) and line["epoch"] > since]


def phases(manager: Host, server: str, since: float) -> list[str]:
    """The phases of that."""
    return [line["phase"] for line in journal(manager, server, since)]


def wait_for(
    manager: Host, server: str, since: float, done: Callable[[list[str]], bool], limit_s: float = 240
) -> list[str]:
    """Wait until the journal tells enough of a server; all its phases since then."""
    found: list[str] = []

    def enough() -> bool:
        found[:] = phases(manager, server, since)
        return done(found)

    wait_that(manager, f"the journal says enough of {server}", enough, limit_s)
    return found


def status_of(manager: Host) -> dict[str, Any]:
    """What ``gpuswarm-status`` says; nothing while the manager cannot be logged in to."""
    with suppress(RuntimeError):  # testinfra's
        status: dict[str, Any] = json.loads(manager.run("gpuswarm-status -o json").stdout or "{}")
        return status
    return {}


def wait_until_as_desired(manager: Host, limit_s: float = 120) -> dict[str, Any]:
    """Wait until every server is as desired and no run is at work; what ``gpuswarm-status`` says then."""
    found: dict[str, Any] = {}

    def settled() -> bool:
        found.clear()
        found.update(status_of(manager))
        idle = manager.run("systemctl is-active gpuswarm-recover.service").stdout.strip() != "activating"
        return idle and found.get("as_desired") is True

    wait_that(manager, "every server is as desired and no run is at work", settled, limit_s)
    return found


def wait_that(manager: Host, what: str, true: Callable[[], bool], limit_s: float) -> None:
    """Wait until something is true; what the manager knows is in the error."""

    def evidence() -> str:
        return str(
            manager.check_output(
                "gpuswarm-status || true; docker service ps --no-trunc $(docker service ls -q) || true; "
                f"tail -n 40 {JOURNAL}; journalctl -u gpuswarm-recover -n 120 --no-pager"
            )
        )

    # RuntimeError is testinfra's, while the manager cannot be logged in to.
    until(what, true, limit_s, 0.5, tolerate=(*TRANSIENT, RuntimeError), show=evidence)


@contextmanager
def settings(
    manager: Host, variables: dict[str, Any], probe: dict[str, Any]
) -> Iterator[Callable[[dict[str, Any], dict[str, Any]], None]]:
    """Let the loop on the manager go by other settings for a while; the value changes them again meanwhile.

    Args:
        manager: Connection to the manager.
        variables: Variables of the role ``recovery``.
        probe: The same as the probe's file calls them.
    """

    def change(variables: dict[str, Any], probe: dict[str, Any]) -> None:
        what = json.dumps([variables, probe, *SETTINGS_FILES])
        manager.check_output(shlex.join([str(PYTHON), "-c", SETTINGS, what]))

    for path in SETTINGS_FILES:
        manager.check_output(f"cp -p {path} {path}.before")
    try:
        change(variables, probe)
        yield change
    finally:
        for path in SETTINGS_FILES:
            manager.check_output(f"mv {path}.before {path}")
