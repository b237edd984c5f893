# Copyright: (c) 2026, gpuswarm contributors
# SPDX-License-Identifier: Apache-2.0
"""Verdicts, steps and phases, each declared once with what is to be known of it.

What is wrong with a server is its verdict, what is done about it the step, and what was done is written to the journal
as phases. Choices of modules, documentation and metrics come from here or are tested against it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Phase(StrEnum):
    """Phases of a recovery in the journal, in the order in which it goes through them.

    An attempt is journalled before it is made.
    """

    NOTICED = "noticed"
    EXAMINED = "examined"
    RESTART_DOCKER = "restart_docker"
    REBOOT = "reboot"
    REPLACE = "replace"
    ROTATE = "rotate"
    REST = "rest"
    REMOVE_SURGE = "remove_surge"
    RESTORE = "restore"
    ACTIVE = "active"
    READY = "ready"
    HEALTHY = "healthy"
    DONE = "done"
    FAILED = "failed"


class Pause(StrEnum):
    """By what the pauses between two attempts of a step grow (`remediation.RemediationPolicy`)."""

    NEVER = "never"
    RETRY = "retry"  # retry_pause, doubled up to longest_retry_pause, without an end
    REMEDIATION = "remediation"  # pause, doubled up to longest_pause, so many times as the limits say


class WorkList(StrEnum):
    """Lists of servers in ``recover.yml``; a step says on which of them its server is."""

    EXAMINE = "recovery_examine"
    RESTORE = "recovery_to_restore"
    REJOIN = "recovery_to_rejoin"
    DRAIN = "recovery_to_drain"  # if its node is Ready
    REMOVE = "recovery_to_remove"


class Step(StrEnum):
    """What is done next about a server; `STEPS` says more of each."""

    NONE = "none"
    WAIT = "wait"
    REPORT = "report"
    EXAMINE = "examine"
    RESTORE = "restore"
    CONVERGE = "converge"
    RELEASE = "release"
    ESCALATE = "escalate"
    RESTART_DOCKER = "restart_docker"
    REBOOT = "reboot"
    REPLACE = "replace"
    ROTATE = "rotate"
    REST = "rest"
    REMOVE_SURGE = "remove_surge"


@dataclass(frozen=True)
class StepRow:
    """What is to be known of a step.

    Attributes:
        meaning: what it does, in words.
        acts: whether ``recover.yml`` has something to do.
        phase: what is written to the journal before it is tried; None for what is not counted as an attempt.
        pause: what its pauses grow by.
        lists: the lists of ``recover.yml`` that its server is on; none for a step that does not act.
        metric: the counter of its attempts; empty for what is not counted.
    """

    meaning: str
    acts: bool = False
    phase: Phase | None = None
    pause: Pause = Pause.NEVER
    lists: tuple[WorkList, ...] = ()
    metric: str = ""


REMEDIATION_ATTEMPTS = "gpuswarm_remediation_attempts_total"

STEPS: Mapping[Step, StepRow] = {
    Step.NONE: StepRow("nothing"),
    Step.WAIT: StepRow("observe again later"),
    Step.REPORT: StepRow("a person must look"),
    Step.EXAMINE: StepRow(
        "log in and look, then diagnose again",
        acts=True,
        phase=Phase.EXAMINED,
        pause=Pause.RETRY,
        lists=(WorkList.EXAMINE,),
    ),
    Step.RESTORE: StepRow(
        "unshelve, start or create it through the cloud", acts=True, pause=Pause.RETRY, lists=(WorkList.RESTORE,)
    ),
    Step.CONVERGE: StepRow("set it up again with the roles", acts=True, pause=Pause.RETRY, lists=(WorkList.REJOIN,)),
    Step.RELEASE: StepRow("set its drained node to active again", acts=True, lists=(WorkList.REJOIN,)),
    Step.ESCALATE: StepRow("choose the next remedy, which takes the place of this"),
    Step.RESTART_DOCKER: StepRow(
        "restart Docker",
        acts=True,
        phase=Phase.RESTART_DOCKER,
        pause=Pause.REMEDIATION,
        lists=(WorkList.REJOIN,),
        metric=REMEDIATION_ATTEMPTS,
    ),
    Step.REBOOT: StepRow(
        "reboot it through the cloud",
        acts=True,
        phase=Phase.REBOOT,
        pause=Pause.REMEDIATION,
        lists=(WorkList.REJOIN,),
        metric=REMEDIATION_ATTEMPTS,
    ),
    Step.REPLACE: StepRow(
        "delete it with its disk and create it anew",
        acts=True,
        phase=Phase.REPLACE,
        pause=Pause.REMEDIATION,
        lists=(WorkList.RESTORE,),
        metric=REMEDIATION_ATTEMPTS,
    ),
    Step.ROTATE: StepRow(
        "drain it and give it a new life", acts=True, phase=Phase.ROTATE, lists=(WorkList.RESTORE, WorkList.DRAIN)
    ),
    Step.REST: StepRow("drain it and shelve it", acts=True, phase=Phase.REST, lists=(WorkList.DRAIN,)),
    Step.REMOVE_SURGE: StepRow(
        "drain it and delete it with its disk and its node",
        acts=True,
        phase=Phase.REMOVE_SURGE,
        pause=Pause.RETRY,
        lists=(WorkList.DRAIN, WorkList.REMOVE),
    ),
}

# Remedies, the mildest first.
REMEDIES = tuple(step for step, row in STEPS.items() if row.pause is Pause.REMEDIATION)


class Verdict(StrEnum):
    """What is wrong with a server; `VERDICTS` says more of each."""

    HEALTHY = "healthy"
    LOST = "lost"
    IN_BUILD = "in_build"
    STOPPED = "stopped"
    NEEDS_ATTENTION = "needs_attention"
    BOOTING = "booting"
    NODE_UNKNOWN = "node_unknown"
    NODE_DOWN = "node_down"
    NOT_IN_SWARM = "not_in_swarm"
    UNREACHABLE = "unreachable"
    CUT_OFF = "cut_off"
    DOCKER_DEAD = "docker_dead"
    PARTITIONED = "partitioned"
    NOT_SET_UP = "not_set_up"
    FOREIGN_SWARM = "foreign_swarm"
    LABELS_MISSING = "labels_missing"
    OLLAMA_STARTING = "ollama_starting"
    OLLAMA_MISSING = "ollama_missing"
    OLLAMA_UNHEALTHY = "ollama_unhealthy"
    OLLAMA_ON_CPU = "ollama_on_cpu"
    MODELS_MISSING = "models_missing"
    NOT_BALANCED = "not_balanced"
    TOO_OLD = "too_old"
    DRAINING = "draining"
    HELD = "held"
    RESTING = "resting"
    SURGE_UNNEEDED = "surge_unneeded"
    SURPLUS = "surplus"
    DUPLICATE = "duplicate"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class VerdictRow:
    """What is to be known of a verdict.

    Attributes:
        meaning: what was observed, in words.
        steps: what may be done about it, the usual first.
        operator: what an operator does; empty where nothing is to be done.
        metric: its own counter, in addition to ``gpuswarm_servers`` and ``gpuswarm_recoveries_total``, whose label
            ``verdict`` names it.
    """

    meaning: str
    steps: tuple[Step, ...]
    operator: str = ""
    metric: str = ""


VERDICTS: Mapping[Verdict, VerdictRow] = {
    Verdict.HEALTHY: VerdictRow("the server is ACTIVE, its node Ready, its Ollama healthy", (Step.NONE,)),
    Verdict.LOST: VerdictRow(
        "SHELVED, SHELVED_OFFLOADED, EXPIRED, ERROR, PAUSED ..., or it does not exist",
        (Step.RESTORE,),
        metric="gpuswarm_interruptions_total",
    ),
    Verdict.IN_BUILD: VerdictRow("the cloud is working on it", (Step.WAIT, Step.RESTORE)),
    Verdict.STOPPED: VerdictRow(
        "SHUTOFF: a person stopped it, or it was shut down from inside",
        (Step.REPORT,),
        "start it, or set `fleet_gpu_restart_stopped: true`",
    ),
    Verdict.NEEDS_ATTENTION: VerdictRow(
        "a status that must not be changed automatically (RESCUE ...)",
        (Step.REPORT,),
        "bring it to ACTIVE, or delete it",
    ),
    Verdict.BOOTING: VerdictRow(
        "it was started a moment ago; its node is not there yet or has not registered since", (Step.WAIT, Step.RESTORE)
    ),
    Verdict.NODE_UNKNOWN: VerdictRow("the manager was restarted and has not heard of the node yet", (Step.WAIT,)),
    Verdict.NODE_DOWN: VerdictRow("the server runs, its node is Down", (Step.EXAMINE, Step.WAIT, Step.RESTORE)),
    Verdict.NOT_IN_SWARM: VerdictRow(
        "the server runs and is no node of the swarm", (Step.EXAMINE, Step.CONVERGE, Step.WAIT, Step.RESTORE)
    ),
    Verdict.UNREACHABLE: VerdictRow("the cloud says ACTIVE, but it cannot be logged in to", (Step.ESCALATE,)),
    Verdict.CUT_OFF: VerdictRow(
        "no GPU server at all can be reached", (Step.REPORT,), "check the manager's network and security groups"
    ),
    Verdict.DOCKER_DEAD: VerdictRow("a login works, Docker does not answer", (Step.ESCALATE,)),
    Verdict.PARTITIONED: VerdictRow("Docker answers there, but the manager does not hear the node", (Step.ESCALATE,)),
    Verdict.NOT_SET_UP: VerdictRow("Docker is not installed", (Step.CONVERGE, Step.WAIT)),
    Verdict.FOREIGN_SWARM: VerdictRow(
        "a member of another swarm, or of this one with a certificate that was revoked", (Step.CONVERGE, Step.WAIT)
    ),
    Verdict.LABELS_MISSING: VerdictRow("the node lacks labels", (Step.CONVERGE, Step.WAIT)),
    Verdict.OLLAMA_STARTING: VerdictRow("its Ollama loads models", (Step.WAIT, Step.RESTORE)),
    Verdict.OLLAMA_MISSING: VerdictRow(
        "it has no Ollama task", (Step.WAIT, Step.REPORT, Step.RESTORE), "run `site.yml` if the service is missing"
    ),
    Verdict.OLLAMA_UNHEALTHY: VerdictRow(
        "three Ollama tasks failed within 15 minutes, or one is not healthy within `recovery_healthy_timeout`",
        (Step.EXAMINE, Step.ESCALATE, Step.REPORT, Step.WAIT, Step.RESTORE),
        "read the service's log if it cannot be logged in to",
    ),
    Verdict.OLLAMA_ON_CPU: VerdictRow("the same, and a model is not wholly in the GPU's memory", (Step.ESCALATE,)),
    Verdict.MODELS_MISSING: VerdictRow(
        "the same, because a model cannot be pulled",
        (Step.REPORT,),
        "correct `ollama_models`, or make room on the disk",
    ),
    Verdict.NOT_BALANCED: VerdictRow(
        "Ollama is healthy, but the gateway does not know it", (Step.REPORT,), "force an update of the Ollama service"
    ),
    Verdict.TOO_OLD: VerdictRow("it nears the end of its life", (Step.ROTATE, Step.WAIT)),
    Verdict.DRAINING: VerdictRow("it was drained for a rotation or by the schedule", (Step.RELEASE, Step.ROTATE)),
    Verdict.HELD: VerdictRow("a person has drained it", (Step.NONE,), "set its node to active when it may work again"),
    Verdict.RESTING: VerdictRow("the schedule does not need it now", (Step.NONE, Step.REST)),
    Verdict.SURGE_UNNEEDED: VerdictRow(
        "the surge server of a rotation, which is no longer needed", (Step.REMOVE_SURGE, Step.WAIT)
    ),
    Verdict.SURPLUS: VerdictRow(
        "the inventory does not have it", (Step.REPORT,), "run `site.yml`, which takes it away"
    ),
    Verdict.DUPLICATE: VerdictRow(
        "two servers of one name, or two Ready nodes for more than two minutes", (Step.REPORT,), "delete the wrong one"
    ),
    Verdict.UNKNOWN: VerdictRow(
        "the cloud or the swarm is silent, or the cloud's list lacks the manager",
        (Step.REPORT,),
        "check the cloud's API, the credentials and the manager's Docker",
    ),
}


# Why there is to be a surge server that was not there before; it is lost to nobody.
SURGE_NEEDED = "a rotation needs a surge server"

# Verdicts that pass by themselves, which a server may have again for a moment after its Ollama was healthy.
PASSING = frozenset({Verdict.BOOTING, Verdict.NODE_UNKNOWN, Verdict.OLLAMA_STARTING, Verdict.OLLAMA_MISSING})


class HealthCode(StrEnum):
    """What Ollama's health check prints before a colon (``roles/ollama/files/healthcheck.sh``)."""

    SILENT = "silent"
    NOT_LOADED = "not_loaded"
    ON_CPU = "on_cpu"
    HUNG = "hung"
