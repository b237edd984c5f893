"""The ledger as the probe keeps it: what is asked of the cloud, what survives, and when the metrics are made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.gpuswarm.ollama.plugins.module_utils._clients.ledger_sources import UntoldError
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core import ledger
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.ledger import Line
from ansible_collections.gpuswarm.ollama.plugins.module_utils._runtime import ledger_file, ledger_keeper

BORN = 1_796_083_200  # 2026-12-01T00:00:00Z


def iso(moment: int) -> str:
    return ledger.iso(moment)


def server(status: str = "ACTIVE", launched: int = BORN + 30, **more: Any) -> dict[str, Any]:
    return {
        "id": "id",
        "name": "demo-gpu-1",
        "status": status,
        "task_state": None,
        "flavor": "GL10",
        "capacity_type": "preemptible",
        "availability_zone": "ru-7a",
        "created_at": iso(BORN),
        "launched_at": iso(launched),
        "metadata": {},
        **more,
    }


class Cloud:
    """What the cloud tells, and what it was asked for."""

    def __init__(self) -> None:
        self.did: list[dict[str, Any]] | None = [self.action("create", 0, 30)]
        self.disks: list[dict[str, Any]] = [
            {
                "id": "v",
                "status": "in-use",
                "size": 100,
                "volume_type": "fast.ru-7a",
                "availability_zone": "ru-7a",
                "created_at": iso(BORN),
                "metadata": {"gpuswarm_fleet": "demo", "gpuswarm_server": "demo-gpu-1"},
            }
        ]
        self.asked: list[str] = []
        self.silent = False

    @staticmethod
    def action(name: str, start: int, end: int) -> dict[str, Any]:
        return {"action": name, "start_time": iso(BORN + start), "updated_at": iso(BORN + end), "message": None}

    def actions(self, server_id: str) -> list[dict[str, Any]] | None:
        self._ask(f"actions {server_id}")
        return self.did

    def volumes(self) -> list[dict[str, Any]]:
        self._ask("volumes")
        return self.disks

    def floating_ips(self) -> list[dict[str, Any]]:
        self._ask("floating_ips")
        return []

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        if self.silent:
            raise UntoldError("it is silent")


class Keeper:
    """The probe's side: looks at moments that are counted from the server's creation."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "ledger.jsonl"
        self.config: dict[str, Any] = {"ledger": str(self.path), "fleet": "demo"}
        self.cloud = Cloud()

    def look(self, after: int, *servers: dict[str, Any]) -> list[str]:
        self.cloud.asked = []
        return ledger_keeper.keep(self.config, servers, BORN + after, 0, self.cloud)

    def lines(self) -> list[tuple[str, str | None, int, int]]:
        return [
            (line.kind, line.what.get("state") if line.what else None, line.earliest - BORN, line.latest - BORN)
            for line in ledger.parse(self.path.read_text(encoding="utf-8"))
        ]


@pytest.fixture
def keeper(tmp_path: Path) -> Keeper:
    return Keeper(tmp_path)


def test_nothing_is_asked_while_nothing_changes(keeper: Keeper) -> None:
    assert keeper.look(40, server()) == []
    assert keeper.cloud.asked == ["actions id", "volumes", "floating_ips"]
    assert keeper.lines() == [("server", "running", 0, 0), ("volume", None, 0, 0)]
    before = keeper.path.read_bytes()
    for after in (45, 50, 1000, 2000, 3599):
        assert keeper.look(after, server()) == []
        assert keeper.cloud.asked == []
    assert keeper.path.read_bytes() == before
    assert keeper.path.stat().st_mode & 0o777 == 0o640
    # once an hour
    keeper.look(3600, server())
    assert keeper.cloud.asked == ["volumes", "floating_ips"]


def test_a_preemption_and_the_way_it_ends(keeper: Keeper) -> None:
    for after in (40, 1800, 3590):
        keeper.look(after, server())
    assert keeper.cloud.did is not None
    keeper.cloud.did.append(keeper.cloud.action("shelve", 3590, 3598))
    keeper.look(3598, server(task_state="shelving"))
    assert keeper.cloud.asked == []
    for after in (3602, 5400, 7190):
        keeper.look(after, server("SHELVED_OFFLOADED"))
    keeper.cloud.did.append(keeper.cloud.action("unshelve", 7190, 7230))
    keeper.look(7195, server("SHELVED_OFFLOADED", task_state="spawning"))
    keeper.look(7235, server(launched=BORN + 7230))
    assert keeper.lines()[2:] == [("server", "shelved", 3598, 3598), ("server", "running", 7190, 7190)]


