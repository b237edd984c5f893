# SPDX-License-Identifier: Apache-2.0
"""Which strategy brings a server back next, by what this run has tried and by what is known of room in the cloud."""

from __future__ import annotations

from collections.abc import Collection

from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.errors import CloudError, NoCapacityError
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.outcome import Attempt, Outcome
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.servers import Server, Spec
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.strategies import (
    Candidate,
    Strategy,
    candidates,
    choose,
    places,
)

from .resources import GOING
from .run import Run


class StrategyChoice:
    """The strategies that can bring one server back."""

    def __init__(self, run: Run, spec: Spec, outcome: Outcome) -> None:
        """Reads nothing yet.

        Args:
            run: what is known to all jobs.
            spec: what the server should be.
            outcome: the result of its job; the candidates that failed are recorded there.
        """
        self.run = run
        self.spec = spec
        self.outcome = outcome

    def was_tried(self, candidate: Candidate) -> bool:
        """Whether it has failed in this run."""
        return candidate.key in {attempt.candidate.key for attempt in self.outcome.tried}

    def worked(self, candidate: Candidate) -> None:
        """Its pool had room."""
        self.run.memory(self.spec).had_room(candidate.pool)

    def _next_candidate(self, server: Server | None) -> tuple[Candidate | None, list[tuple[Candidate, float]]]:
        """The next candidate to try, and those that are passed over."""
        first, passed = self._choose_from(server, ())  # an unshelve does not depend on where disks are
        if first is None or first.strategy is Strategy.UNSHELVE:
            return first, passed
        return self._choose_from(server, self._disk_zones())

    def _choose_from(
        self, server: Server | None, disk_zones: Collection[str]
    ) -> tuple[Candidate | None, list[tuple[Candidate, float]]]:
        tried = {attempt.candidate.key for attempt in self.outcome.tried}
        return choose(candidates(server, self.spec, disk_zones), tried, self.run.memory(self.spec).no_room)

    def _disk_zones(self) -> set[str]:
        """Where it has a boot volume; not asked for where there is only one zone for them."""
        zones = {place.volume_zone for place in places(self.spec)}
        if len(zones) > 1:
            disks = self.run.leftovers.of("volume", self.spec.name)
            zones = {str(v.get("availability_zone")) for v in disks if v.get("status") not in GOING}
        return zones

    def next(self, server: Server | None) -> Candidate:
        """The next candidate to try.

        Raises:
            CloudError: there is none left; the message lists each.
        """
        candidate, passed = self._next_candidate(server)
        if candidate is not None:
            return candidate
        tried = self.outcome.tried
        if len(tried) == 1 and all(other.pool == tried[0].candidate.pool for other, _pause in passed):
            raise tried[0].error
        said = [f"{attempt.candidate}: {attempt.error}" for attempt in tried]
        said += [f"{other}: had no room, tried again in {pause:.0f} s" for other, pause in passed]
        kinds = [type(attempt.error) for attempt in tried if not isinstance(attempt.error, NoCapacityError)]
        what = "no strategy left to bring it back" if kinds else "no capacity in any place that is allowed"
        raise (kinds or [NoCapacityError])[0](f"{self.spec.name}: {what}: " + "; ".join(said))

    def has_other(self, server: Server | None, candidate: Candidate) -> bool:
        """Whether there is another candidate."""
        self.outcome.tried.append(Attempt(candidate, CloudError("")))
        try:
            return self._choose_from(server, ())[0] is not None
        finally:
            self.outcome.tried.pop()

    def give_up(self, server: Server | None, candidate: Candidate, error: CloudError) -> None:
        """Records that a candidate failed.

        Raises:
            CloudError: it was the last one, or there is no time for another.
        """
        if isinstance(error, NoCapacityError):
            self.run.memory(self.spec).failed(candidate.pool)
        self.outcome.tried.append(Attempt(candidate, error))
        if self.run.cloud.deadline.left() <= 0:
            raise error
        self.next(server)  # raises if that was the last

    def to_preemptible(self, server: Server | None) -> Candidate | None:
        """From on demand to preemptible on the same disk; None, and a warning, if the pool has no room."""
        candidate, passed = self._next_candidate(server)
        if candidate is not None and candidate.spec.preemptible and candidate.strategy is Strategy.RECREATE:
            return candidate
        waits = f"; tried again in {passed[0][1]:.0f} s" if passed else ""
        self.outcome.warnings.append(f"{self.spec.name}: stays on demand, there was no room for it{waits}")
        return None
