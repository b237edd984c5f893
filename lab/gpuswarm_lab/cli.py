"""The command line of ``lab/lab``."""

from __future__ import annotations

import argparse
import fcntl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from . import commands, model
from .errors import LabError
from .model import Lab
from .raise_lab import up
from .steps import warn

Command = Callable[[Lab, argparse.Namespace], None]


def main(arguments: Sequence[str]) -> int:
    """Run a command line; the exit status is 0, 1 (failed) or 2 (wrong usage)."""
    options = parser().parse_args(arguments)
    try:
        options.run(Lab(fake=options.fake), options)
    except LabError as error:
        warn(f"lab {options.command}: {error}")
        return 1
    except KeyboardInterrupt:
        warn(f"lab {options.command}: interrupted; run it again to go on")
        return 1
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line's grammar."""
    top = argparse.ArgumentParser(prog="lab", description="A cloud in a box: see lab/README.md.")
    top.add_argument("--fake", action="store_true", help="the lab in memory, beside the real one: no Docker, no SSH")
    choice = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, run: Command, text: str) -> argparse.ArgumentParser:
        command = choice.add_parser(name, help=text, description=text)
        command.add_argument("--fake", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
        command.set_defaults(run=run)
        return command

    add("up", lambda lab, _: alone(lab, up), "raise the lab; does only what is missing")
    add("down", lambda lab, _: alone(lab, commands.down), "remove every trace outside build/cache")
    add("reset", lambda lab, _: alone(lab, commands.reset), "back to the empty cloud")
    add("status", lambda lab, _: commands.status(lab), "what runs, and every server")
    preempt = add(
        "preempt",
        lambda lab, options: commands.preempt(lab, options.name, wait=options.wait),
        "take a server away as the cloud does: shelved, and killed without notice",
    )
    preempt.add_argument("name", metavar="NAME", help="name or id of a server")
    preempt.add_argument("--wait", action="store_true", help="return when it is SHELVED_OFFLOADED")
    for name, exhausted, text in (("exhaust", True, "no room any more in a zone"), ("release", False, "room again")):
        zone = add(name, zone_command(exhausted=exhausted), text)
        zone.add_argument("zone", metavar="ZONE", choices=model.ZONES, help=" or ".join(model.ZONES))
    return top


def zone_command(*, exhausted: bool) -> Command:
    """``exhaust`` or ``release``."""

    def run(lab: Lab, options: argparse.Namespace) -> None:
        commands.set_room(lab, options.zone, exhausted=exhausted)

    return run


def alone(lab: Lab, run: Callable[[Lab], None]) -> None:
    """Run a command that changes the lab while no other one does."""
    with lock(lab):
        run(lab)


@contextmanager
def lock(lab: Lab) -> Iterator[None]:
    """Hold the lab's lock; wait for it if another command holds it."""
    lab.cache.mkdir(parents=True, exist_ok=True)
    with (lab.cache / f".{lab.name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            warn("another command is changing the lab: waiting for it to end")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
