"""The one error that people see: a sentence with the value, the limit and the next step, without a traceback."""

from __future__ import annotations


class InspectorError(Exception):
    """Say in one sentence what the user can mend.

    `str(error)` is that sentence, whole: it names the value that was found, the limit it broke and the next step, and
    is shown as it is on the screen or on standard error. Everything that people call raises this and nothing else for
    what they can put right; any other exception is a fault of this program.
    """


class NotRun(InspectorError):
    """Say that the library's own code failed while it ran a prompt; another prompt may run."""


class NoModel(InspectorError):
    """Say that a trace opened from a file was asked for something that needs its model.

    Args:
        needed_for: what was asked for, such as "a head's output" or "running another text".
    """

    def __init__(self, needed_for: str) -> None:
        super().__init__(
            f"This trace was opened from a file and has no model at hand, which is needed for {needed_for}: run the "
            "prompt again, or open the file together with its model, open_trace(file, model)."
        )
