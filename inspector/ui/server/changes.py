"""Make or find what the pages Change and Compare show: experiments, traces under edits, what heads changed.

Edits come as a visitor has them, on paper, and are read here again: nothing that names a file is run.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from inspector import lab
from inspector.errors import InspectorError
from inspector.model import cost
from inspector.text import Progress
from inspector.ui.edits import read_edits
from inspector.ui.server.settings import limits
from inspector.ui.server.traces import from_trace, key_of_trace, model, reserve_memory, trace
from inspector.ui.state import Request

if TYPE_CHECKING:
    from inspector import Model, Trace
    from inspector.capture.edits import Edit

CHANGED_UP_TO = 1024  # tokens of a prompt that is run under edits here: above, a run takes long and is made in Python
RANDOM_HEADS = 5  # draws of other heads, to which the same is done
LOGITS = 5  # runs whose logits of all tokens are there at once: before, after, control, another baseline, a copy
REPORT_BYTES = 2**18


def experiment(
    request: Request, paper: str, token: str, against: str, progress: Progress | None = None
) -> lab.ExperimentReport:
    """Return what edits do to the text on screen, with the control and the same edits of heads drawn at random.

    Args:
        request: what was asked for.
        paper: the edits.
        token: the next token that is looked at; empty: the most probable one.
        against: the token whose logit is subtracted; empty: the mean of all.
        progress: told how far it is.

    Returns:
        The report.

    Raises:
        InspectorError: an edit is refused, cannot be made in this model or of this text, or a token is none.
    """
    edits = read_edits(paper)

    def make(traced: Trace, report: Progress) -> lab.ExperimentReport:
        loaded = _ready(request, traced, edits)
        logits = LOGITS * traced.n * loaded.vocabulary * loaded.dtype.itemsize
        with reserve_memory(cost.run_cost(loaded.sizes, traced.n, speed=None).peak_bytes + logits, report):
            report("Running the text with and without the edits", 0.0)
            return lab.experiment(
                loaded,
                traced.tokens.ids,
                edits,
                token=token or None,
                against=against or None,
                random_heads=RANDOM_HEADS,
                progress=lambda _, done: report("Running the text with and without the edits", done),
            )

    what = ("experiment", paper, token, against)
    return from_trace(request, what, make, passes=3 + RANDOM_HEADS, size=lambda _: REPORT_BYTES, progress=progress)


def edited_trace(request: Request, paper: str, progress: Progress | None = None) -> Trace:
    """Return the trace of the text on screen under edits; it says so, and a file of it does.

    Args:
        request: what was asked for.
        paper: the edits.
        progress: told how far it is.

    Returns:
        The trace.

    Raises:
        InspectorError: an edit is refused, or cannot be made in this model or of this text.
    """
    edits = read_edits(paper)

    def make(traced: Trace, report: Progress) -> Trace:
        loaded = _ready(request, traced, edits)
        with reserve_memory(cost.run_cost(loaded.sizes, traced.n, speed=None).peak_bytes, report):

            def on_layer(done: int, total: int) -> None:
                report("Recording the text under the edits", done / total if total else None)

            return loaded.trace(traced.tokens.ids, on_layer=on_layer, edits=edits)

    return from_trace(request, ("edited trace", paper), make, size=lambda made: made.nbytes, progress=progress)


def changed_heads(request: Request, paper: str, progress: Progress | None = None) -> lab.ComparisonReport:
    """Return how much each head looks elsewhere under edits.

    Args:
        request: what was asked for.
        paper: the edits.
        progress: told how far it is.

    Returns:
        The comparison of the text as it is with itself under the edits.
    """
    edited = edited_trace(request, paper, progress)

    def make(traced: Trace, report: Progress) -> lab.ComparisonReport:
        report("Comparing where each head looks", None)
        return lab.compare(traced, edited)

    return from_trace(
        request, ("changed heads", paper), make, passes=0.5, size=lambda _: REPORT_BYTES, progress=progress
    )


def compared_prompts(request: Request, other: Request, progress: Progress | None = None) -> lab.ComparisonReport:
    """Return how differently each head looks in two prompts.

    Args:
        request: the prompt on screen.
        other: the other one, of the same model.
        progress: told how far it is.

    Returns:
        The comparison: a row for each head.

    Raises:
        InspectorError: they have no token in common, or one cannot be run.
    """
    second = trace(other, progress)

    def make(traced: Trace, report: Progress) -> lab.ComparisonReport:
        report("Comparing where each head looks", None)
        return lab.compare(traced, second)

    key = hashlib.blake2b(repr(key_of_trace(other, second)).encode("utf-8", "replace"), digest_size=16).hexdigest()
    return from_trace(request, ("compared", key), make, passes=0.5, size=lambda _: REPORT_BYTES, progress=progress)


def _ready(request: Request, traced: Trace, edits: tuple[Edit, ...]) -> Model:
    """Return the model, where this text may be run under these edits on this server."""
    loaded = model(request)
    most = limits().longest(CHANGED_UP_TO)
    longest = max([traced.n, *(len(ids) for one in edits if one.source for ids in one.source.prompts)])
    if longest > most:
        raise InspectorError(
            f"{longest:,} tokens are more than the {most:,} that this page runs under edits: take a shorter prompt, or "
            "run it in Python (inspector.lab.experiment)."
        )
    wrong = [
        token for one in edits if one.source for ids in one.source.prompts for token in ids
        if not 0 <= token < loaded.vocabulary
    ]  # fmt: skip
    if wrong:
        raise InspectorError(f"{wrong[0]} is no token of {loaded.name}: its tokens are 0 to {loaded.vocabulary - 1:,}.")
    return loaded
