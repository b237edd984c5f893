# SPDX-License-Identifier: Apache-2.0
"""Models that know something, served as any other."""

from __future__ import annotations

import httpx

from tests.bed.bed import Ollama
from tests.bed.models.real_models import CHAT, EMBEDDING


def alike(one: list[float], other: list[float]) -> float:
    """Cosine of the angle between two embeddings, which have the length 1."""
    return sum(a * b for a, b in zip(one, other, strict=True))


def test_the_embedding_model_knows_what_is_alike(real_models: Ollama) -> None:
    texts = ["a cat sleeps on the sofa", "a kitten naps on the couch", "interest rates of the central bank"]
    question = {"model": EMBEDDING, "input": texts}
    answer = httpx.post(f"{real_models.url}/api/embed", json=question, timeout=60).raise_for_status().json()
    cat, kitten, bank = answer["embeddings"]
    assert [len(cat), len(kitten), len(bank)] == [384] * 3
    assert alike(cat, kitten) > 0.5 > alike(cat, bank)


def test_the_chat_model_knows_a_capital(real_models: Ollama) -> None:
    question = {
        "model": CHAT,
        "messages": [{"role": "user", "content": "What is the capital of France?"}],
        "stream": False,
        "options": {"temperature": 0, "num_predict": 12},
    }
    answer = httpx.post(f"{real_models.url}/api/chat", json=question, timeout=60).raise_for_status().json()
    assert "Paris" in answer["message"]["content"]
