# SPDX-License-Identifier: Apache-2.0
"""A test bed for the gateway: real nginx and real Ollama, started from what the roles write, without a swarm.

Each node is a network namespace on a bridge of its own. What runs in it sees the root file system that its image has,
the role's files where Swarm would put them, and a DNS server where Swarm's is. Everything ends with the process that
made it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml
from prometheus_client.parser import text_string_to_metric_families

from lab.gpuswarm_lab.steps import StepLog, capture
from tests.bed.rootfs import prepare
from tests.kit import ansible
from tests.kit.answers import MODEL, Answer
from tests.kit.clients import Client
from tests.kit.commands import environment
from tests.kit.waiting import until

PREFIX = "gsgw"
# Roles of services that only tests have; none of the collection's roles knows them.
ROLES = Path(__file__).with_name("roles")
SERVERS: dict[str, dict[str, Any]] = {"gpu-1": {}, "gpu-2": {}, "gpu-3": {}}

# Runs in a mount and a PID namespace of its own: $1 is the root file system, then come pairs of what is mounted where,
# "--", and the command. A directory that is written to is mounted empty.
ENTER = """
set -eu
root=$1; shift
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
for directory in run tmp; do mount -t tmpfs tmpfs "$root/$directory"; done
if [ -d "$root/var/lib/nginx" ]; then mount -t tmpfs tmpfs "$root/var/lib/nginx"; fi
while [ "$1" != -- ]; do
    if [ -d "$1" ]; then mkdir -p "$root$2"; else mkdir -p "$root${2%/*}"; touch "$root$2"; fi
    mount --bind "$1" "$root$2"
    shift 2
done
shift
exec chroot "$root" "$@"
"""


class Process:
    """A command in a node; it is killed with whoever started it.

    Args:
        command: the whole command line.
        log: where its output goes.
        env: its whole environment.
    """

    def __init__(self, command: Sequence[str | Path], log: Path, env: Mapping[str, str]) -> None:
        self.log = log
        with log.open("ab") as output:
            self.started = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *map(str, command)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={"PATH": os.environ["PATH"], **env},
            )

    @property
    def running(self) -> bool:
        return self.started.poll() is None

    @property
    def pid(self) -> int:
        """The command itself, inside of the namespaces that were made for it."""
        children = Path(f"/proc/{self.started.pid}/task/{self.started.pid}/children").read_text().split()
        return int(children[0]) if children else self.started.pid

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def wait(self, seconds: float) -> int:
        return self.started.wait(seconds)

    def reload(self) -> None:
        """Have nginx read its files again; afterwards nobody with the old ones accepts a connection any more."""
        before = self._workers()
        self.send(signal.SIGHUP)
        until("nginx has new workers only", lambda: (now := self._workers()) and not now & before)

    def _workers(self) -> set[int]:
        """Process ids of nginx's workers that accept connections: one that ends says so before it stops to."""
        return {
            child
            for child in map(int, Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split())
            if Path(f"/proc/{child}/cmdline").read_bytes().rstrip(b"\0 ") == b"nginx: worker process"
        }

    def kill(self) -> None:
        """End it and all that it started, at once."""
        with contextlib.suppress(ProcessLookupError):
            self.started.kill()
        self.started.wait(10)

    def output(self) -> str:
        return self.log.read_text(errors="replace")


