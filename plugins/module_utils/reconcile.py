# SPDX-License-Identifier: Apache-2.0
"""Brings the servers of a fleet to what they should be: find, decide, simulate or act, wait, mend.

One list call tells about every server. What has to be done is then done side by side, one thread per server; while
several wait, one list call per interval serves them all.

A server is made in steps, each of which leaves something that carries the fleet's and the server's name: port, volume,
floating IP, server. A run that is interrupted between two of them is continued by the next one, which finds what there
is and goes on from there.

A server that is lost comes back in one of several ways (`tiers`). When one fails, the next is tried in the same run.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeVar

from .capacity import CapacityMemory
from .catalogue import Catalogue, Resolved
from .cloud import Cloud, only
from .errors import (
    AmbiguousError,
    ApiError,
    CloudError,
    ConflictError,
    FailedError,
    GoneError,
    LostAnswerError,
    NoCapacityError,
    PreflightError,
    QuotaError,
    StateError,
    TimedOutError,
    UnreachableError,
)
from .lifecycle import REQUEST, Action, Drift, Kind, Seen, Verdict, decide, drift, judge
from .outcome import Attempt, Outcome
from .servers import (
    FLEET,
    FORMER_DISKS,
    ON_DEMAND,
    PORT,
    PREEMPTIBLE,
    ROLE,
    SERVER,
    SHELVED_STATUSES,
    TIER,
    Server,
    Spec,
    description,
    ours,
    server_metadata,
    simulated,
)
from .tiers import Tier, Way, choose, places, present_way, ways
from .watch import FIRST_POLL, Leftovers, Watcher, delays

MAX_STEPS = 8  # decisions per server and run: more means that it goes round in circles
MAX_THREADS = 64  # they mostly sleep; requests at once are limited by the connection
GOING = frozenset({"deleting", "error_deleting"})  # statuses of volumes that nobody gets any more
# What Nova does to a shelved server that comes back
UNSHELVING = frozenset({"unshelving", "scheduling", "block_device_mapping", "networking", "spawning"})
LOOKS = (0.5, 1.0, 2.0)  # seconds before each look for what was made although the answer was lost
RELEASE = 120.0  # seconds that a deleted server may take to let go of its volume and port

T = TypeVar("T")

WAYS_BACK = frozenset({Kind.UNSHELVE, Kind.CREATE, Kind.RECREATE})  # what there may be several ways to


class Fleet:
    """One run over some servers of a fleet."""

    def __init__(
        self,
        cloud: Cloud,
        name: str,
        *,
        check_mode: bool = False,
        pending: Collection[str] = (),
        return_to_preemptible: bool = False,
    ) -> None:
        """Reads nothing yet.

        Args:
            cloud: the connection; its deadline is the run's.
            name: the fleet's name; nothing that does not carry it is touched.
            check_mode: decide and simulate only.
            pending: names that are taken as existing in check mode, see `Catalogue`.
            return_to_preemptible: replace servers that are on demand although they should be preemptible.
        """
        self.cloud = cloud
        self.name = name
        self.check_mode = check_mode
        self.return_to_preemptible = return_to_preemptible
        self.catalogue = Catalogue(cloud, pending if check_mode else ())
        self.watcher = Watcher(cloud)
        self.leftovers = Leftovers(cloud, name)
        self.everything: list[Server] = []
        self._memories: dict[str | None, CapacityMemory] = {}

    def memory(self, spec: Spec) -> CapacityMemory:
        """Which pools had no room; without a file it is this run's alone."""
        path = spec.capacity_memory
        if path not in self._memories:
            self._memories[path] = CapacityMemory(path, f"{self.cloud.auth_url} {self.cloud.region}: ")
        return self._memories[path]

    def present(self, specs: Sequence[Spec]) -> list[Outcome]:
        """Brings every server of `specs` to ACTIVE and to its spec. Failures are in the outcomes, not raised.

        Raises:
            CloudError: only if the servers could not even be listed.
        """
        self.everything = self.cloud.servers()
        jobs = [self._job(spec) for spec in specs]
        gone = [job for job in jobs if not job.outcome.error and job.action().kind is Kind.CREATE]
        if gone:
            self._find_soft_deleted(gone)
        self._preflight([job for job in jobs if not job.outcome.error])
        self._side_by_side(
            [job.present for job in jobs if not job.outcome.error],
            [job for job in jobs if not job.outcome.error],
        )
        return [job.outcome for job in jobs]

    def absent(self, names: Sequence[str] | None, *, keep_disk: bool = False) -> list[Outcome]:
        """Deletes servers and what was made for them.

        Args:
            names: which; None for everything that carries the fleet's name.
            keep_disk: leave the boot volumes.
        """
        self.everything = self.cloud.servers()
        if names is None:
            known = {s.name for s in ours(self.everything, self.name)} | self.leftovers.owners()
            names = sorted(known)
        jobs = [self._job(Spec(name=name)) for name in names]
        for job in jobs:
            job.keep_disk = keep_disk
        live = [job for job in jobs if not job.outcome.error]
        self._side_by_side([job.absent for job in live], live)
        return [job.outcome for job in jobs]

    def named(self, name: str) -> list[Server]:
        """The fleet's servers of that name."""
        return [s for s in ours(self.everything, self.name) if s.name == name]

    def _job(self, spec: Spec) -> Job:
        found = self.named(spec.name)
        job = Job(self, spec, found[0] if found else None)
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
            deleted = ours(self.cloud.servers("status=SOFT_DELETED"), self.name)
        except ApiError:
            return  # a cloud that does not let a member ask has none to restore
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
                self.catalogue.resolve(place)
            except PreflightError as error:
                known = {problem.removeprefix("`alternatives`: ") for problem in found}
                new = [problem for problem in error.problems if problem not in known]
                found += [f"`alternatives`: {problem}" for problem in new] if number else new
        return found

    def _side_by_side(self, calls: Sequence[Callable[[], None]], jobs: Sequence[Job]) -> None:
        """Runs the jobs; those with nothing to do cost no thread."""
        if len(calls) == 1:
            calls[0]()
            return
        busy = [call for call, job in zip(calls, jobs, strict=True) if job.busy()]
        for call, job in zip(calls, jobs, strict=True):
            if not job.busy():
                call()
        if busy:
            with ThreadPoolExecutor(min(MAX_THREADS, len(busy))) as pool:
                for future in [pool.submit(call) for call in busy]:
                    future.result()


