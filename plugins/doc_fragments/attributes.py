# Copyright: (c) 2026, gpuswarm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the attributes that every module declares."""

from __future__ import annotations


class ModuleDocFragment:
    """Used as C(gpuswarm.ollama.attributes)."""

    DOCUMENTATION = r"""
attributes:
  check_mode:
    description: Can run in C(check_mode) and say what it would change without changing it.
    support: full
  diff_mode:
    description: Returns what it changed (or would change) when in diff mode.
    support: full
  idempotent:
    description: When run again with the same options, does nothing if nothing changed outside.
    support: full
"""
    INFO = r"""
attributes:
  check_mode:
    description: Can run in C(check_mode) and say what it would change without changing it.
    support: full
    details: This module only reads.
  diff_mode:
    description: Returns what it changed (or would change) when in diff mode.
    support: N/A
    details: This module only reads.
  idempotent:
    description: When run again with the same options, does nothing if nothing changed outside.
    support: full
    details: This module only reads.
"""
