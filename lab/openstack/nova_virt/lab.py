"""nova.virt.lab: a Nova virt driver whose servers are systemd containers of the Docker engine.

What it does not override is Nova's own in-tree fake driver. The containers are the only truth about servers and
disks, so that nova-compute can be restarted:

- ``…-server-<server id>`` is a server that is on this host, running or stopped;
- ``…-disk-<volume id>`` is a boot volume that no server runs from. A boot volume's files are the container's own:
  to shelve a server is to rename its container, and to unshelve it is to rename it back and start it. Only when
  another server takes the volume over is the container committed to an image and made anew, because a container's
  name, address and labels are fixed;
- a boot volume's ``/var/lib/docker`` is a Docker volume (a nested engine cannot work on overlayfs), and goes with it.

Environment: see ``Configuration.environment`` in ``lab/gpuswarm_lab/config.py``.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import tarfile
import threading
import time
import uuid
from pathlib import Path
from typing import Any

from lab_docker import (
    LABEL,
    REBOOT_EXIT,
    Change,
    DockerError,
    change,
    data_volume,
    disk_container,
    disk_image,
    docker,
    is_on,
    server_container,
)
from nova import exception
from nova.compute import power_state
from nova.image import glance
from nova.virt import driver, event, fake, hardware
from nova.volume import cinder
from oslo_log import log as logging

LOG = logging.getLogger(__name__)

# An image may have 127 layers; a disk that was taken over this often is flattened to one.
# Of the user debian, as the images have it.
USER_ID = 1000
MAX_LAYERS = 90
STOP_TIMEOUT_S = 10
LIFECYCLE = {Change.STARTED: event.EVENT_LIFECYCLE_STARTED, Change.STOPPED: event.EVENT_LIFECYCLE_STOPPED}


class FakeDriver(fake.FakeDriver):
    """Nova's own fake, with a size and zone from the environment and a node id that survives a restart."""

    vcpus = int(os.environ["LAB_VCPUS"])
    memory_mb = int(os.environ["LAB_MEMORY_MB"])
    local_gb = 100000

    def get_nodenames_by_uuid(self, refresh: bool = False) -> dict[str, str]:
        return {str(uuid.uuid5(uuid.NAMESPACE_DNS, name)): name for name in self._nodes}

    def get_available_resource(self, nodename: str) -> dict[str, Any]:
        resources: dict[str, Any] = super().get_available_resource(nodename)
        resources["uuid"] = str(uuid.uuid5(uuid.NAMESPACE_DNS, nodename))
        return resources

    def update_provider_tree(self, provider_tree: Any, nodename: str, allocations: Any = None) -> None:
        """Report the host's room to Placement: none while its zone is marked as exhausted."""
        super().update_provider_tree(provider_tree, nodename, allocations=allocations)
        if signal("exhausted", nodename.removeprefix("compute-")).exists():
            inventory = provider_tree.data(nodename).inventory
            for resource in inventory.values():
                resource["reserved"] = resource["total"]
            provider_tree.update_inventory(nodename, inventory)


def signal(kind: str, subject: str) -> Path:
    """Marker file by which ``lab/lab`` tells this driver something."""
    return Path(os.environ["LAB_SIGNALS"]) / f"{kind}-{subject}"


