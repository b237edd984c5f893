# Copyright: (c) 2026, gpuswarm contributors
# SPDX-License-Identifier: Apache-2.0
"""Is there anything for the recovery loop to do? One observation of the cloud and of the swarm, without Ansible.

The program around it is ``roles/recovery/files/probe.py``. Only the standard library is imported, and little of it, as
it runs every few seconds. The cloud's token is the one that the last recovery left in its cache. Without a token that
is still good the recovery is started; it gets a new one and finds nothing to do.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ansible_collections.gpuswarm.ollama.plugins.module_utils._clients import http
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core import (
    counters,
    journal,
    metrics,
    plan,
    recovery,
    remediation,
    targets,
)
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.diagnosis import Diagnosis
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.servers import SHELVED_STATUSES
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.vocabulary import Step, Verdict

from . import counters_file, journal_file, ledger_keeper, lock, observe, state_files

HEAD_START = 10.0  # seconds for the requests that are sent before a run is there
MORE_OBSERVATIONS = 2  # after one that found a loss: what is lost together is not always lost within the same second
MORE_OBSERVATIONS_PAUSE = 1.0  # seconds
TOKEN_WINDOW = 1800.0  # seconds in which runs for a token are counted

# What systemd's ExecCondition makes of the exit status (systemd.service(5)): 0 goes on, 1 to 254 skips quietly.
GO_ON = 0
NOTHING_TO_DO = 1


def run(config: Mapping[str, Any]) -> tuple[int, list[str]]:
    """One cycle: observe, decide, write the metrics; systemd's exit status, and the lines to print.

    :param config: as for ``observe.observe``, with ``specs``, ``journal``, ``counters``, ``metrics`` and ``targets``
        (paths), ``maintenance`` (whether the loop is switched off), ``maintenance_file`` (whose existence switches it
        off), ``lock`` (path), and what `ledger_keeper.keep` takes.
    """
    began, now = time.monotonic(), time.time()
    snapshot = observe.observe(config, now)
    status, messages = _cycle(config, snapshot, began, now)
    # What has changed can be asked for later as well, and a recovery does not wait for it. But runs may follow one
    # another, and a server may be made by one and deleted by the next.
    if status == GO_ON and not ledger_keeper.is_late(config, snapshot.cloud_time or int(now)):
        return status, messages
    return status, messages + _keep_ledger(config, snapshot, now)


def _cycle(config: Mapping[str, Any], snapshot: observe.Snapshot, began: float, now: float) -> tuple[int, list[str]]:
    """Decide, write the metrics, and send what can be sent at once."""
    # Before the journal is read: a run that has ended by now has journalled all that it did.
    holder = lock.held_by(str(config.get("lock") or lock.PATH), now)
    lines = journal.parse(journal_file.read(str(config["journal"])))
    settings = recovery.RecoverySettings.from_mapping(config["settings"])
    verdicts = recovery.assess(config["specs"], snapshot.observation(now), settings, lines)
    off = maintenance(config)
    messages = [*snapshot.errors, *_save_metrics(config, verdicts, lines, snapshot, began, off=bool(off))]
    messages += _save_targets(config, verdicts, snapshot)
    if off:
        return NOTHING_TO_DO, [*messages, f"maintenance: nothing is done ({off})"]
    if holder:
        return NOTHING_TO_DO, [*messages, f"nothing is done: {holder}"]
    if not snapshot.token:
        if _tried_lately(lines, now, settings.remediation):
            return NOTHING_TO_DO, [*messages, "nothing is done: a run has just tried to get one"]
        return GO_ON, [
            *messages,
            *_append(config, [_line("examined", "", now)]),
            "recover.yml is started to get a token",
        ]
    if snapshot.servers is None or snapshot.nodes is None:
        return NOTHING_TO_DO, [*messages, "nothing is done on partial knowledge"]
    last = journal.last_recoveries(lines)
    messages += _append(config, _closed(verdicts, last, now))
    reasons = plan.worth_a_run(verdicts)
    messages += _note(config, verdicts, snapshot)
    asked = _head_start(config, verdicts, snapshot.servers, last)
    known: set[str] = set()
    for _observation in range(MORE_OBSERVATIONS if asked else 0):
        time.sleep(MORE_OBSERVATIONS_PAUSE)
        known |= {verdict.server for verdict in verdicts if verdict.step == Step.RESTORE}
        snapshot = observe.observe(config, time.time())
        verdicts = recovery.assess(config["specs"], snapshot.observation(time.time()), settings, lines)
        fresh = [verdict for verdict in verdicts if verdict.step == Step.RESTORE and verdict.server not in known]
        if not fresh or snapshot.servers is None or snapshot.nodes is None:
            break
        reasons += plan.worth_a_run(fresh)
        messages += _note(config, fresh, snapshot)
        asked += _head_start(config, fresh, snapshot.servers, last)
    return (GO_ON if reasons else NOTHING_TO_DO), messages + asked + reasons


def _keep_ledger(config: Mapping[str, Any], snapshot: observe.Snapshot, now: float) -> list[str]:
    """Writes down what is billed; what went wrong, if something did. The recovery does not depend on it."""
    if snapshot.servers is None or not config.get("ledger"):
        return []
    try:
        token, catalog = observe.read_token(config.get("token_cache"), datetime.fromtimestamp(now, UTC))
        sources = ledger_keeper.from_token(config, token, catalog)
        return ledger_keeper.keep(config, snapshot.servers, snapshot.cloud_time or int(now), now, sources)
    except observe.NoTokenError:
        return []
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        return [f"the ledger cannot be kept: {type(error).__name__}: {error}"]


def _head_start(
    config: Mapping[str, Any],
    verdicts: Sequence[Diagnosis],
    servers: Sequence[Mapping[str, Any]],
    last: Mapping[str, journal.Recovery],
) -> list[str]:
    """Asks the cloud at once to unshelve what is lost, so that it boots while Ansible starts; the results.

    Only the plain case. Whatever else is needed, and whatever comes of this, is the run's business, which finds the
    server as it is then. After a restore that failed nothing is sent: another strategy may be better.
    """
    lost = {verdict.server for verdict in verdicts if verdict.step == Step.RESTORE}
    until = time.monotonic() + HEAD_START
    messages = []
    for server in servers:
        name = str(server["name"])
        if name not in lost or server["status"] not in SHELVED_STATUSES or server.get("task_state"):
            continue
        if (name in last and last[name].result == "failed") or time.monotonic() > until:
            continue
        messages += _append(config, [_line("restore", name, time.time())])
        try:
            url, headers = observe.compute(config, datetime.fromtimestamp(time.time(), UTC))
            url += f"/servers/{server['id']}/action"
            cafile = str(config.get("cacert") or "")
            status, body = http.post(url, headers, b'{"unshelve": null}', observe.TIMEOUT, cafile)
            said = f"HTTP {status}" if status == 202 else f"HTTP {status} {body[:200].decode(errors='replace')}"
        except (observe.NoTokenError, http.NoAnswerError) as error:
            said = str(error)
        messages.append(f"{name}: asked the cloud to unshelve it: {said}")
    return messages


def _note(config: Mapping[str, Any], verdicts: Sequence[Diagnosis], snapshot: observe.Snapshot) -> list[str]:
    """Journals what was noticed, at the moment at which it was; what went wrong, if something did.

    Not what has to be examined first: that may lead to nothing.
    """
    sick = [verdict for verdict in verdicts if verdict.step in plan.ACTING - {Step.EXAMINE}]
    now = time.time()
    lines = []
    for verdict in sick:
        server = next((one for one in snapshot.servers or () if one["name"] == verdict.server), None)
        known = counters.loss(server, snapshot.cloud_time, now) if verdict.verdict == Verdict.LOST else {}
        lines.append(_line("noticed", verdict.server, now, verdict.reason, verdict.verdict, known))
    return _append(config, lines)


def _closed(verdicts: Sequence[Diagnosis], last: Mapping[str, journal.Recovery], now: float) -> list[dict[str, Any]]:
    """The end of recoveries that was not journalled: of runs that were killed, and of what went on after its run.

    No run is at work now: it would hold the lock.

    :param now: when the verdicts' observation began; what was written later is not ended by what was seen before.
    """
    running = {name for name, recovery in last.items() if recovery.result == "running" and recovery.latest < now}
    ended = [v.server for v in verdicts if v.as_desired and v.step != Step.RESTORE and v.server in running]
    return [_line("done", server, now) for server in ended]


def _tried_lately(lines: Sequence[Mapping[str, Any]], now: float, policy: remediation.RemediationPolicy) -> bool:
    """Whether a run that was to get a token (journal: no server) is too short a time ago for another one."""
    tries = [
        line["epoch"]
        for line in lines
        if line["server"] == "" and line["phase"] == "examined" and 0 <= now - line["epoch"] < TOKEN_WINDOW
    ]
    return bool(tries) and now < tries[-1] + remediation.pause(
        len(tries), policy.retry_pause, policy.longest_retry_pause
    )


def _line(
    phase: str,
    server: str,
    now: float,
    cause: str = "",
    verdict: str = "",
    known: Mapping[str, str | float] | None = None,
) -> dict[str, Any]:
    run = remediation.PROBE_RUN
    line = journal.entry(phase, server, now, time.monotonic(), run=run, cause=cause, verdict=verdict)
    return {**line, **(known or {})}


def _append(config: Mapping[str, Any], lines: Sequence[dict[str, Any]]) -> list[str]:
    """Appends to the journal; what went wrong, if something did."""
    try:
        if lines:
            journal_file.append(str(config["journal"]), lines)
    except OSError as error:
        return [f"the journal cannot be written: {error}"]
    return []


def maintenance(config: Mapping[str, Any]) -> str:
    """What switches the loop off; empty when nothing does."""
    if config.get("maintenance"):
        return "recovery_maintenance is set"
    file = str(config.get("maintenance_file") or "")
    return f"there is a file {file}" if file and Path(file).exists() else ""


def _save_metrics(
    config: Mapping[str, Any],
    verdicts: Sequence[Diagnosis],
    lines: Sequence[Mapping[str, Any]],
    snapshot: observe.Snapshot,
    began: float,
    *,
    off: bool,
) -> list[str]:
    """Counts, and writes the metrics; what went wrong, if something did."""
    path = str(config.get("metrics") or "")
    if not path:
        return []
    counted, said = counters_file.count(str(config.get("counters") or ""), path, lines, time.time())
    messages = [said] if said else []
    seen = metrics.Cycle(
        at=time.time(),
        wall=time.monotonic() - began,
        cpu=time.process_time(),
        maintenance=off,
        cloud=snapshot.servers is not None,
        swarm=snapshot.nodes is not None,
    )
    try:
        state_files.replace(path, metrics.render(verdicts, counted, seen), everybody=True)
    except OSError as error:
        messages.append(f"the metrics cannot be written to {path}: {error}")
    return messages


def _save_targets(config: Mapping[str, Any], verdicts: Sequence[Diagnosis], snapshot: observe.Snapshot) -> list[str]:
    """Writes what Prometheus is to scrape, if that has changed; what went wrong, if something did.

    On partial knowledge the targets stay as they are.
    """
    path = str(config.get("targets") or "")
    if not path or snapshot.servers is None or any(verdict.verdict == Verdict.UNKNOWN for verdict in verdicts):
        return []
    text = targets.file_sd(verdicts, snapshot.servers)
    try:
        if not Path(path).exists() or Path(path).read_text(encoding="utf-8", errors="replace") != text:
            state_files.replace(path, text, everybody=True)
    except OSError as error:
        return [f"the targets cannot be written to {path}: {error}"]
    return []
