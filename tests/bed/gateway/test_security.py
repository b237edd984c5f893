# SPDX-License-Identifier: Apache-2.0
"""TLS, keys and limits."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.bed.bed import Gateway
from tests.bed.conftest import ALICE, BOB, CAROL, DAVE, OWN_NAME, ROOT, Cluster, States
from tests.kit.answers import MODEL, question
from tests.kit.waiting import until

QUESTION = question(4)
LONG = question(1500, stream=True)


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def handshake(gateway: Gateway, **options: object) -> str:
    """The protocol's version that client and gateway agree on; certificates are not looked at here."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    for name, value in options.items():
        setattr(context, name, value)
    with (
        socket.create_connection((gateway.node.address, 8443), timeout=10) as raw,
        context.wrap_socket(raw, server_hostname="gateway.example") as wrapped,
    ):
        return str(wrapped.version())


def test_tls_with_the_self_signed_certificate(secured: Gateway) -> None:
    answer = secured.tls().post("/api/generate", json=QUESTION, headers=bearer(ALICE))
    assert answer.json()["done"]


def test_plain_http_is_redirected(secured: Gateway) -> None:
    answer = httpx.post(f"{secured.url}/api/generate?x=1", json=QUESTION, headers={"Host": "gateway.example"})
    assert answer.status_code == 308, "POST stays POST"
    assert answer.headers["Location"] == "https://gateway.example/api/generate?x=1"