class Node:
    """A network namespace with an address on the bed's bridge."""

    def __init__(self, bed: Bed, name: str, number: int) -> None:
        self.bed = bed
        self.name = name
        self.address = f"{bed.network}.{number}"
        self.namespace = f"{bed.name}-{name}"
        self.processes: list[Process] = []
        bed.link(self.namespace, f"v{number}", self.address)

    def run(self, *command: str | Path, timeout: float = 60) -> str:
        """What a short command prints."""
        return capture("ip", "netns", "exec", self.namespace, *command, timeout=timeout)

    def start(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        root: Path | None = None,
        mounts: Mapping[str, Path] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Process:
        """Start a command here, with ``root`` as its root file system and ``mounts`` (where: what) in it."""
        inside: list[str | Path] = list(command)
        if root is not None:
            pairs = [word for where, what in (mounts or {}).items() for word in (what, where)]
            inside = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "bash", "-c", ENTER, "enter", root,
                      *pairs, "--", *command]  # fmt: skip
        process = Process(
            ["ip", "netns", "exec", self.namespace, *inside],
            self.bed.directory / f"{self.name}-{name}.log",
            env or {},
        )
        self.processes.append(process)
        return process

    def vanish(self) -> None:
        """From now on every packet from and to this node is dropped, without a word."""
        for chain, way in (("INPUT", "-i"), ("OUTPUT", "-o")):
            self.run("iptables", "-w", "-I", chain, way, "eth0", "-j", "DROP")

    def come_back(self) -> None:
        """Packets arrive again."""
        self.run("iptables", "-w", "-F")

    def sysctls(self, values: Mapping[str, object]) -> None:
        for name, value in values.items():
            self.run("sysctl", "-qw", f"{name}={value}")

    def end(self) -> None:
        for process in self.processes:
            process.kill()


class Dns:
    """Swarm's DNS server as a container sees it: answers with a long TTL, out of what it is told."""

    def __init__(self, node: Node) -> None:
        self.hosts = node.bed.directory / f"{node.name}-hosts"
        self.hosts.touch()
        self.names: dict[str, tuple[str, ...]] = {}
        self.process = node.start(
            "dns",
            ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--user=root",
             "--pid-file=", "--local=/#/", "--local-ttl=600", "--listen-address=127.0.0.11", "--bind-interfaces",
             f"--addn-hosts={self.hosts}"],
        )  # fmt: skip
        # Before it listens, the signal that has it read its file would end it.
        until("the DNS server listens", lambda: "127.0.0.11:53" in node.run("ss", "-uln"))

    def publish(self, name: str, addresses: Sequence[str]) -> None:
        """The name has these addresses from now on."""
        self.names[name] = tuple(addresses)
        self.hosts.write_text("".join(f"{address} {name}\n" for name, those in self.names.items() for address in those))
        self.process.started.send_signal(signal.SIGHUP)


def store_of(node: Node) -> Path:
    """Where an Ollama in this node has its models."""
    return node.bed.directory / f"{node.name}-ollama"


def slow_load(directory: Path) -> dict[str, Path]:
    """What is mounted into a server (where: what) to have its models take long to load: slow_load.c says how."""
    directory.mkdir(exist_ok=True)
    library = directory / "slow_load.so"
    source = Path(__file__).with_name("slow_load.c")
    capture("gcc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", library, source)
    (preload := directory / "preload").write_text("/run/bed/slow_load.so\n")
    return {"/run/bed": directory, "/etc/ld.so.preload": preload}


@contextlib.contextmanager
def stopped(pids: Sequence[int]) -> Iterator[None]:
    """Nothing happens in these processes, as far as they are still there."""

    def send(number: signal.Signals) -> None:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):  # some last no time
                os.kill(pid, number)

    send(signal.SIGSTOP)
    try:
        yield
    finally:
        send(signal.SIGCONT)


