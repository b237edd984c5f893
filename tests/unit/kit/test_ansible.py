"""Ansible's programs: what they say, and that nothing of the variables is in their command lines."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.kit import ansible
from tests.kit.commands import KitError

RECAP = """PLAY RECAP *********************************************************************
gpu-1                      : ok=17   changed=2    unreachable=0    failed=0    skipped=5    rescued=0    ignored=0
localhost                  : ok=9    changed=1    unreachable=1    failed=1    skipped=0    rescued=0    ignored=0

"""
GOOD = """
TASK [gpuswarm.ollama.docker : Install Docker] *********************************
changed: [gpu-1]
"""
BAD = """
TASK [gpuswarm.ollama.docker : Start Docker] ***********************************
[ERROR]: Task failed: Module failed: Unable to start service docker
fatal: [gpu-1]: FAILED! => {"msg": "Unable to start service docker"}
"""
UNREACHABLE = """
TASK [Log in] ******************************************************************
fatal: [gpu-2]: UNREACHABLE! => {"msg": "Connection timed out"}
"""
IGNORED = """
TASK [Look for it] *************************************************************
fatal: [gpu-1]: FAILED! => {"msg": "nothing there"}
...ignoring
"""


def test_recap() -> None:
    found = ansible.recap(GOOD + RECAP)
    assert list(found) == ["gpu-1", "localhost"]
    assert found["localhost"] == {
        "ok": 9, "changed": 1, "unreachable": 1, "failed": 1, "skipped": 0, "rescued": 0, "ignored": 0,
    }  # fmt: skip
    assert ansible.changed(RECAP) == {"gpu-1": 2, "localhost": 1}
    assert ansible.recap("ERROR! no recap: ok=1") == {}


def test_of_several_runs_the_last_recap_counts() -> None:
    assert ansible.changed(RECAP + RECAP.replace("changed=2", "changed=0")) == {"gpu-1": 0, "localhost": 1}


@pytest.mark.parametrize(
    ("output", "found"),
    [
        ("", []),
        (GOOD + RECAP, []),
        (GOOD + IGNORED + RECAP, []),
        (GOOD + BAD + RECAP, [BAD]),
        (GOOD + BAD + IGNORED + UNREACHABLE + RECAP, [BAD, UNREACHABLE]),
        ("PLAY [all] ***\n" + UNREACHABLE + GOOD, [UNREACHABLE]),
    ],
)
def test_failures(output: str, found: list[str]) -> None:
    assert ansible.failures(output) == [text.strip() for text in found]


def test_a_task_that_says_much_is_shortened() -> None:
    (found,) = ansible.failures(BAD + "x" * 100_000)
    assert len(found) == ansible.TASK_CHARACTERS


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("{}", {}),
        (
            '{"manager": {"hosts": [{"__ansible_unsafe": "m"}]}, "_meta": {"hostvars": {"m": {"ansible_port": 22}}}}',
            {"manager": {"hosts": ["m"]}, "_meta": {"hostvars": {"m": {"ansible_port": 22}}}},
        ),
    ],
)
def test_parse_listing(text: str, found: dict[str, object]) -> None:
    assert ansible.parse_listing(text) == found


@pytest.mark.parametrize(
    ("line", "step"),
    [
        ("PLAY [Servers and network] ***", "Servers and network"),
        ("TASK [gpuswarm.ollama.docker : Install Docker] ***", "  gpuswarm.ollama.docker"),
        ("TASK [Log in] ***", ""),
        ("ok: [gpu-1]", ""),
        ("", ""),
    ],
)
def test_step_of(line: str, step: str) -> None:
    assert ansible.step_of(line) == step


@pytest.fixture
def programs(tmp_path: Path) -> dict[str, str]:
    """The environment in which ansible-playbook only says how it was started, and fails if it is told to."""
    program = tmp_path / "ansible-playbook"
    program.write_text(
        '#!/bin/bash\necho "$@"\nfor word; do case $word in @*) stat -c %a "${word#@}"; cat "${word#@}";; esac; done\n'
        f"if [ $FAILS ]; then printf '%s' '{BAD}'; exit 2; fi\n"
    )
    program.chmod(0o755)
    return {"PATH": f"{tmp_path}:{os.environ['PATH']}"}


def test_variables_are_handed_over_in_a_private_file(programs: dict[str, str]) -> None:
    said = ansible.playbook("site", "--check", inventory="lab", variables={"word": "s3cret"}, env=programs).stdout
    command, mode, variables = said.splitlines()
    assert command.startswith("-i lab ")
    assert "/playbooks/site.yml --check -e @" in command
    assert (mode, variables) == ("600", '{"word": "s3cret"}')
    assert not Path(command.rpartition("@")[2]).exists()


def test_a_file_is_run_as_it_is(programs: dict[str, str], tmp_path: Path) -> None:
    said = ansible.playbook(tmp_path / "play.yml", inventory=tmp_path / "hosts.yml", env=programs).stdout
    assert said == f"-i {tmp_path}/hosts.yml {tmp_path}/play.yml\n"


def test_a_failure_says_which_task_it_was(programs: dict[str, str]) -> None:
    with pytest.raises(KitError, match=r"status 2 (?s:.*)\nTASK \[gpuswarm.ollama.docker : Start Docker\]"):
        ansible.playbook("site", inventory="lab", env={**programs, "FAILS": "1"})