class Job:
    """What is to be done for one server."""

    def __init__(self, fleet: Fleet, spec: Spec, server: Server | None) -> None:
        self.fleet = fleet
        self.cloud = fleet.cloud
        self.spec = spec
        self.server = server
        self.keep_disk = False
        self.outcome = Outcome(name=spec.name, before=server, after=server, tier=spec.tier, tag=spec.preemptible_tag)
        self._made: list[Callable[[], None]] = []
        self._exists: dict[str, str] = {}  # what there is, as far as this run knows: kind and id
        self._until = float("inf")  # monotonic seconds at which the present way is given up
        self._limit = fleet.cloud.deadline.seconds  # the time-out that applies, for messages

    def _left(self) -> float:
        """Seconds left for what is being done."""
        return min(self.cloud.deadline.left(), self._until - time.monotonic())

    @contextlib.contextmanager
    def _limited(self, seconds: float | None) -> Iterator[None]:
        """Gives what is inside so many seconds; None: as many as the run has left."""
        if seconds is not None and seconds < self.cloud.deadline.left():
            self._until, self._limit = time.monotonic() + seconds, seconds
        try:
            yield
        finally:
            self._until, self._limit = float("inf"), self.cloud.deadline.seconds

    def action(self) -> Action:
        """What the server needs now."""
        return decide(self.server, self.spec, datetime.now(UTC))

    def returns(self) -> bool:
        """Whether it is to be made preemptible again."""
        server, spec = self.server, self.spec
        wanted = self.fleet.return_to_preemptible and spec.preemptible and not self.outcome.tried
        if not wanted or server is None or server.is_preemptible(spec.preemptible_tag):
            return False
        return server.status == "ACTIVE" and not server.task_state

    def busy(self) -> bool:
        """Whether it takes API calls that are worth a thread."""
        if self.server is None or self.returns() or self.action().kind not in (Kind.NONE, Kind.REPORT):
            return True
        return bool(drift(self.server, self.spec))

    def _collected(self, steps: Callable[[], None]) -> None:
        """Runs the steps; an error becomes part of the outcome."""
        try:
            steps()
        except CloudError as error:
            self.outcome.error = error
            if not isinstance(error, PreflightError | AmbiguousError):
                error.args = (f"{error}. {self._what_exists()}",)
        self.outcome.after = self.server
        if self.server is not None and self.server.status != "DELETED":
            self.outcome.tier = self.server.tier(self.spec.preemptible_tag)

    def _what_exists(self) -> str:
        """For the end of an error: what the next run starts from."""
        exists = dict(self._exists)
        if self.server is not None and self.server.status != "DELETED":
            exists["server"] = f"{self.server.id} ({self.server.status})"
        if not exists:
            return f"Of {self.spec.name}, this run knows of nothing that exists now"
        return f"Of {self.spec.name} there is now: " + ", ".join(f"{kind} {ident}" for kind, ident in exists.items())

    # -- present ------------------------------------------------------------------------------------------------

    def present(self) -> None:
        """Brings the server to ACTIVE and to its spec."""
        self._collected(self._simulate if self.fleet.check_mode else self._bring_up)

    def _note(self, action: Action) -> None:
        """Remembers the first decision that was more than waiting: it is what the run did."""
        if self.outcome.action in (Kind.NONE, Kind.WAIT) and action.kind is not Kind.NONE:
            self.outcome.action, self.outcome.reason = action.kind, action.reason
        elif not self.outcome.reason:
            self.outcome.reason = action.reason

    def _simulate(self) -> None:
        action = self.action()
        way = None
        if self.returns():
            way = self._way_to_preemptible()
        elif action.kind in WAYS_BACK:
            way = self._next_way()
        if way is not None and way.tier is not Tier.UNSHELVE:
            action = replace(action, kind=Kind.CREATE if self.server is None else Kind.RECREATE)
            self._note(action)
            self.fleet.catalogue.resolve(way.spec)
            self.server = simulated(way.spec, self.fleet.name)
            self.outcome.changed = True
            return
        self._note(action)
        if action.kind in REQUEST and self.server is not None:
            self.server = self.server.with_status("ACTIVE")
            self.outcome.changed = True
        if self.server is not None and action.kind is not Kind.REPORT:
            self._mend(self.server)
        elif action.kind is Kind.REPORT:
            self.outcome.warnings.append(f"{self.spec.name}: {action.reason}")

    def _bring_up(self) -> None:
        if self.returns():
            way = self._way_to_preemptible()
            if way is not None:
                self._note(Action(Kind.RECREATE, "it is on demand, and preemptible is wanted again"))
                self._take(way)
        for _step in range(MAX_STEPS + 4 * len(places(self.spec))):
            action = self.action()
            self._note(action)
            if action.kind is Kind.NONE:
                break
            if action.kind is Kind.REPORT:
                self.outcome.warnings.append(f"{self.spec.name}: {action.reason}")
                return
            if action.kind is Kind.WAIT:
                self._wait_for_nova()
            elif action.kind in WAYS_BACK:
                self._take(self._next_way())
            else:
                self._act(action.kind)
        else:
            state = self.server.status if self.server else "absent"
            raise StateError(f"{self.spec.name}: after {MAX_STEPS} steps it is still {state}; last: {action.reason}")
        if self.server is not None:
            self._mend(self.server)

    # -- ways back ----------------------------------------------------------------------------------------------

    def _choice(self) -> tuple[Way | None, list[tuple[Way, float]]]:
        """The next way to try, and those that are passed over."""
        first, passed = self._choose(())  # an unshelve does not depend on where disks are
        if first is None or first.tier is Tier.UNSHELVE:
            return first, passed
        return self._choose(self._disk_zones())

    def _choose(self, disk_zones: Collection[str]) -> tuple[Way | None, list[tuple[Way, float]]]:
        tried = {attempt.way.key for attempt in self.outcome.tried}
        return choose(ways(self.server, self.spec, disk_zones), tried, self.fleet.memory(self.spec).no_room)

    def _disk_zones(self) -> set[str]:
        """Where it has a boot volume; not asked for where there is only one zone for them."""
        zones = {place.volume_zone for place in places(self.spec)}
        if len(zones) > 1:
            disks = self.fleet.leftovers.of("volume", self.spec.name)
            zones = {str(v.get("availability_zone")) for v in disks if v.get("status") not in GOING}
        return zones

    def _next_way(self) -> Way:
        """The next way to try.

        Raises:
            CloudError: there is none left; the message tells of each.
        """
        way, passed = self._choice()
        if way is not None:
            return way
        tried = self.outcome.tried
        if len(tried) == 1 and all(other.pool == tried[0].way.pool for other, _pause in passed):
            raise tried[0].error
        said = [f"{attempt.way}: {attempt.error}" for attempt in tried]
        said += [f"{other}: had no room, tried again in {pause:.0f} s" for other, pause in passed]
        kinds = [type(attempt.error) for attempt in tried if not isinstance(attempt.error, NoCapacityError)]
        what = "no way left to bring it back" if kinds else "no capacity in any place that is allowed"
        raise (kinds or [NoCapacityError])[0](f"{self.spec.name}: {what}: " + "; ".join(said))

    def _take(self, way: Way) -> None:
        """Goes one way; if it fails and there is another, the failure is noted and the next decision goes on."""
        self._check_names(way)
        try:
            with self._limited(way.seconds if self._alternative_to(way) else None):
                if way.tier is Tier.UNSHELVE:
                    self._act(Kind.UNSHELVE)
                else:
                    self._make(way.spec)
        except (NoCapacityError, QuotaError, FailedError, TimedOutError) as error:
            self._give_up(way, error)
            return
        if self.server is not None and self.server.status == "ACTIVE":
            self.fleet.memory(self.spec).had_room(way.pool)
            if self.outcome.tried:
                self.outcome.action = Kind.RECREATE if way.tier is not Tier.UNSHELVE else Kind.UNSHELVE
                failed = "; ".join(f"{a.way}: {a.error.kind}" for a in self.outcome.tried)
                self.outcome.reason += f". Came back by {way}, after {failed}"

    def _check_names(self, way: Way) -> None:
        """Nothing is deleted that could not be made again."""
        if way.tier is not Tier.UNSHELVE:
            self.fleet.catalogue.resolve(way.spec)

    def _alternative_to(self, way: Way) -> bool:
        """Whether there is another way than this."""
        self.outcome.tried.append(Attempt(way, CloudError("")))
        try:
            return self._choose(())[0] is not None
        finally:
            self.outcome.tried.pop()

    def _give_up(self, way: Way, error: CloudError) -> None:
        if isinstance(error, NoCapacityError):
            self.fleet.memory(self.spec).failed(way.pool)
        self.outcome.tried.append(Attempt(way, error))
        if self.cloud.deadline.left() <= 0:
            raise error
        self._next_way()  # raises if that was the last

    def _make(self, spec: Spec) -> None:
        """Makes the server in a place, in the stead of what there is."""
        if self.server is not None:
            self._delete_server()
        self._create(spec)

    def _wait_for_nova(self) -> None:
        """Waits for what Nova is doing; what is stuck on its way up is given up if there is another way."""
        server = self._existing()
        coming = server.status == "BUILD" or (server.status in SHELVED_STATUSES and server.task_state in UNSHELVING)
        way = present_way(server, self.spec)
        if coming and way.key in {attempt.way.key for attempt in self.outcome.tried}:
            self._take(self._next_way())  # it is what was given up
            return
        if not coming or not self._alternative_to(way):
            self._wait(Kind.WAIT)
            return
        try:
            with self._limited(way.seconds):
                self._wait(Kind.WAIT)
        except TimedOutError as error:
            self._give_up(way, error)
            self._take(self._next_way())

    def _way_to_preemptible(self) -> Way | None:
        """The way from on demand to preemptible on the same disk; None, and a warning, if its pool has no room."""
        way, passed = self._choice()
        if way is not None and way.spec.preemptible and way.tier is Tier.RECREATE:
            return way
        waits = f"; tried again in {passed[0][1]:.0f} s" if passed else ""
        self.outcome.warnings.append(f"{self.spec.name}: stays on demand, there was no room for it{waits}")
        return None

    def _existing(self) -> Server:
        if self.server is None:
            raise StateError(f"{self.spec.name}: the server vanished")
        return self.server

    def _act(self, kind: Kind) -> None:
        """Requests a single action and waits for what it comes to."""
        try:
            request_id = self.cloud.act(self._existing(), REQUEST[kind])
        except ConflictError:
            self._reread()  # somebody else is acting on it: decide again from what is true now
            time.sleep(FIRST_POLL)
            return
        except GoneError:
            self._reread()
            return
        except LostAnswerError as error:
            time.sleep(FIRST_POLL)
            self._reread()
            if self._left() <= 0:
                raise TimedOutError(str(error)) from error
            return  # whatever became of it is what the next decision starts from
        self.outcome.changed = True
        self._wait(kind, request_id)

    def _reread(self) -> None:
        if self.server is not None:
            self.server = self.cloud.server(self.server.id)

    def _wait(self, kind: Kind, request_id: str | None = None) -> Verdict:
        """Waits until the server is at rest.

        Raises:
            NoCapacityError, StateError, TimedOutError: it does not get where it was sent.
        """
        server_id, started = self._existing().id, time.monotonic()
        seen: list[Seen] = []
        with self.fleet.watcher.waiting():
            for delay in delays():
                time.sleep(max(0.0, min(delay, self._left())))
                found = self.fleet.watcher.look(server_id, started, delay / 2)
                self.server = found
                seen.append(Seen(found, time.monotonic() - started))
                verdict, reason = judge(kind, seen)
                if verdict is Verdict.UNSURE and self.cloud.action_failed(server_id, request_id):
                    verdict = Verdict.NO_CAPACITY if kind is Kind.UNSHELVE else Verdict.FAILED
                    reason = f"the {kind.value} was taken up and given up again, it stays {reason}"
                if verdict not in (Verdict.WAIT, Verdict.UNSURE):
                    break
                if self._left() <= 0:
                    raise TimedOutError(
                        f"{self.spec.name}: still {reason} after the time-out of {self._limit:.0f} s "
                        f"({kind.value}); run again to go on waiting, or raise `timeout`"
                    )
        if verdict is Verdict.NO_CAPACITY:
            pool = present_way(self._existing(), self.spec).pool
            raise NoCapacityError(f"{self.spec.name}: no capacity for {pool}: {reason}")
        if verdict is Verdict.FAILED:
            raise FailedError(f"{self.spec.name}: {kind.value} failed: {reason}")
        if verdict is Verdict.GONE:
            self.server = None
        return verdict

    # -- create -------------------------------------------------------------------------------------------------

    def _create(self, spec: Spec) -> None:
        """Creates the server in a place, from what there is of it and what is missing."""
        want = self.fleet.catalogue.resolve(spec)
        self._made = []
        changed = self.outcome.changed
        try:
            port = self._port(want)
            volume = self._volume(spec, want)
            if want.floating_network_id:
                self._floating_ip(want.floating_network_id, str(port["id"]))
            self._await_volume(str(volume["id"]))
            self._await_port(str(port["id"]))
            server_id = self._request_server(spec, want, str(port["id"]), str(volume["id"]))
        except (ApiError, QuotaError, NoCapacityError):
            # A definite refusal: what this very run made for it would only cost money
            with contextlib.suppress(CloudError):
                while self._made:
                    self._made[-1]()
                    self._made.pop()
                self.outcome.changed = changed
            raise
        self.outcome.changed = True
        self.server = Server(id=server_id, name=self.spec.name, status="BUILD", task_state="scheduling")
        self._wait(Kind.CREATE)
        self._check_tier()

    def _once(self, create: Callable[[], T], find: Callable[[], T | None]) -> T:
        """Creates something; if the answer is lost, looks whether it is there before it is requested again."""
        lost: LostAnswerError | None = None
        for _attempt in range(3):
            try:
                return create()
            except LostAnswerError as error:
                lost = error
            for delay in LOOKS:
                time.sleep(max(0.0, min(delay, self._left())))
                found = find()
                if found is not None:
                    return found
        raise UnreachableError(f"{lost}; it was looked for and is not there")

    def _port(self, want: Resolved) -> Mapping[str, Any]:
        name, fleet = self.spec.name, self.fleet.name

        def find(fresh: bool = True) -> Mapping[str, Any] | None:
            return only(self.fleet.leftovers.of("port", name, fresh=fresh), "port", name, fleet)

        found = find(fresh=bool(self.outcome.tried))
        if found is not None:
            self._exists["port"] = str(found["id"])
            if found.get("network_id") != want.network_id:
                raise StateError(
                    f"{name}: its port {found['id']} is in another network than '{self.spec.network}'; "
                    "delete that port, or set `network` back"
                )
            return found
        body: dict[str, Any] = {
            "name": name,
            "network_id": want.network_id,
            "description": description(fleet, name),
        }
        if want.security_group_ids is not None:
            body["security_groups"] = list(want.security_group_ids)
        port = self._once(lambda: self.cloud.create_port(name, body), find)
        self.outcome.changed = True
        self._now_exists("port", port, self.cloud.delete_port)
        return port

    def _now_exists(self, kind: str, made: Mapping[str, Any], delete: Callable[[str, str], None]) -> None:
        """Notes what this run has made, and how it is undone."""
        ident = str(made["id"])
        self._exists[kind] = ident

        def undo() -> None:
            delete(ident, self.spec.name)
            self._exists.pop(kind, None)

        self._made.append(undo)

    def _volume(self, spec: Spec, want: Resolved) -> Mapping[str, Any]:
        name, fleet, zone = spec.name, self.fleet.name, spec.volume_zone

        def find(fresh: bool = True) -> Mapping[str, Any] | None:
            found = self.fleet.leftovers.of("volume", name, fresh=fresh)
            alive = [v for v in found if v.get("status") not in GOING]
            here = [v for v in alive if v.get("availability_zone") in (zone, None, "")]
            return only(here, "volume", name, fleet)

        found = find(fresh=bool(self.outcome.tried))
        if found is not None and found.get("status") == "error" and found.get("bootable") != "true":
            # Never got its content: an earlier run's failed attempt
            self.cloud.delete_volume(str(found["id"]), name)
            self._await_volume_gone(str(found["id"]))
            found = None
        if found is not None:
            self._exists["volume"] = str(found["id"])
            return found
        body: dict[str, Any] = {
            "name": name,
            "description": f"boot volume of {name}",
            "size": spec.volume_size,
            "imageRef": want.image_id,
            "availability_zone": zone,
            "metadata": {FLEET: fleet, SERVER: name, ROLE: spec.role},
        }
        if spec.disk_type:
            body["volume_type"] = spec.disk_type
        volume = self._once(lambda: self.cloud.create_volume(name, body), find)
        self.outcome.changed = True
        self._now_exists("volume", volume, self.cloud.delete_volume)
        return volume

    def _former_disks(self, kept: Collection[str]) -> list[dict[str, Any]]:
        """Its boot volumes in the places that the specification allows, but for those that are kept."""
        zones = {place.volume_zone for place in places(self.spec)}
        if len(zones) == 1:
            return []  # where there is one zone, there is one disk
        every = self.fleet.leftovers.of("volume", self.spec.name, fresh=True)
        return [v for v in every if v["id"] not in kept and v.get("availability_zone") in zones]

    def _floating_ip(self, network_id: str, port_id: str) -> None:
        name, fleet = self.spec.name, self.fleet.name

        def find(fresh: bool = True) -> Mapping[str, Any] | None:
            return only(self.fleet.leftovers.of("floating IP", name, fresh=fresh), "floating IP", name, fleet)

        found = find(fresh=bool(self.outcome.tried))
        if found is not None:
            self._exists["floating IP"] = str(found["id"])
            if found.get("port_id") != port_id:
                self.cloud.update_floating_ip(str(found["id"]), name, port_id)
                self.outcome.changed = True
            return
        body = {"floating_network_id": network_id, "port_id": port_id, "description": description(fleet, name)}
        made = self._once(lambda: self.cloud.create_floating_ip(name, body), find)
        self.outcome.changed = True
        self._now_exists("floating IP", made, self.cloud.delete_floating_ip)

    def _await(self, ready: Callable[[], str | None], seconds: float) -> str | None:
        """Polls until `ready` gives None; the last answer if it never does."""
        end = time.monotonic() + min(seconds, max(0.0, self._left()))
        state: str | None = None
        for delay in delays():
            state = ready()
            left = end - time.monotonic()
            if state is None or left <= 0:
                break
            time.sleep(min(delay, left))
        return state

    def _await_volume(self, volume_id: str) -> None:
        """Waits until the volume can be attached."""
        working = ("creating", "downloading")

        def state() -> str | None:
            volume = self.cloud.volume(volume_id)
            if volume is None:
                raise StateError(f"{self.spec.name}: its volume {volume_id} vanished while it was waited for")
            status = str(volume.get("status"))
            if status.startswith("error"):
                zone, kind = volume.get("availability_zone"), volume.get("volume_type")
                raise FailedError(
                    f"{self.spec.name}: the volume {volume_id} is in the status '{status}': Cinder could not make it. "
                    f"Check that the volume type '{kind}' exists in the zone {zone}, and the storage quota; "
                    "the next run replaces it"
                )
            return None if status == "available" else status

        left = self._await(state, self.cloud.deadline.seconds)
        if left is not None:
            hint = "Cinder still copies the image" if left in working else "a server still holds it, or let go badly"
            raise TimedOutError(
                f"{self.spec.name}: the volume {volume_id} is still '{left}' ({hint}); run again, or look at "
                f"`openstack volume show {volume_id}`"
            )

    def _await_volume_gone(self, volume_id: str) -> None:
        def state() -> str | None:
            volume = self.cloud.volume(volume_id)
            status = str(volume.get("status")) if volume else None
            if status == "error_deleting":
                raise StateError(f"{self.spec.name}: the volume {volume_id} cannot be deleted (status {status})")
            return status

        left = self._await(state, RELEASE)
        if left is not None:
            raise TimedOutError(f"{self.spec.name}: the volume {volume_id} is still there ({left})")

    def _await_port(self, port_id: str) -> None:
        """Waits until no server holds the port."""
        holder = self._await(lambda: self._port_holder(port_id), RELEASE)
        if holder is not None:
            raise StateError(
                f"{self.spec.name}: its port {port_id} is in use by {holder}, which does not carry the name of the "
                f"fleet '{self.fleet.name}'; free the port or delete that server"
            )

    def _port_holder(self, port_id: str) -> str | None:
        port = self.cloud.port(port_id)
        if port is None:
            raise StateError(f"{self.spec.name}: its port {port_id} vanished")
        return str(port.get("device_id")) if port.get("device_id") else None

    def _request_server(self, spec: Spec, want: Resolved, port_id: str, volume_id: str) -> str:
        body: dict[str, Any] = {
            "name": spec.name,
            "flavorRef": want.flavor_id,
            "imageRef": "",
            "availability_zone": spec.availability_zone,
            "networks": [{"port": port_id}],
            "metadata": server_metadata(spec, self.fleet.name, port_id),
            "block_device_mapping_v2": [
                {
                    "boot_index": 0,
                    "uuid": volume_id,
                    "source_type": "volume",
                    "destination_type": "volume",
                    "delete_on_termination": False,
                }
            ],
        }
        if self._former_disks([volume_id]):
            body["metadata"][FORMER_DISKS] = "delete"  # so that also a later run knows
        if spec.all_tags:
            body["tags"] = list(spec.all_tags)
        if spec.key_name:
            body["key_name"] = spec.key_name
        if spec.user_data:
            body["user_data"] = spec.user_data

        def find() -> str | None:
            found = [s for s in ours(self.cloud.servers(), self.fleet.name) if s.name == spec.name]
            return found[0].id if found else None

        return self._once(lambda: self.cloud.create_server(spec.name, body), find)

    def _check_tier(self) -> None:
        """A pool that does not know the tag silently makes an ordinary server: says so, and remembers it."""
        server, tag = self.server, self.spec.preemptible_tag
        if server is None or server.metadata.get(TIER) != PREEMPTIBLE or server.is_preemptible(tag):
            return
        self.outcome.warnings.append(
            f"{self.spec.name}: the tag '{tag}' was not kept, so it is an ordinary (more expensive) server: the region "
            f"{self.cloud.region} does not offer preemptible ones this way"
        )
        self.cloud.set_metadata(server, {TIER: ON_DEMAND})
        self.server = replace(server, metadata={**server.metadata, TIER: ON_DEMAND})

    # -- mend ---------------------------------------------------------------------------------------------------

    def _mend(self, server: Server) -> None:
        """Corrects in place what can be corrected, and reports what cannot."""
        found = drift(server, self.spec)
        self.outcome.warnings += [f"{self.spec.name}: {text}" for text in found.unchangeable]
        if found.security_groups is not None:
            found = self._check_groups(server, found)
        if not found:
            return
        if self.outcome.action is Kind.NONE:
            self.outcome.action, self.outcome.reason = Kind.UPDATE, found.summary()
        if not server.id:
            return  # simulated
        self.outcome.changed = True
        if not self.fleet.check_mode:
            self._apply(server, found)
        self.server = replace(
            self.server or server,
            tags=tuple(sorted({*server.tags, *found.tags})),
            metadata={
                k: v
                for k, v in {**server.metadata, **found.metadata}.items()
                if k != FORMER_DISKS or not found.former_disks
            },
            security_groups=tuple(sorted(found.security_groups or server.security_groups)),
        )

    def _apply(self, server: Server, found: Drift) -> None:
        for tag in found.tags:
            self.cloud.add_tag(server, tag)
        if found.metadata:
            self.cloud.set_metadata(server, found.metadata)
        if found.security_groups is not None:
            groups = self.fleet.catalogue.security_group_ids(found.security_groups, [])
            self.cloud.update_port(self._port_id(server), server.name, {"security_groups": list(groups)})
        if found.floating_ip and self.spec.floating_ip_network:
            problems: list[str] = []
            network = self.fleet.catalogue.floating_network_id(self.spec.floating_ip_network, problems)
            if problems:
                raise PreflightError(problems)
            self._floating_ip(network, self._port_id(server))
            self._await(self._no_floating_ip, 20.0)  # Nova shows it a moment later
        if found.former_disks:
            self._delete_former_disks(server)

    def _delete_former_disks(self, server: Server) -> None:
        """The server runs from a fresh disk in another place: those that it had before are of no use any more."""
        if server.volume_ids:
            for volume in self._former_disks(server.volume_ids):
                if not volume.get("attachments"):
                    self._delete_volume(str(volume["id"]))
            self.cloud.delete_metadata(server, FORMER_DISKS)

    def _no_floating_ip(self) -> str | None:
        self._reread()
        return None if self.server and self.server.address(floating=True) else "no floating IP"

    def _check_groups(self, server: Server, found: Drift) -> Drift:
        """Names may be ids, and Nova lists names: compares what is really on the port."""
        problems: list[str] = []
        wanted = self.fleet.catalogue.security_group_ids(found.security_groups or (), problems)
        if problems:
            raise PreflightError(problems)
        port = self.cloud.port(self._port_id(server)) or {}
        same = set(port.get("security_groups") or ()) == set(wanted)
        return replace(found, security_groups=None) if same else found

    def _port_id(self, server: Server) -> str:
        known = server.metadata.get(PORT)
        if known:
            return known
        port = only(self.fleet.leftovers.of("port", server.name), "port", server.name, self.fleet.name)
        if port is None:
            raise StateError(
                f"{server.name}: no port carries the names of the fleet '{self.fleet.name}' and of this server"
            )
        return str(port["id"])

    # -- absent -------------------------------------------------------------------------------------------------

    def absent(self) -> None:
        """Deletes the server and what was made for it."""
        self._collected(self._remove)

    def _remove(self) -> None:
        left, name = self.fleet.leftovers, self.spec.name
        kinds = ("floating IP", "port") if self.keep_disk else ("floating IP", "port", "volume")
        belongings = [(kind, str(item["id"])) for kind in kinds for item in left.of(kind, name)]
        if self.server is None and not belongings:
            self.outcome.reason = "there is no such server"
            return
        self.outcome.action, self.outcome.changed = Kind.DELETE, True
        self.outcome.reason = "it is not wanted any more" if self.server else "parts of it were left over"
        self.outcome.removed = [f"{kind} {ident}" for kind, ident in belongings]
        if self.fleet.check_mode:
            self.server = None
            return
        if self.server is not None:
            self._delete_server()
        for kind, ident in belongings:
            if kind == "floating IP":
                self.cloud.delete_floating_ip(ident, name)
            elif kind == "port":
                self.cloud.delete_port(ident, name)
            else:
                self._delete_volume(ident)

    def _delete_server(self) -> None:
        """Deletes the server and waits until it is gone; one that waits to be reclaimed is deleted for good."""
        self.outcome.changed = True
        self.cloud.delete_server(self._existing())
        for _force in range(2):
            if self._wait(Kind.DELETE) is Verdict.GONE:
                return
            self.cloud.delete_server(self._existing(), force=True)
        self._wait(Kind.DELETE)

    def _delete_volume(self, volume_id: str) -> None:
        def held() -> str | None:
            volume = self.cloud.volume(volume_id)
            status = str(volume.get("status")) if volume else "available"
            return None if status in ("available", "error", "error_deleting") else status

        state = self._await(held, RELEASE)
        if state is not None:
            raise StateError(
                f"{self.spec.name}: the volume {volume_id} is still '{state}' and cannot be deleted; "
                f"see `openstack volume show {volume_id}`"
            )
        self.cloud.delete_volume(volume_id, self.spec.name)
        self._await_volume_gone(volume_id)