def test_health_and_readiness_need_neither_tls_nor_key(secured: Gateway) -> None:
    assert httpx.get(f"{secured.url}/health").json()["status"] == "ok"
    assert httpx.get(f"{secured.url}/ready").json()["version"]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_modern_tls(secured: Gateway, version: ssl.TLSVersion) -> None:
    assert handshake(secured, minimum_version=version, maximum_version=version) == version.name.replace("_", ".")


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_old_tls_is_refused(secured: Gateway) -> None:
    # At security level 0 this client would speak it.
    command = [
        "openssl",
        "s_client",
        "-connect",
        f"{secured.node.address}:8443",
        "-tls1_1",
        "-cipher",
        "ALL:@SECLEVEL=0",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode != 0
    assert "protocol version" in done.stderr


def test_http2_is_spoken(secured: Gateway) -> None:
    context = ssl.create_default_context(cafile=str(secured.directory / "private" / "tls.crt"))
    context.set_alpn_protocols(["h2", "http/1.1"])
    with (
        socket.create_connection((secured.node.address, 8443), timeout=10) as raw,
        context.wrap_socket(raw, server_hostname="gateway.example") as wrapped,
    ):
        assert wrapped.selected_alpn_protocol() == "h2"


@pytest.mark.parametrize(
    ("path", "header", "status"),
    [
        ("/api/tags", None, 401),
        ("/api/tags", "Bearer", 401),
        ("/api/tags", "Bearer wrong", 401),
        ("/api/tags", f"Basic {ALICE}", 401),
        ("/api/tags", f"Bearer {ALICE}x", 401),
        ("/api/tags", f"bearer {ALICE}", 200),
        ("/api/tags", f"Bearer {ROOT}", 200),
        ("/v1/models", None, 401),
        ("/v1/models", f"Bearer {ALICE}", 200),
        ("/", None, 401),
        ("/api/pull", None, 403),
        ("/api/pull", f"Bearer {ALICE}", 403),
        ("/api/pull", f"Bearer {ROOT}", 405),  # Ollama's own answer to a GET
        ("/nowhere", f"Bearer {ALICE}", 404),
    ],
)
def test_keys(secured: Gateway, path: str, header: str | None, status: int) -> None:
    answer = secured.tls().get(path, headers={"Authorization": header} if header else {})
    assert answer.status_code == status, answer.text
    if status in (401, 403, 404):
        assert answer.json()["error"]
    assert ("WWW-Authenticate" in answer.headers) == (status == 401)


@pytest.mark.usefixtures("copies_go")
def test_an_admin_key_opens_what_changes_models(secured: Gateway) -> None:
    client = secured.tls()
    body = {"source": MODEL, "destination": "copied"}
    assert client.post("/api/copy", json=body, headers=bearer(ALICE)).status_code == 403
    assert client.post("/api/copy", json=body, headers=bearer(ROOT)).status_code == 200
    found = [
        "copied:latest" in [model["name"] for model in client.get("/api/tags", headers=bearer(ROOT)).json()["models"]]
        for _ in range(6)
    ]
    assert any(found)


@pytest.mark.usefixtures("copies_go")
def test_management_networks_need_no_key(managed: Gateway, plain: Gateway) -> None:
    body = {"source": MODEL, "destination": "copied-too"}
    assert httpx.post(f"{managed.url}/api/copy", json=body).status_code == 200
    assert httpx.post(f"{plain.url}/api/copy", json=body).status_code == 403


def test_keys_are_nowhere_in_clear(secured: Gateway) -> None:
    secured.tls().get("/api/tags", headers=bearer(ALICE))
    for path in secured.directory.rglob("*"):
        if path.is_file():
            assert ALICE.encode() not in path.read_bytes(), path
    assert ALICE not in secured.process.output()
    assert oct((secured.directory / "private" / "keys.conf").stat().st_mode)[-3:] == "600"
    assert oct((secured.directory / "private" / "tls.key").stat().st_mode)[-3:] == "600"
    assert oct((secured.directory / "private").stat().st_mode)[-3:] == "700"


def test_ollama_does_not_see_keys(secured: Gateway) -> None:
    text = (secured.directory / "proxy.conf").read_text()
    assert 'proxy_set_header Authorization ""' in text


def at(address: str, key: str) -> dict[str, str]:
    """Headers of a client at this address; the gateway trusts this computer for a balancer."""
    return {"X-Forwarded-For": address, **bearer(key)}


def test_rate_of_a_key(limited: Gateway) -> None:
    answers = [limited.http.get("/api/version", headers=at(f"192.0.2.{number}", ALICE)) for number in range(1, 6)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429], "one, and a burst of two"
    assert answers[-1].headers["Retry-After"] == "7"
    assert "too many requests" in answers[-1].json()["error"]
    other = limited.http.get("/api/version", headers=at("192.0.2.5", BOB))
    assert other.status_code == 200, "the other key is not held up"
    assert limited.http.get("/health").status_code == 200


def test_rate_of_an_address(limited: Gateway) -> None:
    keys = (CAROL, DAVE, CAROL, DAVE, CAROL)
    answers = [limited.http.get("/api/version", headers=at("192.0.2.21", key)) for key in keys]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 200, 429], "one, and a burst of three"
    assert answers[-1].headers["Retry-After"] == "7"
    assert "too many requests" in answers[-1].json()["error"]
    other = limited.http.get("/api/version", headers=at("192.0.2.22", CAROL))
    assert other.status_code == 200, "the other address is not held up"


def freeze(stack: ExitStack, cluster: Cluster) -> None:
    until("nobody is served any more", lambda: in_work(cluster) == 0)
    for server in cluster.servers:
        stack.enter_context(server.frozen())


def in_work(cluster: Cluster) -> int:
    return sum(server.clients() for server in cluster.servers)


def ask(gateway: Gateway, address: str, key: str) -> httpx.Response:
    return httpx.post(f"{gateway.url}/api/generate", json=QUESTION, headers=at(address, key), timeout=60)


def test_concurrency_of_an_address(cluster: Cluster, strict: Gateway) -> None:
    with ThreadPoolExecutor(3) as pool, ExitStack() as stack:
        freeze(stack, cluster)
        running = [pool.submit(ask, strict, "192.0.2.31", key) for key in (ALICE, BOB)]
        until("two are with servers", lambda: in_work(cluster) == 2)
        third = ask(strict, "192.0.2.31", CAROL)
        assert third.status_code == 429
        assert third.headers["Retry-After"] == "7"
        assert strict.http.get("/health", headers={"X-Forwarded-For": "192.0.2.31"}).status_code == 200
        running.append(pool.submit(ask, strict, "192.0.2.32", CAROL))
        until("the trusted balancer speaks for another client", lambda: in_work(cluster) == 3)
        stack.close()
        assert all(item.result().json()["done"] for item in running)
        until("they no longer count", lambda: ask(strict, "192.0.2.31", CAROL).is_success)


