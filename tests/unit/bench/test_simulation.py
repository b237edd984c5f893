"""The simulation of policies: it repeats itself, loses and doubles no hour, and the documentation has its figures."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest
import yaml

from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.prices import Money
from tests.bench.simulate import generate, report, trace
from tests.bench.simulate.__main__ import TIMED, jobs, main, outcomes
from tests.bench.simulate.month import (
    EXAMPLE,
    START,
    Outcome,
    independent_hours,
    inventory,
    ledger_hours,
    play,
    simulate,
)
from tests.bench.simulate.policies import CAPACITY, NEEDED, ORDINARY, RECOMMENDED, TIMING, Policy
from tests.bench.simulate.trace import TRACES, Trace, TraceError, read
from tests.kit.paths import ROOT
from tests.kit.roles import argument_specs

DAY = 86400
NAMED = {policy.name: policy for policy in [*CAPACITY, *TIMING]}
FOUND = inventory()
# One zone is empty for most of the first day.
EMPTY = Trace("empty", DAY, {"ru-7a": [(0, 8), (3600, 0), (DAY - 7200, 8)], "ru-7b": [(0, 8)]}, [(7000, 2)])


def cut(name: str, days: int) -> Trace:
    return read(TRACES / f"{name}.json").cut(days * DAY)


# ---------------------------------------------------------------- traces


@pytest.mark.parametrize("name", generate.SYNTHETIC)
def test_the_traces_are_what_the_generator_writes(name: str) -> None:
    path = TRACES / f"{name}.json"
    assert path.read_text(encoding="utf-8") == generate.text(name), "python -m tests.bench.simulate.generate"
    found = read(path)
    assert found == Trace(name, 30 * DAY, found.room, found.preemptions)
    assert found.zones == list(generate.ZONES)
    assert path.stat().st_size < 10_000


def test_there_is_no_other_trace() -> None:
    assert {path.stem for path in TRACES.iterdir()} == set(generate.SYNTHETIC)


def test_public_traces_are_read(tmp_path: Path) -> None:
    for zone, gap, data in (("us-west-2a_v100_1", 300, [4, 4, 0, 2]), ("us-east-1b_v100_1", 195.0, [1] * 9)):
        (tmp_path / f"{zone}.json").write_text(json.dumps({"metadata": {"gap_seconds": gap}, "data": data}))
    found = read(tmp_path)
    assert found == Trace(tmp_path.name, 1200, {"us-east-1b": [(0, 1)], "us-west-2a": [(0, 4), (600, 0), (900, 2)]}, ())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[", "a list of numbers"),
        ('{"metadata": {"gap_seconds": 300}}', "a list of numbers"),
        ('{"metadata": {"gap_seconds": 0}, "data": [1]}', "at least 1"),
        ('{"metadata": {"gap_seconds": 300}, "data": []}', "must have a number"),
    ],
)
def test_what_is_no_public_trace_is_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(TraceError, match=words):
        read(tmp_path)


def test_a_file_that_is_no_trace_is_refused(tmp_path: Path) -> None:
    for path, text, words in (
        (tmp_path / "none.json", None, "seconds, room and preemptions"),
        (tmp_path / "late.json", '{"seconds": 9, "preemptions": [], "room": {"a": [[5, 1]]}}', "a first moment, 0"),
    ):
        if text:
            path.write_text(text)
        with pytest.raises(TraceError, match=words):
            read(path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(TraceError, match="a JSON file for each zone"):
        read(tmp_path / "folder")


# ---------------------------------------------------------------- the simulation


def test_it_repeats_itself() -> None:
    first, second = (simulate(cut("shortages", 3), RECOMMENDED, FOUND) for _ in range(2))
    assert first.as_dict() == second.as_dict()
    assert first.preempted > 0
    assert first.rotations > 0


@pytest.mark.parametrize("name", ["two zones, stand-ins, surge", "one zone, stand-ins"])
def test_no_server_hour_is_lost_or_billed_twice(name: str) -> None:
    found = cut("shortages", 7)
    world, loop = play(found, NAMED[name], FOUND)
    until = START + found.seconds
    truth = independent_hours(world, until)
    least, most = (ledger_hours(loop, until, certain=certain) for certain in (True, False))
    hours = estimated = 0
    for resource in {*truth, *least, *most}:
        for hour in range(START // 3600, until // 3600):
            low, true, high = (grid.get(resource, {}).get(hour, 0) for grid in (least, truth, most))
            assert low <= true <= high, f"{resource}, hour {hour - START // 3600}"
            hours, estimated = hours + true, estimated + high - low
    assert hours > NEEDED * 7 * 24 * 0.8
    assert estimated <= hours / 100


def test_an_hour_that_is_lost_is_found() -> None:
    world, loop = play(EMPTY, NAMED["two zones"], FOUND)
    until = START + EMPTY.seconds
    loop.ledger.lines = [line for line in loop.ledger.lines if line.name != "demo-gpu-2"]
    truth, most = independent_hours(world, until), ledger_hours(loop, until, certain=False)
    assert sum(map(len, truth.values())) > 0
    assert any(most.get(resource, {}).get(hour, 0) < n for resource in truth for hour, n in truth[resource].items())


@pytest.mark.parametrize("more", ["", ", stand-ins"])
def test_more_zones_are_never_less_available_when_one_is_empty(more: str) -> None:
    one, two = (simulate(EMPTY, NAMED[f"{zones}{more}"], FOUND) for zones in ("one zone", "two zones"))
    assert two.any >= one.any
    assert two.every >= one.every
    assert (one.any < 20) == (not more)
    assert two.any > 99


def test_ordinary_servers_are_always_there_and_cost_everything() -> None:
    found = simulate(EMPTY, ORDINARY, FOUND)
    assert found.any == found.every == found.relative == Decimal(100)
    assert (found.longest, found.preempted, found.hours) == (0, 0, NEEDED * 24)
    assert found.servers.as_dict()["amounts"] == {"USD": "216.00"}


def test_a_stand_in_costs_what_it_is() -> None:
    found = simulate(EMPTY, NAMED["one zone, stand-ins"], FOUND)
    preemptible = found.hours - found.stand_in_hours
    assert 40 < found.stand_in_hours < found.hours
    assert found.servers.amounts["USD"] == found.stand_in_hours * Decimal("3.00") + preemptible * Decimal("0.75")


def test_surge_servers_that_begin_with_the_hour_are_billed_less() -> None:
    by_the_hour, at_any_time = (simulate(cut("calm", 5), policy, FOUND) for policy in TIMING[:2])
    assert by_the_hour.rotations > 8
    assert 0 < by_the_hour.surge_hours <= at_any_time.surge_hours


def test_servers_rest_at_night() -> None:
    found = simulate(cut("calm", 1), NAMED["nights from 20:00 to 08:00"], FOUND)
    # One server runs for 12 hours; the others touch some more when they are drained, and at the beginning.
    assert NEEDED * 12 + 12 < found.hours <= NEEDED * 12 + 12 + 6
    assert found.any > 99


# ---------------------------------------------------------------- inventory, prices, report


@pytest.mark.parametrize("policy", [*CAPACITY, *TIMING], ids=lambda policy: policy.name)
def test_policies_are_variables_of_the_product(policy: Policy) -> None:
    known = {name for role in ("fleet", "recovery") for name in argument_specs(role)["main"]["options"]}
    assert set(policy.settings(["a", "b"])) <= known


def test_the_example_inventory_has_the_recommended_policy() -> None:
    example = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
    settings = RECOMMENDED.settings(list(generate.ZONES))
    assert {name: example[name] for name in settings} == settings
    assert example["fleet_gpu_count"] == NEEDED


def test_an_inventorys_own_prices_are_used(tmp_path: Path) -> None:
    data = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
    (path := tmp_path / "all.yml").write_text(yaml.safe_dump(data))
    assert inventory(path).servers != inventory(path).others
    data["cost_prices"][0]["flavors"] = {data["fleet_gpu_flavor"]: {"preemptible": "30", "on_demand": "100"}}
    path.write_text(yaml.safe_dump(data))
    found = simulate(EMPTY.cut(3600), NAMED["one zone"], inventory(path))
    assert found.servers.amounts == {"RUB": 90}
    assert found.relative == 30


def outcome(policy: str, some: str, cost: int, at: str = "t") -> Outcome:
    money = Money({"USD": Decimal(cost)})
    return Outcome(
        at,
        policy,
        2592000,
        Decimal(some),
        Decimal(90),
        90,
        1,
        2,
        3,
        4,
        5,
        6,
        7,
        money,
        Money({"USD": Decimal(100)}),
        money,
    )


def test_the_cheapest_that_is_good_enough_everywhere_is_recommended() -> None:
    one, two, three = (policy.name for policy in CAPACITY[1:4])
    found = [outcome(one, "99.89", 10), outcome(two, "99.9", 30), outcome(three, "100", 20)]
    assert report.recommended(found) == three
    assert report.recommended([*found, outcome(three, "99.8", 20, "u")]) == two
    assert report.recommended(found[:1]) is None


def test_rows_round_no_share_up() -> None:
    assert report.row(outcome("p", "99.9999", 1234)) == (
        *("p", "99.99", "90.00", "2", "1", "2", "4", "5", "6", "7", "1,234.00 USD", "1234.0"),
    )


def test_what_was_not_simulated_stays_in_a_page() -> None:
    page = "<!-- simulated: a -->\nold\n<!-- end -->\n<!-- simulated: b-c -->\nold\n<!-- end -->\n"
    assert report.filled(page, {"a": "new"}) == page.replace("old", "\nnew\n", 1)


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("tests.bench.simulate.__main__.RESULT", ROOT / "build" / "test-simulation.json")
    monkeypatch.setattr("tests.bench.simulate.__main__.CAPACITY", [ORDINARY, RECOMMENDED])
    monkeypatch.setattr("tests.bench.simulate.__main__.TIMING", [])
    monkeypatch.setattr(report, "PAGE", tmp_path / "none")
    own = tmp_path / "own.json"
    own.write_text(trace.dump(EMPTY.cut(7200), {}))
    monkeypatch.setattr("sys.argv", ["simulate", "--workers", "1", "--trace", str(own)])
    result = ROOT / "build" / "test-simulation.json"
    try:
        assert main() == 0
        assert [one["policy"] for one in json.loads(result.read_text())["outcomes"]] == [
            ORDINARY.name,
            RECOMMENDED.name,
        ]
    finally:
        result.unlink(missing_ok=True)
        result.with_suffix(".md").unlink(missing_ok=True)
    assert f"| {RECOMMENDED.name} | " in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", ["simulate", "--trace", str(tmp_path / "nothing")])
    with pytest.raises(SystemExit):
        main()


# ---------------------------------------------------------------- the documentation


def documented() -> dict[str, str]:
    text = report.PAGE.read_text(encoding="utf-8")
    return {block[2]: block[0].split("-->\n")[1].rpartition("<!--")[0].strip() for block in report.BLOCK.finditer(text)}


def test_the_documentation_has_every_table() -> None:
    assert list(documented()) == [*generate.SYNTHETIC, f"timing-{TIMED}"]
    for name, rows in documented().items():
        names = [line.split(" | ")[0].removeprefix("| ") for line in rows.splitlines()[2:]]
        assert names == [policy.name for policy in (TIMING if name.startswith("timing") else CAPACITY)]


@pytest.mark.parametrize(("name", "policy"), [("calm", "one zone"), ("shortages", RECOMMENDED.name)])
def test_the_documented_figures_are_what_the_command_prints(name: str, policy: str) -> None:
    found = simulate(read(TRACES / f"{name}.json"), NAMED[policy], FOUND)
    assert report.rows([found], name, CAPACITY).splitlines()[2] in documented()[name].splitlines(), "make simulate"


@pytest.mark.thorough  # the gate has two rows of it: test_the_documented_figures_are_what_the_command_prints
def test_all_documented_figures_are_what_the_command_prints() -> None:
    traces = [read(TRACES / f"{name}.json") for name in generate.SYNTHETIC]
    found = outcomes(jobs(traces, [TIMED]), FOUND, 2)
    assert documented() == report.tables(found, list(generate.SYNTHETIC), [TIMED]), "make simulate"
    assert report.recommended(found) == RECOMMENDED.name


def test_the_policies_need_what_the_product_has_by_default() -> None:
    assert argument_specs("fleet")["main"]["options"]["fleet_gpu_count"]["default"] == NEEDED
