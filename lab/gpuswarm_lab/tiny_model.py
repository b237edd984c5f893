"""A tiny language model with random weights, in GGUF, from nothing but the standard library.

Same bytes every time (seeded). It answers fast and deterministically, in English words without meaning, which
is what tests of everything around a model need.
"""

from __future__ import annotations

import io
import math
import random
import struct
from array import array
from pathlib import Path

WORDS = (  # noqa: SIM905 (a list of words would be a hundred lines)
    "the of and to in is it you that he was for on are with as his they be at one have this from or had by hot but "
    "some what there we can out other were all your when up use word how said an each she which do their time if will "
    "way about many then them would write like so these her long make thing see him two has look more day could go "
    "come did my sound no most number who over know water than call first people may down side been now find"
).split()
LETTERS = "▁abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.,?!0123456789"

ALIGNMENT = 32
UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9
NORMAL, UNKNOWN, CONTROL, UNUSED, BYTE = 1, 2, 3, 5, 6

Token = tuple[bytes, float, int]


def vocabulary() -> list[Token]:
    """Tokens as (text, score, type); the special ones, every byte, letters, then words by frequency."""
    tokens: list[Token] = [(b"<unk>", 0.0, UNKNOWN), (b"<s>", 0.0, CONTROL), (b"</s>", 0.0, CONTROL)]
    tokens += [(f"<0x{byte:02X}>".encode(), 0.0, BYTE) for byte in range(256)]
    tokens += [(letter.encode(), -20.0, NORMAL) for letter in LETTERS]
    tokens += [(f"▁{word}".encode(), -1.0 - rank * 0.01, NORMAL) for rank, word in enumerate(WORDS)]
    while len(tokens) % 32:
        tokens.append((f"[PAD{len(tokens)}]".encode(), -1000.0, UNUSED))
    return tokens


def _string(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


def _value(kind: int, value: object) -> bytes:
    if isinstance(value, str):
        return _string(value.encode())
    return struct.pack({UINT32: "<I", INT32: "<i", FLOAT32: "<f", BOOL: "<?"}[kind], value)


def _list(kind: int, values: list[bytes]) -> bytes:
    return struct.pack("<IQ", kind, len(values)) + b"".join(values)


def write_model(path: Path, width: int = 64, layers: int = 2, heads: int = 4) -> None:
    """Write the model to ``path`` (0.8 MB with the defaults)."""
    tokens = vocabulary()
    size = len(tokens)
    feed_forward = width * 4
    rng = random.Random(7)  # noqa: S311 (the same numbers every time)

    def matrix(rows: int, columns: int, scale: float = 1.0) -> array[float]:
        factor = scale / math.sqrt(columns)
        return array("f", (rng.gauss(0.0, 1.0) * factor for _ in range(rows * columns)))

    ones = array("f", [1.0]) * width
    # Whole words come out far more often than letters; bytes and the end of the text never do.
    output = matrix(size, width, 3.0)
    for row in range(259 + len(LETTERS)):
        weight = 0.0 if row < 259 else 0.3
        for column in range(row * width, (row + 1) * width):
            output[column] *= weight
    tensors: list[tuple[str, tuple[int, ...], array[float]]] = [
        ("token_embd.weight", (size, width), matrix(size, width, 8.0)),
        ("output.weight", (size, width), output),
        ("output_norm.weight", (width,), ones),
    ]
    for layer in range(layers):
        block = f"blk.{layer}."
        tensors += [(block + name, (width,), ones) for name in ("attn_norm.weight", "ffn_norm.weight")]
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            tensors.append((f"{block}{name}.weight", (width, width), matrix(width, width)))
        tensors.append((block + "ffn_gate.weight", (feed_forward, width), matrix(feed_forward, width)))
        tensors.append((block + "ffn_up.weight", (feed_forward, width), matrix(feed_forward, width)))
        tensors.append((block + "ffn_down.weight", (width, feed_forward), matrix(width, feed_forward)))

    plain: list[tuple[str, int, object]] = [
        ("general.architecture", STRING, "llama"),
        ("general.name", STRING, "tiny-random"),
        ("general.file_type", UINT32, 0),
        ("llama.context_length", UINT32, 2048),
        ("llama.embedding_length", UINT32, width),
        ("llama.block_count", UINT32, layers),
        ("llama.feed_forward_length", UINT32, feed_forward),
        ("llama.attention.head_count", UINT32, heads),
        ("llama.attention.head_count_kv", UINT32, heads),
        ("llama.attention.layer_norm_rms_epsilon", FLOAT32, 1e-5),
        ("llama.rope.dimension_count", UINT32, width // heads),
        ("llama.vocab_size", UINT32, size),
        ("tokenizer.ggml.model", STRING, "llama"),
        ("tokenizer.ggml.bos_token_id", UINT32, 1),
        ("tokenizer.ggml.eos_token_id", UINT32, 2),
        ("tokenizer.ggml.unknown_token_id", UINT32, 0),
        ("tokenizer.ggml.add_bos_token", BOOL, True),
        ("tokenizer.ggml.add_eos_token", BOOL, False),
        ("tokenizer.chat_template", STRING, "{% for m in messages %}{{ m['content'] }}{% endfor %}"),
    ]
    lists: list[tuple[str, bytes]] = [
        ("tokenizer.ggml.tokens", _list(STRING, [_string(text) for text, _, _ in tokens])),
        ("tokenizer.ggml.scores", _list(FLOAT32, [_value(FLOAT32, score) for _, score, _ in tokens])),
        ("tokenizer.ggml.token_type", _list(INT32, [_value(INT32, kind) for _, _, kind in tokens])),
    ]
    out = io.BytesIO()
    out.write(b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(plain) + len(lists)))
    for key, kind, value in plain:
        out.write(_string(key.encode()) + struct.pack("<I", kind) + _value(kind, value))
    for key, packed in lists:
        out.write(_string(key.encode()) + struct.pack("<I", ARRAY) + packed)
    offset = 0
    for name, shape, data in tensors:
        dimensions = tuple(reversed(shape))  # GGUF counts the fastest dimension first
        out.write(_string(name.encode()) + struct.pack(f"<I{len(shape)}Q", len(shape), *dimensions))
        out.write(struct.pack("<IQ", 0, offset))
        offset += _padded(len(data) * 4)
    out.write(b"\0" * (_padded(out.tell()) - out.tell()))
    for _, _, data in tensors:
        raw = data.tobytes()
        out.write(raw + b"\0" * (_padded(len(raw)) - len(raw)))
    path.write_bytes(out.getvalue())


def _padded(length: int) -> int:
    return -(-length // ALIGNMENT) * ALIGNMENT
