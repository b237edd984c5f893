# SPDX-License-Identifier: Apache-2.0
"""What is to be done for one server: decide, simulate or act, wait, fix drift, delete."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from ansible_collections.gpuswarm.ollama.plugins.module_utils._clients.catalogue import Resolved
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.errors import (
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
)
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.lifecycle import (
    REQUEST,
    Action,
    Drift,
    Kind,
    Poll,
    WaitResult,
    drift,
    evaluate_wait,
    next_action,
)
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.outcome import Outcome
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.servers import (
    CAPACITY_TYPE,
    FORMER_DISKS,
    ON_DEMAND,
    PREEMPTIBLE,
    SHELVED_STATUSES,
    Server,
    Spec,
    owned_by_fleet,
    server_metadata,
    simulated,
)
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.strategies import (
    Candidate,
    Strategy,
    current_candidate,
    places,
)

from .patience import Patience
from .resources import Resources
from .run import Run
from .strategy_choice import StrategyChoice
from .watch import FIRST_POLL, delays

MAX_STEPS = 8  # decisions per server and run: more means that it goes round in circles
# What Nova does to a shelved server that comes back
UNSHELVING = frozenset({"unshelving", "scheduling", "block_device_mapping", "networking", "spawning"})
BY_STRATEGY = frozenset({Kind.UNSHELVE, Kind.CREATE, Kind.RECREATE})  # what several strategies may do


class Job:
    """What is to be done for one server."""

    def __init__(self, run: Run, spec: Spec, server: Server | None) -> None:
        self.run = run
        self.cloud = run.cloud
        self.spec = spec
        self.server = server
        self.keep_disk = False
        self.outcome = Outcome(
            name=spec.name, before=server, after=server, capacity_type=spec.capacity_type, tag=spec.preemptible_tag
        )
        self.patience = Patience(run.cloud.deadline)
        self.resources = Resources(run, spec, self.outcome, self.patience)
        self.strategies = StrategyChoice(run, spec, self.outcome)

    def action(self) -> Action:
        """What the server needs now."""
        return next_action(self.server, self.spec, datetime.now(UTC))

    def returns(self) -> bool:
        """Whether it is to be made preemptible again."""
        server, spec = self.server, self.spec
        wanted = self.run.return_to_preemptible and spec.preemptible and not self.outcome.tried
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
            self.outcome.capacity_type = self.server.capacity_type(self.spec.preemptible_tag)

    def _what_exists(self) -> str:
        """For the end of an error: what the next run starts from."""
        exists = dict(self.resources.exists)
        if self.server is not None and self.server.status != "DELETED":
            exists["server"] = f"{self.server.id} ({self.server.status})"
        if not exists:
            return f"Of {self.spec.name}, this run knows of nothing that exists now"
        return f"Of {self.spec.name} there is now: " + ", ".join(f"{kind} {ident}" for kind, ident in exists.items())

    # -- present ------------------------------------------------------------------------------------------------

    def present(self) -> None:
        """Brings the server to ACTIVE and to its spec."""
        self._collected(self._simulate if self.run.check_mode else self._bring_up)

    def _note(self, action: Action) -> None:
        """Remembers the first decision that was more than waiting: it is what the run did."""
        if self.outcome.action in (Kind.NONE, Kind.WAIT) and action.kind is not Kind.NONE:
            self.outcome.action, self.outcome.reason = action.kind, action.reason
        elif not self.outcome.reason:
            self.outcome.reason = action.reason

    def _simulate(self) -> None:
        action = self.action()
        candidate = None
        if self.returns():
            candidate = self.strategies.to_preemptible(self.server)
        elif action.kind in BY_STRATEGY:
            candidate = self.strategies.next(self.server)
        if candidate is not None and candidate.strategy is not Strategy.UNSHELVE:
            action = replace(action, kind=Kind.CREATE if self.server is None else Kind.RECREATE)
            self._note(action)
            self.run.catalogue.resolve(candidate.spec)
            self.server = simulated(candidate.spec, self.run.fleet)
            self.outcome.changed = True
            return
        self._note(action)
        if action.kind in REQUEST and self.server is not None:
            self.server = self.server.with_status("ACTIVE")
            self.outcome.changed = True
        if self.server is not None and action.kind is not Kind.REPORT:
            self._fix_drift(self.server)
        elif action.kind is Kind.REPORT:
            self.outcome.warnings.append(f"{self.spec.name}: {action.reason}")

    def _bring_up(self) -> None:
        if self.returns():
            candidate = self.strategies.to_preemptible(self.server)
            if candidate is not None:
                self._note(Action(Kind.RECREATE, "it is on demand, and preemptible is needed again"))
                self._attempt(candidate)
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
            elif action.kind in BY_STRATEGY:
                self._attempt(self.strategies.next(self.server))
            else:
                self._act(action.kind)
        else:
            state = self.server.status if self.server else "absent"
            raise StateError(f"{self.spec.name}: after {MAX_STEPS} steps it is still {state}; last: {action.reason}")
        if self.server is not None:
            self._fix_drift(self.server)

    # -- strategies ---------------------------------------------------------------------------------------------

    def _attempt(self, candidate: Candidate) -> None:
        """Tries one candidate; if it fails and there is another, the failure is noted and the next decision goes on."""
        self._check_names(candidate)
        try:
            with self.patience.limited(
                candidate.seconds if self.strategies.has_other(self.server, candidate) else None
            ):
                if candidate.strategy is Strategy.UNSHELVE:
                    self._act(Kind.UNSHELVE)
                else:
                    self._make(candidate.spec)
        except (NoCapacityError, QuotaError, FailedError, TimedOutError) as error:
            self.strategies.give_up(self.server, candidate, error)
            return
        if self.server is not None and self.server.status == "ACTIVE":
            self.strategies.worked(candidate)
            if self.outcome.tried:
                self.outcome.action = Kind.RECREATE if candidate.strategy is not Strategy.UNSHELVE else Kind.UNSHELVE
                failed = "; ".join(f"{a.candidate}: {a.error.kind}" for a in self.outcome.tried)
                self.outcome.reason += f". Came back by {candidate}, after {failed}"

    def _check_names(self, candidate: Candidate) -> None:
        """Nothing is deleted that could not be made again."""
        if candidate.strategy is not Strategy.UNSHELVE:
            self.run.catalogue.resolve(candidate.spec)

    def _make(self, spec: Spec) -> None:
        """Creates the server in a place, instead of what exists."""
        if self.server is not None:
            self._delete_server()
        self._create(spec)

    def _wait_for_nova(self) -> None:
        """Waits for what Nova is doing; what is stuck on its way up is given up if there is another candidate."""
        server = self._existing()
        coming = server.status == "BUILD" or (server.status in SHELVED_STATUSES and server.task_state in UNSHELVING)
        candidate = current_candidate(server, self.spec)
        if coming and self.strategies.was_tried(candidate):
            self._attempt(self.strategies.next(self.server))  # it is what was given up
            return
        if not coming or not self.strategies.has_other(self.server, candidate):
            self._wait(Kind.WAIT)
            return
        try:
            with self.patience.limited(candidate.seconds):
                self._wait(Kind.WAIT)
        except TimedOutError as error:
            self.strategies.give_up(self.server, candidate, error)
            self._attempt(self.strategies.next(self.server))

    # -- Nova ---------------------------------------------------------------------------------------------------

    def _existing(self) -> Server:
        if self.server is None:
            raise StateError(f"{self.spec.name}: the server vanished")
        return self.server

    def _act(self, kind: Kind) -> None:
        """Requests a single action and waits for its result."""
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
            if self.patience.left() <= 0:
                raise TimedOutError(str(error)) from error
            return  # whatever became of it is what the next decision starts from
        self.outcome.changed = True
        self._wait(kind, request_id)

    def _reread(self) -> None:
        if self.server is not None:
            self.server = self.cloud.server(self.server.id)

    def _wait(self, kind: Kind, request_id: str | None = None) -> WaitResult:
        """Waits until the server is at rest.

        Raises:
            NoCapacityError, StateError, TimedOutError: it does not get where it was sent.
        """
        server_id, started = self._existing().id, time.monotonic()
        seen: list[Poll] = []
        with self.run.watcher.waiting():
            for delay in delays():
                time.sleep(max(0.0, min(delay, self.patience.left())))
                found = self.run.watcher.read(server_id, started, delay / 2)
                self.server = found
                seen.append(Poll(found, time.monotonic() - started))
                verdict, reason = evaluate_wait(kind, seen)
                if verdict is WaitResult.UNSURE and self.cloud.action_failed(server_id, request_id):
                    verdict = WaitResult.NO_CAPACITY if kind is Kind.UNSHELVE else WaitResult.FAILED
                    reason = f"the {kind.value} was taken up and given up again, it stays {reason}"
                if verdict not in (WaitResult.WAIT, WaitResult.UNSURE):
                    break
                if self.patience.left() <= 0:
                    raise TimedOutError(
                        f"{self.spec.name}: still {reason} after the time-out of {self.patience.limit:.0f} s "
                        f"({kind.value}); run again to go on waiting, or raise `timeout`"
                    )
        if verdict is WaitResult.NO_CAPACITY:
            pool = current_candidate(self._existing(), self.spec).pool
            raise NoCapacityError(f"{self.spec.name}: no capacity for {pool}: {reason}")
        if verdict is WaitResult.FAILED:
            raise FailedError(f"{self.spec.name}: {kind.value} failed: {reason}")
        if verdict is WaitResult.GONE:
            self.server = None
        return verdict

    # -- create -------------------------------------------------------------------------------------------------

    def _create(self, spec: Spec) -> None:
        """Creates the server in a place, from what there is of it and what is missing."""
        want = self.run.catalogue.resolve(spec)
        self.resources.begin()
        changed = self.outcome.changed
        try:
            port = self.resources.port(want)
            volume = self.resources.volume(spec, want)
            if want.floating_network_id:
                self.resources.floating_ip(want.floating_network_id, str(port["id"]))
            self.resources.await_volume(str(volume["id"]))
            self.resources.await_port(str(port["id"]))
            server_id = self._request_server(spec, want, str(port["id"]), str(volume["id"]))
        except (ApiError, QuotaError, NoCapacityError):
            # A definite refusal: what this very run made for it would only cost money
            with contextlib.suppress(CloudError):
                self.resources.undo()
                self.outcome.changed = changed
            raise
        self.outcome.changed = True
        self.server = Server(id=server_id, name=self.spec.name, status="BUILD", task_state="scheduling")
        self._wait(Kind.CREATE)
        self._check_capacity_type()

    def _request_server(self, spec: Spec, want: Resolved, port_id: str, volume_id: str) -> str:
        body: dict[str, Any] = {
            "name": spec.name,
            "flavorRef": want.flavor_id,
            "imageRef": "",
            "availability_zone": spec.availability_zone,
            "networks": [{"port": port_id}],
            "metadata": server_metadata(spec, self.run.fleet, port_id),
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
        if self.resources.former_disks([volume_id]):
            body["metadata"][FORMER_DISKS] = "delete"  # so that also a later run knows
        if spec.all_tags:
            body["tags"] = list(spec.all_tags)
        if spec.key_name:
            body["key_name"] = spec.key_name
        if spec.user_data:
            body["user_data"] = spec.user_data

        def find() -> str | None:
            found = [s for s in owned_by_fleet(self.cloud.servers(), self.run.fleet) if s.name == spec.name]
            return found[0].id if found else None

        return self.patience.once(lambda: self.cloud.create_server(spec.name, body), find)

    def _check_capacity_type(self) -> None:
        """A pool that does not know the tag silently makes an ordinary server: says so, and remembers it."""
        server, tag = self.server, self.spec.preemptible_tag
        if server is None or server.metadata.get(CAPACITY_TYPE) != PREEMPTIBLE or server.is_preemptible(tag):
            return
        self.outcome.warnings.append(
            f"{self.spec.name}: the tag '{tag}' was not kept, so it is an ordinary (more expensive) server: the region "
            f"{self.cloud.region} does not offer preemptible ones this way"
        )
        self.cloud.set_metadata(server, {CAPACITY_TYPE: ON_DEMAND})
        self.server = replace(server, metadata={**server.metadata, CAPACITY_TYPE: ON_DEMAND})

    # -- drift --------------------------------------------------------------------------------------------------

    def _fix_drift(self, server: Server) -> None:
        """Corrects in place what can be corrected, and reports what cannot."""
        found = drift(server, self.spec)
        self.outcome.warnings += [f"{self.spec.name}: {text}" for text in found.unchangeable]
        if found.security_groups is not None:
            found = self.resources.check_groups(server, found)
        if not found:
            return
        if self.outcome.action is Kind.NONE:
            self.outcome.action, self.outcome.reason = Kind.UPDATE, found.summary()
        if not server.id:
            return  # simulated
        self.outcome.changed = True
        if not self.run.check_mode:
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
            groups = self.run.catalogue.security_group_ids(found.security_groups, [])
            self.cloud.update_port(self.resources.port_id(server), server.name, {"security_groups": list(groups)})
        if found.floating_ip and self.spec.floating_ip_network:
            problems: list[str] = []
            network = self.run.catalogue.floating_network_id(self.spec.floating_ip_network, problems)
            if problems:
                raise PreflightError(problems)
            self.resources.floating_ip(network, self.resources.port_id(server))
            self.patience.until(self._no_floating_ip, 20.0)  # Nova shows it a moment later
        if found.former_disks:
            self.resources.delete_former_disks(server)

    def _no_floating_ip(self) -> str | None:
        self._reread()
        return None if self.server and self.server.address(floating=True) else "no floating IP"

    # -- absent -------------------------------------------------------------------------------------------------

    def absent(self) -> None:
        """Deletes the server and what was made for it."""
        self._collected(self._remove)

    def _remove(self) -> None:
        left, name = self.run.leftovers, self.spec.name
        kinds = ("floating IP", "port") if self.keep_disk else ("floating IP", "port", "volume")
        belongings = [(kind, str(item["id"])) for kind in kinds for item in left.of(kind, name)]
        if self.server is None and not belongings:
            self.outcome.reason = "there is no such server"
            return
        self.outcome.action, self.outcome.changed = Kind.DELETE, True
        self.outcome.reason = "it is no longer needed" if self.server else "parts of it were left over"
        self.outcome.removed = [f"{kind} {ident}" for kind, ident in belongings]
        if self.run.check_mode:
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
                self.resources.delete_volume(ident)

    def _delete_server(self) -> None:
        """Deletes the server and waits until it is gone; one that waits to be reclaimed is deleted for good."""
        self.outcome.changed = True
        self.cloud.delete_server(self._existing())
        for _force in range(2):
            if self._wait(Kind.DELETE) is WaitResult.GONE:
                return
            self.cloud.delete_server(self._existing(), force=True)
        self._wait(Kind.DELETE)