class DockerDriver(FakeDriver):
    def init_host(self, host: str) -> None:
        super().init_host(host)
        docker("version")
        self.host = host
        self.options: list[str] = json.loads(os.environ["LAB_CONTAINER_OPTIONS"])
        self.image_api = glance.API()
        self.volume_api = cinder.API()
        threading.Thread(target=self._watch, name="docker-events", daemon=True).start()

    def _watch(self) -> None:
        """Follow what servers do behind Nova's back, for as long as the process lives."""
        attributes = '{{index .Actor.Attributes "' + LABEL + 'server"}} {{index .Actor.Attributes "exitCode"}}'
        command = ["docker", "events", "--filter", f"label={LABEL}host={self.host}", "--filter", "event=die",
                   "--filter", "event=start", "--format", "{{.Action}} " + attributes]  # fmt: skip
        while True:
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as events:
                with contextlib.suppress(DockerError):  # without an engine there is nothing to catch up with
                    for server_id in self._servers('{{.Label "' + LABEL + 'server"}}', f"exited={REBOOT_EXIT}"):
                        self._handle("die", server_id, str(REBOOT_EXIT))
                for line in events.stdout or ():
                    self._handle(*line.split())
            time.sleep(1)

    def _handle(self, action: str, server_id: str, exit_code: str = "") -> None:
        """Tell Nova that a server stopped or started. One that reboots starts again; to Nova it never stopped."""
        what = change(action, exit_code, preempted=signal("preempted", server_id).exists())
        if what is Change.REBOOTS:
            LOG.info("server %s reboots", server_id)
            try:
                docker("start", server_container(server_id))
            except DockerError:
                LOG.exception("server %s does not come back from its reboot", server_id)
                what = Change.STOPPED
        if what in LIFECYCLE:
            self.emit_event(event.LifecycleEvent(server_id, LIFECYCLE[what]))

    # What exists

    def _servers(self, form: str, *filters: str) -> list[str]:
        which = [f"label={LABEL}host={self.host}", f"name=^{server_container('')}", *filters]
        return docker("ps", "-a", "--format", form, *(f"--filter={what}" for what in which)).split()

    def list_instances(self) -> list[str]:
        return self._servers('{{.Label "' + LABEL + 'instance"}}')

    def list_instance_uuids(self) -> list[str]:
        return self._servers('{{.Label "' + LABEL + 'server"}}')

    def instance_exists(self, instance: Any) -> bool:
        return instance.uuid in self.list_instance_uuids()

    def get_num_instances(self) -> int:
        return len(self.list_instances())

    def get_info(self, instance: Any, use_cache: bool = True) -> Any:
        form = "{{.State.Status}} {{.State.ExitCode}} {{.State.Error}}"
        found = docker("inspect", "--format", form, server_container(instance.uuid), check=False)
        if not found:
            raise exception.InstanceNotFound(instance_id=instance.uuid)
        status, exit_code, *error = found.split(maxsplit=2)
        if status == "paused":
            return hardware.InstanceInfo(state=power_state.PAUSED)
        on = is_on(status, exit_code, "".join(error))
        return hardware.InstanceInfo(state=power_state.RUNNING if on else power_state.SHUTDOWN)

    # Life

    def spawn(
        self,
        context: Any,
        instance: Any,
        image_meta: Any,
        injected_files: Any,
        admin_password: Any,
        allocations: Any,
        network_info: Any = None,
        block_device_info: Any = None,
        power_on: bool = True,
        accel_info: Any = None,
    ) -> None:
        for vif in network_info or []:  # waits for the asynchronous allocation
            self._interfaces[vif["id"]] = vif
        address = network_info[0].fixed_ips()[0]["address"] if network_info else ""
        volume = boot_volume(block_device_info)
        name = server_container(instance.uuid)
        try:
            if not (volume and self._take_back(instance, volume, address)):
                self._create(context, instance, image_meta, volume, address)
            if power_on:
                docker("start", name)
        except DockerError as error:
            if not volume:
                docker("rm", "-f", "-v", name, check=False)
            elif docker("ps", "-aq", "--filter", f"name=^{name}$"):
                self._keep_disk(instance, volume)
            raise exception.NovaException(str(error)) from error

    def _take_back(self, instance: Any, volume: str, address: str) -> bool:
        """Make a kept disk a server again; false if it was another server's, or on another host or address."""
        form = (
            '{{index .Config.Labels "' + LABEL + 'server"}} {{index .Config.Labels "' + LABEL + 'host"}} '
            '{{index .Config.Labels "' + LABEL + 'address"}}'
        )
        found = docker("inspect", "--type", "container", "--format", form, disk_container(volume), check=False)
        if found.split() != [instance.uuid, self.host, address]:
            return False
        docker("rename", disk_container(volume), server_container(instance.uuid))
        return True

    def _create(self, context: Any, instance: Any, image_meta: Any, volume: str | None, address: str) -> None:
        name = server_container(instance.uuid)
        command = ["create", "--name", name, "--hostname", instance.hostname or instance.display_name]
        labels = {
            "server": instance.uuid,
            "instance": instance.name,
            "name": instance.display_name,
            "host": self.host,
            "address": address,
        }
        if volume:
            labels["volume"] = volume
            command += ["--volume", f"{data_volume(volume)}:/var/lib/docker"]
        else:
            command += ["--volume", "/var/lib/docker"]
        for label, value in labels.items():
            command += ["--label", f"{LABEL}{label}={value}"]
        if address:
            command += ["--network", os.environ["LAB_DOCKER_NETWORK"], "--ip", address]
        docker(*command, *self.options, self._image(context, image_meta, volume))
        docker("cp", "-", f"{name}:/", data=authorized_keys(keys_on_disk(name), instance.key_data))

    def _image(self, context: Any, image_meta: Any, volume: str | None) -> str:
        """Docker image that a new container starts from: what is on its boot volume, else its Glance image."""
        if volume:
            tag = disk_image(volume)
            if docker("ps", "-aq", "--filter", f"name=^{disk_container(volume)}$"):
                docker("commit", "--pause=false", disk_container(volume), tag)
                docker("rm", disk_container(volume))
                flatten(tag)
            if docker("images", "-q", tag):
                return tag
            properties = self.volume_api.get(context, volume)["volume_image_metadata"]
        else:
            properties = self.image_api.get(context, image_meta.id)["properties"]
        if not properties.get("docker_image"):
            raise exception.NovaException("the image has no property docker_image: it is not one of the lab's")
        return str(properties["docker_image"])

    def _keep_disk(self, instance: Any, volume: str) -> None:
        docker("rename", server_container(instance.uuid), disk_container(volume))

    def destroy(
        self,
        context: Any,
        instance: Any,
        network_info: Any,
        block_device_info: Any = None,
        destroy_disks: bool = True,
        destroy_secrets: bool = True,
    ) -> None:
        """Take the server off the host. Its boot volume stays until Cinder deletes it."""
        name = server_container(instance.uuid)
        volume = boot_volume(block_device_info)
        if volume and docker("ps", "-aq", "--filter", f"name=^{name}$"):
            docker("kill", name, check=False)
            self._keep_disk(instance, volume)
        else:
            docker("rm", "-f", "-v", name, check=False)
        signal("preempted", instance.uuid).unlink(missing_ok=True)

    def cleanup(self, context: Any, instance: Any, network_info: Any, *args: Any, **kwargs: Any) -> None:
        pass

    def power_off(self, instance: Any, timeout: int = 0, retry_interval: int = 0) -> None:
        if signal("preempted", instance.uuid).exists():
            docker("kill", server_container(instance.uuid), check=False)  # no clean stop
        else:
            docker("stop", "--time", str(min(timeout, STOP_TIMEOUT_S)), server_container(instance.uuid))

    def power_on(self, context: Any, instance: Any, *args: Any, **kwargs: Any) -> None:
        docker("start", server_container(instance.uuid))

    def reboot(
        self, context: Any, instance: Any, network_info: Any, reboot_type: str, *args: Any, **kwargs: Any
    ) -> None:
        timeout = STOP_TIMEOUT_S if reboot_type == "SOFT" else 0
        docker("restart", "--time", str(timeout), server_container(instance.uuid))

    def pause(self, instance: Any) -> None:
        docker("pause", server_container(instance.uuid))

    def unpause(self, instance: Any) -> None:
        docker("unpause", server_container(instance.uuid))

    def suspend(self, context: Any, instance: Any) -> None:
        docker("pause", server_container(instance.uuid))

    def resume(self, context: Any, instance: Any, network_info: Any, block_device_info: Any = None) -> None:
        docker("unpause", server_container(instance.uuid))

    def get_console_output(self, context: Any, instance: Any) -> bytes:
        return docker("logs", "--tail", "1000", server_container(instance.uuid)).encode()


