"""``lab/lab up``: the steps that raise the lab, each of which does only what is missing."""

from __future__ import annotations

import os
from importlib.util import find_spec

from . import images, model, seed
from .api import Api
from .engine import ENGINE_PACKAGES, PACKAGES, Engine, install_packages
from .errors import LabError
from .model import Lab
from .processes import Daemon
from .services import Cloud, existing_cloud, virtual_environment
from .steps import Progress, Step, StepLog, run_steps

APT_ADVICE = "check that apt-get reaches its mirror, then run the command again: what is done stays done"
PIP_ADVICE = "check that pip reaches its index, then run the command again: what is done stays done"
LOG_ADVICE = "read the log named above; `lab/lab down`, then `lab/lab up`, starts over"


def up(lab: Lab) -> None:
    """Raise what does not run yet.

    Raises:
        LabError: a step failed; or the user is not root.
    """
    if os.geteuid():
        raise LabError("the lab needs root: it installs packages and starts a Docker engine")
    progress = Progress()
    lab.signals.mkdir(parents=True, exist_ok=True)
    run_steps(fake_plan(lab) if lab.fake else plan(lab), lab.logs, progress)
    progress.say(f"the lab is up; its clients' variables: . {lab.env_file}")


def plan(lab: Lab) -> list[Step]:
    """Steps of ``up``; the slow ones do not wait for each other."""
    engine = Engine(lab)

    def base(name: str) -> Step:
        def work(log: StepLog) -> str:
            return remark(made=images.make_base(name, log, lab.cache)[1])

        return Step(f"{name} packages", work, ["packages"], APT_ADVICE)

    needed = {**PACKAGES, **venv_package(), **({} if engine.answers() else ENGINE_PACKAGES)}
    return [
        Step("packages", lambda log: install_packages(log, needed), advice=APT_ADVICE),
        Step("ssh key", lambda log: ssh_key(lab, log), ["packages"]),
        Step("engine", engine.start, ["packages"], "if the machine has a Docker engine of its own, start that one"),
        Step("openstack", lambda log: openstack(lab, log), ["packages"], PIP_ADVICE),
        *(base(name) for name in images.BASES),
        Step(
            "node images",
            lambda log: images.node_images(log, lab),
            ["engine", "node packages", "node-trixie packages"],
            APT_ADVICE,
        ),
        Step(
            "registry",
            lambda log: registry(lab, log),
            ["engine", *(f"{name} packages" for name in model.REGISTRY_IMAGES.values())],
            f"make sure that nothing else listens on port {model.REGISTRY_PORT}, then run the command again",
        ),
        Step("databases", lambda log: databases(lab, log), ["openstack"], LOG_ADVICE),
        Step(
            "cloud",
            lambda log: cloud(lab, log, engine.container_options()),
            ["databases", "engine"],
            LOG_ADVICE,
        ),
    ]


def fake_plan(lab: Lab) -> list[Step]:
    """Steps of ``up --fake``."""
    needed = {"ssh-keygen": PACKAGES["ssh-keygen"], **venv_package()}
    return [
        Step("packages", lambda log: install_packages(log, needed), advice=APT_ADVICE),
        Step("ssh key", lambda log: ssh_key(lab, log), ["packages"]),
        Step("openstack", lambda log: openstack(lab, log), ["packages"], PIP_ADVICE),
        Step("databases", lambda log: databases(lab, log), ["openstack"], LOG_ADVICE),
        Step("cloud", lambda log: cloud(lab, log, []), ["databases"], LOG_ADVICE),
    ]


def remark(*, made: bool) -> str:
    """How a step says where its result came from."""
    return "made" if made else "from the cache"


def venv_package() -> dict[str, str]:
    """What Debian splits off from Python: without ensurepip there are no virtual environments."""
    return {} if find_spec("ensurepip") else {"/no/ensurepip": "python3-venv"}


def ssh_key(lab: Lab, log: StepLog) -> str:
    """The operator's key pair."""
    if lab.ssh_key.exists():
        return "there"
    log.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab-operator", "-f", lab.ssh_key)
    return "made"


def openstack(lab: Lab, log: StepLog) -> str:
    """The services' programs."""
    venv, made = virtual_environment(log, lab.cache)
    lab.venv.unlink(missing_ok=True)
    lab.venv.symlink_to(venv)
    return remark(made=made)


def registry(lab: Lab, log: StepLog) -> str:
    """The image registry, filled and started. One that runs finds images that have changed in its files."""
    daemon = Daemon("docker-registry", lab.run, lab.logs)
    made, changed = images.registry_store(log, lab)
    if daemon.pid is not None:
        return f"{'has other images now' if changed else 'runs'}, at {lab.registry}"
    images.start_registry(daemon, lab.registry, lab.state / "registry", lab.run / "registry.yml")
    return f"{remark(made=made)}, at {lab.registry}"


def databases(lab: Lab, log: StepLog) -> str:
    """Configuration and databases; such as were never filled wholly are thrown away, as filling cannot be repeated."""
    services = existing_cloud(lab)
    return "there" if services.initialised else remark(made=services.initialise(log))


def cloud(lab: Lab, log: StepLog, container_options: list[str]) -> str:
    """The services, started; the cloud filled if it is new."""
    services = existing_cloud(lab)
    if services.initialised:
        services.start(log, options=container_options)
    else:
        fill(services, log, container_options)
    variables = {"OS_CLIENT_CONFIG_FILE": lab.member_clouds, "OS_CLOUD": "lab", "GPUSWARM_LAB_DIR": lab.state}
    lab.env_file.write_text("".join(f"export {name}='{value}'\n" for name, value in variables.items()))
    return f"Keystone at {lab.url('keystone')}"


def fill(services: Cloud, log: StepLog, container_options: list[str]) -> None:
    """Start a new cloud and fill it. Keystone comes first: the others look each other up in its catalog."""
    services.start(log, ["keystone"])
    api = Api(services.lab, services.admin_auth)
    project = seed.seed_identity(api, services.member_auth)
    services.start(log, options=container_options)
    seed.seed_images(api)
    seed.seed_network(api, project)
    seed.seed_volumes(api)
    seed.seed_compute(api)
    services.save_pristine()
