#!/usr/bin/python
# Copyright: (c) 2026, gpuswarm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What services plug in with: routes, scrape targets, rules and dashboards."""

from __future__ import annotations

DOCUMENTATION = r"""
module: services_info
short_description: What services plug in with
version_added: 0.1.0
description:
  - Reads the files that roles of services write beside their compose files, C(routes.json), C(targets.json),
    C(rules.json) and C(dashboards/*.json), each below the directory of its service, and checks all of them.
  - A file that does not keep the contract, and a path that two services want, is an error that names the file, the
    field, and what it must be.
  - In check mode it reads what is there, too, and not what the run would write.
author:
  - gpuswarm contributors (@gpuswarm)
extends_documentation_fragment:
  - gpuswarm.ollama.attributes.info
options:
  directory:
    description: Where each service has its directory, by its name.
    type: path
    required: true
  services:
    description: Names of the services. One without any of the files plugs nothing in.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Read what the services plug in with
  gpuswarm.ollama.services_info:
    directory: /opt/gpuswarm/stack
    services: "{{ cluster_services }}"
  register: plugged_in
"""

RETURN = r"""
routes:
  description: Routes of all services, with their defaults, and what nginx needs of them.
  type: list
  elements: dict
  returned: success
ready:
  description: What the gateway's C(/ready) asks, C(upstream) and C(path); empty if no service says so.
  type: dict
  returned: success
serves:
  description: Names of the models that services serve.
  type: list
  elements: str
  returned: success
targets:
  description: Scrape targets of all services, with their defaults.
  type: list
  elements: dict
  returned: success
rules:
  description: Files with rules, by the name of their service.
  type: dict
  returned: success
dashboards:
  description: Files with dashboards.
  type: list
  elements: str
  returned: success
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.gpuswarm.ollama.plugins.module_utils._core import services


def files_of(directory: Path) -> dict[str, str]:
    """Texts of a service's files, by their path below its directory.

    :raises OSError: one cannot be read.
    """
    names = [services.ROUTES, services.TARGETS, services.RULES]
    names += sorted(f"{services.DASHBOARDS}/{path.name}" for path in directory.glob(f"{services.DASHBOARDS}/*.json"))
    return {name: (directory / name).read_text(encoding="utf-8") for name in names if (directory / name).exists()}


def look(directory: Path, names: Iterable[str]) -> dict[str, Any]:
    """What the services plug in with, as the module returns it.

    :raises OSError: a file cannot be read.
    :raises ServiceError: a file does not keep the contract.
    """
    found = [services.service(name, files_of(directory / name)) for name in names]
    services.check(found)
    return {
        "routes": [route.plain() for route in services.routes(found)],
        "ready": next(({"upstream": each.ready.upstream, "path": each.ready.path} for each in found if each.ready), {}),
        "serves": list(dict.fromkeys(model for each in found for model in each.serves)),
        "targets": [vars(target) for each in found for target in each.targets],
        "rules": {each.name: str(directory / each.name / services.RULES) for each in found if each.rules},
        "dashboards": [str(directory / each.name / path) for each in found for path in each.dashboards],
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "directory": {"type": "path", "required": True},
            "services": {"type": "list", "elements": "str", "required": True},
        },
        supports_check_mode=True,
    )
    directory = Path(module.params["directory"])
    try:
        found = look(directory, module.params["services"])
    except services.ServiceError as error:
        module.fail_json(msg=f"{directory}/{error}")
    except (OSError, UnicodeDecodeError) as error:
        module.fail_json(msg=f"what services plug in with must be readable text: {error}")
    module.exit_json(changed=False, **found)


if __name__ == "__main__":
    main()
