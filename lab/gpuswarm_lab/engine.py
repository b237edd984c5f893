"""The Docker engine that servers run on: the machine's own, else one that the lab installs and starts."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from . import model
from .errors import LabError
from .processes import Daemon
from .steps import StepLog, capture

CAP_SYS_RESOURCE = 24
POLICY = Path("/usr/sbin/policy-rc.d")

# command or path that shows that it is there -> Debian package
PACKAGES = {
    "dockerd": "docker.io",
    "docker": "docker.io",
    "docker-registry": "docker-registry",
    "mmdebstrap": "mmdebstrap",
    "unzip": "unzip",
    "gcc": "gcc",
    "strip": "binutils",
    "ssh-keygen": "openssh-client",
    "ip": "iproute2",
    "iptables": "iptables",
    "/usr/share/keyrings/debian-archive-keyring.gpg": "debian-archive-keyring",
    "/usr/include/stdlib.h": "libc6-dev",
}


def missing_packages(needed: dict[str, str]) -> list[str]:
    """Debian packages that are needed and not there, sorted."""
    there = {name: Path(name).exists() if name.startswith("/") else shutil.which(name) for name in needed}
    return sorted({package for name, package in needed.items() if not there[name]})


def install_packages(log: StepLog, needed: dict[str, str]) -> str:
    """Install what is missing with apt-get, without starting the services that come with it."""
    packages = missing_packages(needed)
    if not packages:
        return "all there"
    env = {"DEBIAN_FRONTEND": "noninteractive"}
    # Debian starts a service when it is installed; this is the switch that says no. One that is there stays.
    own_policy = not POLICY.exists()
    if own_policy:
        POLICY.write_text("#!/bin/sh\nexit 101\n")
        POLICY.chmod(0o755)
    try:
        log.run("apt-get", "-o", "Acquire::Retries=3", "update", env=env)
        log.run("apt-get", "-o", "Acquire::Retries=3", "-o", "DPkg::Lock::Timeout=120", "install", "-y",
                "--no-install-recommends", *packages, env=env)  # fmt: skip
    finally:
        if own_policy:
            POLICY.unlink()
    return "installed " + ", ".join(packages)


class Engine:
    """The engine, seen through the ``docker`` command."""

    def __init__(self, lab: model.Lab) -> None:
        self.lab = lab
        self.daemon = Daemon("dockerd", lab.run, lab.logs)
        self.data = lab.state / "docker"

    def answers(self) -> bool:
        """Whether an engine answers (ours or the machine's)."""
        return bool(capture("docker", "version", "--format", "{{.Server.Version}}", check=False))

    def start(self, log: StepLog) -> str:
        """Make sure that an engine answers, and that the lab's network is there."""
        if not self.answers():
            log.write("no engine answers: starting dockerd")
            # The log level keeps a log line per container event out of the way of the ones that matter.
            self.daemon.start(
                ["dockerd", "--data-root", self.data, "--pidfile", self.lab.run / "dockerd.engine.pid",
                 "--log-level", "warn"]
            )  # fmt: skip
            deadline = time.monotonic() + 60
            while not self.answers():
                if self.daemon.pid is None or time.monotonic() > deadline:
                    raise LabError(f"dockerd does not come up\n{self.daemon.tail()}")
                time.sleep(0.2)
        self._network(log)
        owner = "the lab's own" if self.daemon.pid else "the machine's"
        return f"{owner} engine {capture('docker', 'version', '--format', '{{.Server.Version}}')}"

    def _network(self, log: StepLog) -> None:
        if capture("docker", "network", "ls", "-q", "--filter", f"name=^{model.DOCKER_NETWORK}$"):
            return
        log.run(
            "docker", "network", "create", "--driver", "bridge", "--subnet", model.SUBNET, "--gateway", model.GATEWAY,
            "--opt", f"com.docker.network.driver.mtu={model.MTU}",
            "--opt", f"com.docker.network.bridge.name={model.DOCKER_NETWORK}", model.DOCKER_NETWORK,
        )  # fmt: skip

    def servers(self) -> list[str]:
        """Ids of all containers that are servers or their kept disks."""
        return capture("docker", "ps", "-aq", "--filter", f"label={model.PREFIX}.server").split()

    def remove_servers(self) -> None:
        """Remove every server, disk and data volume, as fast as the engine can."""
        if ids := self.servers():
            capture("docker", "rm", "-f", "-v", *ids, timeout=300)
        images = capture("docker", "images", "-q", "--filter", f"reference={model.PREFIX}/disk")
        if images:
            capture("docker", "rmi", "-f", *sorted(set(images.split())), timeout=300)
        volumes = capture("docker", "volume", "ls", "-q", "--filter", f"name=^{model.PREFIX}-")
        if volumes:
            capture("docker", "volume", "rm", "-f", *volumes.split(), timeout=300)

    def remove_all(self) -> None:
        """Remove every trace: the engine itself if the lab started it, else what the lab put into it."""
        own = self.daemon.pid is not None
        if own or self.answers():
            if not own:
                self.remove_servers()
                images = capture("docker", "images", "--filter", f"reference={model.PREFIX}/*",
                                 "--format", "{{.Repository}}:{{.Tag}}")  # fmt: skip
                if images:
                    capture("docker", "rmi", "-f", *images.split(), timeout=300)
                capture("docker", "network", "rm", model.DOCKER_NETWORK, check=False)
            else:
                # Killed first: an orderly stop would wait for every server's own shutdown.
                if ids := self.servers():
                    capture("docker", "rm", "-f", "-v", *ids, timeout=300, check=False)
                capture("docker", "network", "rm", model.DOCKER_NETWORK, check=False)
        self.daemon.stop()
        _unmount_below(self.data)
        if own:
            capture("ip", "link", "delete", "docker0", check=False)

    def container_options(self) -> list[str]:
        """Arguments of ``docker create`` that let a container be a server (systemd, and a Docker of its own)."""
        version = capture("docker", "info", "--format", "{{.CgroupVersion}}")
        return container_options(version, may_be_privileged())


def may_be_privileged(status: str | None = None) -> bool:
    """Whether ``--privileged`` can work: it grants every capability, so this machine must have them all.

    Args:
        status: content of /proc/self/status (default: read it).
    """
    text = Path("/proc/self/status").read_text() if status is None else status
    found = re.search(r"^CapBnd:\s*([0-9a-f]+)", text, re.MULTILINE)
    return bool(found) and bool(int(found.group(1), 16) >> CAP_SYS_RESOURCE & 1)


def container_options(cgroup_version: str, privileged: bool) -> list[str]:
    """Arguments of ``docker create`` for a server.

    Args:
        cgroup_version: "1" or "2", as the engine tells.
        privileged: whether ``--privileged`` works here; without it the same rights are listed one by one.
    """
    options = ["--stop-signal", "SIGRTMIN+3", "--tmpfs", "/run", "--tmpfs", "/run/lock", "--tmpfs", "/tmp"]
    if privileged:
        options += ["--privileged"]
    else:
        options += ["--cap-add", "ALL", "--cap-drop", "SYS_RESOURCE", "--security-opt", "seccomp=unconfined",
                    "--security-opt", "apparmor=unconfined", "--security-opt", "systempaths=unconfined",
                    "--device-cgroup-rule", "a *:* rwm"]  # fmt: skip
    if cgroup_version == "2":
        options += ["--cgroupns", "private"]
    else:
        options += ["--volume", "/sys/fs/cgroup:/sys/fs/cgroup:rw"]
    return options


def _unmount_below(directory: Path) -> None:
    """Detach mounts that a killed engine left behind, so that its directory can be removed."""
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for mount in sorted((m for m in mounts if m.startswith(f"{directory}/")), reverse=True):
        capture("umount", "-l", mount, check=False)


def build_context(files: dict[str, bytes | str], source: Path) -> Path:
    """Temporary directory with a copy of ``source`` and more files, for ``docker build``."""
    target = Path(tempfile.mkdtemp(prefix="gpuswarm-lab-", dir=os.environ.get("TMPDIR")))
    shutil.copytree(source, target, dirs_exist_ok=True)
    for name, content in files.items():
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return target


def commands(words: Sequence[str]) -> str:
    """Words of a shell command, for messages."""
    return " ".join(words)
