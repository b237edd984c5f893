"""The OpenStack services: installed from PyPI, their databases, start, stop, reset."""

from __future__ import annotations

import base64
import json
import os
import re
import secrets
import shutil
import socket
import sqlite3
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from . import model
from .cache import cached, digest
from .config import Configuration, clouds_yaml
from .errors import LabError
from .processes import Daemon
from .steps import StepLog, capture

OPENSTACK = model.LAB_DIR / "openstack"
DATABASES = ("keystone", "placement", "glance", "neutron", "nova", "nova_api", "nova_cell0", "cinder")
START_TIMEOUT_S = 120


def virtual_environment(log: StepLog, cache: Path) -> tuple[Path, bool]:
    """The virtual environment with the services, out of the cache or installed from PyPI."""
    requirements, constraints = OPENSTACK / "requirements.txt", OPENSTACK / "constraints.txt"

    def make(target: Path) -> None:
        log.run(sys.executable, "-m", "venv", target)
        log.run(target / "bin/pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile", "--constraint",
                constraints, "--requirement", requirements)  # fmt: skip
        # The services' own tests, which nobody loads, are two fifths of all that pip would compile. It also passes over
        # files that no Python of today compiles.
        tests = f"^{re.escape(str(target))}/.*/tests?/"
        capture(target / "bin/python", "-m", "compileall", "-q", "-j", "2", "-x", tests, target / "lib",
                timeout=600, check=False)  # fmt: skip

    # A virtual environment holds its own path and its Python's version.
    cache = cache.resolve()
    key = digest(requirements, constraints, sys.version, str(cache))
    in_use = [link.resolve() for link in cache.parent.glob("*/venv") if link.is_symlink()]
    return cached(cache, "openstack", key, make, in_place=True, in_use=in_use)


