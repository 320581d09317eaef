"""Compute all that the Explore screen shows of a trace, where no server keeps parts of it: notebooks, saved pages."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from inspector.analysis import head_scores, maps
from inspector.analysis.thumbnails import draw_thumbnails
from inspector.errors import InspectorError
from inspector.views.explore_message import prompt_message

if TYPE_CHECKING:
    from inspector.trace.trace import Trace

SAMPLE = 64  # query tokens from which heads of a prompt longer than maps.EXACT_UP_TO are drawn and scored
EXPECTED = 5  # next tokens that are named
EXPECTED_UP_TO = 256  # tokens of a prompt that is run again to tell what is expected after each of them


def explore_payload(trace: Trace, selected: tuple[int, int] | None = None) -> tuple[str, bytes]:
    """Return the name and the message of a trace.

    Args:
        trace: the prompt's trace.
        selected: the layer and head to begin with; None: one that attends to single tokens.

    Returns:
        Sixteen hexadecimal digits, and what explore.js decodes.
    """
    sample = SAMPLE if trace.n > maps.EXACT_UP_TO else None
    small = draw_thumbnails(trace, sample=sample)
    name = name_of_trace(trace)
    return name, prompt_message(
        trace,
        name=name,
        pictures=small,
        without_first=draw_thumbnails(trace, sample=sample, without_first=True),
        scores=head_scores.measures(trace, sample=sample),
        following=_following(trace),
        selected=small.telling(trace.layers) if selected is None else selected,
    )


def name_of_trace(trace: Trace) -> str:
    """Return a short name of a trace, by which its screen tells its own answers from others'."""
    facts = repr((trace.model_name, trace.tokens.ids, trace.precision, trace.edits, id(trace)))
    return hashlib.blake2b(facts.encode("utf-8", "replace"), digest_size=8).hexdigest()


def _following(trace: Trace) -> list[list[tuple[str, int, float]]]:
    """Return what is expected after the last tokens; empty where no model is at hand to tell."""
    try:
        return trace.next_tokens_after_each(EXPECTED) if trace.n <= EXPECTED_UP_TO else [trace.next_tokens(EXPECTED)]
    except InspectorError:  # a file without its model, or a model without a language-model head
        return []
