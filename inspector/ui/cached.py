"""A request goes in; the model, trace, small pictures or report behind it comes out, made at most once.

One store for all visitors of this server (inspector.store); Streamlit only keeps the store itself. Keys hold
everything a result depends on, so nothing stale can be returned: the model's name, its files' state, revision and
dtype, and the prompt. A trace's key is part of the key of all that is made from it.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Hashable
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

import inspector
from inspector import measures as head_measures
from inspector import metrics, views
from inspector.errors import InspectorError
from inspector.learn import walkthrough
from inspector.store import Report, Store
from inspector.ui import held, opened
from inspector.ui.limits import limits
from inspector.ui.state import Request

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    from inspector import Model, Trace, VerificationReport

KEEP_INPUT_UP_TO = 8000  # characters: the attention input of a longer prompt is fetched when asked for
REPORT_BYTES = 2**20  # a report is a few small tables
DTYPE, REVISION = "float32", None  # how every model is loaded; the app offers no choice of these


@st.cache_resource(show_spinner=False)
def store() -> Store:
    """The one store of this server."""
    return Store()


@st.cache_resource(show_spinner=False)
def _holds() -> held.Holds:
    """Which visitor holds which trace: what nobody holds any longer is let go of."""
    return held.Holds(store().forget)


@st.cache_resource(show_spinner=False, scope="session", on_release=held.Visitor.leave)
def _visitor() -> held.Visitor:
    """This visitor's hold; Streamlit releases it when their connection ends, as when the tab is closed."""
    return _holds().enter()


def _hold(key: Hashable) -> None:
    if get_script_run_ctx(suppress_warning=True) is not None:  # else no visitor asks, but a script or a test
        _visitor().hold(key)


def open_file(content: bytes, name: str) -> Request:
    """Keep the trace of an uploaded file under the hash of its bytes; the request that shows it."""
    digest = hashlib.sha256(content).hexdigest()
    _hold(("file", digest))
    traced = store().traces.get(("file", digest), lambda _: opened.read(content, name), size=lambda made: made.nbytes)
    return Request(traced.model_name, traced.prompt or "", file=digest, file_name=name)


def keeps(request: Request) -> bool:
    """Whether this request's trace is at hand."""
    key = _key(request)
    return key is not None and key in store().traces


def model(request: Request, progress: Report | None = None) -> Model:
    """The loaded model."""
    if request.file:  # the file says a model's name, and what a file says loads nothing
        raise InspectorError(
            "This needs the model itself, which a trace opened from a file does not bring along; close the file and "
            "run the prompt."
        )
    return store().models.get(
        _model_key(request),
        lambda report: inspector.load(request.model, progress=report, dtype=DTYPE, revision=REVISION),
        size=lambda made: sum(parameter.nbytes for parameter in made.model.parameters()),
        progress=progress,
    )


def trace(request: Request, progress: Report | None = None) -> Trace:
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

    def make(report: Report) -> Trace:
        limits().check(loaded, request.prompt, request.generate)
        keep = ("input",) if len(request.prompt) <= KEEP_INPUT_UP_TO else ()

        def on_layer(done: int, total: int) -> None:
            if done:
                report("Running the prompt through the model", done / total if total else None)
            else:
                report(f"Letting the model write {request.generate} tokens", None)

        report("Reading the prompt", None)
        return loaded.trace(request.prompt, keep=keep, on_layer=on_layer, generate=request.generate)

    return store().traces.get(key, make, size=lambda made: made.nbytes, progress=progress)


def own_choices(request: Request, progress: Report | None = None) -> tuple[int, int]:
    """Of the tokens that the model wrote, how many are also its first choice when the whole text is run at once; and
    how many it wrote. One by one with a key/value cache, and as a whole, sums run in another order."""
    traced = trace(request, progress)

    def make(report: Report) -> tuple[int, int]:
        report("Comparing what was written with one run of the whole", None)
        return traced.written_again()

    return store().results.get(("choices", _key_of(request, traced)), make, size=lambda _: 64, progress=progress)


def thumbnails(request: Request, progress: Report | None = None) -> metrics.Thumbnails:
    """The small pictures of every head."""
    traced = trace(request, progress)

    def make(report: Report) -> metrics.Thumbnails:
        return metrics.thumbnails(traced, on_layer=lambda done, total: report("Drawing every head", done / total))

    key = ("thumbnails", _key_of(request, traced))
    return store().results.get(key, make, size=lambda made: made.nbytes, progress=progress)


def measures(request: Request, progress: Report | None = None) -> pd.DataFrame:
    """What each head does with the prompt (inspector.measures): a row per head."""
    traced = trace(request, progress)

    def make(report: Report) -> pd.DataFrame:
        return head_measures.measures(
            traced, on_layer=lambda done, total: report("Measuring what every head does", done / total)
        )

    key = ("measures", _key_of(request, traced))
    return store().results.get(key, make, size=lambda made: int(made.memory_usage(deep=True).sum()), progress=progress)


def vectors(
    request: Request, layer: int, head: int, progress: Report | None = None
) -> dict[str, npt.NDArray[np.float32]]:
    """Query, key and value vectors of one head, before and after RoPE."""
    traced = trace(request, progress)

    def make(report: Report) -> dict[str, npt.NDArray[np.float32]]:
        report("Reading the vectors", None)
        return views.vectors(traced, layer, head).arrays

    key = ("vectors", layer, head, _key_of(request, traced))
    size = lambda made: sum(values.nbytes for values in made.values())  # noqa: E731
    return store().results.get(key, make, size=size, progress=progress)


def around(request: Request, layer: int, query: int, progress: Report | None = None) -> walkthrough.Surroundings:
    """One token's vectors around one layer's attention."""
    traced = trace(request, progress)

    def make(report: Report) -> walkthrough.Surroundings:
        report("Running the prompt once more, to see around the attention", None)
        return walkthrough.around(traced, layer, query)

    key = ("around", layer, query, _key_of(request, traced))
    return store().results.get(key, make, size=lambda made: made.nbytes, progress=progress)


def report(request: Request, progress: Report | None = None) -> VerificationReport:
    """The verification report of this model and prompt."""
    loaded, traced = model(request, progress), trace(request, progress)

    def make(say: Report) -> VerificationReport:
        layers = len(traced.layers)

        def on_layer(done: int, total: int) -> None:
            say(_next_step(done, total, layers), done / total)

        say("Reading what each layer received", None)
        return inspector.verify(loaded, traced, on_layer=on_layer)

    return store().results.get(
        ("report", _key_of(request, traced)), make, size=lambda _: REPORT_BYTES, progress=progress
    )


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
    return ("file", request.file) if traced.model is None else _trace_key(request, traced.model)


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