class Ollama:
    """A task of the service ``ollama``: what the role's compose file says, in a node.

    Its store is a copy of the one that the image has, unless there is one already.

    Args:
        node: where it runs.
        directory: what the role has written.
        root: root file system.
        mounts: more of them (where: what).
        load_seconds: how long a model takes to load, in whole seconds, or until `end_loads`. By itself the tiny one
            takes milliseconds, which hides what goes wrong meanwhile.
        environment: more of it.
    """

    def __init__(
        self,
        node: Node,
        directory: Path,
        root: Path,
        mounts: Mapping[str, Path] | None = None,
        load_seconds: int = 0,
        **environment: str,
    ) -> None:
        self.node = node
        self.service = yaml.safe_load((directory / "compose.yml").read_text())["services"]["ollama"]
        self.store = store_of(node)
        if not self.store.exists():
            shutil.copytree(root / "root" / ".ollama", self.store)
        configs = yaml.safe_load((directory / "compose.yml").read_text())["configs"]
        # What the task and its health check tell each other.
        (run := node.bed.directory / f"{node.name}-run").mkdir(exist_ok=True)
        self.loading = node.bed.directory / f"{node.name}-loading"
        if load_seconds:
            mounts = {**(mounts or {}), **slow_load(self.loading)}
            environment["BED_LOAD_SECONDS"] = str(load_seconds)
        self.inside: dict[str, Any] = {
            "root": root,
            "mounts": {
                "/root/.ollama": self.store,
                "/run/gpuswarm": run,
                **{item["target"]: Path(configs[item["source"]]["file"]) for item in self.service["configs"]},
                **(mounts or {}),
            },
            "env": {"HOME": "/root", **self.service["environment"], **environment},
        }
        self.process = node.start("ollama", self.service["entrypoint"], **self.inside)

    @property
    def url(self) -> str:
        return f"http://{self.node.address}:11434"

    def pids(self, *words: str) -> list[int]:
        """Its processes, or those among them whose command line has these words."""
        space = Path(f"/proc/{self.process.pid}/ns/pid").readlink()
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                line = (entry / "cmdline").read_bytes().decode().split("\0")
                if (entry / "ns" / "pid").readlink() == space and set(words) <= set(line):
                    found.append(int(entry.name))
        return found

    @contextlib.contextmanager
    def frozen(self, *words: str) -> Iterator[None]:
        """Nothing happens in the server, or in its processes with these words; its kernel acknowledges what arrives."""
        pids = self.pids(*words)
        assert pids, f"no process has the words {words}"
        with stopped(pids):
            yield

    def end_loads(self, *, at_once: bool) -> None:
        """Whether loads end at once from now on, those that run too, instead of taking their time."""
        if at_once:
            (self.loading / "loaded").touch()
        else:
            (self.loading / "loaded").unlink(missing_ok=True)

    def crash_runners(self) -> None:
        """Kill the models' runners; while one is being ended, its sockets still take a request."""
        pids = self.pids("runner")
        assert pids, "no runner is there"
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        until("they are gone", lambda: not set(pids) & set(self.pids("runner")), pause=0.01)

    def clients(self) -> int:
        """Connections that others than itself have to the server."""
        lines = self.node.run("ss", "-Htn", "state", "established", "sport", "=", ":11434").splitlines()
        return len([line for line in lines if "127.0.0.1" not in line])

    def restart(self) -> None:
        """Start it again, on the same store."""
        self.process = self.node.start("ollama", self.service["entrypoint"], **self.inside)

    def health(self, **environment: str) -> tuple[bool, str]:
        """What the service's health check says at once, run inside of the node as Swarm would."""
        inside = {**self.inside, "env": {**self.inside["env"], "GPUSWARM_HEALTH_SECONDS": "0", **environment}}
        (self.node.bed.directory / f"{self.node.name}-health.log").unlink(missing_ok=True)
        done = self.node.start("health", self.service["healthcheck"]["test"][1:], **inside)
        return done.wait(30) == 0, done.output().strip()

    def wait_until_unhealthy(self, seconds: float) -> str:
        """Ask for its health as Docker does, until it has failed so often in a row; returns what it said."""
        check = self.service["healthcheck"]
        pace = self.service["environment"]["GPUSWARM_HEALTH_SECONDS"]
        failures = 0

        def failed() -> str:
            nonlocal failures
            healthy, text = self.health(GPUSWARM_HEALTH_SECONDS=pace)
            failures = 0 if healthy else failures + 1
            return text if failures == check["retries"] else ""

        pause = int(check["interval"].removesuffix("ms")) / 1000
        return until(f"{self.node.name} is unhealthy", failed, seconds, pause)

    def wait_until_healthy(self, words: str = "", seconds: float = 180) -> None:
        """Its health check passes, and says just these words, if any are given."""
        said = ""

        def is_healthy() -> bool:
            nonlocal said
            healthy, said = self.health()
            return healthy and words in ("", said)

        what = f"{self.node.name} is healthy" + (f" and says: {words}" if words else "")
        until(what, is_healthy, seconds, pause=0.3, show=lambda: self.story(said))

    def story(self, said: str) -> str:
        """For an error: what its check has said, and the last that it has written."""
        return "\n".join([said, *self.process.output().splitlines()[-30:]])


