"""A request goes in; the model, trace, small pictures or report behind it comes out, made at most once.

One store for all visitors of this server (inspector.ui.server.store); Streamlit only keeps the store itself. Keys hold
everything a result depends on, so nothing stale can be returned: the model's name, its files' state, revision and
dtype, and the prompt. A trace's key is part of the key of all that is made from it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import logging
import sys
import weakref
from collections.abc import Callable, Hashable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import streamlit as st
from streamlit import runtime
from streamlit.runtime.scriptrunner import get_script_run_ctx

import inspector
from inspector import views
from inspector.analysis import head_scores as head_measures
from inspector.analysis import maps, shares
from inspector.analysis import thumbnails as small_pictures
from inspector.errors import InspectorError
from inspector.learn import shuffle, token_vectors
from inspector.model import cost
from inspector.model.model import model_or_none
from inspector.text import Progress
from inspector.ui import uploads
from inspector.ui.server import background, sessions
from inspector.ui.server.limits import limits
from inspector.ui.server.store import Store
from inspector.ui.state import Request

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    from inspector import Model, Trace, VerificationReport

SAMPLE = 64  # query tokens from which all heads of a prompt longer than metrics.EXACT_UP_TO are drawn and measured
KEEP_INPUT_UP_TO = 8000  # characters: the attention input of a longer prompt is fetched when asked for
REPORT_BYTES = 2**20  # a report is a few small tables
RESULT_BYTES = 2**18  # a laboratory's result is a table or some vectors
DTYPE, REVISION = "float32", None  # how every model is loaded; the app offers no choice of these

T = TypeVar("T")

_LOG = logging.getLogger(__name__)


@st.cache_resource(show_spinner=False)
def store() -> Store:
    """The one store of this server."""
    return Store()


@st.cache_resource(show_spinner=False)
def _holds() -> sessions.Holds:
    """Which visitor holds which trace: what nobody holds any longer is let go of."""
    return sessions.Holds(store().forget, _connected)


def _connected(session: str) -> bool:
    """Whether this session's page is open; Streamlit knows at once when a tab is closed."""
    return not runtime.exists() or runtime.get_instance().is_active_session(session)


@st.cache_resource(show_spinner=False)
def _behind() -> background.Behind:
    """What this server does while nobody waits."""
    return background.Behind(lambda: store().busy)


def _hold(key: Hashable) -> None:
    run = get_script_run_ctx(suppress_warning=True)
    if run is not None:  # else no visitor asks, but a script or a test
        _holds().hold(run.session_id, key)


def open_file(content: bytes, name: str) -> Request:
    """Keep the trace of an uploaded file under the hash of its bytes; the request that shows it."""
    digest = hashlib.sha256(content).hexdigest()
    _hold(("file", digest))
    traced = store().traces.get(("file", digest), lambda _: uploads.read(content, name), size=lambda made: made.nbytes)
    return Request(traced.model_name, traced.prompt or "", file=digest, file_name=name)


def keeps(request: Request) -> bool:
    """Whether this request's trace is at hand."""
    key = _key(request)
    return key is not None and key in store().traces


def model(request: Request, progress: Progress | None = None) -> Model:
    """The loaded model."""
    if request.file:  # the file says a model's name, and what a file says loads nothing
        raise InspectorError(
            "This needs the model itself, which a trace opened from a file does not bring along; close the file and "
            "run the prompt."
        )
    return store().models.get(
        _model_key(request),
        lambda report: inspector.load(request.model, progress=report, dtype=DTYPE, revision=REVISION),
        size=_model_bytes,
        progress=progress,
    )


@dataclass(frozen=True)
class Costs:
    """A long prompt's run: as it is, with rounded vectors (None: no saving), and why it cannot run as it is."""

    exact: cost.Cost
    half: cost.Cost | None
    refused: str


