"""A model in the lab's image registry: to a registry, Ollama's models are images with layers of other kinds."""

from __future__ import annotations

import hashlib
import json
import urllib.request
from pathlib import Path

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


def push_model(address: str, name: str, store: Path, weights: bytes) -> None:
    """Push a sibling of the model ``tiny``: the same but for its weights.

    Args:
        address: of the registry, plain HTTP.
        name: what the model shall be called.
        store: Ollama's directory of models, with ``tiny`` in it.
        weights: the sibling's, in GGUF.
    """
    repository = f"http://{address}/v2/library/{name}"
    manifest = json.loads((store / "manifests/registry.ollama.ai/library/tiny/latest").read_text())
    for layer in (manifest["config"], *manifest["layers"]):
        if layer["mediaType"].endswith(".image.model"):
            content = weights
        else:
            content = (store / "blobs" / layer["digest"].replace(":", "-")).read_bytes()
        layer.update(digest=f"sha256:{hashlib.sha256(content).hexdigest()}", size=len(content))
        where = _send("POST", f"{repository}/blobs/uploads/")
        _send("PUT", f"{where}{'&' if '?' in where else '?'}digest={layer['digest']}", content)
    _send("PUT", f"{repository}/manifests/latest", json.dumps(manifest).encode(), MANIFEST)


def _send(method: str, url: str, body: bytes = b"", kind: str = "application/octet-stream") -> str:
    """Where the registry says that it goes on."""
    request = urllib.request.Request(url, data=body, method=method, headers={"Content-Type": kind})  # noqa: S310 (http)
    with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
        return str(response.headers.get("Location", ""))
