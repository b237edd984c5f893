"""The lab's facts: addresses, ports, names, sizes and paths, in one place."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

LAB_DIR = Path(__file__).resolve().parent.parent
REPOSITORY = LAB_DIR.parent

REGION = "ru-7"
ZONES = ("ru-7a", "ru-7b")
SUBNET = "10.77.0.0/24"
GATEWAY = "10.77.0.1"
MTU = 1450
EXTERNAL_SUBNET = "198.51.100.0/24"
DOCKER_NETWORK = "gpuswarm-lab"
PREFIX = "gpuswarm-lab"
REGISTRY_PORT = 5000

DOMAIN = "123456"  # Selectel's domains are account numbers
PROJECT = "gpuswarm"
USER = "gpuswarm-service"

SERVICES = ("keystone", "placement", "glance", "neutron", "cinder", "nova")


@dataclass(frozen=True)
class Flavor:
    """A Nova flavor. ``disk`` is always 0: such servers boot from a network volume."""

    name: str
    vcpus: int
    ram_mb: int


MANAGER_FLAVOR = Flavor("SL1.2-4096", 2, 4096)
GPU_FLAVOR = Flavor("GL10.8-32768-0-1GPU", 8, 32768)
FLAVORS = (MANAGER_FLAVOR, GPU_FLAVOR)
GPU_SERVERS_PER_ZONE = 5

# One compute host per zone, with room for exactly this.
HOST_VCPUS = GPU_SERVERS_PER_ZONE * GPU_FLAVOR.vcpus + MANAGER_FLAVOR.vcpus
HOST_MEMORY_MB = GPU_SERVERS_PER_ZONE * GPU_FLAVOR.ram_mb + MANAGER_FLAVOR.ram_mb

# Glance image -> image of the Docker engine that a server's disk starts from.
NODE_IMAGES = {
    "debian-12": f"{PREFIX}/node:debian-12",
    "debian-12-docker": f"{PREFIX}/node:debian-12-docker",
    "debian-13-docker": f"{PREFIX}/node:debian-13-docker",
}
# Image in the lab's registry -> its build directory below lab/images.
MODEL_IMAGE = "ollama:lab"
REGISTRY_IMAGES = {MODEL_IMAGE: "ollama", "nginx:lab": "nginx", "mtail:lab": "mtail"}
# A model that servers have to pull; the registry has it beside the images, as Ollama's own has.
SECOND_MODEL = "tiny-too"


def compute_host(zone: str) -> str:
    """Name of the one Nova compute host of an availability zone."""
    return f"compute-{zone}"


def volume_type(zone: str) -> str:
    """Name of the zone's volume type, in Selectel's form ``<type>.<zone>``."""
    return f"fast.{zone}"


@dataclass(frozen=True)
class Lab:
    """One lab on this machine: where it listens and where its files are.

    Args:
        fake: servers exist in Nova's memory only (no Docker, no images, no registry); other ports and state
            directory, so that it runs beside the real one.
        root: directory that holds ``cache`` and the state directory.
    """

    fake: bool = False
    root: Path = field(default=REPOSITORY / "build")

    @property
    def name(self) -> str:
        """Name of the state directory."""
        return "lab-fake" if self.fake else "lab"

    @property
    def address(self) -> str:
        """Address that APIs and registry listen on."""
        return "127.0.0.1" if self.fake else GATEWAY

    @property
    def ports(self) -> dict[str, int]:
        """TCP port of every OpenStack service."""
        ports = dict(zip(SERVICES, (15000, 18778, 19292, 19696, 18776, 18774), strict=True))
        return {name: port + 10000 if self.fake else port for name, port in ports.items()}

    def url(self, service: str) -> str:
        """Base URL of a service, with the path that clients expect in the catalog."""
        path = {"keystone": "/v3", "nova": "/v2.1", "cinder": "/v3"}.get(service, "")
        return f"http://{self.address}:{self.ports[service]}{path}"

    @property
    def registry(self) -> str:
        """Address of the image registry, as it stands in image names."""
        return f"{self.address}:{REGISTRY_PORT}"

    @property
    def cache(self) -> Path:
        """What is expensive to make and holds no secret; survives ``down``."""
        return self.root / "cache"

    @property
    def state(self) -> Path:
        """Everything that belongs to the running lab; removed by ``down``."""
        return self.root / self.name

    @property
    def logs(self) -> Path:
        """Logs of services and of the steps of commands."""
        return self.state / "log"

    @property
    def cloud(self) -> Path:
        """Configuration, databases and data of the OpenStack services."""
        return self.state / "cloud"

    @property
    def pristine(self) -> Path:
        """Copy of the databases of the empty cloud; ``reset`` goes back to it."""
        return self.state / "pristine"

    @property
    def venv(self) -> Path:
        """Link to the virtual environment with the OpenStack services."""
        return self.state / "venv"

    @property
    def run(self) -> Path:
        """Pid files."""
        return self.state / "run"

    @property
    def signals(self) -> Path:
        """Marker files read by the Nova driver: ``preempted-<server id>`` and ``exhausted-<zone>``."""
        return self.state / "signals"

    @property
    def admin_clouds(self) -> Path:
        """The cloud's admin's clouds.yaml."""
        return self.state / "admin-clouds.yaml"

    @property
    def member_clouds(self) -> Path:
        """The ordinary member's clouds.yaml."""
        return self.state / "clouds.yaml"

    @property
    def ssh_key(self) -> Path:
        """The operator's private SSH key."""
        return self.state / "id_ed25519"

    @property
    def env_file(self) -> Path:
        """Shell file with the variables that clients need."""
        return self.state / "env.sh"