def costs(request: Request, progress: Progress | None = None) -> Costs | None:
    """What running this prompt would cost; None where it is short, or at hand already."""
    if keeps(request) or len(request.prompt) < cost.LONG:  # a token is at least a character, as a rule
        return None
    loaded = model(request, progress)
    limits().check(loaded, request.prompt, request.generate)  # nobody is offered what would be refused then
    tokens = loaded.tokenize(request.prompt)
    if len(tokens) <= cost.LONG:
        return None
    key = _trace_key(request, loaded)
    _hold(key)  # it has the prompt in it, and goes with the tab that it came from

    def make(report: Progress) -> Costs:
        report("Estimating what a long prompt takes", None)
        options = _options(request)
        found, half, refused = loaded.cost(tokens, **options), None, ""
        if loaded.dtype.itemsize > 2 and not request.precision:
            rounded = options | {"precision": "float16"}
            with contextlib.suppress(cost.TooLarge):
                cost.refuse_run(loaded.sizes, len(tokens), layers=None, **rounded)
                half = loaded.cost(tokens, **rounded)
        try:
            cost.refuse_run(loaded.sizes, len(tokens), layers=None, **options)
        except cost.TooLarge as error:
            refused = error.plainly + (" With its vectors rounded it fits." if half else "")
        return Costs(found, half, refused)

    return store().results.get(("costs", key), make, size=lambda _: sys.getsizeof(request.prompt), progress=progress)


def _options(request: Request) -> dict[str, Any]:
    """What a request's prompt is run with."""
    keep = ("input",) if len(request.prompt) <= KEEP_INPUT_UP_TO else ()
    return {"keep": keep, "generate": request.generate, "precision": request.precision or None}


def trace(request: Request, progress: Progress | None = None) -> Trace:
    """The prompt's trace; loads the model first where it is not kept."""
    if request.file:
        _hold(("file", request.file))
        found: Trace | None = store().traces.peek(("file", request.file))
        if found is None:
            raise InspectorError(f"“{request.file_name}” is no longer in this server's memory; open the file again.")
        return found
    loaded = model(request, progress)
    key = _trace_key(request, loaded)
    _hold(key)

    def make(report: Progress) -> Trace:
        limits().check(loaded, request.prompt, request.generate)

        def on_layer(done: int, total: int) -> None:
            if done:
                report("Running the prompt through the model", done / total if total else None)
            else:
                report(f"Letting the model write {request.generate} tokens", None)

        options = _options(request)
        tokens = len(loaded.tokenize(request.prompt))
        try:
            cost.refuse_run(loaded.sizes, tokens, layers=None, **options)  # what is refused need not wait for that
            with _room(cost.run_cost(loaded.sizes, tokens, **options).peak_bytes, report):
                report("Reading the prompt", None)
                return loaded.trace(request.prompt, on_layer=on_layer, **options)
        except cost.TooLarge as error:
            raise InspectorError(error.plainly) from None

    found = store().traces.get(key, make, size=_trace_bytes, progress=progress)
    # The model is used with its trace, and stays or goes with it: one that had to go meanwhile is put back.
    store().models.get(_model_key(request), lambda _: loaded, size=_model_bytes)
    return found


def _room(needed: int, report: Progress) -> AbstractContextManager[None]:
    """Room in memory for a run; others' runs end first where there is too little."""
    return store().room.take(needed, lambda: report("Waiting until other visitors' runs leave enough memory", None))


def _trace_bytes(traced: Trace) -> int:
    return traced.nbytes


def _model_bytes(loaded: Model) -> int:
    return sum(parameter.nbytes for parameter in loaded.model.parameters())


def result(
    request: Request,
    what: tuple[object, ...],
    make: Callable[[Trace, Progress], T],
    *,
    size: Callable[[T], int] = lambda _: RESULT_BYTES,
    progress: Progress | None = None,
) -> T:
    """Anything that is computed from the prompt's trace, once for all visitors. `what` names it, with all that it
    depends on beside the request; `size`: how many bytes it keeps."""
    traced = trace(request, progress)
    key = (*what, _key_of(request, traced))
    made = store().results.get(key, lambda report: make(traced, report), size=size, progress=progress)
    store().traces.weigh(key[-1], _trace_bytes)  # it may have fetched vectors that the trace keeps from now on
    return made


def own_choices(request: Request, progress: Progress | None = None) -> tuple[int, int]:
    """Of the tokens that the model wrote, how many are also its first choice when the whole text is run at once; and
    how many it wrote. One by one with a key/value cache, and as a whole, sums run in another order."""

    def make(traced: Trace, report: Progress) -> tuple[int, int]:
        report("Comparing what was written with one run of the whole", None)
        return traced.written_again()

    return result(request, ("choices",), make, progress=progress)


