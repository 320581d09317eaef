"""The one error a user sees: a sentence with the value, the limit and the next step. No traceback is needed to act on it."""

from __future__ import annotations


class InspectorError(Exception):
    """Something the user can mend. `str(error)` is one whole sentence for the screen or standard error."""
