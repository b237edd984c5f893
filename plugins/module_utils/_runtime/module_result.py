# SPDX-License-Identifier: Apache-2.0
"""How a module of the cloud side ends: with the result of its run, or with an error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.arguments import failures, merged_diff
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.errors import CloudError
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.outcome import Outcome


def fail(module: AnsibleModule, error: CloudError, **more: Any) -> NoReturn:
    """Ends the module with an error of the cloud side."""
    module.fail_json(msg=str(error), error_kind=error.kind, **more)
    raise AssertionError  # pragma: no cover  (fail_json does not return)


def finish(module: AnsibleModule, outcomes: Sequence[Outcome], result: dict[str, Any]) -> NoReturn:
    """Ends the module with the result of a run: warnings, diff, and failure if any server failed."""
    for outcome in outcomes:
        for warning in outcome.warnings:
            module.warn(warning)
    result["changed"] = any(outcome.changed for outcome in outcomes)
    result["diff"] = merged_diff(outcomes)
    message = failures(outcomes)
    if message is not None:
        kinds = sorted({o.error.kind for o in outcomes if o.error is not None})
        module.fail_json(msg=message, error_kind=kinds[0] if len(kinds) == 1 else "several", **result)
    module.exit_json(**result)
    raise AssertionError  # pragma: no cover  (exit_json does not return)
