# SPDX-License-Identifier: Apache-2.0
"""Clients of the gateway: the official one, asking one question or one after another."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Self

import httpx
import ollama

from tests.kit.answers import MODEL, Answer, Log, upstreams
from tests.kit.waiting import until
from tests.kit.watching import Watcher, running

# Far above what an answer of the tiny model takes: only a request that hangs comes near it.
ANSWER_LIMIT_S = 30.0
# Between an answer and the next question: the clients share two cores with the cluster.
PAUSE_S = 0.25
# For a number of answers from clients that keep asking.
ANSWERS_LIMIT_S = 120.0
TOKENS = 128
PROMPT = "Why does a swarm heal itself?"
# Read once: for every client anew, it would cost more than its question.
TRUSTED = ssl.create_default_context()


class Client:
    """The official client, which also notes the status and whom the gateway asked. Connections are kept open.

    Several threads can use it at the same time. ``gateway`` is the URL of the gateway, or of a server itself.
    """

    def __init__(self, gateway: str, model: str = MODEL) -> None:
        self._model = model
        self._seen = threading.local()
        hooks = {"response": [self._note]}
        self._client = ollama.Client(host=gateway, timeout=ANSWER_LIMIT_S, verify=TRUSTED, event_hooks=hooks)

    def _note(self, response: httpx.Response) -> None:
        self._seen.upstreams = upstreams(response.headers.get("X-Served-By", ""))
        self._seen.status = response.status_code

    def __enter__(self) -> Self:
        """Close the connections at the end."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connections."""
        self._client.close()  # type: ignore[no-untyped-call]

    def ask(self, *, stream: bool = True, tokens: int = TOKENS, show: Callable[[str], object] | None = None) -> Answer:
        """Ask one question; errors are part of the answer.

        Args:
            stream: Whether the answer comes token by token (default: it does).
            tokens: How many it has at most (default: 128).
            show: Gets the tokens as they come (default: nobody).
        """
        self._seen.upstreams, self._seen.status = (), 0
        asked = time.time()
        first: float | None = None
        complete = False
        error = ""
        options = {"num_predict": tokens}
        try:
            if stream:
                for part in self._client.generate(self._model, PROMPT, stream=True, options=options):
                    first = first or time.time()
                    complete = complete or bool(part.done)
                    if show:
                        show(part.response or "")
            else:
                complete = bool(self._client.generate(self._model, PROMPT, options=options).done)
                first = time.time()
        except (httpx.HTTPError, ollama.ResponseError, ConnectionError, ValueError) as problem:
            error = f"{type(problem).__name__}: {problem}"
        return Answer(asked, first, time.time(), complete, self._seen.upstreams, error, self._seen.status)


def ask(gateway: str, model: str = MODEL, **question: Any) -> Answer:
    """Ask one question, as :meth:`Client.ask` does, on a connection of its own, as independent users have."""
    with Client(gateway, model) as client:
        return client.ask(**question)


class Asker(Watcher):
    """A client that asks, reads the answer to its end, and asks again.

    Args:
        log: Gets the answers.
        gateway: URL of the gateway.
        pause_s: Seconds between an answer and the next question (default: 0.25).
        keep: Whether all questions go over one connection (default: each has its own, as independent users have).
        question: See :meth:`Client.ask`.
    """

    ends_within_s = ANSWER_LIMIT_S + 5  # an answer that hangs is an answer too

    def __init__(
        self, log: Log, gateway: str, *, pause_s: float = PAUSE_S, keep: bool = False, **question: Any
    ) -> None:
        super().__init__("client")
        self._log = log
        self._client = partial(Client, gateway)
        self._pause_s = pause_s
        self._keep = keep
        self._question = question

    def run(self) -> None:
        """Ask until stopped."""
        while not self.stopping.is_set():
            with self._client() as client:
                self._log.answered(client.ask(**self._question))
                while self._keep and not self.stopping.wait(self._pause_s):
                    self._log.answered(client.ask(**self._question))
            self.stopping.wait(self._pause_s)


@contextmanager
def asking(gateway: str, streams: Sequence[bool] = (True, True), **options: Any) -> Iterator[Log]:
    """Have clients that keep asking, at least once each before and after what is done meanwhile.

    Args:
        gateway: URL of the gateway.
        streams: One client for each: whether its answers come token by token (default: two whose answers do).
        options: See :class:`Asker`.

    Returns:
        Their log, which has all their answers afterwards.
    """
    log = Log()

    def await_more(number: int) -> None:
        wanted = len(log.answers()) + number
        until(f"{wanted} answers", lambda: len(log.answers()) >= wanted, ANSWERS_LIMIT_S, 0.1)

    with running([Asker(log, gateway, stream=each, **options) for each in streams]):
        await_more(len(streams))
        yield log
        await_more(len(streams))
