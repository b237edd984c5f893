# SPDX-License-Identifier: Apache-2.0
"""The parts of docs/ that are generated from the code: ``make docs`` writes them, a unit test compares them.

A page has them between ``<!-- generated: NAME -->`` and ``<!-- end -->``; what is around them is written by hand.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from ansible_collections.gpuswarm.ollama.plugins.module_utils._core import cost, journal, prices
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.counters import CounterState, advance
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.diagnosis import Diagnosis
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.ledger import Line
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.metrics import Cycle, render
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.vocabulary import STEPS, VERDICTS, Step, Verdict
from tests.kit.paths import ROOT
from tests.kit.roles import ROLES, argument_specs

DOCS = ROOT / "docs"
BLOCK = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
# O(), V() and the like of Ansible's documentation, of whose argument the name alone is printed.
MARKUP = re.compile(r"\b[OVCPMI]+\(([^()#]*)(?:#\w+)?\)")


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A Markdown table."""
    lines = [[str(cell) for cell in row] for row in (head, *rows)]
    text = [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines]
    return "\n".join([text[0], "|" + "---|" * len(lines[0]), *text[1:]])


def plain(description: str | Iterable[str]) -> str:
    """A description of Ansible's documentation as one line of Markdown."""
    text = description if isinstance(description, str) else " ".join(description)
    return " ".join(MARKUP.sub(r"`\1`", text).split())


def _default(option: Mapping[str, Any]) -> str:
    if option.get("required"):
        return "required"
    value = option.get("default")
    if value is None:
        return ""
    text = value if isinstance(value, str) and value else json.dumps(value)
    return f"`{text}`"


def _type(option: Mapping[str, Any]) -> str:
    kind = str(option.get("type", "str"))
    kind = f"{kind} of {option['elements']}" if option.get("elements") else kind
    return f"{kind}: {', '.join(f'`{choice}`' for choice in option['choices'])}" if option.get("choices") else kind


def _options(options: Mapping[str, Mapping[str, Any]], prefix: str = "") -> Iterator[tuple[str, ...]]:
    for name, option in options.items():
        yield f"`{prefix}{name}`", _type(option), _default(option), plain(option["description"])
        inner = f"{prefix}{name}[]." if option["type"] == "list" else f"{prefix}{name}."
        yield from _options(option.get("options") or {}, inner)


def variables() -> str:
    """Every variable of every role, by role and entry point."""
    parts = []
    for role in ROLES:
        parts.append(f"## {role}")
        shown: dict[str, Any] = {}
        for entry, spec in argument_specs(role).items():
            about = spec["short_description"].rstrip(".")
            options = spec.get("options") or {}
            same = " It takes the same variables." if options and options.items() <= shown.items() else ""
            parts.append(f"{about}." if entry == "main" else f"Entry point `{entry}`: {_small(about)}.{same}")
            if options and not same:
                parts.append(table(("variable", "type", "default", "meaning"), _options(options)))
            shown |= options
    return "\n\n".join(parts)


def _small(text: str) -> str:
    return text if text[1:2].isupper() else text[:1].lower() + text[1:]


def roles() -> str:
    """Every role, with the first sentence of its README."""
    rows = []
    for path in sorted(ROOT.glob("roles/*/README.md")):
        name, first = path.parent.name, path.read_text(encoding="utf-8").splitlines()[2]
        rows.append((f"[{name}](../roles/{name}/README.md)", first.rstrip(".")))
    return table(("role", "what it does"), rows)


def verdicts() -> str:
    """What may be wrong with a server."""
    rows = [
        (f"`{name}`", row.meaning, ", ".join(f"`{step}`" for step in row.steps), row.operator)
        for name, row in VERDICTS.items()
    ]
    return table(("verdict", "meaning", "steps", "what you do"), rows)


def steps() -> str:
    """What may be done about it."""
    rows = [
        (f"`{name}`", row.meaning, "yes" if row.acts else "", f"`{row.phase}`" if row.phase else "", row.pause)
        for name, row in STEPS.items()
    ]
    return table(("step", "meaning", "the loop acts", "phase in the journal", "pauses grow by"), rows)


