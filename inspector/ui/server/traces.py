"""Make or find the model and the trace of a request, and anything else that is computed from a trace.

Everything is made at most once for all visitors (`shared.py`). Keys hold everything that a result depends on, so
nothing stale can be returned: the model's name, its files' state, revision and dtype, and the prompt. A trace's key is
part of the key of all that is made from it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import sys
import tempfile
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import inspector
from inspector.errors import InspectorError
from inspector.loading.resolve import find_model
from inspector.loading.source import Source, path_of
from inspector.model import cost
from inspector.model.model import model_or_none
from inspector.text import Progress
from inspector.ui import uploads
from inspector.ui.server import garbage
from inspector.ui.server.settings import limits
from inspector.ui.server.shared import note_use, shared_store
from inspector.ui.server.store import SHORT_SECONDS
from inspector.ui.server.turns import turn_aside
from inspector.ui.state import Request
from inspector.ui.upload_facts import bytes_of

if TYPE_CHECKING:
    from inspector import Model, Trace

KEEP_INPUT_UP_TO = 8000  # characters: the attention input of a longer prompt is fetched when asked for
MOST_FILE_BYTES = 500 * 2**20  # of a saved trace: it lies in the server's memory while it is downloaded
RESULT_BYTES = 2**18  # a laboratory's result is a table or some vectors
DTYPE, REVISION = "float32", None  # how every model is loaded; the app offers no choice of these

LOADING_SECONDS = 10.0  # rough, as all of these: only who goes first depends on them
QUICK_SECONDS = 0.05  # a picture of a head, for one who has clicked: before all that runs the model
CHARACTERS_A_TOKEN, WRITTEN_AS_MUCH_AS, OPERATIONS_A_SECOND = 4, 5, 2e10  # a written token is a pass of its own

_words: weakref.WeakKeyDictionary[Trace, int] = weakref.WeakKeyDictionary()  # bytes of what each trace says of itself
_parameters: weakref.WeakKeyDictionary[Model, int] = weakref.WeakKeyDictionary()  # how many numbers each model has

T = TypeVar("T")
Key = tuple[object, ...]


# -- keys ------------------------------------------------------------------------------------------------


def model_key(request: Request) -> Key:
    """Return the key of a request's model.

    Args:
        request: names the model.

    Returns:
        The name, how it is loaded, and for files on this machine their state: a checkpoint written anew is another
        model.
    """
    try:
        path = path_of(request.model)
        files = sorted(path.iterdir()) if path.is_dir() else [path] if path.is_file() else []
        stamps = tuple((file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files)
    except (OSError, InspectorError):
        stamps = ()  # loading will say what is wrong
    return ("model", request.model, DTYPE, REVISION, stamps)


def key_of_run(request: Request, loaded: Model) -> Key:
    """Return the key of a prompt run through a loaded model.

    Args:
        request: what was asked for.
        loaded: its model: a hub's model of the same name may have moved on when it is loaded again.

    Returns:
        What was asked for, and of which weights.
    """
    return (model_key(request), loaded.source.revision, str(loaded.dtype), *dataclasses.astuple(request))


def trace_key(request: Request) -> Key | None:
    """Return the key of a request's trace, part of the key of all that is made from it.

    Args:
        request: what was asked for.

    Returns:
        The key; None while the request's model is not stored, and then neither is a trace.
    """
    if request.file:
        return ("file", request.file)
    loaded: Model | None = shared_store().models.peek(model_key(request))
    return None if loaded is None else key_of_run(request, loaded)


def key_of_trace(request: Request, traced: Trace) -> Key:
    """Return the key of a trace that is stored.

    Args:
        request: what was asked for.
        traced: its trace.

    Returns:
        The key, as `trace_key` gives it.
    """
    loaded = model_or_none(traced)
    return ("file", request.file) if loaded is None else key_of_run(request, loaded)


# -- models and traces -----------------------------------------------------------------------------------


def model(request: Request, progress: Progress | None = None) -> Model:
    """Return the loaded model of a request.

    Args:
        request: names the model.
        progress: told how far loading is.

    Returns:
        The model, loaded now if it is not stored.

    Raises:
        InspectorError: for a trace from a file: the file names a model, and what a file says loads nothing.
    """
    if request.file:
        raise InspectorError(
            "This needs the model itself, which a trace opened from a file does not bring along; close the file and "
            "run the prompt."
        )
    return shared_store().models.get(
        model_key(request),
        lambda report: _load(request.model, report),
        size=_model_bytes,
        progress=progress,
        seconds=LOADING_SECONDS,
    )


def _load(name: str, report: Progress) -> Model:
    """Load a model within this server's memory, and leave its objects out of later searches for unused ones."""
    source = find_model(name, revision=REVISION, progress=report)
    with reserve_memory(_loading_bytes(source), report):
        # A hub model is asked for by the commit that was found: it is here, and no newer one comes between.
        revision = source.revision if source.kind == "hub" else REVISION
        loaded = inspector.load(name, progress=report, dtype=DTYPE, revision=revision)
    report("The model is loaded", None)  # for nobody, if whoever waited has left: then it goes at once
    garbage.leave_out()
    return loaded