def thumbnails(request: Request, progress: Progress | None = None) -> small_pictures.Thumbnails:
    """The small pictures of every head."""

    def make(traced: Trace, report: Progress) -> small_pictures.Thumbnails:
        return small_pictures.draw_thumbnails(
            traced,
            sample=SAMPLE if traced.n > maps.EXACT_UP_TO else None,
            on_layer=lambda done, total: report("Drawing every head", done / total),
        )

    pictures = result(request, ("thumbnails",), make, size=lambda made: made.nbytes, progress=progress)
    return pictures.with_whole(dict(_whole(request)))


def drawn_behind(request: Request) -> small_pictures.Thumbnails | None:
    """A long prompt's small pictures as far as they are drawn from all its rows. The heads that are left are drawn one
    after the other while nobody waits for anything and this is called every few seconds. None where the prompt is no
    longer kept: it is never run for this."""
    key = _key(request)
    traced: Trace | None = None if key is None else store().traces.peek(key)
    if traced is None:
        return None
    _hold(key)
    pictures, drawn = thumbnails(request), _whole(request)
    heads = [(info.index, head) for info in traced.layers for head in range(info.heads)]
    pool, kept = pictures.pool, weakref.ref(traced)  # its place in memory may be needed meanwhile

    def steps() -> Iterator[None]:
        for place, (layer, head) in enumerate(heads):
            found = kept()
            if found is None:
                return
            if place not in drawn:
                drawn[place] = _drawn(found, layer, head, pool)
                del found
                yield

    if pictures.sample is not None:
        _behind().want(key, steps)
    return pictures


def _drawn(traced: Trace, layer: int, head: int, pool: int) -> npt.NDArray[np.uint8] | None:
    """One head's small picture; None, and a line in the log, where that fails: the others are drawn all the same."""
    try:
        return small_pictures.draw_thumbnail(traced, layer, head, pool)
    except Exception as error:  # whatever it was: nobody waits who could be told
        _LOG.error("Layer %d, head %d could not be drawn: %s", layer, head, type(error).__name__)
        return None


def picture(
    request: Request,
    layer: int,
    head: int,
    kind: maps.Kind,
    *,
    without_first: bool = False,
    progress: Progress | None = None,
) -> maps.Picture:
    """One head's picture, from all its rows. Of a long prompt, its small picture is drawn from this one then."""

    def make(traced: Trace, report: Progress) -> maps.Picture:
        report("Drawing the head", None)
        return maps.picture(traced, layer, head, kind=kind, without_first=without_first)

    what = ("picture", layer, head, kind, without_first)
    made = result(request, what, make, size=lambda made: made.values.nbytes, progress=progress)
    if made.pool > 1 and kind == "weights" and not without_first:
        place = sum(info.heads for info in trace(request).layers[:layer]) + head
        _whole(request)[place] = small_pictures.shrunk(made, small_pictures.small_pool(made.n))
    return made


def _whole(request: Request) -> dict[int, npt.NDArray[np.uint8] | None]:
    """The small pictures of a long prompt's heads that were drawn from all its rows, by their place among all heads;
    None where that failed."""
    return result(request, ("whole",), lambda _, __: {}, size=lambda _: 2**20)


def strongest_pairs(request: Request, layer: int, head: int, *, first_token: bool) -> pd.DataFrame:
    """The largest weights of one head."""

    def make(traced: Trace, _: Progress) -> pd.DataFrame:
        return maps.strongest_pairs(traced, layer, head, first_token=first_token)

    return result(request, ("pairs", layer, head, first_token), make, size=_frame_bytes).copy()


def measures(request: Request, progress: Progress | None = None) -> pd.DataFrame:
    """What each head does with the prompt (inspector.analysis.head_scores): a row per head."""

    def make(traced: Trace, report: Progress) -> pd.DataFrame:
        return head_measures.measures(
            traced,
            sample=SAMPLE if traced.n > maps.EXACT_UP_TO else None,
            on_layer=lambda done, total: report("Measuring what every head does", done / total),
        )

    return result(request, ("measures",), make, size=_frame_bytes, progress=progress)


def _frame_bytes(frame: pd.DataFrame) -> int:
    return int(frame.memory_usage(deep=True).sum())


def vectors(
    request: Request, layer: int, head: int, progress: Progress | None = None
) -> dict[str, npt.NDArray[np.float32]]:
    """Query, key and value vectors of one head, before and after RoPE."""

    def make(traced: Trace, report: Progress) -> dict[str, npt.NDArray[np.float32]]:
        report("Reading the vectors", None)
        return views.vectors(traced, layer, head).arrays

    size = lambda made: sum(values.nbytes for values in made.values())  # noqa: E731
    return result(request, ("vectors", layer, head), make, size=size, progress=progress)


