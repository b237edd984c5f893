"""The probe: when it asks for a run, which token it takes, and that silence is no reason to act."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ansible_collections.gpuswarm.ollama.plugins.module_utils._core import counters, journal, ledger
from ansible_collections.gpuswarm.ollama.plugins.module_utils._runtime import (
    journal_file,
    ledger_file,
    lock,
    observe,
    probe,
)
from tests.kit.unix_server import UnixHandler, UnixServer

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def save_token(
    folder: Path, url: str = "http://127.0.0.1:1", left: float = 3600, name: str = "a", mode: int = 0o600
) -> Path:
    catalog = [{"type": "compute", "endpoints": [{"interface": "public", "region": "r", "url": url}]}]
    expires = (NOW + timedelta(seconds=left)).strftime("%Y-%m-%dT%H:%M:%S.000000Z")
    state = json.dumps({"auth_token": f"secret-{name}", "body": {"token": {"expires_at": expires, "catalog": catalog}}})
    file = folder / f"token-{name}.json"
    file.write_text(json.dumps({"auth_state": state}), encoding="utf-8")
    file.chmod(mode)
    return file


def test_a_good_token_is_taken(tmp_path: Path) -> None:
    save_token(tmp_path)
    token, catalog = observe.read_token(str(tmp_path), NOW)
    assert token == "secret-a"
    assert catalog[0]["type"] == "compute"


def test_an_expired_token_does_not_hide_a_good_one(tmp_path: Path) -> None:
    save_token(tmp_path, name="good")
    save_token(tmp_path, name="old", left=30)
    assert observe.read_token(str(tmp_path), NOW)[0] == "secret-good"


@pytest.mark.parametrize("case", ["none", "expired", "damaged", "readable by others"])
def test_no_token_that_can_be_used(tmp_path: Path, case: str) -> None:
    if case == "expired":
        save_token(tmp_path, left=59)
    if case == "damaged":
        save_token(tmp_path).write_text('{"auth_state": "{', encoding="utf-8")
    if case == "readable by others":
        save_token(tmp_path, mode=0o644)
    with pytest.raises(observe.NoTokenError):
        observe.read_token(str(tmp_path), NOW)


class Handler(BaseHTTPRequestHandler):
    status = 200
    body = b"{}"
    posted: list[tuple[str, bytes]]
    accepts = 202

    def do_GET(self) -> None:
        self.send_response(self.status if self.headers["X-Auth-Token"] == "secret-a" else 401)
        self.end_headers()
        self.wfile.write(self.body)

    def do_POST(self) -> None:
        self.posted.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(self.accepts if self.headers["X-Auth-Token"] == "secret-a" else 401)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Be quiet."""


@pytest.fixture
def config(tmp_path: Path) -> Iterator[dict[str, Any]]:
    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    save_token(tmp_path, f"http://127.0.0.1:{server.server_port}/v2.1")
    yield {"fleet": "demo", "region": "r", "token_cache": str(tmp_path)}
    server.shutdown()
    server.server_close()


def test_only_the_fleets_servers_are_listed(config: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    servers = [
        {"id": "1", "name": "demo-gpu-1", "status": "SHELVED", "metadata": {"gpuswarm_fleet": "demo"}},
        {"id": "2", "name": "somebody-elses", "status": "ACTIVE"},
    ]
    monkeypatch.setattr(Handler, "body", json.dumps({"servers": servers}).encode())
    assert [(found["name"], found["status"]) for found in observe.list_servers(config, NOW)[0]] == [
        ("demo-gpu-1", "SHELVED")
    ]


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (401, b"{}", observe.NoTokenError),
        (503, b"", observe.SilentError),
        (404, b"<html>", observe.SilentError),
        (200, b"<html>", observe.SilentError),
        (200, b"[]", observe.SilentError),
        (200, b"{}", observe.SilentError),
    ],
)
def test_what_is_no_list_is_no_knowledge(
    config: dict[str, Any], monkeypatch: pytest.MonkeyPatch, status: int, body: bytes, error: type[Exception]
) -> None:
    monkeypatch.setattr(Handler, "status", status)
    monkeypatch.setattr(Handler, "body", body)
    with pytest.raises(error):
        observe.list_servers(config, NOW)


