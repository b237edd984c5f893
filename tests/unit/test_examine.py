"""What a sick node says of itself, with the answers of Docker's clients as they were seen."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "roles" / "recovery" / "files" / "examine.sh"
MEMBER = '{"NodeID":"n1","LocalNodeState":"active"}'
NOBODY = '{"NodeID":"","NodeAddr":"","LocalNodeState":"","ControlAvailable":false,"Error":"","RemoteManagers":null}'
NO_ENGINE = "echo 'Cannot connect to the Docker daemon at unix:///var/run/docker.sock.' >&2"


def said(folder: Path, client: str) -> Any:
    docker = folder / "docker"
    docker.write_text(f"#!/bin/sh\ncase $1 in\n{client}\nesac\n")
    docker.chmod(0o755)
    result = subprocess.run(
        ["sh", SCRIPT, "gpuswarm_ollama"],
        env={**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,  # a login with a terminal mixes them
        text=True,
        check=True,
        timeout=60,
    )
    return json.loads(result.stdout)


DEAD = {"docker": "silent", "swarm": None, "ollama": ""}


@pytest.mark.parametrize(
    ("client", "expected"),
    [
        # 20.10: an error
        (f"*) {NO_ENGINE}; exit 1 ;;", DEAD),
        # 26: an answer without a version
        (f"info) {NO_ENGINE}; echo ' {NOBODY}' ;;\n*) {NO_ENGINE}; exit 1 ;;", DEAD),
        (
            f"info) echo '26.1.5 {MEMBER}' ;;\nps) echo c1 ;;\ninspect) echo 'tiny is \"not\" loaded' ;;",
            {"docker": "answers", "swarm": json.loads(MEMBER), "ollama": "tiny is not loaded"},
        ),
        (
            f"info) echo '20.10.24 {NOBODY}' ;;\nps) ;;",
            {"docker": "answers", "swarm": json.loads(NOBODY), "ollama": ""},
        ),
        # It ends between two questions
        (
            f"info) echo '26.1.5 {MEMBER}' ;;\n*) {NO_ENGINE}; exit 1 ;;",
            {"docker": "answers", "swarm": json.loads(MEMBER), "ollama": ""},
        ),
    ],
)
def test_what_a_node_says(tmp_path: Path, client: str, expected: dict[str, Any]) -> None:
    assert said(tmp_path, client) == expected
