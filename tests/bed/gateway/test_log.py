# SPDX-License-Identifier: Apache-2.0
"""One line of JSON for each request."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.bed.bed import Gateway
from tests.bed.conftest import ROOT
from tests.kit.answers import MODEL, question

FIELDS = {
    "time": str, "id": str, "client": str, "key": str, "method": str, "path": str, "model": str, "status": int,
    "upstream": str, "tries": int, "first_byte": float, "seconds": float, "bytes_in": int, "bytes": int,
}  # fmt: skip
SECRET_PROMPT = "nobody-may-read-this"


def line_of(gateway: Gateway, client: httpx.Client | None = None, **request: Any) -> dict[str, Any]:
    _, [line] = gateway.exchange(request, client=client)
    return line


def test_every_field_is_there(plain: Gateway) -> None:
    body = question(4, prompt=SECRET_PROMPT)
    line = line_of(plain, method="POST", url=f"/api/generate?secret={SECRET_PROMPT}", json=body)
    assert {name: type(value) for name, value in line.items()} == FIELDS
    assert (line["method"], line["path"], line["model"], line["status"]) == ("POST", "/api/generate", MODEL, 200)
    assert line["tries"] == 1
    # Of two clocks, wall and monotonic, each in whole milliseconds.
    assert 0 <= line["first_byte"] <= line["seconds"] + 0.001
    assert line["bytes_in"] > len(SECRET_PROMPT)
    assert SECRET_PROMPT not in plain.process.output()


def test_whose_key_it_was(secured: Gateway) -> None:
    headers = {"Authorization": f"Bearer {ROOT}"}
    assert line_of(secured, secured.tls(), method="GET", url="/api/tags", headers=headers)["key"] == "root"
    assert ROOT not in secured.process.output()


@pytest.mark.parametrize(
    ("body", "model"),
    [
        (b'{"model": "tiny"}', "tiny"),
        (b'{"messages": [{"content": "\\"model\\": \\"x\\""}], "model": "tiny"}', "tiny"),
        (b'{"tools": [{"model": "x"}], "model": "a\\u0062\\n\\"c"}', 'ab\n"c'),
        (b'{"model": ["tiny"]}', ""),
        (b'{"model": "' + b"y" * 5000 + b'"}', "y" * 200),
        (b"not JSON", ""),
        (b"null", ""),
        (b"", ""),
    ],
)
def test_the_model_is_what_the_body_says(plain: Gateway, body: bytes, model: str) -> None:
    assert line_of(plain, method="POST", url="/api/generate", content=body)["model"] == model


def test_what_no_server_was_asked_for(plain: Gateway) -> None:
    line = line_of(plain, method="GET", url="/nowhere")
    assert (line["status"], line["upstream"], line["tries"], line["first_byte"]) == (404, "", 0, None)


def test_health_checks_are_not_logged(plain: Gateway) -> None:
    requests = [{"method": "GET", "url": path} for path in ("/health", "/ready", "/nowhere")]
    answers, lines = plain.exchange(*requests)
    assert [answer.status_code for answer in answers] == [200, 200, 404]
    assert [line["path"] for line in lines] == ["/nowhere"]