class Gateway:
    """A task of the service ``gateway``: what the role's compose file says, in a node with Swarm's DNS."""

    def __init__(self, node: Node, directory: Path, root: Path) -> None:
        self.node = node
        self.directory = directory
        self.service = yaml.safe_load((directory / "compose.yml").read_text())["services"]["gateway"]
        # What it writes for its exporter.
        self.requests = node.bed.directory / f"{node.name}-requests"
        self.requests.mkdir(exist_ok=True)
        shared = {item["target"]: self.requests for item in self.service["volumes"] if item["type"] == "volume"}
        self.inside: dict[str, Any] = {"root": root, "mounts": {"/gpuswarm": directory, **shared}}
        node.sysctls(self.service["sysctls"])
        self.dns = Dns(node)
        self.http = httpx.Client(base_url=self.url, timeout=30)
        self.client = Client(self.url)
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self.process = self.node.start("nginx", self.service["entrypoint"], **self.inside)
        until(f"the gateway on {self.node.name} answers", lambda: self.http.get("/health").is_success)

    @property
    def url(self) -> str:
        """Plain HTTP, on the port inside of the container."""
        return f"http://{self.node.address}:8080"

    def tls(self) -> httpx.Client:
        """A client that trusts the certificate that is there now, and none else."""
        context = ssl.create_default_context(cafile=str(self.directory / "private" / "tls.crt"))
        return httpx.Client(base_url=self.tls_url, verify=context, timeout=30)

    @property
    def tls_url(self) -> str:
        return f"https://{self.node.address}:8443"

    def ask(self) -> Answer:
        """A small answer in one piece."""
        return self.client.ask(stream=False, tokens=8)

    def publish(self, *servers: Ollama) -> None:
        """These servers are in DNS, and nginx has noticed."""
        self.dns.publish("tasks.gpuswarm_ollama", [server.node.address for server in servers])
        until("nginx follows DNS", lambda: self.http.get("/ready").is_success == bool(servers))

    def version(self) -> str:
        """Version of the configuration that it has for a new connection; one that is open may keep the old one's."""
        return str(httpx.get(f"{self.url}/health", timeout=30).json()["configuration"])

    def reload(self) -> None:
        """Have nginx read its files again, and wait until it has."""
        self.process.reload()
        # A connection that is open may still be answered by the old configuration, once.
        self.http.close()
        self.http = httpx.Client(base_url=self.url, timeout=30)
        assert f'"configuration":"{self.version()}"' in (self.directory / "nginx.conf").read_text()

    def log(self) -> list[dict[str, Any]]:
        """What it has logged about requests."""
        lines = self.process.output().splitlines()
        return [json.loads(line) for line in lines if line.startswith('{"time"')]

    def errors(self) -> list[str]:
        """What it has complained about."""
        return [line for line in self.process.output().splitlines() if not line.startswith('{"time"')]

    def health(self) -> bool:
        """What the service's health check says, run inside of the node as Swarm would."""
        return self.node.start("health", self.service["healthcheck"]["test"][1:], **self.inside).wait(30) == 0

    def exchange(
        self, *requests: Mapping[str, Any], client: httpx.Client | None = None
    ) -> tuple[list[httpx.Response], list[dict[str, Any]]]:
        """Make requests one after another, and wait until they are logged.

        Args:
            requests: arguments of httpx' ``request``.
            client: who makes them, on a connection of its own; one without TLS, if there is none.

        Returns:
            The answers, and the lines of those that are logged.
        """
        # One connection has one worker, which writes its lines in order; other workers may still write older ones.
        begin, end = f"/begin-{uuid.uuid4()}", f"/end-{uuid.uuid4()}"
        with client or httpx.Client(base_url=self.url, timeout=30) as one:
            one.get(begin)
            answers = [one.request(**request) for request in requests]
            one.get(end)
        until("the requests are logged", lambda: end in [line["path"] for line in self.log()])
        lines = self.log()
        [first, last] = [place for place, line in enumerate(lines) if line["path"] in (begin, end)]
        paths = {answer.request.url.path for answer in answers}
        return answers, [line for line in lines[first + 1 : last] if line["path"] in paths]


