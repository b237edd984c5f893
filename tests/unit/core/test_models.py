# SPDX-License-Identifier: Apache-2.0
"""Names of models, and what they take of a GPU's memory."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.models import (
    GIB,
    MemorySettings,
    canonical_name,
    fit,
    need,
    reported,
)

FULL = "registry.ollama.ai/library/tiny:latest"


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("tiny", FULL),
        ("TINY:Latest", FULL),
        ("library/tiny", FULL),
        ("registry.ollama.ai/library/tiny", FULL),
        ("Registry.Ollama.AI/library/TINY:LATEST", FULL),
        ("qwen3:30b", "registry.ollama.ai/library/qwen3:30b"),
        ("me/mine", "registry.ollama.ai/me/mine:latest"),
        ("hf.co/user/Model:Q4_K_M", "hf.co/user/model:q4_k_m"),
        ("cache:5000/library/tiny", "cache:5000/library/tiny:latest"),
        ("cache:5000/library/tiny:1b", "cache:5000/library/tiny:1b"),
    ],
)
def test_all_spellings_of_a_name_are_one(name: str, canonical: str) -> None:
    assert canonical_name(name) == canonical
    assert canonical_name(canonical) == canonical


# As /api/show gives it of qwen3:30b.
QWEN: dict[str, Any] = {
    "general.architecture": "qwen3moe",
    "qwen3moe.block_count": 48,
    "qwen3moe.context_length": 262144,
    "qwen3moe.embedding_length": 2048,
    "qwen3moe.attention.head_count": 32,
    "qwen3moe.attention.head_count_kv": 4,
    "qwen3moe.attention.key_length": 128,
    "qwen3moe.attention.value_length": 128,
}
NOMIC: dict[str, Any] = {
    "general.architecture": "nomic-bert",
    "nomic-bert.attention.causal": False,
    "nomic-bert.block_count": 12,
}
SERIAL = {**QWEN, "general.architecture": "qwen3vl"}
LLAMA: dict[str, Any] = {  # says nothing of the heads' size
    "general.architecture": "llama",
    "llama.block_count": 32,
    "llama.context_length": 4096,
    "llama.embedding_length": 4096,
    "llama.attention.head_count": 32,
    "llama.attention.head_count_kv": 8,
}
BOTH = [("qwen3:30b", 18_550_000_000, QWEN), ("nomic-embed-text", 274_302_450, NOMIC)]
RTX_4090 = 24564 * 2**20


def without(info: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in info.items() if not name.endswith(key)}


@pytest.mark.parametrize(
    ("info", "settings", "cache"),
    [
        (QWEN, MemorySettings(8192, 2), 1.5 * GIB),
        (QWEN, MemorySettings(8192, 2, "f16"), 1.5 * GIB),
        (QWEN, MemorySettings(32768, 2), 6 * GIB),
        (QWEN, MemorySettings(32768, 2, "q8_0"), 6 * GIB * 34 / 64),
        (QWEN, MemorySettings(32768, 2, "q4_0"), 6 * GIB * 18 / 64),
        (LLAMA, MemorySettings(4096, 1), GIB / 2),
        (LLAMA, MemorySettings(131072, 1), GIB / 2),  # a context is never longer than the model's
        (without(LLAMA, "context_length"), MemorySettings(8192, 1), GIB),
        (NOMIC, MemorySettings(8192, 2), 0),
        (
            {key.replace("qwen3moe", "qwen3vl"): value for key, value in SERIAL.items()},
            MemorySettings(8192, 2),
            0.75 * GIB,
        ),
    ],
)
def test_the_cache_of_a_model(info: dict[str, Any], settings: MemorySettings, cache: float) -> None:
    assert need("m", 1, info, settings).cache == cache


@pytest.mark.parametrize(
    ("info", "kv_type", "why"),
    [
        ({}, "", "does not say"),
        (without(QWEN, "block_count"), "", "does not say"),
        ({**QWEN, "qwen3moe.attention.head_count_kv": None}, "", "does not say"),  # one for each layer
        ({**QWEN, "qwen3moe.attention.head_count_kv": [4, 8]}, "", "does not say"),
        ({**QWEN, "qwen3moe.attention.head_count_kv": 0}, "", "does not say"),
        ({**QWEN, "qwen3moe.attention.sliding_window": 512}, "", "sliding_window"),
        ({**QWEN, "qwen3moe.attention.kv_lora_rank": 512}, "", "kv_lora_rank"),
        ({**QWEN, "qwen3moe.ssm.state_size": 128}, "", "ssm.state_size"),
        (QWEN, "iq4_nl", "does not say"),
    ],
)
def test_what_is_not_known_stays_unknown(info: dict[str, Any], kv_type: str, why: str) -> None:
    found = need("m", GIB, info, MemorySettings(8192, 2, kv_type))
    assert found.cache is None
    assert why in found.words
    models = [("m", GIB, info)]
    assert fit(models, RTX_4090, MemorySettings(8192, 2, kv_type)).fits is None
    assert fit(models, GIB, MemorySettings(8192, 2, kv_type)).fits is False, "the weights alone are too much"


@pytest.mark.parametrize(
    ("settings", "fits"),
    [
        (MemorySettings(8192, 2), True),
        (MemorySettings(16384, 2), True),
        (MemorySettings(32768, 2), False),  # what Ollama takes by itself on such a GPU
        (MemorySettings(32768, 2, "q8_0"), True),
        (MemorySettings(262144, 1), False),
    ],
)
def test_the_default_models_on_an_rtx_4090(settings: MemorySettings, fits: bool) -> None:
    assert fit(BOTH, RTX_4090, settings).fits is fits


def test_the_arithmetic_is_told() -> None:
    assert fit(BOTH, RTX_4090, MemorySettings(32768, 2)).words == (
        "qwen3:30b 17.3 GiB of weights and 6.0 GiB of KV cache (48 layers x 4 KV heads x 256 x 2 bytes x 32768 tokens "
        "x 2 requests); nomic-embed-text 0.3 GiB of weights; 0.5 GiB for each runner: together 24.5 GiB, and the GPU "
        "has 24.0 GiB"
    )


TAGS = json.dumps({"models": [{"name": "qwen3:30b", "size": 18_550_000_000}, {"name": "tiny:latest", "size": 1000}]})
ENVIRONMENT = {"OLLAMA_CONTEXT_LENGTH": "8192", "OLLAMA_NUM_PARALLEL": "2"}
SAID = ["gpu 24564", f"tags {TAGS}", f"info library/QWEN3:30b {json.dumps(QWEN)}"]


@pytest.mark.parametrize(
    ("lines", "more", "fits", "words"),
    [
        (SAID, {}, True, "1.5 GiB of KV cache"),
        (SAID, {"OLLAMA_CONTEXT_LENGTH": "65536"}, False, "65536 tokens x 2 requests"),
        (SAID, {"OLLAMA_CONTEXT_LENGTH": "65536", "OLLAMA_KV_CACHE_TYPE": "q4_0"}, True, "x 0.5625 bytes"),
        (["gpu 12282", *SAID], {}, True, "the GPU has 36.0 GiB"),
        (SAID[1:], {}, None, "how much memory"),
        (SAID[:2], {}, None, "it names none"),
        ([*SAID, "info other {}"], {}, None, "how large its models are: other"),
        (["gpu No devices were found"], {}, None, "cannot be read: gpu No"),
        (["gpu 1", "tags "], {}, None, "cannot be read: tags"),
        (["gpu 1", "tags {}"], {}, None, "cannot be read: tags"),
        (["gpu 1", "tags []"], {}, None, "cannot be read: tags"),
        (["gpu 1", f"tags {TAGS}", 'info tiny {"a"'], {}, None, "cannot be read: info tiny"),
    ],
)
def test_what_a_replica_reports(lines: list[str], more: dict[str, str], fits: bool | None, words: str) -> None:
    found = reported(lines, {**ENVIRONMENT, **more})
    assert found.fits is fits
    assert words in found.words
