#!/usr/bin/python
# Copyright: (c) 2026, gpuswarm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is left on an account of Selectel, and what it was billed."""

from __future__ import annotations

DOCUMENTATION = r"""
module: selectel_billing_info
short_description: What is left on an account of Selectel, and what it was billed
version_added: 0.1.0
description:
  - Reads the account's balance and, for a period, what was billed for each server, disk and address.
  - B(Experimental). It goes by the interfaces as they are published; no answer of them has been seen live.
  - Runs where the account's token is, which is the operator's computer. The token is no option, so that it appears in
    no log, result or command line.
author:
  - gpuswarm contributors (@gpuswarm)
extends_documentation_fragment:
  - gpuswarm.ollama.attributes.info
options:
  token_variable:
    description: Name of the environment variable with the account's token. O(token_file) comes first.
    type: str
    default: SELECTEL_TOKEN
  token_file:
    description: File with the token, which nobody but its owner can read.
    type: path
  token_type:
    description: V(static) is a token that the account's owner has created in the control panel, V(iam) one of
      Keystone's for the account.
    type: str
    choices: [static, iam]
    default: static
  url:
    description: Address of the interfaces. Only C(https) is used.
    type: str
    default: https://api.selectel.ru
  ca_file:
    description: Certificates of the authorities that are trusted. The system's without it.
    type: path
  start:
    description: Beginning of the period, the beginning of an hour in ISO 8601. Without it only the balance is read.
    type: str
  end:
    description: End of the period, the beginning of the hour after its last one.
    type: str
  timezone:
    description: Time zone of the clocks that the interface goes by.
    type: str
    default: Europe/Moscow
  timeout:
    description: Seconds that one request may take. One that fails for a passing reason is repeated up to five times.
    type: int
    default: 60
seealso:
  - plugin: gpuswarm.ollama.cost_verify
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Read what is left on the account
  gpuswarm.ollama.selectel_billing_info:
    token_file: ~/.config/selectel-token
  delegate_to: localhost
  register: account
"""

RETURN = r"""
balance:
  description: What is left, C(amount) and C(currency), and C(read_at), when it was so. The amount is text.
  type: dict
  returned: success
objects:
  description: What is billed for each object, C(id), C(name), C(type), C(project) (its id) and C(amount) (as text).
    Without an id it is for something else, such as traffic.
  type: list
  elements: dict
  returned: when O(start) is given
"""

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.gpuswarm.ollama.plugins.module_utils._clients.account_billing import (
    URL,
    AccountBilling,
    UnaskedError,
    token_of,
)
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core import ledger
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.invoice import InvoiceError, Period


def look(given: dict[str, Any]) -> dict[str, Any]:
    """What the account's billing tells.

    :raises UnaskedError: it does not answer.
    :raises InvoiceError: it answers otherwise than published.
    """
    token = token_of(given["token_variable"], given["token_file"] or "")
    billing = AccountBilling(token, given["token_type"], given["url"], given["ca_file"] or "", given["timeout"])
    balance, at = billing.balance()
    found: dict[str, Any] = {"balance": {**balance, "read_at": ledger.iso(int(time.time()) if at is None else at)}}
    if given["start"]:
        when = Period(ledger.moment(given["start"]), ledger.moment(given["end"]))
        found["objects"] = billing.objects(when, given["timezone"])
    return found


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "token_variable": {"type": "str", "default": "SELECTEL_TOKEN", "no_log": False},
            "token_file": {"type": "path", "no_log": False},
            "token_type": {"type": "str", "choices": ["static", "iam"], "default": "static", "no_log": False},
            "url": {"type": "str", "default": URL},
            "ca_file": {"type": "path"},
            "start": {"type": "str"},
            "end": {"type": "str"},
            "timezone": {"type": "str", "default": "Europe/Moscow"},
            "timeout": {"type": "int", "default": 60},
        },
        required_together=[("start", "end")],
        supports_check_mode=True,
    )
    try:
        found = look(module.params)
    except (UnaskedError, InvoiceError, ValueError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **found)


if __name__ == "__main__":
    main()
