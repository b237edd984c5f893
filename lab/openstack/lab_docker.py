"""The ``docker`` command, and what the lab's containers, images and volumes are called.

Shared by the Nova driver and the Cinder driver, which run in different processes and meet here: a boot volume is
the file system of a container, and the Docker volume with its ``/var/lib/docker``.
"""

from __future__ import annotations

import os
import signal
import subprocess
from enum import Enum, auto

PREFIX = os.environ.get("LAB_PREFIX", "gpuswarm-lab")
LABEL = PREFIX + "."

# How a container ends whose system was rebooted: of reboot(2) the kernel makes this signal to the first process (SIGINT
# of poweroff and halt), and the engine adds 128.
REBOOT_EXIT = 128 + signal.SIGHUP


class Change(Enum):
    """What became of a server that Nova did not have in hand."""

    STARTED = auto()
    STOPPED = auto()
    REBOOTS = auto()


class DockerError(Exception):
    """The engine refused a command."""


def docker(*arguments: str, data: bytes | None = None, check: bool = True, timeout: float = 300) -> str:
    """Run ``docker`` and return what it printed, stripped.

    Raises:
        DockerError: it failed (unless ``check`` is false).
    """
    try:
        done = subprocess.run(["docker", *arguments], input=data, capture_output=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired as error:
        raise DockerError(f"docker {' '.join(arguments)}: no answer within {timeout:.0f} s") from error
    if check and done.returncode:
        raise DockerError(f"docker {' '.join(arguments)}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout.decode(errors="replace").strip() if not done.returncode else ""


def server_container(server_id: str) -> str:
    """Container of a server that is on a compute host."""
    return f"{PREFIX}-server-{server_id}"


def disk_container(volume_id: str) -> str:
    """Stopped container that keeps a boot volume's files while no server runs from it."""
    return f"{PREFIX}-disk-{volume_id}"


def disk_image(volume_id: str) -> str:
    """Image with a boot volume's files, once it has been moved to another server."""
    return f"{PREFIX}/disk:{volume_id}"


def data_volume(volume_id: str) -> str:
    """Docker volume with the ``/var/lib/docker`` of a boot volume."""
    return f"{PREFIX}-docker-{volume_id}"


def remove_disk(volume_id: str) -> None:
    """Remove everything that a boot volume is made of; nothing there is fine."""
    docker("rm", "-f", "-v", disk_container(volume_id), check=False)
    docker("rmi", "-f", disk_image(volume_id), check=False)
    docker("volume", "rm", "-f", data_volume(volume_id), check=False)


def change(action: str, exit_code: str, *, preempted: bool) -> Change | None:
    """What the end or the start of a server's container means; None if Nova knows about it.

    Args:
        action: of the engine's event, ``die`` or ``start``.
        exit_code: of the container, with ``die``.
        preempted: whether the server is being preempted, which is on its way through Nova as a shelve.
    """
    if preempted:
        return None
    if action == "start":
        return Change.STARTED
    return Change.REBOOTS if exit_code == str(REBOOT_EXIT) else Change.STOPPED


def is_on(status: str, exit_code: str, error: str) -> bool:
    """Whether a server has power: its container runs, or it ended to reboot and is about to be started again.

    Args:
        status: of the container, as ``docker inspect`` names it.
        exit_code: of its last end.
        error: why the engine could not start it, or nothing.
    """
    return status == "running" or (status == "exited" and exit_code == str(REBOOT_EXIT) and not error)