def test_a_run_that_takes_long_leaves_no_hole(keeper: Keeper) -> None:
    """The probe does not look while a run is at work."""
    keeper.look(40, server())
    assert keeper.cloud.did is not None
    keeper.cloud.did += [keeper.cloud.action("shelve", 100, 110), keeper.cloud.action("unshelve", 300, 400)]
    keeper.look(1700, server(launched=BORN + 400))
    assert keeper.lines()[2:] == [("server", "shelved", 110, 110), ("server", "running", 300, 300)]


def test_a_time_without_observations_is_written_down(keeper: Keeper) -> None:
    keeper.look(40, server())
    keeper.look(1900, server())
    keeper.look(1905, server())
    assert keeper.lines()[2:] == [("gap", None, 40, 1900)]


def test_a_silent_cloud_is_asked_again_and_nothing_is_guessed(keeper: Keeper) -> None:
    keeper.look(40, server())
    assert keeper.cloud.did is not None
    keeper.cloud.did += [keeper.cloud.action("shelve", 100, 110)]
    keeper.cloud.silent = True
    assert keeper.look(112, server("SHELVED")) == ["it is silent"]
    for after in (117, 130, 170):
        assert keeper.look(after, server("SHELVED")) == []
        assert keeper.cloud.asked == []
    assert len(keeper.lines()) == 2
    keeper.cloud.silent = False
    assert keeper.look(172, server("SHELVED")) == []
    assert keeper.lines()[2:] == [("server", "shelved", 110, 110)]


def test_a_new_server_is_not_lost_while_nova_is_silent(keeper: Keeper) -> None:
    keeper.cloud.silent = True
    assert keeper.look(40, server()) == ["it is silent", "it is silent"]
    assert keeper.lines() == [("server", "running", 0, 30)]
    keeper.cloud.silent = False
    keeper.cloud.did = [keeper.cloud.action("create", 0, 30), keeper.cloud.action("delete", 60, 64)]
    keeper.look(100)
    assert ("server", None, 40, 64) in keeper.lines()


def test_a_server_that_is_missing_from_a_list_is_not_gone(keeper: Keeper) -> None:
    keeper.look(40, server())
    keeper.look(45)
    assert keeper.cloud.asked == ["actions id"]
    keeper.look(50)
    assert keeper.cloud.asked == []
    assert len(keeper.lines()) == 2


def test_a_disk_that_is_being_deleted_is_followed(keeper: Keeper) -> None:
    keeper.cloud.disks[0]["status"] = "deleting"
    keeper.look(40, server())
    keeper.cloud.disks = []
    keeper.look(99, server())
    assert keeper.cloud.asked == []
    keeper.look(100, server())
    assert keeper.lines()[2:] == [("volume", None, 40, 100)]


@pytest.mark.parametrize("state", ["missing", "empty", "torn", "of another length", "of another shape"])
def test_the_state_is_made_from_the_ledger_again(keeper: Keeper, state: str) -> None:
    keeper.look(40, server())
    file = Path(f"{keeper.path}.state")
    if state == "missing":
        file.unlink()
    elif state == "of another length":
        ledger_file.append(str(keeper.path), [Line("volume", "w", "demo-gpu-1", BORN, BORN, {"size": 1})], 0)
    elif state == "of another shape":
        file.write_text(json.dumps({**json.loads(file.read_text()), "lines": ["{"]}), encoding="utf-8")
    else:
        file.write_text("" if state == "empty" else file.read_text()[:-20], encoding="utf-8")
    known = ledger_file.load(str(keeper.path))
    assert ("server", "id") in known.objects
    assert (("volume", "w") in known.objects) == (state == "of another length")
    keeper.look(45, server())
    assert "actions id" not in keeper.cloud.asked


