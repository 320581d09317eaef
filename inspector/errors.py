"""The one error a user sees: a sentence with the value, the limit and the next step; no traceback is needed."""

from __future__ import annotations


class InspectorError(Exception):
    """Something the user can mend. `str(error)` is one whole sentence for the screen or standard error."""


class NotRun(InspectorError):
    """The library's own code failed as it ran a prompt, which says nothing of whether it would run another."""


class NoModel(InspectorError):
    """A trace opened from a file was asked for what only its model can give."""

    def __init__(self, needed_for: str) -> None:
        super().__init__(
            f"This trace was opened from a file and has no model at hand, which {needed_for} needs: run the prompt "
            "again, or open the file together with its model, open_trace(file, model)."
        )
