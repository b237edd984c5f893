"""What an account's billing tells: over real HTTPS, with answers as Selectel publishes them; none was seen live."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import redirect_stdout
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.gpuswarm.ollama.plugins.module_utils._clients.account_billing import (
    AccountBilling,
    UnaskedError,
    token_of,
)
from ansible_collections.gpuswarm.ollama.plugins.module_utils._clients.retry import ATTEMPTS
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.invoice import InvoiceError, Period
from ansible_collections.gpuswarm.ollama.plugins.modules import selectel_billing_info
from tests.kit.https_server import AnsweringServer, certificate, https_server

TOKEN = "secret-token_12345"
BALANCES = {
    "status": "success",
    "data": {"settings": {"currency": "rub"}, "billings": [{"billing_type": "primary", "final_sum": 1234567}]},
}
CONSUMPTION = {
    "status": "success",
    "data": [{"value": 72000, "project": {"id": "p"}, "object": {"id": "a", "name": "demo-gpu-1", "type": "cloud_vm"}}],
}
BALANCE_PATH, CONSUMPTION_PATH = "/v3/balances", "/v1/cloud_billing/statistic/consumption"
WHOLE: dict[str, list[tuple[int, Any]]] = {BALANCE_PATH: [(200, BALANCES)], CONSUMPTION_PATH: [(200, CONSUMPTION)]}
READ = int(datetime(2026, 11, 15, 8, 12, 31, tzinfo=UTC).timestamp())
DAY = Period(*(int(datetime(2026, 11, day, tzinfo=UTC).timestamp()) for day in (2, 3)))


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def selectel(pem: Path) -> Iterator[AnsweringServer]:
    with https_server(pem, WHOLE) as server:
        yield server


def asking(server: AnsweringServer, pem: Path, pauses: list[float] | None = None, **more: Any) -> AccountBilling:
    slept: list[float] = [] if pauses is None else pauses
    return AccountBilling(TOKEN, url=server.url, cafile=str(pem), timeout=10, sleep=slept.append, **more)


@pytest.mark.parametrize(("kind", "header"), [("static", "X-Token"), ("iam", "X-Auth-Token")])
def test_the_balance(selectel: AnsweringServer, pem: Path, kind: str, header: str) -> None:
    assert asking(selectel, pem, kind=kind).balance() == ({"amount": "12345.67", "currency": "RUB"}, READ)
    ((path, headers),) = selectel.asked
    assert (path, headers[header]) == (BALANCE_PATH, TOKEN)


def test_the_consumption(selectel: AnsweringServer, pem: Path) -> None:
    (found,) = asking(selectel, pem).objects(DAY, "Europe/Moscow")
    assert found == {"id": "a", "name": "demo-gpu-1", "type": "cloud_vm", "project": "p", "amount": "720.00"}
    ((path, _headers),) = selectel.asked
    assert TOKEN not in path
    assert parse_qs(path.split("?")[1]) == {
        "provider_keys": ["vpc"],
        "start": ["2026-11-02T03:00:00"],
        "end": ["2026-11-03T02:59:59"],
        "group_type": ["object"],
        "period_group_type": ["all"],
        "locale": ["en"],
    }


def test_what_fails_for_a_moment_is_asked_again(pem: Path) -> None:
    answers = [(503, {}), (429, {}), (200, b"<html>"), (200, BALANCES)]
    pauses: list[float] = []
    with https_server(pem, {BALANCE_PATH: answers}) as server:
        assert asking(server, pem, pauses).balance()[0]["amount"] == "12345.67"
        assert len(server.asked) == 4
    assert len(pauses) == 3
    assert all(0 < pause <= 8 for pause in pauses)


@pytest.mark.parametrize(
    ("status", "body", "requests", "message"),
    [
        (500, {}, ATTEMPTS, "does not tell the balance: HTTP 500$"),
        (200, b"<html>", ATTEMPTS, "does not tell the balance: the answer is not JSON$"),
        (401, {"error": "x"}, 1, "HTTP 401: the token must be one of the account"),
        (403, {}, 1, "HTTP 403: the token must be one of the account"),
        (404, {}, 1, "HTTP 404$"),
        # Nobody is followed to elsewhere with the token.
        (302, {}, 1, "HTTP 302$"),
    ],
)
def test_what_goes_on_failing_is_an_error(pem: Path, status: int, body: Any, requests: int, message: str) -> None:
    with https_server(pem, {BALANCE_PATH: [(status, body)]}) as server:
        with pytest.raises(UnaskedError, match=message) as caught:
            asking(server, pem).balance()
        assert len(server.asked) == requests
    assert TOKEN not in str(caught.value)


def test_another_answer_than_published_is_not_asked_for_again(pem: Path) -> None:
    with https_server(pem, {BALANCE_PATH: [(200, {"data": []})]}) as server:
        with pytest.raises(InvoiceError, match="the balances must have data"):
            asking(server, pem).balance()
        assert len(server.asked) == 1


def test_a_certificate_that_is_not_trusted(selectel: AnsweringServer) -> None:
    pauses: list[float] = []
    billing = AccountBilling(TOKEN, url=selectel.url, timeout=10, sleep=pauses.append)
    with pytest.raises(UnaskedError, match=r"(?i)certificate"):
        billing.balance()
    assert selectel.asked == []


def test_only_https() -> None:
    with pytest.raises(UnaskedError, match=r"http://x must begin with https://"):
        AccountBilling(TOKEN, url="http://x")


def test_the_token_is_in_a_file_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n", encoding="utf-8")
    file.chmod(0o600)
    monkeypatch.setenv("A_TOKEN", "another")
    assert token_of("A_TOKEN", str(file)) == TOKEN
    assert token_of("A_TOKEN", "") == "another"


@pytest.mark.parametrize(
    ("content", "mode", "message"),
    [
        (b"x", 0o640, "has the mode 0640: nobody but its owner must be able to read it"),
        (b" \n", 0o600, "is empty: it must hold a token"),
        (b"a\r\nX: b", 0o600, "must be a token, which has neither spaces nor other signs"),
        (b"a b", 0o600, "must be a token, which has neither spaces"),
        (b"\xff", 0o600, "cannot be read"),
        (None, 0, "cannot be read"),
    ],
)
def test_a_wrong_token(tmp_path: Path, content: bytes | None, mode: int, message: str) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
        file.chmod(mode)
    with pytest.raises(UnaskedError, match=message):
        token_of("", str(file))


def test_a_missing_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_TOKEN", raising=False)
    with pytest.raises(UnaskedError, match="the environment variable NO_TOKEN is empty: it must hold a token"):
        token_of("NO_TOKEN", "")


# ---------------------------------------------------------------- the module


def module(**arguments: Any) -> dict[str, Any]:
    printed = io.StringIO()
    with patch_module_args(arguments), redirect_stdout(printed), pytest.raises(SystemExit):
        selectel_billing_info.main()
    assert TOKEN not in printed.getvalue()
    result: dict[str, Any] = json.loads(printed.getvalue())
    return result


def test_the_module(selectel: AnsweringServer, pem: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELECTEL_TOKEN", TOKEN)
    found = module(url=selectel.url, ca_file=str(pem))
    assert found["balance"] == {"amount": "12345.67", "currency": "RUB", "read_at": "2026-11-15T08:12:31Z"}
    assert "objects" not in found
    more = {"start": "2026-11-02T00:00:00Z", "end": "2026-11-03T00:00:00Z"}
    found = module(url=selectel.url, ca_file=str(pem), **more)
    assert [one["amount"] for one in found["objects"]] == ["720.00"]
    assert found["changed"] is False


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"url": "http://127.0.0.1"}, "must begin with https://"),
        ({"token_variable": "NO_TOKEN"}, "the environment variable NO_TOKEN is empty"),
        ({"start": "2026-11-02T00:00:00Z"}, "required together"),
    ],
)
def test_the_module_says_what_must_be(arguments: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELECTEL_TOKEN", TOKEN)
    failed = module(**arguments)
    assert failed["failed"]
    assert message in failed["msg"]