def test_a_torn_line_costs_nothing_but_itself(keeper: Keeper) -> None:
    keeper.look(40, server())
    whole = keeper.path.read_bytes()
    keeper.path.write_bytes(whole[:-25])
    keeper.look(45, server())
    assert sorted(keeper.lines()) == [("server", "running", 0, 0), ("volume", None, 0, 0)]
    assert keeper.path.read_bytes().startswith(whole[:-25] + b"\n")


def test_a_clock_that_steps_does_not_stop_it(keeper: Keeper) -> None:
    """Without a Date of the cloud's the moments are those of this machine."""
    keeper.look(40 + 10 * 86400, server())
    keeper.cloud.silent = True
    keeper.look(45 + 10 * 86400, server("SHELVED"))
    keeper.cloud.silent = False
    assert keeper.cloud.did is not None
    keeper.cloud.did += [keeper.cloud.action("shelve", 100, 110)]
    keeper.look(120, server("SHELVED"))
    assert "volumes" in keeper.cloud.asked
    assert keeper.lines()[-1][:2] == ("server", "shelved")


PRICES = {
    "valid_from": "2026-12-01",
    "currency": "USD",
    "vat_included": False,
    "source": "test",
    "flavors": {"GL10": {"preemptible": "0.75"}},
}


def test_the_metrics_are_made_when_something_has_changed(keeper: Keeper, tmp_path: Path) -> None:
    metrics, prices = tmp_path / "gpuswarm_cost.prom", tmp_path / "cost.json"
    balance = tmp_path / "balance.json"
    keeper.config |= {"cost": str(prices), "cost_metrics": str(metrics), "journal": str(tmp_path / "none"), "specs": []}
    keeper.config["balance"] = str(balance)
    paid = 'gpuswarm_cost_paid{kind="server",capacity_type="preemptible",currency="USD"}'
    keeper.look(40, server())
    assert "gpuswarm_cost_hours{" in metrics.read_text()
    assert paid not in metrics.read_text()
    assert metrics.stat().st_mode & 0o777 == 0o644
    prices.write_text(json.dumps({"prices": [PRICES]}))
    keeper.look(45, server())
    assert f"{paid} 0.75\n" in metrics.read_text()
    metrics.unlink()
    balance.write_text(json.dumps({"amount": "90", "currency": "USD", "read_at": iso(BORN)}))
    keeper.look(50, server())
    assert f"gpuswarm_cost_balance_timestamp_seconds {BORN}\n" in metrics.read_text()
    metrics.unlink()
    for after in (1800, 3599):
        keeper.look(after, server())
        assert not metrics.exists()
    keeper.look(3600, server())
    assert f"{paid} 1.5\n" in metrics.read_text()


def test_wrong_prices_are_said_and_the_ledger_goes_on(keeper: Keeper, tmp_path: Path) -> None:
    prices = tmp_path / "cost.json"
    prices.write_text(json.dumps({"prices": [{}]}))
    keeper.config |= {"cost": str(prices), "cost_metrics": str(tmp_path / "gpuswarm_cost.prom")}
    (message,) = keeper.look(40, server())
    assert "cost_prices[0].currency is None" in message
    assert len(keeper.lines()) == 2
    assert keeper.look(45, server()) == []


def test_what_the_status_says(keeper: Keeper, tmp_path: Path) -> None:
    prices = tmp_path / "cost.json"
    keeper.look(40, server())
    assert ledger_keeper.status({}, BORN + 45) == (None, [])
    keeper.config |= {"cost": str(prices), "journal": str(tmp_path / "none"), "specs": []}
    data, lines = ledger_keeper.status(keeper.config, BORN + 45)
    assert data is not None
    assert not data["paid"]["complete"]
    assert "unknown; now unknown an hour; whole month unknown" in lines[0]
    prices.write_text(json.dumps({"prices": [PRICES]}))
    data, lines = ledger_keeper.status(keeper.config, BORN + 45)
    assert data is not None
    assert not data["paid"]["complete"]  # the disk
    assert "at least 0.75 USD; now at least 0.75 USD an hour" in lines[0]
    prices.write_text("{")
    data, lines = ledger_keeper.status(keeper.config, BORN + 45)
    assert data is not None
    assert data["error"].startswith(f"{prices} cannot be read: ")
    assert lines == [f"cost this month: unknown: {data['error']}"]
    prices.write_text("[]")
    assert "it must hold an object of JSON" in ledger_keeper.status(keeper.config, BORN + 45)[1][0]