def residual_stream(
    request: Request, layer: int, query: int, progress: Progress | None = None
) -> token_vectors.StreamNumbers:
    """One token's vectors around one layer's attention."""

    def make(traced: Trace, report: Progress) -> token_vectors.StreamNumbers:
        report("Running the prompt once more, to see around the attention", None)
        return token_vectors.residual_stream(traced, layer, query)

    return result(request, ("around", layer, query), make, progress=progress)


def output(request: Request, layer: int, query: int, progress: Progress | None = None) -> shares.Output:
    """One token's attention output as the heads' shares, judged against the library's own."""
    found = residual_stream(request, layer, query, progress).output
    if found is None:
        raise InspectorError(f"The output of layer {layer} could not be read from the model as it ran.")
    return shares.output(trace(request, progress), layer, query, found)


def shuffled(request: Request, layer: int, seed: int, progress: Progress | None = None) -> shuffle.Shuffled:
    """What shuffling the tokens does to one layer's output, with RoPE and mask on and off."""

    def make(traced: Trace, report: Progress) -> shuffle.Shuffled:
        report("Running the layer on shuffled tokens", None)
        return shuffle.shuffled(traced, layer, seed)

    return result(request, ("shuffled", layer, seed), make, progress=progress)


def report(request: Request, progress: Progress | None = None) -> VerificationReport:
    """The verification report of this model and prompt."""
    loaded, traced = model(request, progress), trace(request, progress)

    def make(say: Progress) -> VerificationReport:
        layers = len(traced.layers)

        def on_layer(done: int, total: int) -> None:
            say(_next_step(done, total, layers), done / total)

        with _room(cost.verification_bytes(traced.layers, traced.n, loaded.vocabulary), say):
            say("Reading what each layer received", None)
            return inspector.verify(loaded, traced, on_layer=on_layer)

    return store().results.get(
        ("report", _key_of(request, traced)), make, size=lambda _: REPORT_BYTES, progress=progress
    )


def refuse_verification(traced: Trace) -> None:
    """Raises InspectorError where a verification of this prompt would need more memory than there may be."""
    vocabulary = 0 if traced.last_logits is None else traced.last_logits.shape[-1]
    try:
        cost.refuse_verification(traced.layers, traced.n, vocabulary)
    except cost.TooLarge as error:
        raise InspectorError(error.plainly) from None


def finished_report(request: Request) -> VerificationReport | None:
    """The report if it has been made already, by anybody."""
    key = _key(request)
    found: VerificationReport | None = None if key is None else store().results.peek(("report", key))
    return found


def _next_step(done: int, total: int, layers: int) -> str:
    """What a verification does after `done` of its steps: the layers, one spliced run, then the planted mistakes."""
    if done < layers:
        return f"Comparing layer {done + 1} of {layers}"
    if done == layers:
        return "Running the reimplementation inside the library's model"
    planted, mistakes = done - layers, total - layers - 1
    return f"Planting mistake {planted} of {mistakes}" if planted <= mistakes else "Writing the report"


def _key(request: Request) -> tuple[object, ...] | None:
    """The key of this request's trace, part of the key of all that is made from it; None while its model is not at
    hand, and then neither is a trace."""
    if request.file:
        return ("file", request.file)
    loaded: Model | None = store().models.peek(_model_key(request))
    return None if loaded is None else _trace_key(request, loaded)


def _key_of(request: Request, traced: Trace) -> tuple[object, ...]:
    """The key of a trace that is at hand."""
    loaded = model_or_none(traced)
    return ("file", request.file) if loaded is None else _trace_key(request, loaded)


def _trace_key(request: Request, loaded: Model) -> tuple[object, ...]:
    """What was asked for, and of which weights: a hub's model of the same name may have moved on when it is loaded
    again."""
    return (_model_key(request), loaded.source.revision, str(loaded.dtype), *dataclasses.astuple(request))


def _model_key(request: Request) -> tuple[object, ...]:
    """The name, how it is loaded, and for files on this machine their state: a checkpoint written anew is another
    model."""
    path = Path(request.model).expanduser()
    try:
        files = sorted(path.iterdir()) if path.is_dir() else [path] if path.is_file() else []
        stamps = tuple((file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files)
    except OSError:
        stamps = ()  # loading will say what is wrong
    return ("model", request.model, DTYPE, REVISION, stamps)