class Cloud:
    """The services of one lab."""

    def __init__(self, lab: model.Lab, venv: Path) -> None:
        self.lab = lab
        self.python = venv / "bin/python"
        self.bin = venv / "bin"
        self.configuration = Configuration(lab, venv, self._password("admin-password"))
        self.daemons = {name: Daemon(name, lab.run, lab.logs) for name in model.SERVICES}

    def _password(self, name: str) -> str:
        """A password made once and kept in a file that only its owner reads."""
        path = self.lab.state / name
        if not path.exists():
            write_private(path, secrets.token_urlsafe(18))
        return path.read_text()

    @property
    def admin_auth(self) -> dict[str, str]:
        """How the cloud's admin logs in."""
        return {
            "username": "admin",
            "password": self._password("admin-password"),
            "project_name": "admin",
            "user_domain_name": "Default",
            "project_domain_name": "Default",
        }

    @property
    def member_auth(self) -> dict[str, str]:
        """How the ordinary member logs in."""
        return {
            "username": model.USER,
            "password": self._password("member-password"),
            "project_name": model.PROJECT,
            "user_domain_name": model.DOMAIN,
            "project_domain_name": model.DOMAIN,
        }

    @property
    def initialised(self) -> bool:
        """Whether the cloud has been filled once, wholly."""
        return self.lab.pristine.is_dir()

    def initialise(self, log: StepLog) -> bool:
        """Configuration, empty databases, Keystone's first user; true if the tables had to be made."""
        lab = self.lab
        self.stop()
        shutil.rmtree(lab.cloud, ignore_errors=True)
        for name in ("db", "lib/locks", "lib/nova", "lib/cinder", "lib/neutron", "lib/glance"):
            (lab.cloud / name).mkdir(parents=True)
        lab.cloud.chmod(0o700)
        lab.signals.mkdir(exist_ok=True)
        self.configuration.write()
        for name in ("fernet", "credential"):
            for number in (0, 1):  # the staged key and the primary one
                write_private(
                    lab.cloud / name / str(number), base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
                )
        # Nova's tables hold the paths of its databases.
        key = digest(OPENSTACK / "constraints.txt", OPENSTACK / "neutron_schema.py", str(lab.cloud))
        schema, made = cached(lab.cache, f"schema-{lab.name}", key, lambda target: self._make_schema(target, log))
        if not made:
            copy_databases(schema, lab.cloud / "db")
        urls = [
            word
            for kind in ("public", "internal", "admin")
            for word in (f"--bootstrap-{kind}-url", lab.url("keystone"))
        ]
        # The password goes by environment: what is in a command line, everybody on the machine can read.
        self._manage(log, "keystone-manage", "keystone/keystone.conf", "bootstrap",
                     "--bootstrap-region-id", model.REGION, *urls,
                     extra={"OS_BOOTSTRAP_PASSWORD": self._password("admin-password")})  # fmt: skip
        write_private(lab.admin_clouds, clouds_yaml(lab, "lab-admin", self.admin_auth))
        write_private(lab.member_clouds, clouds_yaml(lab, "lab", self.member_auth))
        return made

    def _manage(self, log: StepLog, tool: str, config: str, *words: str, extra: dict[str, str] | None = None) -> None:
        """Run a service's management command."""
        env = {**self.configuration.environment(), **(extra or {})}
        log.run(self.python, self.bin / tool, "--config-file", self.lab.cloud / "etc" / config, *words, env=env)

    def _make_schema(self, target: Path, log: StepLog) -> None:
        """Create every table, in place; then keep a copy of the databases, which hold nothing private yet."""
        for name in DATABASES:
            with sqlite3.connect(self.lab.cloud / f"db/{name}.db") as database:
                database.execute("pragma journal_mode=wal")  # readers do not wait for the writer

        def small_ones() -> None:
            self._manage(log, "keystone-manage", "keystone/keystone.conf", "db_sync")
            self._manage(log, "placement-manage", "placement/placement.conf", "db", "sync")
            self._manage(log, "glance-manage", "glance/glance-api.conf", "db_sync")
            log.run(self.python, OPENSTACK / "neutron_schema.py", env=self.configuration.environment())

        def nova_and_cinder() -> None:
            cell0, cell1 = self.configuration.database("nova_cell0"), self.configuration.database("nova")
            config = "nova/nova.conf"
            self._manage(log, "nova-manage", config, "api_db", "sync")
            self._manage(log, "nova-manage", config, "cell_v2", "map_cell0", "--database_connection", cell0)
            self._manage(log, "nova-manage", config, "cell_v2", "create_cell", "--name", "cell1",
                         "--transport-url", "fake://", "--database_connection", cell1)  # fmt: skip
            self._manage(log, "nova-manage", config, "db", "sync")
            self._manage(log, "cinder-manage", "cinder/cinder.conf", "db", "sync")

        with ThreadPoolExecutor(2) as pool:
            for future in [pool.submit(job) for job in (small_ones, nova_and_cinder)]:
                future.result()
        copy_databases(self.lab.cloud / "db", target)

    # Start and stop

    def start(self, log: StepLog, names: Sequence[str] = model.SERVICES, options: list[str] | None = None) -> None:
        """Start the services that do not run, and wait until they answer.

        Args:
            log: of the calling step.
            names: the services.
            options: arguments of ``docker create`` for servers, for the Nova driver.
        """
        self.configuration.write()  # a newer lab's code may come to an older lab's databases
        env = {**self.configuration.environment(), "LAB_CONTAINER_OPTIONS": json.dumps(options or [])}
        for name in names:
            if self.daemons[name].pid is None:
                self._check_port(name)
                log.write(f"start {name}")
                self.daemons[name].start(
                    [self.python, OPENSTACK / "serve.py", name, str(self.lab.ports[name])], env=env, cwd=self.lab.cloud
                )
        deadline = time.monotonic() + START_TIMEOUT_S
        for name in names:
            while not self.answers(name):
                daemon = self.daemons[name]
                if daemon.pid is None:
                    raise LabError(f"{name} ended while it started\n{daemon.tail()}")
                if time.monotonic() > deadline:
                    raise LabError(f"{name} does not answer after {START_TIMEOUT_S} s\n{daemon.tail()}")
                time.sleep(0.1)
            log.write(f"{name} answers")

    def _check_port(self, name: str) -> None:
        """Refuse to start a service whose port somebody else has: their answers would pass for ours."""
        port = self.lab.ports[name]
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((self.lab.address, port))
            except OSError as error:
                raise LabError(
                    f"{name} cannot listen on {self.lab.address}:{port} ({error.strerror}); "
                    f"end what listens there (ss -ltnp 'sport = :{port}'), perhaps a lab of another checkout"
                ) from error

    def answers(self, name: str, timeout: float = 5) -> bool:
        """Whether a service of ours runs and speaks HTTP at its address."""
        if self.daemons[name].pid is None:
            return False
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"http://{self.lab.address}:{self.lab.ports[name]}/", timeout=timeout):
                return True
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False

    def stop(self) -> None:
        """Kill the services; their databases stand that, and what they leave behind is thrown away anyway."""
        with ThreadPoolExecutor(len(self.daemons)) as pool:
            list(pool.map(lambda daemon: daemon.stop(kill=True), self.daemons.values()))

    # The empty cloud

    def save_pristine(self) -> None:
        """Keep a copy of the databases and files as they are now."""
        temporary = self.lab.pristine.with_suffix(".new")
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        temporary.chmod(0o700)
        copy_databases(self.lab.cloud / "db", temporary / "db")
        shutil.copytree(self.lab.cloud / "lib", temporary / "lib")
        shutil.rmtree(self.lab.pristine, ignore_errors=True)
        temporary.rename(self.lab.pristine)

    def restore_pristine(self) -> None:
        """Put the copy back; the services must be stopped."""
        for name in ("db", "lib"):
            shutil.rmtree(self.lab.cloud / name, ignore_errors=True)
        copy_databases(self.lab.pristine / "db", self.lab.cloud / "db")
        shutil.copytree(self.lab.pristine / "lib", self.lab.cloud / "lib")


def existing_cloud(lab: model.Lab) -> Cloud:
    """The cloud of a lab that has been raised.

    Raises:
        LabError: there is none.
    """
    if not lab.venv.is_symlink():
        raise LabError(f"there is no lab; raise it with `lab/lab {'--fake ' if lab.fake else ''}up`")
    return Cloud(lab, lab.venv.resolve())


def copy_databases(source: Path, target: Path) -> None:
    """Copy every database, whole even if it is in use, with a write-ahead log: readers do not wait for the writer."""
    target.mkdir(parents=True, exist_ok=True)
    for name in DATABASES:
        origin = sqlite3.connect(source / f"{name}.db", timeout=60)
        copy = sqlite3.connect(target / f"{name}.db")
        origin.backup(copy)
        copy.execute("pragma journal_mode=wal")
        origin.close()
        copy.close()


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