def metrics() -> str:
    """Metrics of the recovery loop, read from a sample that has every one of them."""
    servers = [
        Diagnosis("gpu-1", Verdict.HEALTHY, Step.NONE, "", "gpu_worker", "ACTIVE", age=60.0),
        Diagnosis("gpu-2", Verdict.DOCKER_DEAD, Step.REBOOT, "", "gpu_worker", "ACTIVE", attempts_left=1),
    ]
    phases = ("noticed", "reboot", "active", "done")
    lines = [journal.entry(phase, "gpu-2", at, at, verdict="lost") for at, phase in enumerate(phases)]
    counted = advance(None, CounterState(), lines, 9.0)
    return _families(render(servers, counted, Cycle(at=0, wall=0, cpu=0, maintenance=False, cloud=True, swarm=True)))


def cost_metrics() -> str:
    """Metrics of the cost, read from a sample that has every one of them."""
    what = {"state": "running", "flavor": "f", "capacity_type": "preemptible", "zone": "z", "launched": ""}
    lists = prices.parse_prices(
        [
            {
                "valid_from": "1970-01-01",
                "currency": "RUB",
                "vat_included": True,
                "source": "sample",
                "flavors": {"f": {"preemptible": "1", "on_demand": "2"}},
            }
        ]
    )
    account = cost.Account(
        lists,
        cost.rules_named("selectel"),
        specs=[{"name": "s", "flavor": "f", "availability_zone": "z", "preemptible": True}],
        balance=cost.parse_balance({"amount": "9", "currency": "RUB", "read_at": "1970-01-01T00:00:00Z"}),
    )
    return _families(cost.render(cost.bill(Line("server", "s", "s", 60, 60, what).dump(0), account, 0, 90)))


def _families(text: str) -> str:
    """The metrics in a text of Prometheus', each with its type and labels."""
    rows: dict[str, list[str]] = {}
    for line in text.splitlines():
        word, name, rest = line.split(maxsplit=2) if line.startswith("#") and (line := line[2:]) else ("", line, "")
        if word == "HELP":
            rows[name] = [f"`{name}`", "", "", rest]
        elif word == "TYPE":
            rows[name][1] = rest
        else:
            family = next(known for known in rows if re.match(rf"{known}(_bucket|_sum|_count)?[ {{]", name))
            labels = [f"`{label}`" for label in re.findall(r'(\w+)="', name) if label != "le"]
            rows[family][2] = ", ".join(labels)
    return table(("metric", "type", "labels", "meaning"), rows.values())


def _documentation(path: Path) -> Mapping[str, Any]:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".yml":
        return dict(yaml.safe_load(text)["DOCUMENTATION"])
    found = re.search(r'^DOCUMENTATION = r?"""(.*?)"""', text, re.DOTALL | re.MULTILINE)
    return dict(yaml.safe_load(found[1])) if found else {}


def plugins() -> str:
    """Every plugin that a playbook can name, by kind."""
    parts = []
    kinds = {"modules": "Modules", "inventory": "Inventory plugin", "lookup": "Lookup plugin", "filter": "Filters"}
    for kind, heading in kinds.items():
        pattern = "*.yml" if kind == "filter" else "*.py"
        described = [(path.stem, _documentation(path)) for path in sorted((ROOT / "plugins" / kind).glob(pattern))]
        rows = [(f"`{name}`", plain(about["short_description"])) for name, about in described if about]
        parts += [f"## {heading}", table(("name", "what it does"), rows)]
    return "\n\n".join(parts)


GENERATORS: Mapping[str, Callable[[], str]] = {
    function.__name__: function for function in (variables, roles, verdicts, steps, metrics, cost_metrics, plugins)
}


def filled(text: str) -> str:
    """A page with its generated parts as they must be now."""
    return BLOCK.sub(lambda block: f"{block[1]}\n{GENERATORS[block[2]]()}\n\n{block[3]}", text)


def main() -> int:
    """Write the generated parts of all pages."""
    for path in sorted(DOCS.rglob("*.md")):
        text = path.read_text(encoding="utf-8")
        if (new := filled(text)) != text:
            path.write_text(new, encoding="utf-8")
            print(path.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
