# SPDX-License-Identifier: Apache-2.0
"""Brings the servers of a fleet to what they should be: find, decide, simulate or act, wait, fix drift.

One list call covers every server. What has to be done is then done side by side, one thread per server; while
several wait, one list call per interval serves them all.

A server is made in steps, each of which leaves something that carries the fleet's and the server's name: port, volume,
floating IP, server. A run that is interrupted between two of them is continued by the next one, which finds what there
is and goes on from there.

A server that is lost comes back by one of several `strategies`. When one fails, the same run tries the next.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor

from ansible_collections.gpuswarm.ollama.plugins.module_utils._clients.cloud import Cloud
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.errors import (
    AmbiguousError,
    ApiError,
    PreflightError,
)
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.lifecycle import Kind
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.outcome import Outcome
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.servers import Server, Spec, owned_by_fleet
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.strategies import places

from .job import Job
from .run import Run

MAX_THREADS = 64  # they mostly sleep; requests at once are limited by the connection


class Fleet:
    """One run over some servers of a fleet."""

    def __init__(
        self,
        cloud: Cloud,
        name: str,
        *,
        check_mode: bool = False,
        assume_existing: Collection[str] = (),
        return_to_preemptible: bool = False,
    ) -> None:
        """Reads nothing yet.

        Args:
            cloud: the connection; its deadline is the run's.
            name: the fleet's name; nothing that does not carry it is touched.
            check_mode: decide and simulate only.
            assume_existing: names that are taken as existing in check mode, see `Catalogue`.
            return_to_preemptible: replace servers that are on demand although they should be preemptible.
        """
        self.name = name
        self.run = Run(
            cloud,
            name,
            check_mode=check_mode,
            assume_existing=assume_existing,
            return_to_preemptible=return_to_preemptible,
        )
        self.everything: list[Server] = []

    def present(self, specs: Sequence[Spec]) -> list[Outcome]:
        """Brings every server of `specs` to ACTIVE and to its spec. Failures are in the outcomes, not raised.

        Raises:
            CloudError: only if the servers could not even be listed.
        """
        self.everything = self.run.cloud.servers()
        jobs = [self._job(spec) for spec in specs]
        gone = [job for job in jobs if not job.outcome.error and job.action().kind is Kind.CREATE]
        if gone:
            self._find_soft_deleted(gone)
        self._preflight([job for job in jobs if not job.outcome.error])
        live = [job for job in jobs if not job.outcome.error]
        busy = [job for job in live if job.busy()]
        for job in live:
            if job not in busy:
                job.present()  # it costs no thread
        side_by_side([job.present for job in busy])
        return [job.outcome for job in jobs]

    def absent(self, names: Sequence[str] | None, *, keep_disk: bool = False) -> list[Outcome]:
        """Deletes servers and what was made for them, all of them side by side, but the manager before the others.

        Its recovery loop would bring back what is deleted: it cannot be stopped where the manager does not answer.

        Args:
            names: which; None for everything that carries the fleet's name.
            keep_disk: leave the boot volumes.
        """
        self.everything = self.run.cloud.servers()
        if names is None:
            known = {s.name for s in owned_by_fleet(self.everything, self.name)} | self.run.leftovers.owners()
            names = sorted(known)
        jobs = [self._job(Spec(name=name)) for name in names]
        for job in jobs:
            job.keep_disk = keep_disk
        live = [job for job in jobs if not job.outcome.error]
        managers = [job for job in live if job.server is not None and job.server.role == "manager"]
        side_by_side([job.absent for job in managers])
        side_by_side([job.absent for job in live if job not in managers])
        return [job.outcome for job in jobs]

    def named(self, name: str) -> list[Server]:
        """The fleet's servers of that name."""
        return [s for s in owned_by_fleet(self.everything, self.name) if s.name == name]

    def _job(self, spec: Spec) -> Job:
        found = self.named(spec.name)
        job = Job(self.run, spec, found[0] if found else None)
        if len(found) > 1:
            ids = ", ".join(f"{s.id} ({s.status})" for s in found)
            job.outcome.action = Kind.REPORT
            job.outcome.error = AmbiguousError(
                f"{len(found)} servers of the fleet '{self.name}' are called '{spec.name}': {ids}. "
                "Delete the wrong ones"
            )
            job.outcome.reason = "ambiguous"
        elif not found:
            strangers = [s.id for s in self.everything if s.name == spec.name]
            if strangers:
                job.outcome.warnings.append(
                    f"there is a server called '{spec.name}' that does not belong to the fleet '{self.name}' and is "
                    f"left alone: {', '.join(strangers)}"
                )
        return job

    def _find_soft_deleted(self, jobs: Sequence[Job]) -> None:
        """Nova lists deleted servers that can still be restored only when asked for them."""
        try:
            deleted = owned_by_fleet(self.run.cloud.servers("status=SOFT_DELETED"), self.name)
        except ApiError:
            return  # a cloud that forbids members this query has no server to restore
        for job in jobs:
            found = [s for s in deleted if s.name == job.spec.name and s.status == "SOFT_DELETED"]
            if found:
                job.server = job.outcome.before = max(found, key=lambda s: s.updated_at)

    def _preflight(self, jobs: Sequence[Job]) -> None:
        """Resolves the names in every spec that has to be created. If one is wrong, none of them is created."""
        creations = [job for job in jobs if job.action().kind in (Kind.CREATE, Kind.RECREATE) or job.returns()]
        problems: list[str] = []
        for job in creations:
            problems += self._problems(job.spec)
        if problems:
            refused = PreflightError([*problems, "nothing was created"])
            for job in creations:
                job.outcome.error = refused
                job.outcome.action, job.outcome.reason = Kind.REPORT, "the specification cannot be met"

    def _problems(self, spec: Spec) -> list[str]:
        """What is wrong with a specification in any place that it allows."""
        found: list[str] = []
        for number, place in enumerate(places(spec)):
            try:
                self.run.catalogue.resolve(place)
            except PreflightError as error:
                known = {problem.removeprefix("`alternatives`: ") for problem in found}
                new = [problem for problem in error.problems if problem not in known]
                found += [f"`alternatives`: {problem}" for problem in new] if number else new
        return found


def side_by_side(calls: Sequence[Callable[[], None]]) -> None:
    """Makes the calls, each in a thread of its own; one alone needs none."""
    if len(calls) == 1:
        calls[0]()
    elif calls:
        with ThreadPoolExecutor(min(MAX_THREADS, len(calls))) as pool:
            for future in [pool.submit(call) for call in calls]:
                future.result()
