"""Make or find what shows a prompt's heads: small pictures, whole pictures, strongest pairs, scores and vectors."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING

from inspector import views
from inspector.analysis import head_scores, maps
from inspector.analysis import thumbnails as small_pictures
from inspector.text import Progress
from inspector.ui.server.shared import note_use, shared_background, shared_store
from inspector.ui.server.traces import from_trace, trace, trace_key
from inspector.ui.state import Request

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    from inspector import Trace

SAMPLE = 64  # query tokens from which all heads of a prompt longer than maps.EXACT_UP_TO are drawn and scored

_LOG = logging.getLogger(__name__)


# -- all heads -------------------------------------------------------------------------------------------


def thumbnails(request: Request, progress: Progress | None = None) -> small_pictures.Thumbnails:
    """Return the small pictures of every head.

    Args:
        request: what was asked for.
        progress: told how far it is.

    Returns:
        The pictures; of a long prompt from a sample of its query tokens, but for the heads that were drawn whole.
    """

    def make(traced: Trace, report: Progress) -> small_pictures.Thumbnails:
        return small_pictures.draw_thumbnails(
            traced,
            sample=SAMPLE if traced.n > maps.EXACT_UP_TO else None,
            on_layer=lambda done, total: report("Drawing every head", done / total),
        )

    pictures = from_trace(request, ("thumbnails",), make, passes=0.5, size=lambda made: made.nbytes, progress=progress)
    return pictures.with_whole(dict(_drawn_whole(request)))


def thumbnails_so_far(request: Request) -> small_pictures.Thumbnails | None:
    """Return a long prompt's small pictures as far as they are drawn from all its rows, and go on drawing.

    The heads that are left are drawn in the background, one after the other, while nobody waits for anything and this
    is called every few seconds.

    Args:
        request: what was asked for.

    Returns:
        The pictures; None where the prompt's trace is no longer stored: it is never run for this.
    """
    key = trace_key(request)
    traced: Trace | None = None if key is None else shared_store().traces.peek(key)
    if traced is None:
        return None
    note_use(key)
    pictures, drawn = thumbnails(request), _drawn_whole(request)
    heads = [(info.index, head) for info in traced.layers for head in range(info.heads)]
    pool, reference = pictures.pool, weakref.ref(traced)  # its place in memory may be needed meanwhile

    def steps() -> Iterator[None]:
        for place, (layer, head) in enumerate(heads):
            found = reference()
            if found is None:
                return
            if place not in drawn:
                drawn[place] = _thumbnail(found, layer, head, pool)
                del found
                yield

    if pictures.sample is not None:
        shared_background().run(key, steps)
    return pictures


def _thumbnail(traced: Trace, layer: int, head: int, pool: int) -> npt.NDArray[np.uint8] | None:
    """Draw one head's small picture; None, and a line in the log, where that fails."""
    try:
        return small_pictures.draw_thumbnail(traced, layer, head, pool)
    except Exception as error:  # whatever it was: nobody waits who could be told, and the others are still drawn
        _LOG.error("Layer %d, head %d could not be drawn: %s", layer, head, type(error).__name__)
        return None


def _drawn_whole(request: Request) -> dict[int, npt.NDArray[np.uint8] | None]:
    """Return the small pictures that were drawn from all rows, by their place among all heads; None: that failed."""
    return from_trace(request, ("whole",), lambda _, __: {}, passes=0, size=lambda _: 2**20)


def scores_of_heads(request: Request, progress: Progress | None = None) -> pd.DataFrame:
    """Return what each head does with the prompt (inspector.analysis.head_scores).

    Args:
        request: what was asked for.
        progress: told how far it is.

    Returns:
        A row per head.
    """

    def make(traced: Trace, report: Progress) -> pd.DataFrame:
        return head_scores.measures(
            traced,
            sample=SAMPLE if traced.n > maps.EXACT_UP_TO else None,
            on_layer=lambda done, total: report("Measuring what every head does", done / total),
        )

    return from_trace(request, ("measures",), make, passes=0.5, size=_frame_bytes, progress=progress)


# -- one head --------------------------------------------------------------------------------------------


def picture(
    request: Request,
    layer: int,
    head: int,
    kind: maps.Kind,
    *,
    without_first: bool = False,
    progress: Progress | None = None,
) -> maps.Picture:
    """Return one head's picture, from all its rows. Of a long prompt, its small picture is drawn from this one then.

    Args:
        request: what was asked for.
        layer: counts attention layers from 0.
        head: the query head, from 0.
        kind: which numbers.
        without_first: whether the first token's column is left out and the rest scaled up.
        progress: told how far it is.

    Returns:
        The picture.
    """

    def make(traced: Trace, report: Progress) -> maps.Picture:
        report("Drawing the head", None)
        return maps.picture(traced, layer, head, kind=kind, without_first=without_first)

    what = ("picture", layer, head, kind, without_first)
    made = from_trace(request, what, make, passes=0, size=lambda made: made.values.nbytes, progress=progress)
    if made.pool > 1 and kind == "weights" and not without_first:
        place = sum(info.heads for info in trace(request).layers[:layer]) + head
        _drawn_whole(request)[place] = small_pictures.shrunk(made, small_pictures.small_pool(made.n))
    return made


def vectors(
    request: Request, layer: int, head: int, progress: Progress | None = None
) -> dict[str, npt.NDArray[np.float32]]:
    """Return query, key and value vectors of one head, before and after RoPE.

    Args:
        request: what was asked for.
        layer: counts attention layers from 0.
        head: the query head, from 0.
        progress: told how far it is.

    Returns:
        [token, dimension] by name.
    """

    def make(traced: Trace, report: Progress) -> dict[str, npt.NDArray[np.float32]]:
        report("Reading the vectors", None)
        return views.vectors(traced, layer, head).arrays

    size = lambda made: sum(values.nbytes for values in made.values())  # noqa: E731
    return from_trace(request, ("vectors", layer, head), make, passes=0, size=size, progress=progress)


def _frame_bytes(frame: pd.DataFrame) -> int:
    return int(frame.memory_usage(deep=True).sum())
