"""Let one prompt's queries attend to another prompt's keys and values, by the functions of self-attention.

There is no mask, and a rectangle [t, s] instead of a square. A decoder never does this itself. Encoder-decoder models
do; here it is the mathematics, on real vectors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from inspector.errors import InspectorError
from inspector.verification.compare import Check, compare_stage
from reimpl.attention import attention_weights, context_vectors, scaled_scores
from reimpl.stepwise import attend_one

if TYPE_CHECKING:
    from inspector.trace.trace import Trace

MOST_PAIRS = 2**18  # query tokens times key tokens


@dataclass(frozen=True)
class Crossed:
    """Cross-attention of one prompt's t tokens over another's s tokens.

    Attributes:
        weights: [t, s], each row adds up to 1.
        context: context vectors [t, d_value].
        turned: whether the vectors are those after RoPE.
        why: which vectors, and for what reason.
        loops: the last query's context vector in plain loops against this one; None where the layer soft-caps, which
            those loops do not support.
    """

    weights: npt.NDArray[np.float32]
    context: npt.NDArray[np.float32]
    turned: bool
    why: str
    loops: Check | None


def crossed(ours: Trace, theirs: Trace, layer: int, head: int) -> Crossed:
    """Compute cross-attention between two prompts of one model.

    Args:
        ours: the trace whose queries are taken.
        theirs: the trace whose keys and values are taken.
        layer: counted from 0.
        head: a query head, counted from 0.

    Returns:
        Weights, context vectors and their check.

    Raises:
        InspectorError: the layer adds a bias or sinks to its scores, its weights cannot be computed, the models differ,
            or there are more than MOST_PAIRS pairs.
    """
    info, stored = ours.layers[layer], ours.stored[layer]
    if _kind(ours) != _kind(theirs):
        raise InspectorError("Both prompts have to run through the same model.")
    if ours.n * theirs.n > MOST_PAIRS:
        raise InspectorError(
            f"{ours.n:,} query tokens and {theirs.n:,} key tokens are {ours.n * theirs.n:,} pairs, more than the "
            f"{MOST_PAIRS:,} shown here: shorten one of the texts."
        )
    if info.bias or info.sinks:
        what = "a bias by position to its scores" if info.bias else "attention sinks to its rows"
        raise InspectorError(
            f"Layer {layer} adds {what}, which has no meaning across two texts: choose another layer or model."
        )
    if stored.unexplained:
        raise InspectorError(f"Layer {layer}'s weights cannot be computed: {stored.unexplained}; choose another layer.")
    turned, why = _which(ours, theirs, layer, head)
    query = ours.query(layer, head, rope=turned)[None]
    key, value = theirs.key(layer, head, rope=turned)[None], theirs.value(layer, head)[None]
    scores = scaled_scores(query, key, scale=info.scale, softcap=info.softcap)
    weights = attention_weights(scores, None)
    context = context_vectors(weights.to(value.dtype), value)
    return Crossed(
        weights=weights[0].float().cpu().numpy(),
        context=context[0].float().cpu().numpy(),
        turned=turned,
        why=why,
        loops=_loops(layer, query[0, -1], key[0], value[0], context[0, -1], info.scale, info.softcap),
    )


def _kind(trace: Trace) -> list[tuple[object, ...]]:
    """Return what two traces of one model share; a window shows only in prompts that are longer."""
    return [
        (info.name, info.heads, info.kv_heads, info.d_head, info.d_value, info.scale, info.softcap, info.rope)
        for info in trace.layers
    ]


def _which(ours: Trace, theirs: Trace, layer: int, head: int) -> tuple[bool, str]:
    """Return whether vectors after rotation are used, and why."""
    rope = ours.layers[layer].rope
    if rope is False:
        return True, "This layer does not use RoPE: its vectors are compared as they are."
    try:
        ours.query(layer, head, rope=False)
        theirs.key(layer, head, rope=False)
    except InspectorError:
        return True, (
            "Vectors after RoPE, since those before it are not available here: token 3 of one text counts as standing "
            "where token 3 of the other stands."
        )
    return False, (
        "Vectors before RoPE: positions in one text say nothing about positions in the other, so no distance should "
        "count."
    )


def _loops(
    layer: int, query: Tensor, key: Tensor, value: Tensor, context: Tensor, scale: float, softcap: float | None
) -> Check | None:
    """Check the last query's context vector against plain loops."""
    if softcap is not None:
        return None
    numbers = (query.tolist(), key.tolist(), value.tolist())
    steps = attend_one(*numbers, scale=scale)
    found = torch.tensor(steps.context, dtype=torch.float64)
    unit = torch.finfo(value.dtype).eps
    steep = max(map(abs, steps.scaled))
    # As in inspector.learn.four_ways: the roundings of a score and of the sum, times the largest value.
    tolerance = unit * (2 + len(key) ** 0.5 + steep * (1 + len(query) ** 0.5)) * float(value.abs().max())
    return compare_stage(
        layer, "context", found, context.cpu(), tolerance=tolerance, reason="float64 loops, rounded sums"
    )
