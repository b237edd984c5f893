# SPDX-License-Identifier: Apache-2.0
"""Commands of this checkout: limited in time, their output kept, ended with all that they started."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.kit.paths import ROOT

END_S = 10.0  # how long a command may take to end when it is told to
# How much of the output's end stands in an error.
TAIL_LINES = 40
TAIL_CHARACTERS = 6000


class KitError(Exception):
    """Why something cannot go on, in words for the person who runs it."""


@dataclass(frozen=True)
class Done:
    """A command that has ended: exit status (minus the signal's number), what it wrote, how long it took."""

    status: int
    stdout: str
    stderr: str
    seconds: float

    @property
    def output(self) -> str:
        """All that it wrote."""
        return self.stdout + self.stderr


def clock(seconds: float) -> str:
    """Format a duration.

    >>> clock(75)
    '1:15'
    """
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def environment(changes: Mapping[str, str | None] | None = None) -> dict[str, str]:
    """This process's environment with this checkout and its Python; of ``changes``, None takes a variable away."""
    variables: dict[str, str | None] = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_FORCE_COLOR": "0",
        "ANSIBLE_NOCOLOR": "1",
        **(changes or {}),
    }
    return {name: value for name, value in variables.items() if value is not None}


def run(
    command: Sequence[str | Path],
    *,
    env: Mapping[str, str | None] | None = None,
    limit_s: float = 120,
    check: bool = True,
    log: Path | None = None,
    show: Callable[[str], None] | None = None,
    evidence: Callable[[str], Sequence[str]] | None = None,
) -> Done:
    """Run a command in the checkout. It reads nothing and is in a process group of its own.

    Whatever ends the wait for it (the limit, an interrupt, the end of this process) ends the command.

    Args:
        command: Program and arguments. They can be seen by everybody: no secrets.
        env: What differs from :func:`environment`.
        limit_s: Seconds that it may take (default: 120).
        check: Whether a failure is an error (default: it is).
        log: File for its output, line by line (default: none).
        show: Gets each line when it comes, without its end (default: nobody).
        evidence: Finds in the output what explains a failure (default: its end must do).

    Raises:
        KitError: It took too long, or failed; the message has the end of its output.
    """
    words = [str(word) for word in command]
    began = time.monotonic()
    said: list[tuple[str, str]] = []
    late = False
    with contextlib.ExitStack() as stack:
        if log:
            log.parent.mkdir(parents=True, exist_ok=True)
        copy = stack.enter_context(log.open("w", buffering=1, encoding="utf-8")) if log else None
        # A process that is killed can end nothing: the kernel tells the command.
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", "--", *words],
            cwd=ROOT,
            env=environment(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            process_group=0,
        )
        stack.enter_context(process)
        try:
            for stream, line in _lines(process, began + limit_s):
                said.append((stream, line))
                if copy:
                    copy.write(line)
                if show:
                    show(line.rstrip("\n"))
            process.wait(max(0.0, began + limit_s - time.monotonic()))
        except (TimeoutError, subprocess.TimeoutExpired):
            late = True
            _end(process)
        except BaseException:
            _end(process)
            raise
    stdout, stderr = ("".join(line for each, line in said if each == name) for name in ("stdout", "stderr"))
    done = Done(process.returncode, stdout, stderr, time.monotonic() - began)
    if late or (done.status and check):
        why = f"took longer than {limit_s:g} s" if late else f"failed with status {done.status}"
        found = "".join(f"\n{text}\n" for text in evidence(stdout)) if evidence else ""
        end = "".join(f"    {line}" for _, line in said[-TAIL_LINES:])[-TAIL_CHARACTERS:].rstrip("\n")
        where = f"{found or ' '}The end of {log or 'its output'}:\n{end}"
        raise KitError(f"`{' '.join(words)}` {why} after {clock(done.seconds)}.{where}")
    return done


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a command with its group. Ansible passes SIGTERM on to its workers, which are in sessions of their own."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(END_S)


def _lines(process: subprocess.Popen[bytes], deadline: float) -> Iterator[tuple[str, str]]:
    """What the command writes, line by line, with the name of the stream; TimeoutError when the deadline passes."""
    rest = {"stdout": b"", "stderr": b""}
    with selectors.DefaultSelector() as selector:
        for name in rest:
            selector.register(getattr(process, name), selectors.EVENT_READ, name)
        while selector.get_map():
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            for key, _ in selector.select(left):
                data = os.read(key.fd, 65536)
                *lines, rest[key.data] = (rest[key.data] + data).split(b"\n")
                yield from ((key.data, line.decode(errors="replace") + "\n") for line in lines)
                if not data:
                    selector.unregister(key.fileobj)
                    if rest[key.data]:
                        yield key.data, rest[key.data].decode(errors="replace")
