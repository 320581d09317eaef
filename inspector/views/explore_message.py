"""Pack what the Explore screen shows of a prompt in one message, and one head's exact numbers in another.

The first holds everything that a choice on the screen may show: small pictures of all heads, their scores, what the
model expects after each token and, of a short prompt, all heads' weights in float16. It does not change with what
is chosen, so choosing costs no message (of more than 1,024 tokens, small pictures improve, and a run of the page sends
them again). Exact float32 numbers of the chosen head follow in the second.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from inspector.analysis.head_scores import COUNTS_FROM, MEASURES, ROLES, role_summaries
from inspector.analysis.maps import EXACT_UP_TO, MOST_SCALED, Picture
from inspector.analysis.thumbnails import weights_known
from inspector.views import map_headers
from inspector.views.header_types import ExploreHeader, ExploreMeasure, HeadAnswer, HeadAsked, MapHeader
from inspector.views.payload import SCALE_NOTES, WEIGHT, encode

if TYPE_CHECKING:
    import pandas as pd

    from inspector.analysis.thumbnails import Thumbnails
    from inspector.trace.trace import Trace

ALL_UP_TO = 96  # tokens of a prompt whose every head's weights are sent at once: 2.5 MB for 270 heads
Next = Sequence[Sequence[tuple[str, int, float]]]  # label, id and probability, the most probable first, token by token


def prompt_message(
    trace: Trace,
    *,
    name: str,
    pictures: Thumbnails,
    without_first: Thumbnails,
    scores: pd.DataFrame,
    following: Next,
    selected: tuple[int, int],
    found: Sequence[str] = (),
) -> bytes:
    """Return the message of a prompt.

    Args:
        trace: the prompt's trace.
        name: of the prompt in this model; answers about its heads carry it too.
        pictures: every head's small picture.
        without_first: the same without the first token.
        scores: what `head_scores.measures` returns.
        following: what is expected after the last tokens: after all of them, or after some.
        selected: the layer and head to begin with.
        found: what is known of every head over many texts, a sentence each; empty: nothing.

    Returns:
        The bytes that explore.js decodes.
    """
    layers, labels = trace.layers, list(trace.tokens.labels)
    weights = _all_weights(trace)
    small = np.concatenate([pictures.pixels.ravel(), without_first.pixels.ravel()])
    parts = [small, np.zeros(small.size % 2, np.uint8)]  # what follows begins at an even place
    if weights is not None:
        parts.append(weights.view(np.uint8))
    numbers = np.concatenate(parts)
    header: ExploreHeader = {
        "id": name,
        "tokens": labels,
        "join": trace.prompt_length,
        "heads": [layer.heads for layer in layers],
        "groups": [layer.kv_heads for layer in layers],
        "notes": [_note(trace, layer.index) for layer in layers],
        "side": pictures.pixels.shape[-1],
        "pool": pictures.pool,
        "sampled": without_first.said(),
        "measures": _measures(scores, trace),
        "next": [[[label, round(share, 6)] for label, _, share in row] for row in following],
        "next_from": trace.n - len(following),
        "selected": list(selected),
        "map": None if weights is None else _template(trace),
        "legends": {scale: WEIGHT + note for scale, note in SCALE_NOTES.items()},
        "known": [weights_known(trace, layer.index) for layer in layers],
        "pooled": trace.n > EXACT_UP_TO,
        "words": len(trace.tokens.words),
        "found": list(found),
        "counts_from": COUNTS_FROM,
        "most_scaled": MOST_SCALED,
    }
    return encode(cast(dict[str, Any], header), numbers)


def head_message(
    name: str, asked: HeadAsked, header: MapHeader, numbers: npt.NDArray[np.float32], *, turn: int = 0
) -> bytes:
    """Return the message of one head's exact numbers.

    Args:
        name: the `id` of the prompt's message.
        asked: what was asked for.
        header: of the head's map.
        numbers: its numbers, [rows, columns], NaN where masked.
        turn: of the question; the same bytes would not be sent again.

    Returns:
        The bytes that explore.js decodes.
    """
    packed, flat = map_headers.packed(header, numbers)
    answer: HeadAnswer = {"id": name, "asked": asked, "turn": turn, "map": packed}
    return encode(cast(dict[str, Any], answer), flat)


def _measures(scores: pd.DataFrame, trace: Trace) -> list[ExploreMeasure]:
    """Return each measure with every head's score; heads whose weights cannot be computed have none."""
    place = {(layer.index, head): at for at, (layer, head) in enumerate(_heads(trace))}
    at = [place[int(row.layer), int(row.head)] for row in scores.itertuples()]
    summaries = {found.measure.name: found for found in role_summaries(scores, trace.tokens.ids)}
    measures: list[ExploreMeasure] = []
    for measure in [*ROLES, *(each for each in MEASURES if not each.role)]:
        every = np.full(len(place), np.nan)
        every[at] = scores[measure.name].to_numpy()
        found = summaries.get(measure.name)
        shown = found is not None and not np.isnan(found.best)
        note = ""
        if found is not None:
            heads = "" if not found.count else f"{found.count} head{'s' * (found.count > 1)} · "
            needs = "needs a repeat" if measure.repeats else "needs more tokens"
            unknown = needs if len(scores) else "no weights are known"
            note = f"{heads}best score {found.best:.2f}" if shown else unknown
        measures.append(
            {
                "name": measure.name,
                "title": measure.title,
                "meaning": measure.meaning,
                "role": measure.role,
                "repeats": measure.repeats,
                "note": note,
                "best": place[found.head] if found is not None and shown else -1,
                "ascending": not measure.largest,
                "scores": [None if np.isnan(score) else round(float(score), 4) for score in every],
            }
        )
    return measures


