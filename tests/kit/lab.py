# SPDX-License-Identifier: Apache-2.0
"""The lab: where it has its files, its commands, the product's playbooks on it, and a cloud for the time of tests."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from unittest import mock

from lab.gpuswarm_lab.model import Lab
from tests.kit import ansible, commands
from tests.kit.commands import Done
from tests.kit.paths import ROOT

LAB, FAKE = Lab(), Lab(fake=True)
INVENTORY = ROOT / "inventory" / "lab"
UP_LIMIT_S = 1800
DOWN_LIMIT_S = 300


def variables(lab: Lab = LAB) -> dict[str, str]:
    """The variables by which an ordinary member finds the lab's cloud and its files."""
    return {
        "OS_CLIENT_CONFIG_FILE": str(lab.member_clouds),
        "OS_CLOUD": "lab",
        "GPUSWARM_LAB_DIR": str(lab.state),
    }


def command(*arguments: str, lab: Lab = LAB, **options: Any) -> Done:
    """Run ``lab/lab`` with a command line; ``options`` and errors are those of :func:`commands.run`."""
    return commands.run([ROOT / "lab" / "lab", *(["--fake"] if lab.fake else []), *arguments], **options)


def playbook(
    name: str,
    *arguments: str | Path,
    inventory: Path = INVENTORY,
    env: Mapping[str, str | None] | None = None,
    **options: Any,
) -> Done:
    """Run one of the product's playbooks on the lab, as :func:`ansible.playbook` does."""
    return ansible.playbook(name, *arguments, inventory=inventory, env={**variables(), **(env or {})}, **options)


def preempt(server: str, **options: Any) -> float:
    """Let the cloud take a server away; when it was killed, in seconds since 1970. A KitError if it failed."""
    return kill_time(command("preempt", server, **options).stdout.splitlines())


def kill_time(output: Iterable[str]) -> float:
    """Read from the output of ``lab/lab preempt`` when it killed the server; a KitError if it does not say so.

    >>> kill_time(["preempted gpu-1 0a1b at 1970-01-01T00:01:00.500+00:00"])
    60.5
    """
    for line in output:
        words = line.split()
        if words[:1] == ["preempted"] and len(words) == 5:
            return datetime.fromisoformat(words[4]).timestamp()
    raise commands.KitError("`lab/lab preempt` did not say when it killed the server")


@contextmanager
def without_room(zone: str, lab: Lab = LAB) -> Iterator[Callable[[], None]]:
    """Take a zone's room away for a while; the value gives it back earlier."""

    def release() -> None:
        command("release", zone, lab=lab)

    command("exhaust", zone, lab=lab)
    try:
        yield release
    finally:
        release()


@contextmanager
def cloud() -> Iterator[dict[str, str]]:
    """Have a cloud, whose variables are in this process's environment meanwhile.

    It is the one that OS_CLIENT_CONFIG_FILE and OS_CLOUD name; if they name none, the lab in its in-memory mode, which
    is raised and ended if it is not up.

    Returns:
        The variables by which an ordinary member finds it. A KitError if the lab cannot be raised.
    """
    if "OS_CLIENT_CONFIG_FILE" in os.environ:
        yield {name: os.environ[name] for name in ("OS_CLIENT_CONFIG_FILE", "OS_CLOUD")}
        return
    started = not FAKE.env_file.exists()
    if started:
        command("up", lab=FAKE, limit_s=UP_LIMIT_S)
    try:
        with mock.patch.dict(os.environ, variables(FAKE)):
            yield variables(FAKE)
    finally:
        if started:
            command("down", lab=FAKE, limit_s=DOWN_LIMIT_S)
