# SPDX-License-Identifier: Apache-2.0
"""Root file systems of the test bed's servers: what their images hold, unpacked."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

from lab.gpuswarm_lab.cache import cached, digest
from lab.gpuswarm_lab.engine import PACKAGES, install_packages
from lab.gpuswarm_lab.images import BASES, IMAGES, make_base, ollama_files
from lab.gpuswarm_lab.steps import StepLog
from lab.gpuswarm_lab.tiny_model import write_model
from tests.kit.paths import BUILD

CACHE = BUILD / "cache"
PACKAGE_COMMANDS = ("mmdebstrap", "unzip", "gcc", "strip", "ip", "iptables", "docker-registry")
NEEDED = {
    **{command: PACKAGES[command] for command in PACKAGE_COMMANDS},
    "/usr/share/keyrings/debian-archive-keyring.gpg": "debian-archive-keyring",
    "/usr/include/stdlib.h": "libc6-dev",
    "dnsmasq": "dnsmasq-base",
    "openssl": "openssl",
}


def prepare(log: StepLog) -> dict[str, Path]:
    """Root file systems of nginx, mtail, and Ollama with one tiny model, made if they are not in the cache."""
    install_packages(log, NEEDED)

    def unpack(name: str, target: Path) -> None:
        tar, _ = make_base(name, log, CACHE)
        target.mkdir()
        log.run("tar", "--extract", "--file", tar, "--directory", target)
        (target / "gpuswarm").mkdir()

    def ollama(target: Path) -> None:
        unpack("ollama", target)
        ollama_files(log, target / "rootfs", CACHE)
        log.run("cp", "-a", f"{target}/rootfs/.", target)
        model = target / "tmp" / "model"
        model.mkdir()
        write_model(model / "tiny.gguf")
        shutil.copy(IMAGES / "ollama" / "Modelfile", model)
        create = (
            "ip link set lo up; export HOME=/root; cd /tmp/model; ollama serve & "
            "for _ in $(seq 100); do ollama list && break; sleep 0.2; done; ollama create tiny -f Modelfile"
        )
        # In a network of its own: the port may be taken.
        log.run("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "bash", "-euc",
                f'ip link set lo up; mount -t proc proc "$0/proc"; mount --rbind /dev "$0/dev"; '
                f"exec chroot \"$0\" /bin/bash -c '{create.replace('ip link set lo up; ', '')}'", target)  # fmt: skip
        shutil.rmtree(model)

    code = Path(__file__).read_text()
    images = IMAGES / "ollama"
    return {
        **{
            name: cached(CACHE, f"bed-{name}", digest(repr(BASES[name]), code), partial(unpack, name))[0]
            for name in ("nginx", "mtail")
        },
        "ollama": cached(CACHE, "bed-ollama", digest(repr(BASES["ollama"]), images, code), ollama)[0],
    }