def _heads(trace: Trace) -> list[tuple[Any, int]]:
    """Return every head's layer and number, in the order of all heads."""
    return [(layer, head) for layer in trace.layers for head in range(layer.heads)]


def _note(trace: Trace, layer: int) -> str:
    """Say what is particular about a layer; empty where nothing is."""
    stored, info = trace.stored[layer], trace.layers[layer]
    if not weights_known(trace, layer):
        return f"its weights cannot be shown: {stored.unexplained or 'the trace has no vectors of this layer'}"
    said = [f"looks back {info.window:,} tokens at most"] if info.window else []
    if info.sinks:
        said.append("has an attention sink of its own: rows add up to less than 1")
    return "; ".join(said)


def _all_weights(trace: Trace) -> npt.NDArray[np.float16] | None:
    """Return all heads' weights, row after row without the upper triangle, NaN where masked; None where not sent.

    They do not where the prompt is long, or a token may look at a later one.
    """
    n = trace.n
    if n > ALL_UP_TO:
        return None
    lower = np.tril_indices(n)
    parts = []
    for layer in trace.layers:
        if not weights_known(trace, layer.index):
            parts.append(np.full((layer.heads, len(lower[0])), np.nan, np.float16))
            continue
        allowed = trace.allowed(layer.index).expand(layer.heads, n, n)
        if allowed.triu(1).any():
            return None
        seen = trace.weights(layer.index).detach().float().masked_fill(~allowed, float("nan"))
        parts.append(seen.cpu().numpy()[:, lower[0], lower[1]].astype(np.float16))
    return np.concatenate(parts).ravel()


def _template(trace: Trace) -> MapHeader:
    """Return the header of a head's weights; every head's is the same but for its name."""
    n = trace.n
    values = np.where(np.tri(n, dtype=bool), np.float32(1), np.float32("nan"))
    join = trace.prompt_length if trace.prompt_length < n else None
    header = map_headers.map_header(
        Picture(values, 1, n), trace.tokens.labels, kind="weights", scale="sqrt", label="Attention weights", join=join
    )
    header["picks"], header["strip"] = True, False
    return map_headers.packed(header, values)[0]