def _loading_bytes(source: Source) -> int:
    """Return what a model takes at most while it is loaded: its files, often of 16 bits, and float32 made of them."""
    folder = source.folder
    return 0 if folder is None else 3 * sum(file.stat().st_size for file in folder.glob("*.safetensors"))


def trace(request: Request, progress: Progress | None = None) -> Trace:
    """Return the prompt's trace; load the model first where it is not stored.

    Args:
        request: what was asked for.
        progress: told how far it is.

    Returns:
        The trace, the same object for every visitor.

    Raises:
        InspectorError: where the prompt cannot be run, or an uploaded file is no longer stored.
    """
    if request.file:
        note_use(("file", request.file))
        found: Trace | None = shared_store().traces.peek(("file", request.file))
        if found is None:
            raise InspectorError(f"“{request.file_name}” is no longer in this server's memory; open the file again.")
        return found
    loaded = model(request, progress)
    key = key_of_run(request, loaded)
    note_use(key)
    found = shared_store().traces.get(
        key,
        lambda report: _run(loaded, request, report),
        size=_trace_bytes,
        progress=progress,
        seconds=pass_seconds(loaded, request),
    )
    # The model is used with its trace, and stays or goes with it: one that had to go meanwhile is stored again.
    shared_store().models.get(model_key(request), lambda _: loaded, size=_model_bytes)
    return found


def pass_seconds(loaded: Model, request: Request) -> float:
    """Return how long running a prompt takes, roughly: only who goes first depends on it.

    Args:
        loaded: the model.
        request: what was asked for.

    Returns:
        Seconds of a usual processor.
    """
    if loaded not in _parameters:
        _parameters[loaded] = sum(parameter.numel() for parameter in loaded.model.parameters())
    tokens = len(request.prompt) / CHARACTERS_A_TOKEN + request.generate * WRITTEN_AS_MUCH_AS
    return SHORT_SECONDS + 2 * _parameters[loaded] * tokens / OPERATIONS_A_SECOND


def _a_pass(traced: Trace) -> float:
    """Return how long another pass of a trace's tokens takes, roughly, whether its model is at hand or not."""
    weights = sum(12 * (layer.heads * layer.d_head) ** 2 for layer in traced.layers)
    return QUICK_SECONDS + 2 * weights * traced.n / OPERATIONS_A_SECOND


def _run(loaded: Model, request: Request, report: Progress) -> Trace:
    """Run the prompt through the model, within this server's limits and memory."""
    limits().check(loaded, request.prompt, request.generate)

    def on_layer(done: int, total: int) -> None:
        if done:
            report("Running the prompt through the model", done / total if total else None)
        else:
            report(f"Letting the model write {request.generate} tokens", None)

    options = _options(request)
    tokens = len(loaded.tokenize(request.prompt, chat=request.chat))
    try:
        cost.refuse_run(loaded.sizes, tokens, layers=None, **options)  # what is refused need not wait for memory
        with reserve_memory(cost.run_cost(loaded.sizes, tokens, **options, speed=None).peak_bytes, report):
            report("Reading the prompt", None)
            return loaded.trace(request.prompt, on_layer=on_layer, chat=request.chat, **options)
    except cost.TooLarge as error:
        raise InspectorError(error.plainly) from None


def _options(request: Request) -> dict[str, Any]:
    """Return what a request's prompt is run with."""
    keep = ("input",) if len(request.prompt) <= KEEP_INPUT_UP_TO else ()
    return {"keep": keep, "generate": request.generate, "precision": request.precision or None}


@contextlib.contextmanager
def reserve_memory(needed: int, report: Progress) -> Iterator[None]:
    """Reserve memory for a run; others' runs end first where there is too little.

    Args:
        needed: bytes that the run takes.
        report: told while it waits.

    """
    message = "Waiting until other visitors' runs leave enough memory"
    with contextlib.ExitStack() as held:
        with turn_aside():  # those who have the memory need their turn to be done
            held.enter_context(shared_store().working_memory.reserve(needed, lambda: report(message, None)))
        yield


