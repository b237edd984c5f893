# SPDX-License-Identifier: Apache-2.0
"""What the gateway says of itself while something happens to it."""

from __future__ import annotations

import time

import httpx

from tests.kit.watching import Watcher

PAUSE_S = 0.05


class Door(Watcher):
    """Asks the gateway all the time whether it has servers; seconds of each kind of answer."""

    ends_within_s = 10.0

    def __init__(self, gateway: str) -> None:
        super().__init__("door")
        self._url = f"{gateway}/ready"
        self.seconds = {"refused": 0.0, "without servers": 0.0, "ready": 0.0}
        self.last = ""

    def run(self) -> None:
        """Ask until stopped."""
        before = time.monotonic()
        while not self.stopping.wait(PAUSE_S):
            try:
                answer = httpx.get(self._url, timeout=5)
                self.last = "ready" if answer.is_success else "without servers"
            except httpx.HTTPError:
                self.last = "refused"
            now = time.monotonic()
            self.seconds[self.last] += now - before
            before = now
