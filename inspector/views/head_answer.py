"""Answer the Explore screen's question for one head's exact numbers, in the app and in a notebook."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from inspector.analysis import maps
from inspector.analysis.thumbnails import weights_known
from inspector.views.explore_message import head_message
from inspector.views.head_question import SHOWS
from inspector.views.map_headers import map_header

if TYPE_CHECKING:
    from inspector.trace.trace import Trace
    from inspector.views.head_question import HeadQuestion

Draw = Callable[[int, int, maps.Kind, bool], maps.Picture]  # (layer, head, kind, without the first token)


def answer_question(trace: Trace, asked: HeadQuestion, *, draw: Draw | None = None) -> bytes | None:
    """Return the exact numbers of one head that the Explore screen asked for.

    Args:
        trace: the prompt's trace.
        asked: which head, and what of it.
        draw: makes a head's picture; None: it is drawn here.

    Returns:
        What explore.js decodes; None where there is no such head, or its numbers cannot be computed.
    """
    layers = trace.layers
    if not (0 <= asked.layer < len(layers) and 0 <= asked.head < layers[asked.layer].heads):
        return None
    if not weights_known(trace, asked.layer):
        return None
    labels: Sequence[str] = trace.tokens.labels
    without_first = asked.sink == "without"
    if asked.unit == "words" and trace.n <= maps.EXACT_UP_TO and asked.show == "weights":
        groups = trace.tokens.words
        values = maps.by_words(trace, asked.layer, asked.head, groups, without_first=without_first)
        shown, labels = maps.Picture(values, 1, len(groups)), trace.tokens.word_labels()
    elif draw is None:
        shown = maps.picture(trace, asked.layer, asked.head, kind=asked.show, without_first=without_first)
    else:
        shown = draw(asked.layer, asked.head, asked.show, without_first)
    note = ", without the first token" if without_first and asked.show != "scaled_scores" else ""
    by_token = shown.n == trace.n
    header = map_header(
        shown,
        labels,
        kind=asked.show,
        scale=asked.scale,
        label=f"{SHOWS[asked.show]} of layer {asked.layer}, head {asked.head}" + ("" if by_token else ", by words"),
        note=note,
        join=trace.prompt_length if by_token and trace.prompt_length < trace.n else None,
    )
    header["picks"], header["strip"] = by_token, False
    return head_message(asked.id, asked.asked, header, shown.values, turn=asked.turn)
