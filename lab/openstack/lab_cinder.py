"""A Cinder volume driver without storage of its own.

A volume is a record; a boot volume becomes real when the Nova driver starts a server from it, and is removed here,
where a volume's life ends.
"""

from __future__ import annotations

import os
from typing import Any

from cinder import interface
from cinder.volume import driver
from lab_docker import remove_disk


@interface.volumedriver
class LabVolumeDriver(driver.VolumeDriver):
    VERSION = "1.0"

    def _nothing(self, *args: Any, **kwargs: Any) -> None:
        return None

    do_setup = check_for_setup_error = _nothing
    create_volume = extend_volume = _nothing
    create_snapshot = delete_snapshot = create_cloned_volume = _nothing
    create_volume_from_snapshot = revert_to_snapshot = _nothing
    ensure_export = create_export = remove_export = _nothing
    terminate_connection = migrate_volume = unmanage = _nothing
    manage_existing = manage_existing_get_size = _nothing

    def delete_volume(self, volume: Any) -> None:
        if not os.environ.get("LAB_FAKE"):
            remove_disk(volume.id)

    def clone_image(
        self, context: Any, volume: Any, location: Any, meta: Any, service: Any
    ) -> tuple[dict[str, Any], bool]:
        return {}, True  # "cloned": so that nothing calls qemu-img

    def copy_volume_to_image(self, context: Any, volume: Any, image_service: Any, image_meta: Any) -> None:
        image_service.update(context, image_meta["id"], {}, b"volume")

    def initialize_connection(self, volume: Any, connector: Any) -> dict[str, Any]:
        return {"driver_volume_type": "fake", "data": {"volume_id": volume.id}}

    def _update_volume_stats(self) -> None:
        self._stats = {
            "volume_backend_name": self.configuration.volume_backend_name,
            "vendor_name": "lab",
            "driver_version": self.VERSION,
            "storage_protocol": "fake",
            "total_capacity_gb": 100000,
            "free_capacity_gb": 90000,
            "reserved_percentage": 0,
            "multiattach": False,
        }
