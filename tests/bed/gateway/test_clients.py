# SPDX-License-Identifier: Apache-2.0
"""The official clients for Python work through the gateway as they do with Ollama itself."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from typing import Any

import ollama
import openai
import pytest

from tests.bed.bed import Gateway
from tests.bed.conftest import ROOT, Cluster
from tests.kit.answers import MODEL

MESSAGES: list[Any] = [{"role": "user", "content": "hello"}]
FEW = {"num_predict": 8}
TOOL: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


# The tiny model of the bed with a template that knows tools. What it says is without meaning, so its answer is bound to
# the form of a call: what makes a call of it is the server.
TOOLS_MODEL = "tiny-with-tools"
TEMPLATE = (
    "{{ range .Messages }}{{ .Content }} {{ end }}{{ if .Tools }}{{ .Tools }} {{ end }}"
    "{{ range .Messages }}{{ range .ToolCalls }}"
    '{"name": "{{ .Function.Name }}", "parameters": {{ .Function.Arguments }}}{{ end }}{{ end }}'
)
CALL: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "enum": ["weather"]},
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "enum": ["Paris"]}},
            "required": ["city"],
        },
    },
    "required": ["name", "parameters"],
}


@pytest.fixture(scope="module")
def with_tools(cluster: Cluster) -> Iterator[str]:
    for server in cluster.servers:
        with ollama.Client(host=server.url, timeout=60) as client:
            client.create(model=TOOLS_MODEL, from_=MODEL, template=TEMPLATE)
    yield TOOLS_MODEL
    for server in cluster.servers:
        with ollama.Client(host=server.url, timeout=60) as client:
            client.delete(TOOLS_MODEL)


@pytest.fixture
def trust(secured: Gateway) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(secured.directory / "private" / "tls.crt"))


@pytest.fixture
def native(secured: Gateway, trust: ssl.SSLContext) -> Iterator[ollama.Client]:
    headers = {"Authorization": f"Bearer {ROOT}"}
    with ollama.Client(host=secured.tls_url, headers=headers, verify=trust, timeout=60) as client:
        yield client


@pytest.fixture
def compatible(secured: Gateway, trust: ssl.SSLContext) -> Iterator[openai.OpenAI]:
    http = openai.DefaultHttpxClient(verify=trust)
    with openai.OpenAI(base_url=f"{secured.tls_url}/v1", api_key=ROOT, http_client=http, max_retries=0) as client:
        yield client


def test_generate(native: ollama.Client) -> None:
    answer = native.generate(MODEL, "hello", options=FEW)
    assert answer.done
    assert answer.response


def test_generate_streamed(native: ollama.Client) -> None:
    *parts, last = native.generate(MODEL, "hello", stream=True, options=FEW)
    assert last.done
    assert len(parts) > 1
    assert any(part.response for part in parts)


def test_chat(native: ollama.Client) -> None:
    assert native.chat(MODEL, MESSAGES, options=FEW).message.content


def test_chat_streamed(native: ollama.Client) -> None:
    *_, last = native.chat(MODEL, MESSAGES, stream=True, options=FEW)
    assert last.done


def test_embeddings(native: ollama.Client) -> None:
    assert len(native.embed(MODEL, ["one", "two"]).embeddings) == 2
    assert native.embeddings(MODEL, "one").embedding


def test_what_is_there(native: ollama.Client) -> None:
    assert f"{MODEL}:latest" in [model.model for model in native.list().models]
    assert f"{MODEL}:latest" in [model.model for model in native.ps().models]
    assert native.show(MODEL).template


def test_an_unknown_model(native: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError, match="not found") as caught:
        native.generate("nobody-has-this", "hello")
    assert caught.value.status_code == 404


def test_tools_that_the_model_has_not(native: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError, match="does not support tools") as caught:
        native.chat(MODEL, MESSAGES, tools=[TOOL])
    assert caught.value.status_code == 400


def test_tools(native: ollama.Client, with_tools: str) -> None:
    answer = native.chat(with_tools, MESSAGES, tools=[TOOL], format=CALL, options={"num_predict": 200})
    assert answer.message.tool_calls
    assert [(call.function.name, call.function.arguments) for call in answer.message.tool_calls] == [
        ("weather", {"city": "Paris"})
    ]


def test_tools_streamed(native: ollama.Client, with_tools: str) -> None:
    parts = list(
        native.chat(with_tools, MESSAGES, tools=[TOOL], format=CALL, options={"num_predict": 200}, stream=True)
    )
    assert parts[-1].done
    calls = [call.function.name for part in parts for call in part.message.tool_calls or []]
    assert calls == ["weather"]


def test_the_answer_of_a_tool_is_taken(native: ollama.Client, with_tools: str) -> None:
    call = {"function": {"name": "weather", "arguments": {"city": "Paris"}}}
    messages = [
        *MESSAGES,
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "rain", "tool_name": "weather"},
    ]
    assert native.chat(with_tools, messages, tools=[TOOL], options=FEW).done


def test_a_wrong_key(secured: Gateway, trust: ssl.SSLContext) -> None:
    client = ollama.Client(host=secured.tls_url, headers={"Authorization": "Bearer wrong"}, verify=trust)
    with pytest.raises(ollama.ResponseError, match="a key is needed") as caught:
        client.list()
    assert caught.value.status_code == 401


@pytest.mark.usefixtures("copies_go")
def test_management_with_the_admin_key(native: ollama.Client) -> None:
    assert native.copy(MODEL, "copied-by-client").status == "success"


def test_openai_chat(compatible: openai.OpenAI) -> None:
    answer = compatible.chat.completions.create(model=MODEL, messages=MESSAGES, max_tokens=8)
    assert answer.choices[0].message.content
    assert answer.usage
    assert answer.usage.completion_tokens == 8


def test_openai_chat_streamed(compatible: openai.OpenAI) -> None:
    parts = list(compatible.chat.completions.create(model=MODEL, messages=MESSAGES, max_tokens=8, stream=True))
    assert len(parts) > 1
    assert parts[-1].choices[0].finish_reason == "length"


def test_openai_completion(compatible: openai.OpenAI) -> None:
    assert compatible.completions.create(model=MODEL, prompt="hello", max_tokens=8).choices[0].text


def test_openai_embeddings(compatible: openai.OpenAI) -> None:
    assert len(compatible.embeddings.create(model=MODEL, input=["one", "two"]).data) == 2


def test_openai_models(compatible: openai.OpenAI) -> None:
    assert f"{MODEL}:latest" in [model.id for model in compatible.models.list()]
    assert compatible.models.retrieve(f"{MODEL}:latest").id == f"{MODEL}:latest"


def test_openai_tools(compatible: openai.OpenAI, with_tools: str) -> None:
    form: Any = {"type": "json_schema", "json_schema": {"name": "call", "schema": CALL}}
    answer = compatible.chat.completions.create(
        model=with_tools, messages=MESSAGES, tools=[TOOL], response_format=form, max_tokens=200
    )
    assert answer.choices[0].finish_reason == "tool_calls"
    calls: Any = answer.choices[0].message.tool_calls
    assert [(call.function.name, json.loads(call.function.arguments)) for call in calls] == [
        ("weather", {"city": "Paris"})
    ]


def test_openai_errors(compatible: openai.OpenAI, secured: Gateway, trust: ssl.SSLContext) -> None:
    with pytest.raises(openai.NotFoundError):
        compatible.chat.completions.create(model="nobody-has-this", messages=MESSAGES)
    with pytest.raises(openai.BadRequestError, match="does not support tools"):
        compatible.chat.completions.create(model=MODEL, messages=MESSAGES, tools=[TOOL])
    stranger = openai.OpenAI(
        base_url=f"{secured.tls_url}/v1",
        api_key="wrong",
        http_client=openai.DefaultHttpxClient(verify=trust),
        max_retries=0,
    )
    with pytest.raises(openai.AuthenticationError):
        stranger.models.list()