def test_concurrency_of_a_key(cluster: Cluster, strict: Gateway) -> None:
    with ThreadPoolExecutor(2) as pool, ExitStack() as stack:
        freeze(stack, cluster)
        first = pool.submit(ask, strict, "192.0.2.11", BOB)
        until("the first is with a server", lambda: in_work(cluster) == 1)
        second = ask(strict, "192.0.2.12", BOB)
        assert second.status_code == 429
        assert second.headers["Retry-After"] == "7"
        other = pool.submit(ask, strict, "192.0.2.13", ALICE)
        until("the other key is let through meanwhile", lambda: in_work(cluster) == 2)
        stack.close()
        assert (first.result().status_code, other.result().status_code) == (200, 200)
    until("it no longer counts", lambda: ask(strict, "192.0.2.14", BOB).is_success)


class Changing:
    """A gateway whose files become those of one state after another, as `gateway_update: reload` does it."""

    def __init__(self, cluster: Cluster, states: States) -> None:
        self.states = states
        self.directory = cluster.directory / "changing"
        shutil.copytree(states.directory / "first", self.directory)
        self.gateway = Gateway(cluster.bed.node("changing"), self.directory, cluster.bed.roots["nginx"])
        self.gateway.publish(*cluster.servers)

    def take(self, state: str) -> None:
        shutil.copytree(self.states.directory / state, self.directory, dirs_exist_ok=True)
        self.gateway.reload()

    def client(self, name: str, authority: Path | None = None) -> httpx.Client:
        """A client that knows the gateway by this name, and trusts the certificate that it has now, or this one."""
        context = ssl.create_default_context(cafile=str(authority or self.directory / "private" / "tls.crt"))
        client = httpx.Client(base_url=self.gateway.tls_url, verify=context, timeout=30)
        client.event_hooks["request"].append(lambda request: request.extensions.update(sni_hostname=name))
        return client


@pytest.fixture(scope="module")
def changing(cluster: Cluster, states: States) -> Iterator[Changing]:
    made = Changing(cluster, states)
    yield made
    made.gateway.node.end()


def test_a_certificate_of_ones_own(changing: Changing, states: States) -> None:
    assert not [line for line in states.own_key.splitlines() if line in states.said]
    changing.take("own certificate")
    with changing.client(OWN_NAME, states.authority) as client:
        assert client.get("/api/version", headers=bearer(ALICE)).status_code == 200
    changing.take("its own again")
    with changing.client("gateway.example") as client:
        assert client.get("/api/version", headers=bearer(ALICE)).status_code == 200, "a self-signed one again"


def test_a_certificate_keys_and_limits_change_under_a_running_answer(changing: Changing, cluster: Cluster) -> None:
    changing.take("its own again")
    old = changing.client("gateway.example")
    old_certificate = (changing.directory / "private" / "tls.crt").read_text()
    with old.stream("POST", "/api/generate", json=LONG, headers=bearer(ALICE)) as answer, ExitStack() as stack:
        assert answer.status_code == 200
        for server in cluster.servers:
            stack.enter_context(server.frozen())
        changing.take("other names")
        assert (changing.directory / "private" / "tls.crt").read_text() != old_certificate
        with pytest.raises(httpx.ConnectError, match="certificate"):
            httpx.get(changing.gateway.tls_url, verify=ssl.create_default_context(cadata=old_certificate))
        new = changing.client("new.example")
        assert new.get("/api/tags", headers=bearer(ALICE)).status_code == 401
        stack.close()
        answers = [new.get("/api/tags", headers=bearer(ALICE + "-new")) for _ in range(4)]
        assert [item.status_code for item in answers] == [200, 200, 200, 429], (
            "the new limit is one, and a burst of two"
        )
        assert new.get("/api/tags", headers=bearer(BOB)).status_code == 200
        *_, last = answer.iter_lines()
    assert json.loads(last)["done"], "the answer that ran meanwhile is whole"
