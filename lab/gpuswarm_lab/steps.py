"""Long work as named steps: run side by side, shown as they go, each with a log file of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from .errors import LabError

HEARTBEAT_S = 10.0
TAIL_LINES = 20


class Progress:
    """Prints what is being done and how long it took, one line per event."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._lock = threading.Lock()

    def say(self, text: str) -> None:
        """Print a line behind the seconds since the command began."""
        with self._lock:
            print(f"[{time.monotonic() - self._start:6.1f} s] {text}", flush=True)


class StepLog:
    """Runs a step's commands, with their output in the step's log file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")

    def write(self, text: str) -> None:
        """Append a line."""
        with self.path.open("a") as log:
            log.write(text + "\n")

    def run(
        self,
        *command: str | Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stdin: bytes | None = None,
        timeout: float = 900,
    ) -> None:
        """Run a command to its end.

        Args:
            command: the program and its arguments.
            env: variables added to the environment.
            cwd: directory to run it in.
            stdin: what it reads (default: nothing).
            timeout: seconds after which the command is killed.

        Raises:
            LabError: the command failed or took too long; the message holds the end of the log.
        """
        words = [str(word) for word in command]
        self.write("+ " + " ".join(words))
        with self.path.open("ab") as log:
            try:
                done = subprocess.run(
                    words,
                    input=stdin,
                    stdin=None if stdin is not None else subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **(env or {})},
                    cwd=cwd,
                    timeout=timeout,
                    check=False,
                )
            except FileNotFoundError as error:
                raise LabError(f"{words[0]}: no such command ({error})") from error
            except subprocess.TimeoutExpired as error:
                raise LabError(f"{words[0]} did not end within {timeout:.0f} s\n{self.tail()}") from error
        if done.returncode:
            raise LabError(f"{' '.join(words[:4])} … ended with {done.returncode}\n{self.tail()}")

    def tail(self, lines: int = TAIL_LINES) -> str:
        """The last lines of the log, indented, below the log's path."""
        text = self.path.read_text(errors="replace").splitlines()[-lines:]
        return "\n".join([f"    end of {self.path}:", *("    | " + line for line in text)])


@dataclass(frozen=True)
class Step:
    """A named piece of work.

    Args:
        name: shown to the user, and the log's file name.
        work: gets the step's log; returns a remark for the progress line, or None.
        after: names of the steps that must have ended before.
        advice: what a user can do if it fails.
    """

    name: str
    work: Callable[[StepLog], str | None]
    after: Sequence[str] = ()
    advice: str = ""


def check_order(steps: Sequence[Step]) -> None:
    """Raise ValueError if a step waits for one that does not come before it in the list."""
    seen: set[str] = set()
    for step in steps:
        if missing := set(step.after) - seen:
            raise ValueError(f"step {step.name!r} waits for {sorted(missing)}, which is not before it")
        seen.add(step.name)


def run_steps(steps: Sequence[Step], logs: Path, progress: Progress) -> None:
    """Run all steps, those that do not wait for each other side by side.

    Raises:
        LabError: a step failed. Steps that were running are awaited, no new one is begun.
    """
    check_order(steps)
    waiting = list(steps)
    running: dict[Future[str | None], tuple[Step, float]] = {}
    done: set[str] = set()
    failures: list[str] = []
    with ThreadPoolExecutor(max(1, len(steps))) as pool:
        while waiting or running:
            for step in [step for step in waiting if done.issuperset(step.after)] if not failures else []:
                waiting.remove(step)
                log = StepLog(logs / (step.name.replace(" ", "-") + ".log"))
                running[pool.submit(step.work, log)] = (step, time.monotonic())
                progress.say(f"{step.name} …")
            if not running:
                break
            finished, _ = wait(running, timeout=HEARTBEAT_S, return_when=FIRST_COMPLETED)
            if not finished:
                now = time.monotonic()
                progress.say("still: " + ", ".join(f"{s.name} ({now - t:.0f} s)" for s, t in running.values()))
            for future in finished:
                step, began = running.pop(future)
                try:
                    remark = future.result()
                except LabError as error:
                    failures.append(
                        f"{step.name}: {error}" + (f"\n    What to do: {step.advice}" if step.advice else "")
                    )
                    progress.say(f"{step.name}: FAILED")
                    if running:
                        progress.say("waiting for what is running: " + ", ".join(s.name for s, _ in running.values()))
                else:
                    done.add(step.name)
                    progress.say(f"{step.name}: {remark or 'done'} ({time.monotonic() - began:.1f} s)")
    if failures:
        raise LabError("\n".join(failures))


def capture(*command: str | Path, timeout: float = 60, check: bool = True, stdin: bytes | None = None) -> str:
    """Run a short command and return what it printed, stripped.

    Raises:
        LabError: it failed (unless ``check`` is false, which returns an empty string) or took too long.
    """
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words,
            capture_output=True,
            timeout=timeout,
            check=False,
            input=stdin,
            stdin=None if stdin is not None else subprocess.DEVNULL,
        )
    except FileNotFoundError as error:
        if not check:
            return ""
        raise LabError(f"{words[0]}: no such command; run `lab/lab up`, which installs it") from error
    except subprocess.TimeoutExpired as error:
        raise LabError(f"{' '.join(words)}: no answer within {timeout:.0f} s") from error
    if done.returncode:
        if not check:
            return ""
        raise LabError(f"{' '.join(words)}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout.decode(errors="replace").strip()


def warn(text: str) -> None:
    """Print a line to stderr."""
    print(text, file=sys.stderr, flush=True)
