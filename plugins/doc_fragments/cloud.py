# Copyright: (c) 2026, gpuswarm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the options that say how to reach the cloud."""

from __future__ import annotations


class ModuleDocFragment:
    """Used as C(gpuswarm.ollama.cloud)."""

    DOCUMENTATION = r"""
options:
  cloud:
    description:
      - Name of the cloud in C(clouds.yaml).
      - If neither this nor O(auth) is given, the environment decides (E(OS_CLOUD), E(OS_AUTH_URL) and so on).
    type: str
  auth:
    description:
      - Credentials, if they are not in C(clouds.yaml). They override what the cloud's entry says.
      - For Selectel, O(auth.auth_url) is C(https://cloud.api.selcloud.ru/identity/v3), O(auth.username) a service user
        with the role C(member) in the project, and both domains are named after the account's number.
    type: dict
    suboptions:
      auth_url:
        description: Address of Keystone, with its version (ends in C(/v3)).
        type: str
      username:
        description: Name of the user.
        type: str
      user_id:
        description: ID of the user, instead of the name and the domain.
        type: str
      password:
        description: Password of the user.
        type: str
      project_name:
        description: Name of the project.
        type: str
      project_id:
        description: ID of the project, instead of the name and the domain.
        type: str
      user_domain_name:
        description: Name of the user's domain.
        type: str
      user_domain_id:
        description: ID of the user's domain.
        type: str
      project_domain_name:
        description: Name of the project's domain.
        type: str
      project_domain_id:
        description: ID of the project's domain.
        type: str
      application_credential_id:
        description: ID of an application credential, instead of a user and a password.
        type: str
      application_credential_name:
        description: Name of an application credential.
        type: str
      application_credential_secret:
        description: Secret of the application credential.
        type: str
  region_name:
    description: Region; at Selectel the pool, for example V(ru-7). By default the cloud's first.
    type: str
  interface:
    description: Which endpoints of the catalog are used. By default the cloud's, else V(public).
    type: str
    choices: [public, internal, admin]
  validate_certs:
    description: Whether TLS certificates are checked. By default what C(clouds.yaml) says, else they are.
    type: bool
  ca_cert:
    description: File with the certificates of the authorities to trust.
    type: path
  api_timeout:
    description:
      - Seconds that one request to an API may take.
      - Reads are repeated after connection errors, time-outs and HTTP 429 and 5xx, with growing pauses. What creates
        something is not; it is looked for instead, and requested again only if it is not there.
    type: float
    default: 30.0
  compute_microversion:
    description: Microversion of the compute API. At least 2.52 for tags, 2.47 for the names of flavors.
    type: str
    default: '2.72'
  token_cache:
    description:
      - Directory in which Keystone's token is kept between runs, in a file of mode C(0600) whose name is a hash of the
        credentials. So a token is asked for once in its life (24 hours at Selectel) and not at every run.
      - By default C(gpuswarm) in E(XDG_CACHE_HOME), else in C(~/.cache). An empty string switches it off.
    type: path
requirements:
  - openstacksdk >= 4.0
"""
