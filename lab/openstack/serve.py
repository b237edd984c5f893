"""``serve.py SERVICE PORT``: one OpenStack service, its API behind waitress.

The back-end services of Nova and Cinder run in the same process as their API and talk over oslo.messaging's
in-process transport, so that there is no message broker.
"""

from __future__ import annotations

import importlib
import json
import os
import socket
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import sqlite_locks  # noqa: F401 (first: it patches what the services import)
import waitress

NAME, PORT = sys.argv[1], int(sys.argv[2])
HERE = Path(__file__).resolve().parent
SERVICES: list[Any] = []  # keeps the back-end services alive
PLAIN = {
    "keystone": "keystone.wsgi.api",
    "placement": "placement.wsgi.api",
    "glance": "glance.wsgi.api",
    "neutron": "neutron.wsgi.api",
}


def wait_for_the_others() -> None:
    """Wait until every other service listens: Nova's compute hosts look for them only once, when they start."""
    ports: dict[str, int] = json.loads(os.environ["LAB_PORTS"])
    deadline = time.monotonic() + 120
    for name, port in ports.items():
        while name != NAME:
            try:
                socket.create_connection((os.environ["LAB_ADDRESS"], port), 5).close()
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)


def nova() -> Any:
    import nova.virt.node

    nova.virt.__path__.append(str(HERE / "nova_virt"))  # lets compute_driver find ours
    # Parses nova.conf and sets up messaging; and forbids eventlet, so it comes before what would import that.
    from nova.wsgi import osapi_compute

    # isort: split
    import nova.conf
    import os_brick
    import os_vif
    from nova import context, objects, service
    from nova.compute import rpcapi as compute
    from nova.conductor import rpcapi as conductor
    from nova.objects import host_mapping
    from nova.scheduler import rpcapi as scheduler
    from oslo_service import opts

    wait_for_the_others()
    conf = nova.conf.CONF
    opts.register_service_opts(conf)
    os_brick.setup(conf)
    os_vif.initialize()
    objects.register_all()
    nova.virt.node.get_local_node_uuid()  # writes the file that a restart wants
    plan = [
        ("nova-conductor", conductor.RPC_TOPIC, None, conf.host),
        ("nova-scheduler", scheduler.RPC_TOPIC, None, conf.host),
    ]
    plan += [
        ("nova-compute", compute.RPC_TOPIC, compute.RPC_TOPIC_ALT, f"compute-{zone}")
        for zone in os.environ["LAB_ZONES"].split(",")
    ]
    for binary, topic, alternative, host in plan:
        backend = service.Service.create(binary=binary, topic=topic, topic_alt=alternative, host=host)
        backend.start()
        SERVICES.append(backend)
    host_mapping.discover_hosts(context.get_admin_context())
    return osapi_compute.application


def cinder() -> Any:
    # Cinder has no variable that names the directory of its configuration.
    sys.argv += ["--config-file", str(Path(os.environ["OS_CINDER_CONFIG_DIR"]) / "cinder.conf")]
    from cinder import monkey_patch

    monkey_patch.patch(backend="threading")
    import os_brick
    from cinder import service
    from cinder.common import constants
    from cinder.wsgi import api  # parses cinder.conf, sets up messaging
    from oslo_config import cfg

    conf = cfg.CONF
    os_brick.setup(conf)
    plan = [("cinder-scheduler", conf.host, None)]
    plan += [(constants.VOLUME_BINARY, f"{conf.host}@{backend}", backend) for backend in conf.enabled_backends]
    for binary, host, backend in plan:
        started = service.Service.create(
            binary=binary, host=host, service_name=backend, coordination=backend is not None
        )
        started.start()
        SERVICES.append(started)
    return api.application


def application() -> Any:
    sys.argv = [NAME]  # the services parse the command line as their own
    if NAME in PLAIN:
        return importlib.import_module(PLAIN[NAME]).application
    return {"nova": nova, "cinder": cinder}[NAME]()


try:
    app = application()
except BaseException:  # noqa: BLE001 (whatever it was, it must be seen)
    traceback.print_exc()
    os._exit(1)  # threads of half-started services would keep the process alive
waitress.serve(app, host=os.environ["LAB_ADDRESS"], port=PORT, threads=8, ident="lab", channel_timeout=600)