def boot_volume(block_device_info: Any) -> str | None:
    """Cinder id of the volume that a server boots from."""
    for mapping in driver.block_device_info_get_mapping(block_device_info):
        if mapping["boot_index"] == 0:
            connection = mapping["connection_info"]
            return str(connection.get("serial") or connection["data"]["volume_id"])
    return None


def keys_on_disk(container: str) -> list[str]:
    """Public keys that a new server has already: those of an earlier server with the same boot volume."""
    archive = docker("cp", f"{container}:/home/debian/.ssh/authorized_keys", "-", check=False)
    if not archive:
        return []
    with tarfile.open(fileobj=io.BytesIO(archive.encode())) as tar:
        file = tar.extractfile(tar.getmembers()[0])
        return file.read().decode().splitlines() if file else []


def authorized_keys(present: list[str], key: str | None) -> bytes:
    """Tar archive that adds a server's key pair to its user's, as cloud-init does at a server's first boot."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        directory = tarfile.TarInfo("home/debian/.ssh")
        directory.type, directory.mode, directory.uid, directory.gid = tarfile.DIRTYPE, 0o700, USER_ID, USER_ID
        tar.addfile(directory)
        keys = [*present, key.strip()] if key and key.strip() not in present else present
        if keys:
            data = "".join(f"{line}\n" for line in keys).encode()
            entry = tarfile.TarInfo("home/debian/.ssh/authorized_keys")
            entry.size, entry.mode, entry.uid, entry.gid = len(data), 0o600, USER_ID, USER_ID
            tar.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def flatten(tag: str) -> None:
    """Make an image one layer, once it has many."""
    if int(docker("image", "inspect", "--format", "{{len .RootFS.Layers}}", tag)) < MAX_LAYERS:
        return
    config = json.loads(docker("image", "inspect", "--format", "{{json .Config}}", tag))
    container = docker("create", tag)
    try:
        changes = [f"ENV {item}" for item in config["Env"]] + [f"CMD {json.dumps(config['Cmd'])}"]
        export = subprocess.Popen(["docker", "export", container], stdout=subprocess.PIPE)
        options = [word for change in changes for word in ("--change", change)]
        subprocess.run(["docker", "import", *options, "-", tag], stdin=export.stdout, check=True, timeout=600)
        export.wait(timeout=60)
    finally:
        docker("rm", "-v", container, check=False)


__all__ = ["DockerDriver", "FakeDriver"]
