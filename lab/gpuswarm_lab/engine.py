"""The Docker engine that servers run on: the machine's own, else one that the lab installs and starts."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from . import model
from .cache import locked
from .errors import LabError
from .processes import Daemon
from .steps import StepLog, capture

CAP_SYS_RESOURCE = 24
IPTABLES = ("iptables", "ip6tables")
BRIDGES = (model.DOCKER_NETWORK, "docker0", "docker_gwbridge")
IP_FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
# Debian starts a service when it is installed; this is the program that it asks first, and the one that says no.
POLICY = Path("/usr/sbin/policy-rc.d")
NO_SERVICE = "#!/bin/sh\n# Of gpuswarm's lab while it installs packages.\nexit 101\n"

# Command or path that shows that it is there -> Debian package.
PACKAGES = {
    "docker": "docker.io",
    "docker-registry": "docker-registry",
    "mmdebstrap": "mmdebstrap",
    "unzip": "unzip",
    "gcc": "gcc",
    "strip": "binutils",
    "ssh-keygen": "openssh-client",
    "ip": "iproute2",
    "age": "age",  # for this machine, which decrypts the backups of the lab's manager
    "iptables": "iptables",
    "/usr/share/keyrings/debian-archive-keyring.gpg": "debian-archive-keyring",
    "/usr/include/stdlib.h": "libc6-dev",
}


ENGINE_PACKAGES = {"dockerd": "docker.io"}


def missing_packages(needed: dict[str, str]) -> list[str]:
    """Debian packages that are needed and not there, sorted."""
    there = {name: Path(name).exists() if name.startswith("/") else shutil.which(name) for name in needed}
    return sorted({package for name, package in needed.items() if not there[name]})


def install_packages(log: StepLog, needed: dict[str, str]) -> str:
    """Install what is missing with apt-get, without starting the services that come with it, one caller at a time."""
    if not missing_packages(needed):
        return "all there"
    with no_service_starts():
        packages = missing_packages(needed)  # who had the lock before may have installed them
        if not packages:
            return "all there"
        env = {"DEBIAN_FRONTEND": "noninteractive"}
        log.run("apt-get", "-o", "Acquire::Retries=3", "update", env=env)
        log.run("apt-get", "-o", "Acquire::Retries=3", "-o", "DPkg::Lock::Timeout=120", "install", "-y",
                "--no-install-recommends", *packages, env=env)  # fmt: skip
    return "installed " + ", ".join(packages)


@contextmanager
def no_service_starts(policy: Path = POLICY) -> Iterator[None]:
    """Keep Debian from starting services, for one caller on the machine at a time. A policy of the machine's own stays.

    Args:
        policy: the file that forbids it. The lock is its directory: that is always there, and stays as it is.
    """
    with locked(policy.parent):
        # One of ours is left of somebody who was killed.
        ours = not policy.exists() or policy.read_bytes() == NO_SERVICE.encode()
        if ours:
            policy.write_text(NO_SERVICE)
            policy.chmod(0o755)
        try:
            yield
        finally:
            if ours:
                policy.unlink()


class Engine:
    """The engine, seen through the ``docker`` command."""

    def __init__(self, lab: model.Lab) -> None:
        self.lab = lab
        self.daemon = Daemon("dockerd", lab.run, lab.logs)
        self.data = lab.state / "docker"
        self.before = lab.run / "host-network.json"

    def answers(self) -> bool:
        """Whether an engine answers (ours or the machine's)."""
        return bool(capture("docker", "version", "--format", "{{.Server.Version}}", check=False))

    def start(self, log: StepLog) -> str:
        """Make sure that an engine answers, and that the lab's network is there."""
        if not self.answers():
            log.write("no engine answers: starting dockerd")
            if not self.before.exists():
                self._remember_host_network()
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
        if own:
            # Killed first: an orderly stop would wait for every server's own shutdown.
            if ids := self.servers():
                capture("docker", "rm", "-f", "-v", *ids, timeout=300, check=False)
            capture("docker", "network", "rm", model.DOCKER_NETWORK, check=False)
        elif self.answers():
            self.remove_servers()
            listed = ["docker", "images", "--filter", f"reference={model.PREFIX}/*"]
            if images := capture(*listed, "--format", "{{.Repository}}:{{.Tag}}"):
                capture("docker", "rmi", "-f", *images.split(), timeout=300)
            capture("docker", "network", "rm", model.DOCKER_NETWORK, check=False)
        self.daemon.stop()
        _unmount_below(self.data)
        if self.before.exists():
            self._restore_host_network()

    def _remember_host_network(self) -> None:
        """Note what a Docker engine changes on the host and does not change back."""
        policies = {tool: forward_policy(capture(f"{tool}-save", check=False)) for tool in IPTABLES}
        self.before.parent.mkdir(parents=True, exist_ok=True)
        self.before.write_text(json.dumps({"ip_forward": IP_FORWARD.read_text().strip(), "policies": policies}))

    def _restore_host_network(self) -> None:
        for bridge in BRIDGES:
            capture("ip", "link", "delete", bridge, check=False)
        before = json.loads(self.before.read_text())
        for tool in IPTABLES:
            if rules := capture(f"{tool}-save", check=False):
                rest = without_docker(rules, before["policies"][tool]) + "\n"
                capture(f"{tool}-restore", stdin=rest.encode())
        IP_FORWARD.write_text(before["ip_forward"])
        self.before.unlink()

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
    return found is not None and bool(int(found.group(1), 16) >> CAP_SYS_RESOURCE & 1)


def container_options(cgroup_version: str, privileged: bool) -> list[str]:
    """Arguments of ``docker create`` for a server.

    Args:
        cgroup_version: "1" or "2", as the engine tells.
        privileged: whether ``--privileged`` works here; without it the same rights are listed one by one.
    """
    options = ["--stop-signal", "SIGRTMIN+3", "--tmpfs", "/run", "--tmpfs", "/run/lock", "--tmpfs", "/tmp"]  # noqa: S108 (the server's)
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


def forward_policy(rules: str) -> str:
    """Policy of the chain FORWARD, out of what ``iptables-save`` prints; ACCEPT if there is none yet."""
    found = re.search(r"^:FORWARD (\w+)", rules.partition("*filter")[2], re.MULTILINE)
    return found.group(1) if found else "ACCEPT"


def without_docker(rules: str, policy: str) -> str:
    """What ``iptables-save`` printed, without the rules and chains of a Docker engine.

    Args:
        rules: of every table.
        policy: of the filter table's chain FORWARD, which the engine sets to DROP.
    """
    lines: list[str] = []
    table = ""
    for line in rules.splitlines():
        if line.startswith("*"):
            table = line[1:]
        if "DOCKER" in line or any(re.search(rf"\b{bridge}\b", line) for bridge in BRIDGES):
            continue
        lines.append(re.sub(r"^(:FORWARD) \w+", rf"\1 {policy}", line) if table == "filter" else line)
    return "\n".join(lines)


def _unmount_below(directory: Path) -> None:
    """Detach mounts that a killed engine left behind, so that its directory can be removed."""
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for mount in sorted((m for m in mounts if m.startswith(f"{directory}/")), reverse=True):
        capture("umount", "-l", mount, check=False)