def test_nobody_there(tmp_path: Path) -> None:
    save_token(tmp_path)
    with pytest.raises(observe.SilentError, match="does not answer"):
        observe.list_servers({"fleet": "demo", "region": "r", "token_cache": str(tmp_path)}, NOW)


class Docker(UnixHandler, BaseHTTPRequestHandler):
    answers: dict[str, Any]

    def do_GET(self) -> None:
        body = self.answers.get(self.path.partition("?")[0])
        self.send_response(503 if body is None else 200)
        self.end_headers()
        self.wfile.write(
            json.dumps({"message": "This node is not a swarm manager."} if body is None else body).encode()
        )


@pytest.fixture
def fleet(config: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """A manager and one healthy GPU server, as the two APIs tell it."""
    servers = [
        {"id": name, "name": name, "status": "ACTIVE", "metadata": {"gpuswarm_fleet": "demo", "gpuswarm_role": role}}
        for name, role in (("demo-manager", "manager"), ("demo-gpu-1", "gpu_worker"))
    ]
    monkeypatch.setattr(Handler, "body", json.dumps({"servers": servers}).encode())
    nodes = [
        {
            "ID": name,
            "Description": {"Hostname": name},
            "Status": {"State": "ready"},
            "Spec": {"Availability": "active"},
        }
        for name in ("demo-manager", "demo-gpu-1")
    ]
    task = {
        "ID": "t",
        "ServiceID": "s",
        "NodeID": "demo-gpu-1",
        "DesiredState": "running",
        "Status": {"State": "running"},
    }
    answers = {"/nodes": nodes, "/tasks": [task], "/services": [{"ID": "s", "Spec": {"Name": "gpuswarm_ollama"}}]}
    monkeypatch.setattr(Docker, "answers", answers, raising=False)
    monkeypatch.setattr(Handler, "posted", [], raising=False)
    # The clock of the token's fixture stands still.
    monkeypatch.setattr(time, "time", NOW.timestamp)
    server = UnixServer(str(tmp_path / "docker.sock"), Docker)  # type: ignore[arg-type]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    specs = [{"name": "demo-manager", "role": "manager"}, {"name": "demo-gpu-1", "role": "gpu_worker"}]
    (tmp_path / "counters.json").write_text(counters.dump(counters.CounterState()), encoding="utf-8")
    yield config | {
        "specs": specs,
        "settings": {"service": "gpuswarm_ollama"},
        "docker_socket": str(tmp_path / "docker.sock"),
        "journal": str(tmp_path / "journal.jsonl"),
        "metrics": str(tmp_path / "gpuswarm.prom"),
        "counters": str(tmp_path / "counters.json"),
        "targets": str(tmp_path / "gpuswarm_targets.json"),
        "maintenance_file": str(tmp_path / "maintenance"),
        "lock": str(tmp_path / "lock.json"),
    }
    server.shutdown()
    server.server_close()


def lose(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        Handler, "body", Handler.body.replace(b'"ACTIVE"', b'"SHELVED"').replace(b"SHELVED", b"ACTIVE", 1)
    )


def metric(fleet: dict[str, Any], name: str, **labels: str) -> float | None:
    text = Path(fleet["metrics"]).read_text(encoding="utf-8")
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return next((item.value for item in samples if item.name == name and labels.items() <= item.labels.items()), None)


def test_all_is_well(fleet: dict[str, Any]) -> None:
    assert probe.run(fleet) == (probe.NOTHING_TO_DO, [])
    assert not Path(fleet["journal"]).exists()
    assert metric(fleet, "gpuswarm_server_as_desired", server="demo-gpu-1") == 1
    assert metric(fleet, "gpuswarm_observed", source="cloud") == 1
    assert metric(fleet, "gpuswarm_probe_timestamp_seconds") == NOW.timestamp()
    assert Path(fleet["metrics"]).stat().st_mode & 0o777 == 0o644


def test_the_fleets_own_tag_makes_a_server_preemptible(fleet: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Handler, "body", Handler.body.replace(b'"metadata"', b'"tags": ["spot"], "metadata"'))
    tags = {server["name"]: server["preemptible"] for server in observe.list_servers(fleet, NOW)[0]}
    assert not any(tags.values())
    spot = fleet | {"specs": [{"name": "demo-manager"}, {"name": "demo-gpu-1", "preemptible_tag": "spot"}]}
    assert all(server["preemptible"] for server in observe.list_servers(spot, NOW)[0])


def test_a_lost_server_starts_the_recovery(fleet: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    lose(monkeypatch)
    status, (asked, reason) = probe.run(fleet)
    assert status == probe.GO_ON
    assert asked == "demo-gpu-1: asked the cloud to unshelve it: HTTP 202"
    assert reason.startswith("demo-gpu-1: lost, SHELVED")
    assert metric(fleet, "gpuswarm_servers", status="SHELVED", verdict="lost") == 1
    noticed, restoring = journal.parse(Path(fleet["journal"]).read_text(encoding="utf-8"))
    assert (noticed["phase"], noticed["server"], noticed["verdict"]) == ("noticed", "demo-gpu-1", "lost")
    assert restoring["phase"] == "restore"
    assert Handler.posted == [("/v2.1/servers/demo-gpu-1/action", b'{"unshelve": null}')]


def test_a_head_start_that_is_refused_is_said_and_leaves_the_rest_to_the_run(
    fleet: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    lose(monkeypatch)
    monkeypatch.setattr(Handler, "accepts", 409)
    status, (asked, _) = probe.run(fleet)
    assert status == probe.GO_ON
    assert "HTTP 409" in asked


def test_one_that_is_back_before_the_run_is_left_to_it(fleet: dict[str, Any]) -> None:
    lines = [
        {"server": "demo-gpu-1", "phase": phase, "epoch": NOW.timestamp() - 20} for phase in ("noticed", "restore")
    ]
    Path(fleet["journal"]).write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    status, told = probe.run(fleet)
    assert status == probe.GO_ON
    assert "it is being restored" in told[-1]
    phases = [line["phase"] for line in journal.parse(Path(fleet["journal"]).read_text(encoding="utf-8"))]
    assert "done" not in phases
    assert Handler.posted == []


def test_what_is_lost_a_moment_later_is_asked_for_too(fleet: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    second = {"id": "demo-gpu-2", "name": "demo-gpu-2", "status": "ACTIVE"}
    second["metadata"] = {"gpuswarm_fleet": "demo", "gpuswarm_role": "gpu_worker"}  # type: ignore[assignment]
    servers = json.loads(Handler.body)["servers"]
    servers[1]["status"] = "SHELVED"

    def wait(_seconds: float) -> None:
        servers[2]["status"] = "SHELVED"
        servers[1]["OS-EXT-STS:task_state"] = "unshelving"
        monkeypatch.setattr(Handler, "body", json.dumps({"servers": servers}).encode())

    servers.append(second)
    monkeypatch.setattr(Handler, "body", json.dumps({"servers": servers}).encode())
    monkeypatch.setattr(time, "sleep", wait)
    status, told = probe.run(fleet | {"specs": [*fleet["specs"], {"name": "demo-gpu-2", "role": "gpu_worker"}]})
    assert status == probe.GO_ON
    assert [path for path, _ in Handler.posted] == [f"/v2.1/servers/demo-gpu-{n}/action" for n in (1, 2)]
    assert sum("lost, SHELVED" in line for line in told) == 2
    phases = [(line["server"], line["phase"]) for line in journal.parse(Path(fleet["journal"]).read_text("utf-8"))]
    assert phases == [(f"demo-gpu-{n}", phase) for n in (1, 2) for phase in ("noticed", "restore")]


@pytest.mark.parametrize("case", ["after a failure", "never shelved", "already asked", "something else to do"])
def test_no_head_start(fleet: dict[str, Any], monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    lose(monkeypatch)
    before, after = {
        "after a failure": (b"", b""),
        "never shelved": (b'"SHELVED"', b'"ERROR"'),
        "already asked": (b'"SHELVED"', b'"SHELVED", "OS-EXT-STS:task_state": "unshelving"'),
        "something else to do": (b'"SHELVED"', b'"ACTIVE"'),
    }[case]
    monkeypatch.setattr(Handler, "body", Handler.body.replace(before, after))
    if case == "after a failure":
        ended = [
            {"server": "demo-gpu-1", "phase": phase, "epoch": NOW.timestamp() - 60} for phase in ("noticed", "failed")
        ]
        Path(fleet["journal"]).write_text("".join(json.dumps(line) + "\n" for line in ended), encoding="utf-8")
    probe.run(fleet)
    assert Handler.posted == []


def test_what_the_cloud_was_asked_for_is_followed_up(fleet: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    lose(monkeypatch)
    probe.run(fleet)
    monkeypatch.setattr(
        Handler, "body", Handler.body.replace(b'"SHELVED"', b'"SHELVED", "OS-EXT-STS:task_state": "spawning"')
    )
    status, told = probe.run(fleet)
    assert status == probe.GO_ON
    assert "it is being restored -> restore" in told[-1]
    assert len(Handler.posted) == 1


def test_nothing_is_done_while_another_run_is_at_work(fleet: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    lose(monkeypatch)
    holder = lock.Holder(run="one", what="rotate.yml", since=NOW.timestamp() - 5, expires=NOW.timestamp() + 60)
    Path(fleet["lock"]).write_text(holder.dump(), encoding="utf-8")
    status, (told,) = probe.run(fleet)
    assert status == probe.NOTHING_TO_DO
    assert "rotate.yml has been at work for 5 s" in told
    assert Handler.posted == []


def test_a_recovery_whose_run_was_killed_is_ended(fleet: dict[str, Any]) -> None:
    line = {"server": "demo-gpu-1", "phase": "noticed", "epoch": NOW.timestamp() - 5}
    Path(fleet["journal"]).write_text(json.dumps(line) + "\n", encoding="utf-8")
    for _ in range(2):  # once is enough
        assert probe.run(fleet) == (probe.NOTHING_TO_DO, [])
    phases = [entry["phase"] for entry in journal.parse(Path(fleet["journal"]).read_text(encoding="utf-8"))]
    assert phases == ["noticed", "done"]


def test_a_recovery_that_went_on_after_its_run_is_ended(fleet: dict[str, Any]) -> None:
    lines = [
        {"server": "demo-gpu-1", "phase": phase, "epoch": NOW.timestamp() - 9 + number}
        for number, phase in enumerate(("noticed", "active", "ready", "healthy"))
    ]
    Path(fleet["journal"]).write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    assert probe.run(fleet) == (probe.NOTHING_TO_DO, [])
    text = Path(fleet["journal"]).read_text(encoding="utf-8")
    (found,) = journal.recoveries(journal.parse(text))
    assert (found.result, found.seconds) == ("done", 9.0)


@pytest.mark.parametrize("moment", ["while it looked", "before it has read the journal"])
def test_what_a_run_writes_down_beside_the_probe_is_not_said_twice(
    fleet: dict[str, Any], monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """A run writes the end, and then gives its lock back; or one begins just then."""
    phases = ("noticed", "done") if moment == "before it has read the journal" else ("noticed",)
    held_by = lock.held_by

    def ends(path: str, now: float) -> str:
        epoch = NOW.timestamp() - 5 if "done" in phases else NOW.timestamp() + 0.2
        lines = [{"server": "demo-gpu-1", "phase": phase, "epoch": epoch} for phase in phases]
        Path(fleet["journal"]).write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        return held_by(path, now)

    monkeypatch.setattr(lock, "held_by", ends)
    assert probe.run(fleet) == (probe.NOTHING_TO_DO, [])
    written = [line["phase"] for line in journal.parse(Path(fleet["journal"]).read_text(encoding="utf-8"))]
    assert written == list(phases)


def test_not_again_at_once_after_a_failure(fleet: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    lose(monkeypatch)
    line = {"server": "demo-gpu-1", "phase": "failed", "epoch": NOW.timestamp() - 5}
    Path(fleet["journal"]).write_text(json.dumps(line) + "\n", encoding="utf-8")
    assert probe.run(fleet) == (probe.NOTHING_TO_DO, [])


@pytest.mark.parametrize("switch", ["variable", "file"])
def test_maintenance(fleet: dict[str, Any], monkeypatch: pytest.MonkeyPatch, switch: str) -> None:
    lose(monkeypatch)
    if switch == "file":
        Path(fleet["maintenance_file"]).touch()
    status, (told,) = probe.run(fleet | {"maintenance": switch == "variable"})
    assert status == probe.NOTHING_TO_DO
    assert "maintenance" in told
    assert metric(fleet, "gpuswarm_maintenance") == 1
    assert metric(fleet, "gpuswarm_server_as_desired", server="demo-gpu-1") == 0


def test_a_silent_cloud(fleet: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    lose(monkeypatch)
    monkeypatch.setattr(Handler, "status", 503)
    status, told = probe.run(fleet)
    assert (status, told[0]) == (probe.NOTHING_TO_DO, "the cloud answers with HTTP 503")
    assert metric(fleet, "gpuswarm_observed", source="cloud") == 0


@pytest.mark.parametrize("case", ["no manager", "no socket"])
def test_a_silent_swarm(fleet: dict[str, Any], monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    lose(monkeypatch)
    if case == "no manager":
        monkeypatch.setattr(Docker, "answers", {})
    else:
        fleet["docker_socket"] += "-nowhere"
    status, told = probe.run(fleet)
    assert status == probe.NOTHING_TO_DO
    assert "Docker" in told[0]
    assert metric(fleet, "gpuswarm_observed", source="swarm") == 0


def test_without_a_token_somebody_looks_closer(fleet: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "token-a.json").unlink()
    assert probe.run(fleet)[0] == probe.GO_ON
    # Not in every cycle: Keystone may be down for hours.
    assert probe.run(fleet)[0] == probe.NOTHING_TO_DO
    text = Path(fleet["journal"]).read_text(encoding="utf-8")
    Path(fleet["journal"]).write_text(text.replace(str(NOW.timestamp()), str(NOW.timestamp() - 11)), encoding="utf-8")
    assert probe.run(fleet)[0] == probe.GO_ON


def test_metrics_that_cannot_be_written_are_said_and_nothing_more(fleet: dict[str, Any]) -> None:
    status, (told,) = probe.run(fleet | {"metrics": "/nowhere/at/all.prom"})
    assert status == probe.NOTHING_TO_DO
    assert told.startswith("the metrics cannot be written to /nowhere/at/all.prom")


INTERRUPTIONS = "gpuswarm_interruptions_total"


def write(fleet: dict[str, Any], *phases: str, verdict: str = "lost") -> None:
    """Lines of a run about the one GPU server."""
    at = time.time()
    journal_file.append(
        fleet["journal"], [journal.entry(phase, "demo-gpu-1", at, at, run="r", verdict=verdict) for phase in phases]
    )


def test_a_counter_is_there_before_anything_has_happened(fleet: dict[str, Any]) -> None:
    """Prometheus' increase() does not count what a series is born with."""
    probe.run(fleet)
    assert metric(fleet, INTERRUPTIONS, server="demo-gpu-1") == 0
    assert metric(fleet, INTERRUPTIONS, server="demo-manager") is None
    assert metric(fleet, "gpuswarm_remediation_attempts_total", server="demo-gpu-1", remedy="reboot") == 0
    assert metric(fleet, "gpuswarm_recoveries_total", verdict="lost", result="failed") == 0
    assert metric(fleet, "gpuswarm_recovery_phase_duration_seconds_count", phase="ready") == 0
    write(fleet, "noticed")
    probe.run(fleet)
    assert metric(fleet, INTERRUPTIONS, server="demo-gpu-1") == 1


def test_the_rotation_of_the_journal_changes_no_counter(fleet: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_file, "MAX_BYTES", 2000)
    for number in range(1, 30):
        monkeypatch.setattr(time, "time", (NOW + timedelta(hours=number)).timestamp)
        (Path(fleet["token_cache"]) / "token-a.json").unlink(missing_ok=True)
        write(fleet, "noticed", "active", "ready", "healthy", "done")
        probe.run(fleet)
        assert metric(fleet, INTERRUPTIONS, server="demo-gpu-1") == number
        assert metric(fleet, "gpuswarm_recoveries_total", verdict="lost", result="done") == number
        assert metric(fleet, "gpuswarm_recovery_phase_duration_seconds_count", phase="total") == number
    assert Path(fleet["journal"] + ".1").exists()


def test_the_loss_is_dated_by_the_cloud(fleet: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Nova's clock says when the server went, and when it was asked."""
    lose(monkeypatch)
    told = {"updated": "2026-01-01T11:59:56Z", "OS-SRV-USG:launched_at": "2025-12-31T20:00:00.000000"}
    servers = json.loads(Handler.body)["servers"]
    monkeypatch.setattr(Handler, "body", json.dumps({"servers": [servers[0], {**servers[1], **told}]}).encode())
    monkeypatch.setattr(Handler, "date_time_string", lambda *_: "Thu, 01 Jan 2026 12:00:00 GMT")
    probe.run(fleet)
    noticed, *_ = journal.parse(Path(fleet["journal"]).read_text(encoding="utf-8"))
    assert (noticed["launched_at"], noticed["detection"]) == ("2025-12-31T20:00:00.000000", 4.0)
    probe.run(fleet)
    assert metric(fleet, INTERRUPTIONS, server="demo-gpu-1") == 1
    name = "gpuswarm_recovery_phase_duration_seconds"
    assert metric(fleet, f"{name}_sum", phase="detection") == 4.0
    assert metric(fleet, f"{name}_bucket", phase="detection", le="3") == 0
    assert metric(fleet, f"{name}_bucket", phase="detection", le="4") == 1


def test_nothing_else_is_dated(fleet: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    changed = b'"ACTIVE", "updated": "2026-01-01T00:00:00Z"'
    monkeypatch.setattr(Handler, "body", Handler.body.replace(b'"ACTIVE"', changed))
    probe.run(fleet | {"settings": {**fleet["settings"], "labels": {"gpu": "true"}}})
    (noticed,) = journal.parse(journal_file.read(fleet["journal"]))
    assert noticed["verdict"] == "labels_missing"
    assert not {"detection", "launched_at"} & noticed.keys()


@pytest.mark.parametrize("case", ["missing", "torn", "of another version", "a directory"])
def test_without_its_state_it_goes_on_counting(
    fleet: dict[str, Any], monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    """The journal has lost its older half, and the metrics that were shown last still have all."""
    monkeypatch.setattr(journal_file, "MAX_BYTES", 2000)
    for number in range(1, 20):
        monkeypatch.setattr(time, "time", (NOW + timedelta(hours=number)).timestamp)
        write(fleet, "noticed", "active", "done")
        probe.run(fleet)
    state = Path(fleet["counters"])
    text = state.read_text(encoding="utf-8")
    state.unlink()
    if case == "a directory":
        state.mkdir()
    elif case != "missing":
        state.write_text(text[:40] if case == "torn" else text.replace('"format": 1', '"format": 9'), encoding="utf-8")
    monkeypatch.setattr(time, "time", (NOW + timedelta(hours=20)).timestamp)
    write(fleet, "noticed", "active", "done")
    _status, told = probe.run(fleet)
    (said,) = [line for line in told if "state of the counters" in line]
    assert str(state) in said
    assert "made from the journal and from the metrics" in said
    for _again in range(2):
        assert metric(fleet, INTERRUPTIONS, server="demo-gpu-1") == 20
        assert metric(fleet, "gpuswarm_recovery_phase_duration_seconds_count", phase="total") == 20
        assert bool([line for line in probe.run(fleet)[1] if "state of the counters" in line]) == (
            case == "a directory"
        )


def test_a_manager_that_was_put_back_shows_no_less(fleet: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A backup of the state and the journal, put back on the same machine after two more interruptions."""
    kept: dict[str, str] = {}
    for number in range(1, 6):
        monkeypatch.setattr(time, "time", (NOW + timedelta(hours=number)).timestamp)
        write(fleet, "noticed", "active", "done")
        probe.run(fleet)
        if number == 3:
            kept = {name: Path(fleet[name]).read_text(encoding="utf-8") for name in ("counters", "journal")}
    for name, text in kept.items():
        Path(fleet[name]).write_text(text, encoding="utf-8")
    probe.run(fleet)
    assert metric(fleet, INTERRUPTIONS, server="demo-gpu-1") == 5
    # On another machine it has what the backup has, and goes on from there.
    for name, text in kept.items():
        Path(fleet[name]).write_text(text, encoding="utf-8")
    Path(fleet["metrics"]).unlink()
    probe.run(fleet)
    assert metric(fleet, INTERRUPTIONS, server="demo-gpu-1") == 3
    write(fleet, "noticed", "active", "done")
    probe.run(fleet)
    assert metric(fleet, INTERRUPTIONS, server="demo-gpu-1") == 4


def test_a_state_that_cannot_be_written_is_said_and_the_counts_are_shown(fleet: dict[str, Any]) -> None:
    write(fleet, "noticed")
    _status, told = probe.run({**fleet, "counters": "/nowhere/at/all.json"})
    assert any("cannot be written to /nowhere/at/all.json" in line for line in told)
    assert metric(fleet, INTERRUPTIONS, server="demo-gpu-1") == 1


def test_the_state_is_written_when_something_was_counted(fleet: dict[str, Any]) -> None:
    probe.run(fleet)
    before = Path(fleet["counters"]).stat().st_mtime_ns
    probe.run(fleet)
    assert Path(fleet["counters"]).stat().st_mtime_ns == before
    write(fleet, "noticed")
    probe.run(fleet)
    state = counters.load(Path(fleet["counters"]).read_text(encoding="utf-8"))
    assert state.counts[counters.CounterFamily.INTERRUPTIONS] == {"demo-gpu-1": 1}
    assert not list(Path(fleet["counters"]).parent.glob("*.new"))


def scraped(fleet: dict[str, Any]) -> list[str]:
    groups = json.loads(Path(fleet["targets"]).read_text(encoding="utf-8"))
    return [group["labels"]["server"] for group in groups]


@pytest.mark.parametrize("case", ["there", "lost", "gone", "maintenance"])
def test_a_server_stays_a_target(fleet: dict[str, Any], monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    if case == "lost":
        lose(monkeypatch)
    if case == "gone":
        monkeypatch.setattr(Handler, "body", json.dumps({"servers": json.loads(Handler.body)["servers"][:1]}).encode())
    probe.run(fleet | {"maintenance": case == "maintenance"})
    assert scraped(fleet) == ["demo-gpu-1", "demo-manager"]
    assert Path(fleet["targets"]).stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("case", ["an error", "a list without the manager"])
def test_targets_stay_on_partial_knowledge(fleet: dict[str, Any], monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    probe.run(fleet)
    before = Path(fleet["targets"]).stat()
    probe.run(fleet)  # Prometheus would read it again
    resting = fleet | {"specs": fleet["specs"][:1]}
    with monkeypatch.context() as silent:
        if case == "an error":
            silent.setattr(Handler, "status", 503)
        else:
            silent.setattr(Handler, "body", b'{"servers": []}')
        probe.run(resting)
    assert Path(fleet["targets"]).stat().st_mtime_ns == before.st_mtime_ns
    probe.run(resting)
    assert scraped(fleet) == ["demo-manager"]


def test_targets_that_cannot_be_written_are_said_and_nothing_more(fleet: dict[str, Any]) -> None:
    status, (told,) = probe.run(fleet | {"targets": "/nowhere/at/all.json"})
    assert status == probe.NOTHING_TO_DO
    assert told.startswith("the targets cannot be written to /nowhere/at/all.json")
    assert metric(fleet, "gpuswarm_server_as_desired", server="demo-gpu-1") == 1


@pytest.fixture
def with_ledger(fleet: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The same fleet with a ledger: Nova tells when the servers were launched, and what was done to them."""
    launched = (NOW - timedelta(hours=2)).isoformat()
    told = {"created": launched, "OS-SRV-USG:launched_at": launched}
    servers = [{**server, **told} for server in json.loads(Handler.body)["servers"]]
    action = {"action": "create", "start_time": launched, "updated_at": launched, "message": None}
    body = {"servers": servers, "instanceActions": [action], "volumes": [], "floatingips": []}
    monkeypatch.setattr(Handler, "body", json.dumps(body).encode())
    token = json.loads((tmp_path / "token-a.json").read_text(encoding="utf-8"))
    state = json.loads(token["auth_state"])
    (compute,) = state["body"]["token"]["catalog"]
    state["body"]["token"]["catalog"] += [{**compute, "type": kind} for kind in ("network", "volumev3")]
    (tmp_path / "token-a.json").write_text(json.dumps({"auth_state": json.dumps(state)}), encoding="utf-8")
    return fleet | {"ledger": str(tmp_path / "ledger.jsonl"), "cost_metrics": str(tmp_path / "gpuswarm_cost.prom")}


def test_what_is_billed_is_written_down(with_ledger: dict[str, Any]) -> None:
    assert probe.run(with_ledger) == (probe.NOTHING_TO_DO, [])
    lines = ledger.parse(Path(with_ledger["ledger"]).read_text(encoding="utf-8"))
    assert {line.name: line.what["state"] for line in lines if line.what} == {
        "demo-manager": "running",
        "demo-gpu-1": "running",
    }
    assert {line.earliest for line in lines} == {(NOW - timedelta(hours=2)).timestamp()}
    assert "gpuswarm_cost_hours" in Path(with_ledger["cost_metrics"]).read_text(encoding="utf-8")
    before = Path(with_ledger["ledger"]).read_bytes()
    assert probe.run(with_ledger) == (probe.NOTHING_TO_DO, [])
    assert Path(with_ledger["ledger"]).read_bytes() == before


def test_a_recovery_does_not_wait_for_the_ledger(with_ledger: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    lose(monkeypatch)
    assert probe.run(with_ledger)[0] == probe.GO_ON
    assert not Path(with_ledger["ledger"]).exists()


@pytest.mark.parametrize(("seconds", "kept"), [(1, False), (61, True)])
def test_runs_that_follow_one_another_do_not_hide_what_is_billed(
    with_ledger: dict[str, Any], monkeypatch: pytest.MonkeyPatch, seconds: int, kept: bool
) -> None:
    path = with_ledger["ledger"]
    assert probe.run(with_ledger)[0] == probe.NOTHING_TO_DO
    state = ledger_file.load(path)
    ledger_file.save(path, replace(state, looked=state.looked - seconds))
    before = Path(path).read_bytes()
    lose(monkeypatch)
    assert probe.run(with_ledger)[0] == probe.GO_ON
    assert (Path(path).read_bytes() != before) is kept


@pytest.mark.parametrize("case", ["no directory", "an answer of another shape"])
def test_a_ledger_that_cannot_be_kept_is_said_and_nothing_more(
    with_ledger: dict[str, Any], monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    if case == "no directory":
        with_ledger["ledger"] = "/nowhere/at/all.jsonl"
    else:
        monkeypatch.setattr(Handler, "body", Handler.body.replace(b'"start_time"', b'"started"'))
    status, (told,) = probe.run(with_ledger)
    assert status == probe.NOTHING_TO_DO
    assert told.startswith("the ledger cannot be kept: ")


def test_it_imports_little() -> None:
    """What costs CPU time in every cycle; the figure itself is the benchmark's."""
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); "
        "from ansible_collections.gpuswarm.ollama.plugins.module_utils._runtime import probe; print(*sys.modules)"
    )
    root = Path(__file__).resolve().parents[3] / "build" / "collections"
    result = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program, str(root)], capture_output=True, text=True, check=True, timeout=60
    )
    loaded = set(result.stdout.split())
    assert "ansible_collections.gpuswarm.ollama.plugins.module_utils._core.diagnosis" in loaded
    dear = {"http.client", "email", "ssl", "asyncio", "subprocess", "zoneinfo", "tempfile", "hashlib", "random"}
    dear |= {"decimal", "_decimal", "fractions"}
    assert not loaded & dear
