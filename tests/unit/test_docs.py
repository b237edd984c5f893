"""The documentation agrees with the code, its links lead somewhere, and every page can be found."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from ansible_collections.gpuswarm.ollama.plugins.module_utils._core import status
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.diagnosis import Diagnosis
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.vocabulary import Phase, Step, Verdict
from tests.kit.paths import ROOT
from tests.kit.reference import DOCS, filled, plain
from tests.kit.roles import ROLES

# CHANGELOG.md is generated.
PAGES = sorted([*DOCS.rglob("*.md"), *ROOT.glob("roles/*/README.md"), ROOT / "lab" / "README.md"]) + sorted(
    path for path in ROOT.glob("*.md") if path.name != "CHANGELOG.md"
)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
CODE = "\n".join(
    path.read_text(encoding="utf-8")
    for pattern in ("roles/**/*.yml", "playbooks/**/*.yml", "inventory/selectel/**/*.yml")
    for path in ROOT.glob(pattern)
)


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def prose(text: str) -> str:
    """A page without its examples."""
    return "\n".join(line for line in text.splitlines() if not line.startswith("    "))


def anchors(text: str) -> set[str]:
    """What a link can point to: headings as GitHub spells them."""
    headings = re.findall(r"^#+ (.+)$", prose(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(path: Path) -> list[tuple[Path, str]]:
    """Files that a page links to, each with an anchor or nothing."""
    targets = [
        link.partition("#") for link in LINK.findall(prose(path.read_text(encoding="utf-8"))) if "://" not in link
    ]
    return [((path.parent / file).resolve() if file else path, anchor) for file, _, anchor in targets]


@pytest.fixture(params=PAGES, ids=name)
def page(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def test_generated_parts_are_up_to_date(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert filled(text) == text, "run `make docs`"


def test_links_lead_somewhere(page: Path) -> None:
    wrong = [
        f"{file}#{anchor}"
        for file, anchor in links(page)
        if not file.exists() or (anchor and anchor not in anchors(file.read_text(encoding="utf-8")))
    ]
    assert wrong == []


def test_lines_fit(page: Path) -> None:
    lines = page.read_text(encoding="utf-8").splitlines()
    # What has no blank is a link, which cannot be broken.
    assert [line for line in lines if len(line) > 120 and " " in line and not line.lstrip().startswith("|")] == []


def test_variables_exist(page: Path) -> None:
    named = set(re.findall(rf"`((?:{'|'.join(ROLES)})_\w+)\b", page.read_text(encoding="utf-8"))) - set(Verdict)
    assert [variable for variable in named if not re.search(rf"\b{variable}\b", CODE)] == []


def test_files_exist(page: Path) -> None:
    tops = "|".join(
        path.name for path in ROOT.iterdir() if path.is_dir() and path.name not in ("build", "meta", ".git")
    )
    named = re.findall(rf"`((?:{tops}|_core|_clients|_runtime)/[\w./-]+)`", page.read_text(encoding="utf-8"))
    utilities = ROOT / "plugins" / "module_utils"
    places = (ROOT, utilities, page.parent)
    assert [file for file in named if not any((place / file).exists() for place in places)] == []


def test_every_page_is_reachable_from_the_index() -> None:
    seen: set[Path] = set()
    todo = [DOCS / "index.md"]
    while todo:
        path = todo.pop()
        if path not in seen and path.suffix == ".md" and path.exists():
            seen.add(path)
            todo += [file for file, _ in links(path)]
    assert set(DOCS.rglob("*.md")) - seen == set()


@pytest.mark.parametrize("role", ROLES)
def test_a_roles_readme_has_its_shape(role: str) -> None:
    lines = (ROOT / "roles" / role / "README.md").read_text(encoding="utf-8").splitlines()
    assert 10 <= len(lines) <= 30
    assert lines[0] == f"# {role}"
    assert lines[2].endswith(".")
    begins = [line.split(":**")[0] for line in lines if line.startswith("**")]
    assert begins == [word for word in ("**Leaves alone", "**Facts", "**Variables") if word in begins]
    assert {"**Leaves alone", "**Variables"} <= set(begins)


def test_the_journals_phases_are_documented_in_their_order() -> None:
    text = (DOCS / "reference" / "journal.md").read_text(encoding="utf-8")
    rows = text[text.index("## Phases") :].split("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", rows, re.MULTILINE) == [str(phase) for phase in Phase]


def test_every_field_of_the_status_is_documented() -> None:
    diagnosis = Diagnosis("demo-gpu-1", Verdict.LOST, Step.RESTORE, "")
    data = status.report([diagnosis.as_dict()], "", "active")
    text = (DOCS / "reference" / "playbooks.md").read_text(encoding="utf-8")
    section = text[text.index("## Output of `status`") :]
    assert {field for field in {*data, *data["servers"][0]} if f"`{field}`" not in section} == set()


def test_the_gateways_metrics_are_documented() -> None:
    text = (ROOT / "roles" / "gateway" / "files" / "requests.mtail").read_text(encoding="utf-8")
    exported = re.findall(r"^(?:counter|gauge|histogram) (gpuswarm_\w+)", text, re.MULTILINE)
    documented = re.findall(r"^\| `(gpuswarm_gateway_\w+)`", (DOCS / "reference/metrics.md").read_text(), re.MULTILINE)
    assert sorted(documented) == sorted(exported)


def test_every_playbook_is_documented() -> None:
    text = (DOCS / "reference" / "playbooks.md").read_text(encoding="utf-8")
    first = text[text.index("| playbook | what it does") :].split("\n\n")[0]
    assert sorted(re.findall(r"^\| `(\w+)` \|", first, re.MULTILINE)) == sorted(
        path.stem for path in (ROOT / "playbooks").glob("*.yml")
    )


def test_the_readmes_commands_are_the_tutorials() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    short = readme[readme.index("## On Selectel") :].split("\n## ")[0]
    tutorial = (DOCS / "tutorials" / "selectel.md").read_text(encoding="utf-8")
    commands = [line.strip() for line in short.splitlines() if line.startswith("    ")]
    assert len(commands) == 10
    assert [command for command in commands if command not in tutorial] == []


def test_the_printed_version_is_the_collections() -> None:
    version = yaml.safe_load((ROOT / "galaxy.yml").read_text(encoding="utf-8"))["version"]
    printed = {
        found
        for path in PAGES
        for found in re.findall(r"gpuswarm-ollama-(\d[\d.]*\d)", path.read_text(encoding="utf-8"))
    }
    assert printed == {version}


def test_markup_of_ansibles_documentation_becomes_markdown() -> None:
    assert plain(["Files are in O(cluster_directory),", "see M(a.b.c)\nand V(true)."]) == (
        "Files are in `cluster_directory`, see `a.b.c` and `true`."
    )
    assert plain("The filter P(gpuswarm.ollama.fleet_specs#filter) (of it).") == (
        "The filter `gpuswarm.ollama.fleet_specs` (of it)."
    )
