# Copyright: (c) 2026, gpuswarm contributors
# SPDX-License-Identifier: Apache-2.0
"""Is there anything for the recovery loop to do? One look at the cloud and one at the swarm, without Ansible.

The program around it is ``roles/recovery/files/probe.py``. Only the standard library is imported, and little of it, as
it runs every few seconds. The cloud's token is the one that the last recovery left in its cache. Without a token that
is still good the recovery is started; it gets a new one and finds nothing to do.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from . import docker_api, escalation, journal, metrics, plain_http, recovery, run_lock
from .diagnosis import EXAMINE, RESTORE, Seen, Verdict
from .servers import SHELVED_STATUSES, Server, ours
from .swarm import Node, Task, nodes_from_api, tasks_from_api
from .tokens import COMPUTE_MICROVERSION, TokenCache, endpoint

TIMEOUT = 5.0  # seconds for each question
HEAD_START = 10.0  # seconds for the requests that are sent before a run is there
MORE_LOOKS = 2  # after one that found a loss: what is lost together is not always lost within the same second
MORE_LOOKS_PAUSE = 1.0  # seconds
TOKEN_WINDOW = 1800.0  # seconds in which runs for a token are counted

# What systemd's ExecCondition makes of the exit status (systemd.service(5)): 0 goes on, 1 to 254 skips quietly.
GO_ON = 0
NOTHING_TO_DO = 1


class NoTokenError(Exception):
    """There is no token, or the cloud does not take it any more."""


class SilentError(Exception):
    """Somebody did not answer, so nothing is known and nothing is done."""


@dataclass
class Sight:
    """What one look saw; ``told`` is what did not answer, in words."""

    servers: list[dict[str, Any]] | None = None
    nodes: list[Node] | None = None
    tasks: list[Task] | None = None
    token: bool = True
    told: list[str] = field(default_factory=list)

    def seen(self, now: float) -> Seen:
        """The same, as decisions take it."""
        return Seen(self.servers, self.nodes, self.tasks, now)


def read_token(directory: str | None, now: datetime) -> tuple[str, list[dict[str, Any]]]:
    """Token and catalog that were saved last.

    :raises NoTokenError: there is none, or it ends within a minute.
    """
    folder = Path(directory or os.path.join(os.environ.get("XDG_CACHE_HOME", "~/.cache"), "gpuswarm")).expanduser()  # noqa: PTH118
    files = sorted(folder.glob("token-*.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    for file in files:
        try:
            state = json.loads(TokenCache.read(file) or "")
            token = state["body"]["token"]
            if (datetime.fromisoformat(token["expires_at"]) - now).total_seconds() > 60:
                return str(state["auth_token"]), list(token["catalog"])
        except (ValueError, KeyError, TypeError):
            continue
    raise NoTokenError("there is no token of the cloud in the cache")


def compute(config: Mapping[str, Any], now: datetime) -> tuple[str, dict[str, str]]:
    """Nova's address, and the headers of a request to it.

    :raises NoTokenError: see ``read_token``.
    """
    token, catalog = read_token(config.get("token_cache"), now)
    url = endpoint(catalog, "compute", config.get("interface") or "public", config.get("region") or None)
    return url, {"X-Auth-Token": token, "OpenStack-API-Version": f"compute {COMPUTE_MICROVERSION}"}


def list_servers(config: Mapping[str, Any], now: datetime) -> list[dict[str, Any]]:
    """The fleet's servers, as modules return them.

    :raises NoTokenError: see ``read_token``; also when the cloud refuses the token.
    :raises SilentError: the cloud did not answer, or makes no sense.
    """
    url, headers = compute(config, now)
    try:
        status, body = plain_http.get(url + "/servers/detail", headers, TIMEOUT, str(config.get("cacert") or ""))
    except plain_http.NoAnswerError as error:
        raise SilentError(f"the cloud does not answer: {error}") from error
    if status == 401:
        raise NoTokenError("the cloud does not take the token any more")
    if status != 200:
        raise SilentError(f"the cloud answers with HTTP {status}")
    try:
        servers = json.loads(body)["servers"]
    except (ValueError, KeyError, TypeError) as error:
        raise SilentError("the cloud's answer makes no sense") from error
    return [server.as_result() for server in ours([Server.from_api(data) for data in servers], str(config["fleet"]))]


def look(config: Mapping[str, Any], now: float) -> Sight:
    """Look once at both.

    :param config: ``fleet``, ``region``, ``interface``, ``cacert``, ``token_cache`` (directory), ``docker_socket``, and
        ``settings`` (`recovery.Settings.from_mapping`).
    """
    sight = Sight()
    try:
        sight.servers = list_servers(config, datetime.fromtimestamp(now, UTC))
    except NoTokenError as error:
        sight.token = False
        sight.told.append(str(error))
    except SilentError as error:
        sight.told.append(str(error))
    socket = str(config.get("docker_socket") or docker_api.SOCKET)
    service = str(config["settings"]["service"])
    try:
        sight.nodes = nodes_from_api(docker_api.nodes(TIMEOUT, socket))
        services = docker_api.services_named([service], TIMEOUT, socket)
        sight.tasks = tasks_from_api(docker_api.tasks([service], TIMEOUT, socket), services)
    except docker_api.DockerSilentError as error:
        sight.nodes = sight.tasks = None
        sight.told.append(str(error))
    return sight


def run(config: Mapping[str, Any]) -> tuple[int, list[str]]:
    """Look, decide, write the metrics: systemd's exit status, and what is to be said.

    :param config: as for ``look``, with ``specs``, ``journal`` and ``metrics`` (paths), ``maintenance`` (whether the
        loop is switched off), ``maintenance_file`` (whose existence switches it off) and ``lock`` (path).
    """
    began, now = time.monotonic(), time.time()
    sight = look(config, now)
    # Before the journal is read: a run that has ended by now has written down all that it did.
    holder = run_lock.held_by(str(config.get("lock") or run_lock.PATH), now)
    lines = journal.parse(journal.read(str(config["journal"])))
    settings = recovery.Settings.from_mapping(config["settings"])
    verdicts = recovery.assess(config["specs"], sight.seen(now), settings, lines)
    off = maintenance(config)
    told = [*sight.told, *_save_metrics(config, verdicts, lines, sight, began, off=bool(off))]
    if off:
        return NOTHING_TO_DO, [*told, f"maintenance: nothing is done ({off})"]
    if holder:
        return NOTHING_TO_DO, [*told, f"nothing is done: {holder}"]
    if not sight.token:
        if _tried_lately(lines, now, settings.ladder):
            return NOTHING_TO_DO, [*told, "nothing is done: a run has just tried to get one"]
        return GO_ON, [
            *told,
            *_append(config, [_line("examined", "", now)]),
            "looking closer: recover.yml gets a token",
        ]
    if sight.servers is None or sight.nodes is None:
        return NOTHING_TO_DO, [*told, "nothing is done on partial knowledge"]
    last = journal.last_recoveries(lines)
    told += _append(config, _closed(verdicts, last, now))
    reasons = recovery.worth_a_run(verdicts)
    told += _note(config, verdicts)
    asked = _head_start(config, verdicts, sight.servers, last)
    known: set[str] = set()
    for _look in range(MORE_LOOKS if asked else 0):
        time.sleep(MORE_LOOKS_PAUSE)
        known |= {verdict.server for verdict in verdicts if verdict.step == RESTORE}
        sight = look(config, time.time())
        verdicts = recovery.assess(config["specs"], sight.seen(time.time()), settings, lines)
        fresh = [verdict for verdict in verdicts if verdict.step == RESTORE and verdict.server not in known]
        if not fresh or sight.servers is None or sight.nodes is None:
            break
        reasons += recovery.worth_a_run(fresh)
        told += _note(config, fresh)
        asked += _head_start(config, fresh, sight.servers, last)
    return (GO_ON if reasons else NOTHING_TO_DO), told + asked + reasons


def _head_start(
    config: Mapping[str, Any],
    verdicts: Sequence[Verdict],
    servers: Sequence[Mapping[str, Any]],
    last: Mapping[str, journal.Recovery],
) -> list[str]:
    """Asks the cloud at once to unshelve what is lost, so that it boots while Ansible starts; what came of it.

    Only the plain case. Whatever else is needed, and whatever comes of this, is the run's business, which finds the
    server as it is then. After a restore that failed nothing is sent: there may be a better way than this one.
    """
    lost = {verdict.server for verdict in verdicts if verdict.step == RESTORE}
    until = time.monotonic() + HEAD_START
    told = []
    for server in servers:
        name = str(server["name"])
        if name not in lost or server["status"] not in SHELVED_STATUSES or server.get("task_state"):
            continue
        if (name in last and last[name].result == "failed") or time.monotonic() > until:
            continue
        told += _append(config, [_line("restoring", name, time.time())])
        try:
            url, headers = compute(config, datetime.fromtimestamp(time.time(), UTC))
            url += f"/servers/{server['id']}/action"
            cafile = str(config.get("cacert") or "")
            status, body = plain_http.post(url, headers, b'{"unshelve": null}', TIMEOUT, cafile)
            said = f"HTTP {status}" if status == 202 else f"HTTP {status} {body[:200].decode(errors='replace')}"
        except (NoTokenError, plain_http.NoAnswerError) as error:
            said = str(error)
        told.append(f"{name}: asked the cloud to unshelve it: {said}")
    return told


def _note(config: Mapping[str, Any], verdicts: Sequence[Verdict]) -> list[str]:
    """Writes down what was noticed, at the moment at which it was; what went wrong, if something did.

    Not yet what has to be looked at first: that may come to nothing.
    """
    sick = [verdict for verdict in verdicts if verdict.step in recovery.ACTING - {EXAMINE}]
    return _append(config, [_line("noticed", v.server, time.time(), v.reason, v.verdict) for v in sick])


def _closed(verdicts: Sequence[Verdict], last: Mapping[str, journal.Recovery], now: float) -> list[dict[str, Any]]:
    """The end of recoveries that nobody has written down: of runs that were killed, and of what went on after its run.

    No run is at work now: it would hold the lock.

    :param now: when the verdicts' observation began; what was written later is not ended by what was seen before.
    """
    running = {name for name, recovery in last.items() if recovery.result == "running" and recovery.latest < now}
    ended = [v.server for v in verdicts if v.well and v.step != RESTORE and v.server in running]
    return [_line("done", server, now) for server in ended]


def _tried_lately(lines: Sequence[Mapping[str, Any]], now: float, policy: escalation.Policy) -> bool:
    """Whether a run that was to get a token (journal: no server) is too short a time ago for another one."""
    tries = [
        line["epoch"]
        for line in lines
        if line["server"] == "" and line["phase"] == "examined" and 0 <= now - line["epoch"] < TOKEN_WINDOW
    ]
    return bool(tries) and now < tries[-1] + escalation.pause(
        len(tries), policy.retry_pause, policy.longest_retry_pause
    )


def _line(phase: str, server: str, now: float, cause: str = "", verdict: str = "") -> dict[str, Any]:
    return journal.entry(phase, server, now, time.monotonic(), run=escalation.PROBE_RUN, cause=cause, verdict=verdict)


def _append(config: Mapping[str, Any], lines: Sequence[dict[str, Any]]) -> list[str]:
    """Appends to the journal; what went wrong, if something did."""
    try:
        if lines:
            journal.append(str(config["journal"]), lines)
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
    verdicts: Sequence[Verdict],
    lines: Sequence[Mapping[str, Any]],
    sight: Sight,
    began: float,
    *,
    off: bool,
) -> list[str]:
    """Replaces the file as a whole, as node_exporter may read it at any moment; what went wrong, if something did."""
    path = str(config.get("metrics") or "")
    if not path:
        return []
    seen = metrics.Look(
        at=time.time(),
        wall=time.monotonic() - began,
        cpu=time.process_time(),
        maintenance=off,
        cloud=sight.servers is not None,
        swarm=sight.nodes is not None,
    )
    try:
        fresh = Path(f"{path}.new")
        fresh.write_text(metrics.render(verdicts, lines, seen), encoding="utf-8")
        fresh.chmod(0o644)
        fresh.replace(path)
    except OSError as error:
        return [f"the metrics cannot be written to {path}: {error}"]
    return []
