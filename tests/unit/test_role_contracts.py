"""What roles promise each other: entry points that are described, and names that cross from one role to another.

Each rule is a function that returns what breaks it, and has a table of what it must find.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kit import roles
from tests.kit.paths import ROOT
from tests.kit.roles import argument_specs, options, parse

# The longest first: swarm_manager before anything that its name begins with.
ROLES = sorted(roles.ROLES, key=len, reverse=True)
# Those that have a role of their name have its variables.
PLAYBOOKS = sorted({path.stem for path in (ROOT / "playbooks").glob("*.yml")} - set(ROLES))
COLLECTION = "gpuswarm.ollama."

NAME = re.compile(rf"(?<![\w.'\"/$-])(?P<name>_*(?P<role>{'|'.join(ROLES)})_\w+)\b(?!\s*\()")
INPUT = re.compile(rf"(?<![\w.'\"/$-])(?:{'|'.join(PLAYBOOKS)})_\w+\b(?!\s*\()")
# A variable of another host, whose name is a literal.
HOSTVAR = re.compile(
    r"hostvars\[(?:'[^']*'|[^\[\]']|\[[^\]]*\])+\](?:\['(?P<key>\w+)'\]|\.(?P<attribute>\w+))"
    r"|'extract', *hostvars\) *\| *map\(attribute='(?P<mapped>\w+)"
)
PRIVATE = re.compile(rf"\b__(?P<role>{'|'.join(ROLES)})_\w+")
JINJA = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)
LITERAL = re.compile(r"'[^']*'|\"[^\"]*\"")
EXPRESSIONS = {"when", "that", "until", "failed_when", "changed_when"}
# What an inventory sets for all roles, and names that are local to a loop.
SHARED = re.compile(r"fleet_name|\w+_item")
TASKS = {"include_tasks", "import_tasks"}
ROLE = {"include_role", "import_role"}


def returned(role: str) -> set[str]:
    """The facts that a role's entry points say they return."""
    told = " ".join(line for entry in argument_specs(role).values() for line in entry["description"])
    return {match for match in re.findall(r"C\((\w+)\)", told) if match.startswith(f"{role}_")}


def modules(data: Any) -> Iterator[tuple[str, Any]]:
    """Every key of a file's dictionaries without its collection, with its value: modules among them."""
    if isinstance(data, dict):
        for name, value in data.items():
            yield str(name).rpartition(".")[2], value
            yield from modules(value)
    elif isinstance(data, list):
        for value in data:
            yield from modules(value)


def expressions(data: Any, key: str = "") -> Iterator[str]:
    """Everything in a file of YAML that Ansible evaluates."""
    if isinstance(data, dict):
        for name, value in data.items():
            yield from expressions(value, str(name))
    elif isinstance(data, list):
        for value in data:
            yield from expressions(value, key)
    elif isinstance(data, str):
        yield from [data] if key in EXPRESSIONS and "{{" not in data else JINJA.findall(data)


def evaluated(text: str, *, template: bool = False) -> list[str]:
    """Everything that is evaluated in the text of a file of YAML, or of a template."""
    return JINJA.findall(text) if template else list(expressions(parse(text)))


def names(text: str, *, template: bool = False) -> set[tuple[str, str]]:
    """The variables of roles that a file reads, each with its role; those of other hosts, too."""
    found = set()
    for expression in evaluated(text, template=template):
        of_hosts = " ".join(name for match in HOSTVAR.finditer(expression) for name in match.groups() if name)
        for match in NAME.finditer(f"{LITERAL.sub(chr(39) * 2, expression)} {of_hosts}"):
            found.add((match["role"], match["name"]))
    return found


def uses(text: str) -> set[tuple[str, str]]:
    """Roles of this collection that a playbook or task file uses, each with its entry point."""
    found = {
        (str(value["name"]).removeprefix(COLLECTION), str(value.get("tasks_from", "main")).removesuffix(".yml"))
        for module, value in modules(parse(text))
        if module in ROLE and str(value["name"]).startswith(COLLECTION)
    }
    for module, value in modules(parse(text)):
        for role in value or [] if module == "roles" else []:
            name = str(role["role"] if isinstance(role, dict) else role)
            found |= {(name.removeprefix(COLLECTION), "main")} if name.startswith(COLLECTION) else set()
    return found


def prompted(text: str) -> set[str]:
    """The inputs that a playbook asks for."""
    return {str(prompt["name"]) for key, value in modules(parse(text)) if key == "vars_prompt" for prompt in value}


# ---------------------------------------------------------------- the rules


def undescribed(text: str, described: Callable[[str], Any]) -> set[tuple[str, str]]:
    """Entry points that a file uses, and that are not in their role's argument_specs."""
    return {(role, entry) for role, entry in uses(text) if entry not in described(role)}


def by_path(text: str, own: set[str]) -> set[str]:
    """Task files that a file includes, and that are not those of its own role."""
    included = (
        str(value["file"] if isinstance(value, dict) else value)
        for module, value in modules(parse(text))
        if module in TASKS
    )
    return {file for file in included if file not in own}