class Exporter:
    """A task of the service ``gateway-metrics``: what the role's compose file says, in the node of its gateway."""

    def __init__(self, gateway: Gateway, root: Path) -> None:
        self.gateway = gateway
        compose = yaml.safe_load((gateway.directory / "compose.yml").read_text())
        service = compose["services"]["gateway-metrics"]
        self.command = ["mtail", *service["command"]]
        self.inside: dict[str, Any] = {
            "root": root,
            "mounts": {
                **{item["target"]: gateway.requests for item in service["volumes"]},
                **{item["target"]: Path(compose["configs"][item["source"]]["file"]) for item in service["configs"]},
            },
        }
        self.start()

    def start(self) -> None:
        """Start it, and wait until it reads what the gateway writes."""
        self.process = self.gateway.node.start("mtail", self.command, **self.inside)

        def reads() -> bool:
            self.gateway.http.get("/health")  # writes a line
            return self.value("gpuswarm_gateway_in_flight") >= 0

        until("the exporter reads", reads)

    def page(self) -> str:
        """What Prometheus gets."""
        return httpx.get(f"http://{self.gateway.node.address}:3903/metrics", timeout=10).raise_for_status().text

    def value(self, name: str, **labels: str) -> float:
        """Sum of the samples that have these labels; -1 if there are none."""
        found = [
            sample.value
            for family in text_string_to_metric_families(self.page())
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]
        return sum(found) if found else -1


