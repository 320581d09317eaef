"""Make or find what the walkthrough, the laboratories and the verification page show of a prompt."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from streamlit import runtime

import inspector
from inspector.analysis import shares
from inspector.errors import InspectorError
from inspector.learn import shuffle, token_vectors
from inspector.model import cost
from inspector.model.model import model_or_none
from inspector.text import Progress
from inspector.ui.server.running_pages import let_pages_go_first
from inspector.ui.server.shared import note_use, shared_background, shared_store
from inspector.ui.server.traces import (
    Key,
    from_trace,
    model,
    reserve_memory,
    reserve_pass,
    trace,
    trace_key,
)
from inspector.ui.state import Request
from reimpl.families import FAMILIES

if TYPE_CHECKING:
    from inspector import Trace, VerificationReport

PASSES = 30  # a verification takes about as long as so many runs of the prompt
REPORT_BYTES = 2**20  # a report is a few small tables
COMPARED_UP_TO = 128  # tokens of a prompt that is compared in the background by itself
COMPARED_PARAMETERS = 600_000_000  # of a model whose prompts are: above, the second pass takes too long


# -- the walkthrough and the laboratories ----------------------------------------------------------------


def own_choices(request: Request, progress: Progress | None = None) -> tuple[int, int]:
    """Count the written tokens that the model also puts first when the whole text is run at once.

    One by one with a key/value cache, and as a whole, sums run in another order.

    Args:
        request: what was asked for.
        progress: told how far it is.

    Returns:
        How many of the tokens that the model wrote are its first choice then, and how many it wrote.
    """

    def make(traced: Trace, report: Progress) -> tuple[int, int]:
        with reserve_pass(traced, report):
            report("Comparing what was written with one run of the whole", None)
            return traced.written_again()

    return from_trace(request, ("choices",), make, progress=progress)


def residual_stream(
    request: Request, layer: int, query: int, progress: Progress | None = None
) -> token_vectors.StreamNumbers:
    """Return one token's vectors before and after one layer's attention.

    Args:
        request: what was asked for.
        layer: counts attention layers from 0.
        query: the token's position.
        progress: told how far it is.

    Returns:
        The vectors of the residual stream at this layer, as far as the model shows them.
    """

    def make(traced: Trace, report: Progress) -> token_vectors.StreamNumbers:
        with reserve_pass(traced, report):
            report("Running the prompt once more, to read the residual stream", None)
            return token_vectors.residual_stream(traced, layer, query)

    return from_trace(request, ("residual stream", layer, query), make, progress=progress)


def output(request: Request, layer: int, query: int, progress: Progress | None = None) -> shares.Output:
    """Return one token's attention output as the heads' shares, compared with the library's own.

    Args:
        request: what was asked for.
        layer: counts attention layers from 0.
        query: the token's position.
        progress: told how far it is.

    Returns:
        The shares and the comparison.

    Raises:
        InspectorError: where the layer's output cannot be read from the model as it runs.
    """
    found = residual_stream(request, layer, query, progress).output
    if found is None:
        raise InspectorError(f"The output of layer {layer} could not be read from the model as it ran.")
    return shares.output(trace(request, progress), layer, query, found)


def shuffled(request: Request, layer: int, seed: int, progress: Progress | None = None) -> shuffle.Shuffled:
    """Return what shuffling the tokens does to one layer's output, with RoPE and mask on and off.

    Args:
        request: what was asked for.
        layer: counts attention layers from 0.
        seed: chooses the order.
        progress: told how far it is.

    Returns:
        The order and the four variants.
    """

    def make(traced: Trace, report: Progress) -> shuffle.Shuffled:
        with reserve_pass(traced, report):
            report("Running the layer on shuffled tokens", None)
            return shuffle.shuffled(traced, layer, seed)

    return from_trace(request, ("shuffled", layer, seed), make, progress=progress)


# -- the verification ------------------------------------------------------------------------------------


def report(request: Request, progress: Progress | None = None) -> VerificationReport:
    """Return the verification report of this model and prompt.

    Args:
        request: what was asked for.
        progress: told how far it is.

    Returns:
        The report.
    """

    def make(traced: Trace, say: Progress) -> VerificationReport:
        loaded, layers = model(request), len(traced.layers)

        def on_layer(done: int, total: int) -> None:
            say(_next_step(done, total, layers), done / total)

        with reserve_memory(cost.verification_bytes(traced.layers, traced.n, loaded.vocabulary), say):
            say("Reading what each layer received", None)
            return inspector.verify(loaded, traced, on_layer=on_layer)

    return from_trace(request, ("report",), make, size=lambda _: REPORT_BYTES, passes=PASSES, progress=progress)


def finished_report(request: Request) -> VerificationReport | None:
    """Return the report if it has been made already, by anybody.

    Args:
        request: what was asked for.

    Returns:
        The report, or None; nothing is made.
    """
    key = trace_key(request)
    found: VerificationReport | None = None if key is None else shared_store().results.peek(("report", key))
    return found


def compared(request: Request) -> VerificationReport | None:
    """Return the comparison of every stage, if the background has made it.

    Args:
        request: what was asked for.

    Returns:
        The report, without planted mistakes and without a run inside the library's model; None where there is none.
    """
    key = trace_key(request)
    found: VerificationReport | None = None if key is None else shared_store().results.peek(("compared", key))
    return found


def verifiable_types() -> list[str]:
    """Return the model types that there is a second implementation of."""
    return list(FAMILIES)


def compares_in_background(request: Request) -> bool:
    """Return whether the background compares this prompt: its trace is stored, and it takes a moment only.

    Args:
        request: what was asked for.

    Returns:
        False without a server too, as in a test of the pages.
    """
    key = trace_key(request)
    traced: Trace | None = None if key is None else shared_store().traces.peek(key)
    if traced is None or not runtime.exists() or ("not compared", key) in shared_store().results:
        return False
    loaded = model_or_none(traced)
    if loaded is None or traced.n > COMPARED_UP_TO or request.precision:
        return False
    parameters: int = sum(parameter.numel() for parameter in loaded.model.parameters())
    return parameters <= COMPARED_PARAMETERS


def compare_in_background(request: Request) -> VerificationReport | None:
    """Compare every stage of this prompt while nobody waits for anything; to be called again every few seconds.

    Args:
        request: what was asked for.

    Returns:
        The report once it is there; None before that, and where it cannot be made.
    """
    if (found := compared(request)) is not None or not compares_in_background(request):
        return found
    key = trace_key(request)
    note_use(key)
    what = ("compared", key)

    def stop_if_busy(_done: int, _total: int) -> None:
        let_pages_go_first()
        if shared_store().busy:
            raise _Interrupted

    def steps() -> Iterator[None]:
        while True:
            traced = shared_store().traces.peek(key)
            loaded = None if traced is None else model_or_none(traced)
            if traced is None or loaded is None:
                return
            try:
                made = inspector.verify(loaded, traced, controls=False, spliced=False, on_layer=stop_if_busy)
            except _Interrupted:
                del traced, loaded
                yield
                continue
            except Exception:
                _store(("not compared", key), None)  # the page Verify says what is wrong, when it is asked
                raise
            _store(what, made)
            return

    shared_background().run(what, steps)
    return None


def _store(key: Key, report: VerificationReport | None) -> None:
    """Store a report that was made already, or that it could not be made."""
    shared_store().results.get(key, lambda _: report, size=lambda _: REPORT_BYTES)


class _Interrupted(Exception):
    """Raised inside a comparison in the background when somebody waits for something else."""


def refuse_verification(traced: Trace) -> None:
    """Refuse a verification that would need more memory than there may be.

    Args:
        traced: the trace that would be verified.

    Raises:
        InspectorError: naming what it needs and what there may be.
    """
    vocabulary = 0 if traced.last_logits is None else traced.last_logits.shape[-1]
    try:
        cost.refuse_verification(traced.layers, traced.n, vocabulary)
    except cost.TooLarge as error:
        raise InspectorError(error.plainly) from None


def _next_step(done: int, total: int, layers: int) -> str:
    """Say what a verification does after `done` of its steps: layers, one spliced run, then planted mistakes."""
    if done < layers:
        return f"Comparing layer {done + 1} of {layers}"
    if done == layers:
        return "Running the reimplementation inside the library's model"
    planted, mistakes = done - layers, total - layers - 1
    return f"Planting mistake {planted} of {mistakes}" if planted <= mistakes else "Writing the report"
