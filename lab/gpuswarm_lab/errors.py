"""The lab's one kind of error: a message for a person, naming the thing and the fix."""

from __future__ import annotations


class LabError(Exception):
    """What went wrong and what to do about it."""