@contextlib.contextmanager
def reserve_pass(traced: Trace, report: Progress) -> Iterator[None]:
    """Reserve memory for one more pass over a trace's text, as pages make that show more than it stores.

    Args:
        traced: the trace; one without its model makes no pass.
        report: told while it waits.
    """
    loaded = model_or_none(traced)
    needed = 0 if loaded is None else cost.run_cost(loaded.sizes, traced.n, speed=None).peak_bytes
    with reserve_memory(needed, report):
        yield


def file_of(trace: Trace) -> bytes:
    """Write a trace as the file that `open_file` reads.

    Args:
        trace: any, of `MOST_FILE_BYTES` at most: a file lies in the server's memory while it is downloaded.

    Returns:
        The file's bytes.

    Raises:
        InspectorError: there is no room for it on this machine.
    """
    try:
        with tempfile.TemporaryDirectory() as folder:
            return trace.save(Path(folder) / "trace.safetensors").read_bytes()
    except InspectorError:  # it names the place on this machine, which is no visitor's
        raise InspectorError(
            "The trace could not be put in this server's temporary folder: free space there, then save it again."
        ) from None


def open_file(content: bytes, name: str) -> Request:
    """Store the trace of an uploaded file under the hash of its bytes.

    Args:
        content: the file's bytes.
        name: what the file was called.

    Returns:
        The request that shows it.

    Raises:
        InspectorError: where the file is no trace that can be shown.
    """
    digest = hashlib.sha256(content).hexdigest()
    note_use(("file", digest))
    traced = shared_store().traces.get(("file", digest), lambda _: uploads.read(content, name), size=_trace_bytes)
    return Request(traced.model_name, traced.prompt or "", file=digest, file_name=name)


def is_stored(request: Request) -> bool:
    """Return whether this request's trace is stored.

    Args:
        request: what was asked for.

    Returns:
        True where it need not be made.
    """
    key = trace_key(request)
    return key is not None and key in shared_store().traces


def _trace_bytes(traced: Trace) -> int:
    """Return what a trace takes: its tensors, and its words, of which a file may have many and which do not change."""
    if traced not in _words:
        _words[traced] = bytes_of(traced.facts())
    return traced.nbytes + _words[traced]


def _model_bytes(loaded: Model) -> int:
    return sum(parameter.nbytes for parameter in loaded.model.parameters())


# -- what a long prompt costs ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Costs:
    """What running a long prompt costs.

    Attributes:
        exact: the run as it is.
        half: the run with vectors rounded to float16; None where that saves nothing or does not fit either.
        refused: why it cannot run as it is; empty: it can.
    """

    exact: cost.Cost
    half: cost.Cost | None
    refused: str


def costs(request: Request, progress: Progress | None = None) -> Costs | None:
    """Return what running this prompt would cost.

    Args:
        request: what was asked for.
        progress: told how far it is.

    Returns:
        The costs; None where the prompt is short, or its trace is stored already.

    Raises:
        InspectorError: where the prompt is beyond this server's limits.
    """
    if is_stored(request) or len(request.prompt) < cost.LONG:  # a token is at least a character, as a rule
        return None
    loaded = model(request, progress)
    limits().check(loaded, request.prompt, request.generate)  # nobody is shown the cost of what would be refused then
    tokens = loaded.tokenize(request.prompt, chat=request.chat)
    if len(tokens) <= cost.LONG:
        return None
    key = key_of_run(request, loaded)
    note_use(key)  # it has the prompt in it, and goes with the tab that it came from

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

    size = lambda _: sys.getsizeof(request.prompt)  # noqa: E731
    found: Costs = shared_store().results.get(("costs", key), make, size=size, progress=progress)
    return found


# -- what is computed from a trace -----------------------------------------------------------------------


def from_trace(
    request: Request,
    what: tuple[object, ...],
    make: Callable[[Trace, Progress], T],
    *,
    size: Callable[[T], int] = lambda _: RESULT_BYTES,
    passes: float = 1.0,
    progress: Progress | None = None,
) -> T:
    """Return what `make` computes from the prompt's trace, computed once for all visitors.

    Args:
        request: what was asked for.
        what: names the result, with all that it depends on beside the request.
        make: computes it from the trace, and reports its progress.
        size: how many bytes a result takes.
        passes: how many forward passes it takes as long as, roughly: only who goes first depends on it. 0 is for what
            somebody has clicked and is soon done.
        progress: told how far it is.

    Returns:
        The result, the same object for every visitor.
    """
    traced = trace(request, progress)
    key = (*what, key_of_trace(request, traced))
    seconds = QUICK_SECONDS + passes * _a_pass(traced)
    made = shared_store().results.get(
        key, lambda report: make(traced, report), size=size, progress=progress, seconds=seconds
    )
    shared_store().traces.measure_again(key[-1], _trace_bytes)  # it may have fetched vectors that the trace now stores
    return made