class Bed:
    """A bridge with nodes on it, and the machine itself as a client.

    Args:
        directory: where logs and the servers' files go.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.name = f"{PREFIX}-{os.getpid()}"
        self.network = f"10.232.{os.getpid() % 250 + 1}"
        self.bridge = f"{self.name}-bridge"
        self.nodes: list[Node] = []
        self.roots = prepare(StepLog(directory / "prepare.log"))
        remove_leftovers()
        capture("ip", "netns", "add", self.bridge)
        self._in_bridge("link", "add", "br0", "type", "bridge")
        self._in_bridge("link", "set", "br0", "up")
        # The machine is on the bridge too.
        self.interface = f"{PREFIX}{os.getpid()}"
        capture("ip", "link", "add", self.interface, "type", "veth", "peer", "name", "v1", "netns", self.bridge)
        capture("ip", "address", "add", f"{self.network}.1/24", "dev", self.interface)
        capture("ip", "link", "set", self.interface, "up")
        self._plug("v1")

    def _in_bridge(self, *command: str) -> None:
        capture("ip", "-n", self.bridge, *command)

    def _plug(self, interface: str) -> None:
        self._in_bridge("link", "set", interface, "master", "br0", "up")

    def link(self, namespace: str, interface: str, address: str) -> None:
        """Make a namespace with an address on the bridge."""
        capture("ip", "netns", "add", namespace)
        capture("ip", "-n", namespace, "link", "set", "lo", "up")
        capture("ip", "-n", namespace, "link", "add", "eth0", "type", "veth", "peer", "name", interface, "netns",
                self.bridge)  # fmt: skip
        capture("ip", "-n", namespace, "address", "add", f"{address}/24", "dev", "eth0")
        capture("ip", "-n", namespace, "link", "set", "eth0", "up")
        self._plug(interface)

    def node(self, name: str) -> Node:
        """One more node."""
        made = Node(self, name, 10 + len(self.nodes))
        self.nodes.append(made)
        return made

    def end(self) -> None:
        """Kill what runs and remove the network."""
        for node in self.nodes:
            node.end()
        capture("ip", "link", "delete", self.interface, check=False)
        for namespace in (*(node.namespace for node in self.nodes), self.bridge):
            capture("ip", "netns", "delete", namespace, check=False)


def remove_leftovers() -> None:
    """Remove namespaces of beds whose process is gone; their processes went with it."""
    for line in capture("ip", "netns", "list").splitlines():
        prefix, _, rest = line.split()[0].partition("-")
        pid = rest.partition("-")[0]
        if prefix == PREFIX and pid.isdigit() and not Path(f"/proc/{pid}").exists():
            capture("ip", "netns", "delete", line.split()[0], check=False)
            capture("ip", "link", "delete", f"{PREFIX}{pid}", check=False)


@contextlib.contextmanager
def bed(directory: Path) -> Iterator[Bed]:
    """A bed, for as long as it is used."""
    made = Bed(directory)
    try:
        yield made
    finally:
        made.end()


@dataclass(frozen=True)
class Play:
    """A role's list of tasks on hosts of its own.

    Args:
        role: of this collection; what stands in the host's variable, if it is a template.
        hosts: their variables, by name. What the run says has these names.
        tasks_from: which of the role's lists of tasks.
        then: a command for this computer when the tasks are done, with a host's variables in it.
        services: roles that come before it: they write their files, and register.
    """

    role: str
    hosts: Mapping[str, Mapping[str, Any]]
    tasks_from: str = "main"
    then: str = ""
    services: Sequence[str] = ()

    def __call__(self) -> dict[str, Any]:
        """As Ansible reads it."""
        before = [{"name": role if (ROLES / role).is_dir() else f"gpuswarm.ollama.{role}"} for role in self.services]
        role = {"name": f"gpuswarm.ollama.{self.role}", "tasks_from": self.tasks_from}
        tasks: list[dict[str, Any]] = [{"ansible.builtin.include_role": each} for each in (*before, role)]
        if self.then:
            tasks.append({"ansible.builtin.debug": {"msg": "{{ lookup('ansible.builtin.pipe', then) }}"}})
        return {
            "name": " ".join(self.hosts),
            "hosts": ",".join(self.hosts),
            "gather_facts": False,
            "vars": {"then": self.then},
            "tasks": tasks,
        }


def run_plays(
    directory: Path, plays: Sequence[Play], *options: str, programs: Path | None = None, check: bool = True
) -> str:
    """Run plays one after another, in one start of Ansible: a start costs more than most plays.

    Args:
        directory: for the playbook and its inventory.
        plays: what is run. A host of two plays has the variables of both.
        options: of ansible-playbook.
        programs: directory whose programs go before the computer's own.
        check: whether a failure is an error.

    Returns:
        What Ansible said.
    """
    hosts: dict[str, dict[str, Any]] = {}
    for play in plays:
        for name, variables in play.hosts.items():
            hosts.setdefault(name, {}).update(variables)
    defaults = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "ollama_models": [MODEL],
        "ollama_require_gpu": False,
    }
    inventory = {"variants": {"hosts": hosts, "vars": defaults}, "gpu_workers": {"hosts": SERVERS}}
    (directory / "hosts.yml").write_text(json.dumps(inventory))
    (directory / "play.yml").write_text(json.dumps([play() for play in plays]))
    path = environment()["PATH"]
    changes = {
        "PATH": f"{programs}{os.pathsep}{path}" if programs else path,
        "ANSIBLE_INVENTORY_ENABLED": "yaml",
        "ANSIBLE_PIPELINING": "1",
        "ANSIBLE_ROLES_PATH": str(ROLES),
        "ANSIBLE_FORKS": "2",
    }
    play_file = directory / "play.yml"
    return ansible.playbook(play_file, *options, inventory=directory / "hosts.yml", env=changes, check=check).output


def gateway_files(
    directory: Path, variants: Mapping[str, Mapping[str, Any]], services: Sequence[str] = ("ollama",)
) -> Play:
    """Have the role gateway write its files below ``directory``/<name>/stack/gateway, with these variables.

    The roles of the services, whose routes it has, come before it.
    """
    return Play("gateway", _hosts(directory, variants), tasks_from="files", services=services)


def server_files(directory: Path, variants: Mapping[str, Mapping[str, Any]]) -> Play:
    """Have the role ollama write its files below ``directory``/<name>/stack/ollama, with these variables."""
    return Play("ollama", _hosts(directory, variants))


def _hosts(directory: Path, variants: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    return {name: {"cluster_directory": str(directory / name), **own} for name, own in variants.items()}
