"""The one error a user sees: a sentence with the value, the limit and the next step; no traceback is needed."""

from __future__ import annotations


class InspectorError(Exception):
    """Something the user can mend. `str(error)` is one whole sentence for the screen or standard error."""


class NotRun(InspectorError):
    """The library's own code failed as it ran a prompt, which says nothing of whether it would run another."""