def foreign(text: str, role: str, promised: set[str], *, template: bool = False) -> set[str]:
    """Variables of other roles that a file of a role reads, and that nobody has promised."""
    read = {name for of, name in names(text, template=template) if of not in (role, "cluster")}
    return {name for name in read - promised if not SHARED.fullmatch(name)}


def private(text: str, role: str) -> set[str]:
    """Private names of other roles, wherever in a file they stand."""
    return {match[0] for match in PRIVATE.finditer(text) if match["role"] != role}


def named(text: str, services: set[str]) -> set[str]:
    """Services that a file names, or whose variables it reads. In prose, an API's name has a capital."""
    either = "|".join(sorted(services))
    return {match[1] for match in re.finditer(rf"(?<![a-zA-Z0-9.])({either})(?:_\w+)?\b(?!\.ai)", text)}


def homeless(text: str, described: set[str]) -> set[str]:
    """Inputs of playbooks that neither a role's argument_specs nor a prompt describe."""
    read = {name for expression in evaluated(text) for name in INPUT.findall(LITERAL.sub("''", expression))}
    return (read | set(re.findall(r"-e (\w+)=", text))) - described - prompted(text)


# ---------------------------------------------------------------- what they find


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("- include_role: {name: gpuswarm.ollama.drain, tasks_from: activate}", {("drain", "activate")}),
        ("- import_role: {tasks_from: x, name: gpuswarm.ollama.drain}", {("drain", "x")}),
        ("- block: [{ansible.builtin.import_role: {name: gpuswarm.ollama.drain}}]", {("drain", "main")}),
        ("- include_role: {name: gpuswarm.ollama.a, public: true, tasks_from: b.yml}", {("a", "b")}),
        ("- {hosts: x, roles: [{role: gpuswarm.ollama.a}, gpuswarm.ollama.b, c]}", {("a", "main"), ("b", "main")}),
        ("- include_role: {name: other, tasks_from: x}", set()),
    ],
)
def test_uses_are_found(text: str, found: set[tuple[str, str]]) -> None:
    assert uses(text) == found
    assert undescribed(text, lambda _: set()) == found
    assert undescribed(text, lambda _: {"main", "activate", "x", "b"}) == set()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("- ansible.builtin.include_tasks: scale.yml", set()),
        ("- ansible.builtin.include_tasks: {file: scale.yml}", set()),
        ("- include_tasks: rotate.yml", {"rotate.yml"}),
        ("- {hosts: x, tasks: [{import_tasks: tasks/lock.yml}]}", {"tasks/lock.yml"}),
        ("- import_tasks: '{{ role_path }}/../../x.yml'", {"{{ role_path }}/../../x.yml"}),
        ("- include_tasks: {file: ../../drain/tasks/main.yml}", {"../../drain/tasks/main.yml"}),
    ],
)
def test_tasks_by_path_are_found(text: str, found: set[str]) -> None:
    assert by_path(text, {"main.yml", "scale.yml"}) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("- when: docker_answers and not stack_x", {"docker_answers", "stack_x"}),
        ("- debug: {msg: 'set fleet_gpu_count to {{ fleet_name }}'}", {"fleet_name"}),
        ("- x: \"{{ hostvars['a']['fleet_specs'] | gpuswarm.ollama.fleet_surplus(b) }}\"", {"fleet_specs"}),
        ("- x: \"{{ hostvars[groups['b'] | first].stack_z | default('stack_y') }}\"", {"stack_z"}),
        (
            "- x: \"{{ a | map('extract', hostvars) | map(attribute='recovery_found', default=1) }}\"",
            {"recovery_found"},
        ),
        ("- x: '{{ __fleet_secret | default(node_labels_y) }}'", {"__fleet_secret", "node_labels_y"}),
        ("- vars: {drain_server: x}", set()),
    ],
)
def test_variables_are_found(text: str, found: set[str]) -> None:
    assert {name for _, name in names(text)} == found


