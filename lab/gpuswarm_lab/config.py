"""Configuration files of the OpenStack services."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from . import model

# A back-end service lives as long as its process, so it is never taken for dead.
NEVER_S = 10 * 365 * 86400

Sections = Mapping[str, Mapping[str, object]]


def render(sections: Sections) -> str:
    """INI text in the form that oslo.config reads."""
    lines: list[str] = []
    for section, options in sections.items():
        lines.append(f"[{section}]")
        lines += [
            f"{name} = {str(value).lower() if isinstance(value, bool) else value}" for name, value in options.items()
        ]
        lines.append("")
    return "\n".join(lines)


class Configuration:
    """Renders every service's configuration for one lab.

    Args:
        venv: the virtual environment, which also holds the services' static files.
        admin_password: of Keystone's admin, as which the services act.
    """

    def __init__(self, lab: model.Lab, venv: Path, admin_password: str) -> None:
        self.lab = lab
        self.venv = venv
        self.password = admin_password
        self.files = lab.cloud

    def database(self, name: str) -> str:
        """URL of one of the SQLite databases."""
        return f"sqlite:///{self.files}/db/{name}.db?timeout=60"

    def _database(self, name: str) -> dict[str, object]:
        return {"connection": self.database(name), "sqlite_synchronous": False}

    def _client(self) -> dict[str, object]:
        """How a service logs in to talk to another one."""
        return {
            "auth_url": self.lab.url("keystone"),
            "auth_type": "password",
            "username": "admin",
            "password": self.password,
            "project_name": "admin",
            "user_domain_id": "default",
            "project_domain_id": "default",
            "region_name": model.REGION,
        }

    def _common(self, name: str) -> dict[str, dict[str, object]]:
        return {
            "keystone_authtoken": {"www_authenticate_uri": self.lab.url("keystone"), **self._client()},
            "oslo_concurrency": {"lock_path": self.files / "lib/locks"},
            "DEFAULT": {"log_file": self.lab.logs / f"{name}.log", "state_path": self.files / "lib" / name},
        }

    def keystone(self) -> Sections:
        """Content of Keystone's configuration file."""
        return {
            "DEFAULT": {"log_file": self.lab.logs / "keystone.log", "public_endpoint": self.lab.url("keystone")[:-3]},
            "database": self._database("keystone"),
            "token": {"provider": "fernet", "expiration": 86400},
            "fernet_tokens": {"key_repository": self.files / "fernet"},
            "fernet_receipts": {"key_repository": self.files / "fernet"},  # else it looks below /etc
            "credential": {"key_repository": self.files / "credential"},
            "identity": {"password_hash_rounds": 4},  # bcrypt at full strength costs a second per login
            "cache": {"enabled": True, "backend": "oslo_cache.dict"},
        }

    def placement(self) -> Sections:
        """Content of Placement's configuration file."""
        common = self._common("placement")
        return {
            "DEFAULT": {"log_file": self.lab.logs / "placement.log"},
            "api": {"auth_strategy": "keystone"},
            "placement_database": self._database("placement"),
            "keystone_authtoken": common["keystone_authtoken"],
        }

    def glance(self) -> Sections:
        """Content of Glance's configuration file."""
        common = self._common("glance")
        data = self.files / "lib/glance"
        return {
            "DEFAULT": {
                "log_file": self.lab.logs / "glance.log",
                "enabled_backends": "fs:file",
                "enabled_import_methods": "[]",
                "node_staging_uri": f"file://{data}/staging",
                "worker_self_reference_url": self.lab.url("glance"),
                "image_cache_dir": data / "cache",
            },
            "glance_store": {"default_backend": "fs"},
            "fs": {"filesystem_store_datadir": data / "images"},
            "os_glance_staging_store": {"filesystem_store_datadir": data / "staging"},
            "os_glance_tasks_store": {"filesystem_store_datadir": data / "tasks"},
            "database": self._database("glance"),
            "paste_deploy": {"flavor": "keystone", "config_file": self.venv / "etc/glance/glance-api-paste.ini"},
            "keystone_authtoken": common["keystone_authtoken"],
        }

    def neutron(self) -> Sections:
        """Content of Neutron's configuration file."""
        common = self._common("neutron")
        return {
            **common,
            "DEFAULT": {
                **common["DEFAULT"],
                "core_plugin": "ml2",
                "service_plugins": "router",
                "transport_url": "fake://",
                "api_paste_config": self.venv / "etc/neutron/api-paste.ini",
                "auth_strategy": "keystone",
                "notify_nova_on_port_status_changes": True,
                "notify_nova_on_port_data_changes": True,
                "send_events_interval": 1,
                "dhcp_agent_notification": False,
                "global_physnet_mtu": model.MTU,
            },
            "database": self._database("neutron"),
            "ml2": {
                "type_drivers": "local,flat",
                "tenant_network_types": "local",
                "mechanism_drivers": "gpuswarm_lab",
                "extension_drivers": "port_security",
            },
            "ml2_type_flat": {"flat_networks": "*"},
            "quotas": {"quota_port": 500, "quota_security_group": 100, "quota_floatingip": 50},
            "nova": {"endpoint_type": "public", **self._client()},
        }

    def nova(self) -> Sections:
        """Content of Nova's configuration file."""
        common = self._common("nova")
        return {
            **common,
            "DEFAULT": {
                **common["DEFAULT"],
                "host": "controller",
                "my_ip": "127.0.0.1",
                "transport_url": "fake://",
                "compute_driver": "lab.FakeDriver" if self.lab.fake else "lab.DockerDriver",
                "enabled_apis": "osapi_compute",
                "shelved_offload_time": 0,
                "reclaim_instance_interval": 0,
                "report_interval": 10,
                "service_down_time": NEVER_S,
                "rpc_response_timeout": 60,
                "reserved_host_memory_mb": 0,
                "initial_cpu_allocation_ratio": 1.0,
                "initial_ram_allocation_ratio": 1.0,
                "initial_disk_allocation_ratio": 1.0,
                "block_device_allocate_retries_interval": 1,
                "block_device_allocate_retries": 180,
                "concurrency_backend": "threading",
            },
            "quota": {"instances": 60, "cores": -1, "ram": -1, "key_pairs": 100},
            "database": self._database("nova"),
            "api_database": self._database("nova_api"),
            "api": {"auth_strategy": "keystone"},
            "wsgi": {"api_paste_config": self.venv / "etc/nova/api-paste.ini"},
            "conductor": {"workers": 1},
            "scheduler": {"workers": 1},
            "glance": {"api_servers": self.lab.url("glance")},
            "neutron": self._client(),
            "placement": self._client(),
            # As at the provider: a server's volumes lie in its own zone.
            "cinder": {"catalog_info": "block-storage:cinder:publicURL", "cross_az_attach": False, **self._client()},
            "service_user": {"send_service_user_token": True, **self._client()},
            "vnc": {"enabled": False},
        }

    def cinder(self) -> Sections:
        """Content of Cinder's configuration file."""
        common = self._common("cinder")
        backends: dict[str, dict[str, object]] = {
            zone: {
                "volume_driver": "lab_cinder.LabVolumeDriver",
                "volume_backend_name": zone,
                "backend_availability_zone": zone,
            }
            for zone in model.ZONES
        }
        return {
            **common,
            "DEFAULT": {
                **common["DEFAULT"],
                "host": "storage",
                "my_ip": "127.0.0.1",
                "transport_url": "fake://",
                "auth_strategy": "keystone",
                "api_paste_config": self.venv / "etc/cinder/api-paste.ini",
                "resource_query_filters_file": self.venv / "etc/cinder/resource_filters.json",
                "enabled_backends": ",".join(model.ZONES),
                "storage_availability_zone": model.ZONES[0],
                "default_availability_zone": model.ZONES[0],
                "scheduler_driver_init_wait_time": 1,
                # No reports of life: Cinder keeps one service's id per process, so that every service in it would
                # report in the last one's row, and write its own zone there. Every few seconds a zone was gone.
                "report_interval": 0,
                "service_down_time": NEVER_S,
                "glance_api_servers": self.lab.url("glance"),
                "rootwrap_config": self.venv / "etc/cinder/rootwrap.conf",
                "quota_volumes": 200,
                "quota_gigabytes": -1,
                "per_volume_size_limit": -1,
            },
            **backends,
            "database": self._database("cinder"),
            "coordination": {"backend_url": f"file://{self.files}/lib/cinder/coordination"},
            "nova": {"interface": "public", **self._client()},
        }

    def write(self) -> None:
        """Write every file below the cloud's ``etc``."""
        glance = {"glance": "glance-api"}
        for service in model.SERVICES:
            path = self.files / "etc" / service / f"{glance.get(service, service)}.conf"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(render(getattr(self, service)()))
        # Nova looks for this one beside its own file, whatever nova.conf says.
        shutil.copy(self.venv / "etc/nova/api-paste.ini", self.files / "etc/nova/api-paste.ini")

    def environment(self) -> dict[str, str]:
        """Variables that tell the services where their configuration is, and the lab's drivers what they need."""
        etc = self.files / "etc"
        return {
            "OS_KEYSTONE_CONFIG_DIR": str(etc / "keystone"),
            "OS_KEYSTONE_CONFIG_FILES": "keystone.conf",
            "OS_PLACEMENT_CONFIG_DIR": str(etc / "placement"),
            "OS_GLANCE_CONFIG_DIR": str(etc / "glance"),
            "OS_NEUTRON_CONFIG_DIR": str(etc / "neutron"),
            "OS_NEUTRON_CONFIG_FILES": "neutron.conf",
            "OS_NOVA_CONFIG_DIR": str(etc / "nova"),
            "OS_CINDER_CONFIG_DIR": str(etc / "cinder"),
            "OS_NOVA_DISABLE_EVENTLET_PATCHING": "1",
            "OS_CINDER_DISABLE_EVENTLET_PATCHING": "1",
            "PYTHONPATH": str(model.LAB_DIR / "openstack"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONWARNINGS": "ignore",
            "LAB_ADDRESS": self.lab.address,
            "LAB_PORTS": json.dumps(self.lab.ports),
            "LAB_SIGNALS": str(self.lab.signals),
            "LAB_PREFIX": model.PREFIX,
            "LAB_DOCKER_NETWORK": model.DOCKER_NETWORK,
            "LAB_ZONES": ",".join(model.ZONES),
            "LAB_VCPUS": str(model.HOST_VCPUS),
            "LAB_MEMORY_MB": str(model.HOST_MEMORY_MB),
            "LAB_FAKE": "1" if self.lab.fake else "",
        }


def clouds_yaml(lab: model.Lab, cloud: str, auth: Mapping[str, str]) -> str:
    """A clouds.yaml with one cloud."""
    lines = [
        f"clouds:\n  {cloud}:\n    region_name: {model.REGION}\n    interface: public\n    identity_api_version: 3"
    ]
    lines.append(f"    auth:\n      auth_url: {lab.url('keystone')}")
    lines += [f'      {name}: "{value}"' for name, value in auth.items()]
    return "\n".join(lines) + "\n"
