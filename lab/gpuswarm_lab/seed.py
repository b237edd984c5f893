"""What the empty cloud holds: catalog, project and user, flavors, images, zones, volume types, networks."""

from __future__ import annotations

from typing import Any

from . import model
from .api import Api

# service -> type in the catalog
CATALOG = {
    "placement": "placement",
    "glance": "image",
    "neutron": "network",
    "nova": "compute",
    "cinder": "block-storage",
}


def seed_identity(api: Api, member: dict[str, str]) -> str:
    """Catalog entries, and the ordinary member with its own domain and project.

    Returns:
        Id of the member's project.
    """
    for name, kind in CATALOG.items():
        service = api.post("keystone", "/services", {"service": {"name": name, "type": kind}})["service"]["id"]
        for interface in ("public", "internal", "admin"):
            endpoint = {"service_id": service, "interface": interface, "region_id": model.REGION}
            api.post("keystone", "/endpoints", {"endpoint": {**endpoint, "url": api.lab.url(name)}})
    roles = {role["name"]: role["id"] for role in api.get("keystone", "/roles")["roles"]}
    if "service" not in roles:
        roles["service"] = api.post("keystone", "/roles", {"role": {"name": "service"}})["role"]["id"]
    admin = api.get("keystone", "/users?name=admin")["users"][0]["id"]
    admins = api.get("keystone", "/projects?name=admin")["projects"][0]["id"]
    api.put("keystone", f"/projects/{admins}/users/{admin}/roles/{roles['service']}")

    domain = api.post("keystone", "/domains", {"domain": {"name": member["user_domain_name"]}})["domain"]["id"]
    project = {"name": member["project_name"], "domain_id": domain}
    project_id: str = api.post("keystone", "/projects", {"project": project})["project"]["id"]
    user = {"name": member["username"], "password": member["password"], "domain_id": domain}
    user_id = api.post("keystone", "/users", {"user": {**user, "default_project_id": project_id}})["user"]["id"]
    api.put("keystone", f"/projects/{project_id}/users/{user_id}/roles/{roles['member']}")
    return project_id


def seed_compute(api: Api) -> None:
    """Flavors, and an aggregate per zone; waits for nothing: the compute hosts have reported when Nova answers."""
    for flavor in model.FLAVORS:
        body = {"name": flavor.name, "vcpus": flavor.vcpus, "ram": flavor.ram_mb, "disk": 0}
        api.post("nova", "/flavors", {"flavor": body})
    for zone in model.ZONES:
        aggregate = api.post("nova", "/os-aggregates", {"aggregate": {"name": zone, "availability_zone": zone}})
        host = {"add_host": {"host": model.compute_host(zone)}}
        api.post("nova", f"/os-aggregates/{aggregate['aggregate']['id']}/action", host)


def seed_images(api: Api) -> None:
    """Public Glance images. Their content is a word: the files are an image of the Docker engine."""
    for name, docker_image in model.NODE_IMAGES.items():
        image = {
            "name": name,
            "visibility": "public",
            "disk_format": "raw",
            "container_format": "bare",
            "min_disk": 1,
            "os_distro": "debian",
            "docker_image": docker_image,
        }
        created = api.post("glance", "/v2/images", image)["id"]
        path = f"/v2/images/{created}/file"
        api.put("glance", path, docker_image.encode(), content_type="application/octet-stream")


def seed_volumes(api: Api) -> None:
    """One volume type per zone, which refuses to be used in another one."""
    project = api.get("keystone", "/projects?name=admin")["projects"][0]["id"]
    for zone in model.ZONES:
        specs = {"volume_backend_name": zone, "RESKEY:availability_zones": zone}
        body: dict[str, Any] = {"name": model.volume_type(zone), "extra_specs": specs}
        api.post("cinder", f"/{project}/types", {"volume_type": body})


def seed_network(api: Api, project: str) -> None:
    """The member's private network, its router, and the external network that floating IPs come from."""

    def create(kind: str, body: dict[str, Any]) -> Any:
        return api.post("neutron", f"/v2.0/{kind}s", {kind: body})[kind]

    external = create(
        "network",
        {
            "name": "external-network",
            "router:external": True,
            "provider:network_type": "flat",
            "provider:physical_network": "public",
        },
    )
    create(
        "subnet",
        {
            "name": "external-subnet",
            "network_id": external["id"],
            "ip_version": 4,
            "cidr": model.EXTERNAL_SUBNET,
            "enable_dhcp": False,
        },
    )
    private = create("network", {"name": "private", "project_id": project})
    base = model.SUBNET.rpartition(".")[0]
    subnet = create(
        "subnet",
        {
            "name": "private-subnet",
            "network_id": private["id"],
            "project_id": project,
            "ip_version": 4,
            "cidr": model.SUBNET,
            "gateway_ip": model.GATEWAY,
            "allocation_pools": [{"start": f"{base}.100", "end": f"{base}.199"}],
        },
    )
    gateway = {"network_id": external["id"]}
    router = create("router", {"name": "router", "project_id": project, "external_gateway_info": gateway})
    api.put("neutron", f"/v2.0/routers/{router['id']}/add_router_interface", {"subnet_id": subnet["id"]})