@pytest.mark.parametrize(
    ("text", "template", "found"),
    [
        ("- when: drain_a or cluster_b or stack_c or fleet_name", False, {"stack_c"}),
        ("- when: stack_promised and __stack_d", False, {"__stack_d"}),
        ("- x: \"{{ hostvars['localhost']['fleet_specs'] }}\"", False, {"fleet_specs"}),
        ("listen {{ stack_e }};  # {% if drain_f %}", True, {"stack_e"}),
    ],
)
def test_variables_of_other_roles_are_found(text: str, template: bool, found: set[str]) -> None:
    assert foreign(text, "drain", {"stack_promised"}, template=template) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("- x: \"{{ hostvars['localhost']['__fleet_public_key'] }}\"", {"__fleet_public_key"}),
        ("- register: __stack_x", {"__stack_x"}),
        ("- when: __drain_x or __found", set()),
    ],
)
def test_private_names_are_found(text: str, found: set[str]) -> None:
    assert private(text, "drain") == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("server tasks.{{ cluster_stack }}_echo:80;", {"echo"}),
        ("server tasks.stack_echo:80;", {"echo"}),
        ("models: {{ llm_models | default([]) }}", {"llm"}),
        ("- x: '{{ __llm_x }}'", {"llm"}),
        ("upstream llm {", {"llm"}),
        ("- gpuswarm.llm.file_set: # as the API of Llm says", set()),
        ("/registry.llm.ai/ echoes", set()),
    ],
)
def test_names_of_services_are_found(text: str, found: set[str]) -> None:
    assert named(text, {"echo", "llm"}) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("- retries: '{{ site_answer_timeout | default(3600) }}'", {"site_answer_timeout"}),
        ("# Needs -e new_input=NAME.\n- {}", {"new_input"}),
        ("- {vars_prompt: [{name: destroy_fleet}], x: '{{ destroy_fleet }}'}", set()),
        ("- fail_msg: name it with -e rotate_server=NAME", set()),
        ("- x: \"{{ y | gpuswarm.ollama.restore_results('site_z') }}\"", set()),
    ],
)
def test_inputs_without_a_home_are_found(text: str, found: set[str]) -> None:
    assert homeless(text, {"rotate_server"}) == found


# ---------------------------------------------------------------- what they must not find

TOP = [*ROOT.glob("playbooks/**/*.yml"), *ROOT.glob("molecule/**/*.yml")]
OF_ROLES = [*ROOT.glob("roles/*/tasks/*.yml"), *ROOT.glob("roles/*/handlers/*.yml")]


def broken(files: list[Path], rule: Callable[[Path, str], set[Any]]) -> dict[str, list[Any]]:
    """What breaks a rule, by file."""
    found = {str(file.relative_to(ROOT)): rule(file, file.read_text(encoding="utf-8")) for file in files}
    return {file: sorted(wrong) for file, wrong in found.items() if wrong}


def test_every_entry_point_has_its_arguments_described() -> None:
    files = TOP + OF_ROLES
    used = {use for file in files for use in uses(file.read_text(encoding="utf-8"))}
    assert len(used) > 30, "the search is wrong"
    assert broken(files, lambda _, text: undescribed(text, argument_specs)) == {}


def test_every_entry_point_that_is_described_exists() -> None:
    missing = [
        (role, entry) for role in ROLES for entry in argument_specs(role) if not task_file(role, entry).is_file()
    ]
    assert missing == []


def task_file(role: str, entry: str) -> Path:
    return ROOT / "roles" / role / "tasks" / f"{entry}.yml"


def test_tasks_are_included_by_the_role_whose_they_are() -> None:
    own = {role: {path.name for path in (ROOT / "roles" / role / "tasks").glob("*.yml")} for role in ROLES}
    assert broken(OF_ROLES, lambda file, text: by_path(text, own[file.parents[1].name])) == {}
    # Playbooks are lists of roles.
    assert broken(TOP, lambda _, text: by_path(text, set())) == {}


@pytest.mark.parametrize("role", ROLES)
def test_a_role_reads_its_own_variables_and_those_that_it_says(role: str) -> None:
    promised = options(role).keys() | set().union(*(returned(other) for other in ROLES))
    files = [
        file
        for kind in ("tasks/*.yml", "handlers/*.yml", "vars/*.yml", "templates/*")
        for file in (ROOT / "roles" / role).glob(kind)
    ]
    assert broken(files, lambda file, text: foreign(text, role, promised, template=file.suffix == ".j2")) == {}


def test_playbooks_read_what_roles_take_or_return() -> None:
    promised = set().union(*(options(role).keys() | returned(role) for role in ROLES))
    assert broken(TOP, lambda _, text: foreign(text, "", promised)) == {}


def test_nobody_reads_what_is_private_to_a_role() -> None:
    files = [file for file in ROOT.glob("roles/*/*/*") if file.suffix in (".yml", ".j2")]
    assert broken(files, lambda file, text: private(text, file.parents[1].name)) == {}
    assert broken(TOP, lambda _, text: private(text, "")) == {}


def test_inputs_of_playbooks_have_a_home() -> None:
    described = set().union(
        *(options(role) for role in ROLES), *(prompted(file.read_text(encoding="utf-8")) for file in TOP)
    )
    assert "destroy_fleet" in described, "the search is wrong"
    assert broken([*TOP, *OF_ROLES], lambda _, text: homeless(text, described)) == {}


def registered(role: str) -> set[str]:
    """Services that a role registers."""
    files = (ROOT / "roles" / role / "tasks").glob("*.yml")
    return {str(value) for file in files for key, value in modules(roles.load(file)) if key == "cluster_service"}


@pytest.mark.parametrize("role", ["stack", "gateway", "backup"])
def test_a_service_plugs_in_without_these_roles_naming_it(role: str) -> None:
    services = set().union(*(registered(other) for other in ROLES)) - {role}
    assert "ollama" in services, "the search is wrong"
    files = [file for file in (ROOT / "roles" / role).glob("*/*") if file.parent.name != "meta"]
    assert broken(files, lambda _, text: named(text, services)) == {}
