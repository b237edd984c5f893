# Copyright: (c) 2026, gpuswarm contributors
# SPDX-License-Identifier: Apache-2.0
"""Ollama's models: how their names are spelled, and whether they fit into a GPU's memory together."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

HOST, NAMESPACE, TAG = "registry.ollama.ai", "library", "latest"
GIB = 2**30
# What a runner takes besides weights and KV cache, at least: the CUDA context and buffers of the computation.
RUNNER = GIB // 2
# Bytes of an element of the KV cache (OLLAMA_KV_CACHE_TYPE): blocks of 32 elements share a scale of two bytes.
KV_TYPES: Mapping[str, float] = {"": 2, "f16": 2, "q8_0": 34 / 32, "q4_0": 18 / 32}
# Metadata of models whose cache is smaller than the formula says: windows, compressed keys, states instead of a cache.
SMALLER = ("attention.sliding_window", "attention.kv_lora_rank", "ssm.state_size", "full_attention_interval")

# Architectures that Ollama serves one request at a time, whatever OLLAMA_NUM_PARALLEL says (server/sched.go).
SERIAL = ("mllama", "qwen3vl", "qwen3vlmoe", "qwen35", "qwen35moe", "qwen3next", "lfm2", "lfm2moe", "nemotron_h",
          "nemotron_h_moe", "nemotron_h_omni")  # fmt: skip


def canonical_name(name: str) -> str:
    """Spell a model's name out, in lower case: Ollama does not tell its spellings from each other.

    >>> canonical_name("TINY")
    'registry.ollama.ai/library/tiny:latest'
    """
    path, colon, tag = name.lower().rpartition(":")
    if not colon or "/" in tag:  # the colon is that of a port
        path, tag = name.lower(), TAG
    parts = path.split("/")
    missing = [HOST, NAMESPACE][: max(0, 3 - len(parts))]
    return f"{'/'.join(missing + parts)}:{tag}"


@dataclass(frozen=True)
class MemorySettings:
    """What the size of the caches depends on.

    :param context: tokens of one request (OLLAMA_CONTEXT_LENGTH).
    :param parallel: requests at the same time (OLLAMA_NUM_PARALLEL).
    :param kv_type: type of the cache's elements (OLLAMA_KV_CACHE_TYPE); empty for Ollama's default.
    """

    context: int
    parallel: int
    kv_type: str = ""


@dataclass(frozen=True)
class Need:
    """What a model takes of a GPU's memory, in bytes.

    :param cache: None if it is not known.
    :param words: how both were found.
    """

    weights: int
    cache: int | None
    words: str


@dataclass(frozen=True)
class Fit:
    """Whether models fit together.

    :param fits: None if that is not known.
    :param words: the arithmetic, or what is not known.
    """

    fits: bool | None
    words: str


def need(name: str, size: int, info: Mapping[str, Any], settings: MemorySettings) -> Need:
    """What a model takes.

    :param size: bytes of its layers.
    :param info: its metadata (``model_info`` of ``/api/show``), with names as in GGUF.
    """
    weights = f"{name} {_gib(size)} of weights"

    def number(key: str) -> int | None:
        value = info.get(f"{info.get('general.architecture')}.{key}")
        return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None

    if info.get(f"{info.get('general.architecture')}.attention.causal") is False:
        return Need(size, 0, weights)  # it embeds a text as a whole
    element = KV_TYPES.get(settings.kv_type)
    layers, heads, embedding = number("block_count"), number("attention.head_count"), number("embedding_length")
    groups = number("attention.head_count_kv")
    width = embedding // heads if embedding and heads else None
    key, value = number("attention.key_length") or width, number("attention.value_length") or width
    odd = [each for each in SMALLER if number(each)]
    if not (element and layers and groups and key and value) or odd:
        why = f"its metadata has {odd[0]}" if odd else "its metadata does not say how large it is"
        return Need(size, None, f"{weights} and a KV cache that is not known ({why})")
    context = min(settings.context, number("context_length") or settings.context)
    parallel = 1 if info.get("general.architecture") in SERIAL else settings.parallel
    cache = round(layers * groups * (key + value) * element * context * parallel)
    words = (
        f"{_gib(cache)} of KV cache ({layers} layers x {groups} KV heads x {key + value} x {element:g} bytes x "
        f"{context} tokens x {parallel} requests)"
    )
    return Need(size, cache, f"{weights} and {words}")


def fit(models: Sequence[tuple[str, int, Mapping[str, Any]]], memory: int, settings: MemorySettings) -> Fit:
    """Whether models fit into a GPU's memory together, each with its own runner.

    :param models: names, sizes and metadata, as :func:`need` takes them.
    :param memory: bytes of memory of all GPUs of a server.
    """
    needs = [need(*model, settings) for model in models]
    known = sum(each.weights + (each.cache or 0) + RUNNER for each in needs)
    complete = all(each.cache is not None for each in needs)
    words = (
        f"{'; '.join(each.words for each in needs)}; {_gib(RUNNER)} for each runner: together "
        f"{'' if complete else 'at least '}{_gib(known)}, and the GPU has {_gib(memory)}"
    )
    if known > memory:
        return Fit(False, words)
    return Fit(True if complete else None, words)


def reported(lines: Iterable[str], environment: Mapping[str, str]) -> Fit:
    """Whether the models of a replica fit, out of what ``roles/ollama/files/describe.sh`` prints.

    :param environment: Ollama's settings, as environment variables.
    """
    memory, sizes, infos = 0, {}, {}
    for line in lines:
        kind, _blank, rest = line.partition(" ")
        try:
            if kind == "gpu":
                memory += int(rest) * 2**20
            elif kind == "tags":
                sizes = {canonical_name(str(each["name"])): int(each["size"]) for each in json.loads(rest)["models"]}
            elif kind == "info":
                name, _blank, text = rest.partition(" ")
                infos[name] = json.loads(text)
        except (ValueError, KeyError, TypeError, AttributeError):
            return Fit(None, f"the replica's answer cannot be read: {line[:200]}")
    if not memory:
        return Fit(None, "the replica does not say how much memory its GPU has")
    unknown = sorted(name for name in infos if canonical_name(name) not in sizes)
    if unknown or not infos:
        return Fit(None, f"the replica does not say how large its models are: {', '.join(unknown) or 'it names none'}")
    settings = MemorySettings(
        int(environment["OLLAMA_CONTEXT_LENGTH"]),
        int(environment["OLLAMA_NUM_PARALLEL"]),
        environment.get("OLLAMA_KV_CACHE_TYPE", ""),
    )
    return fit([(name, sizes[canonical_name(name)], info) for name, info in infos.items()], memory, settings)


def _gib(size: float) -> str:
    return f"{size / GIB:.1f} GiB"
