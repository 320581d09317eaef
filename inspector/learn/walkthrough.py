"""Compute the Walkthrough's numbers from one row of scores to the weighted values and the context vector.

stations.py names the stations. token_vectors.py has those before; those between one query and one key are
`inspector.analysis.score_breakdown`; the heads' shares are `inspector.analysis.shares`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from torch import Tensor

from inspector.analysis.shares import Numbers, numbers, one_row
from reimpl.attention import attention_weights, context_vectors

if TYPE_CHECKING:
    from inspector.trace.trace import Trace


# -- one row of scores -----------------------------------------------------------------------------------------


def scalings(trace: Trace, layer: int, head: int, query: int, d_model: int) -> pd.DataFrame:
    """Compute what the softmax makes of one row of scores without a scale, with the layer's own, and with 1/√d_model.

    Soft-caps, biases and sinks are left out: this is about the scale alone.

    Args:
        trace: the prompt's trace.
        layer: counted from 0.
        head: a query head, counted from 0.
        query: the query token's position.
        d_model: width of the residual.

    Returns:
        A row per scale: what, scale, spread (standard deviation of the scaled scores that it may attend to), largest
        (attention weight), entropy (of the weights, in bits).
    """
    rows = one_row(trace, query)
    scores = trace.scores(layer, head, queries=rows)[0].float()
    scores = scores[trace.allowed(layer, queries=rows, head=head)[0].expand(len(scores))]
    info = trace.layers[layer]
    kinds = (("not scaled", 1.0), ("this layer's scale", info.scale), ("1/√d_model", d_model**-0.5))
    frame = []
    for what, scale in kinds:
        scaled = scores * scale
        weights = attention_weights(scaled[None, None], None)[0, 0].double()
        frame.append(
            {
                "what": what,
                "scale": scale,
                "spread": float(scaled.double().std(correction=0)),
                "largest": float(weights.max()),
                "entropy": float(-(weights * weights.clamp_min(1e-300).log2()).sum()),
            }
        )
    return pd.DataFrame(frame)


def with_exponentials(row: pd.DataFrame) -> pd.DataFrame:
    """Add to a row what the softmax does to each key: exponential = e^(scaled score - the largest).

    Args:
        row: the table that `score_breakdown.row` returns.

    Returns:
        The keys that this query may attend to, with the column exponential.
    """
    seen = row[row["allowed"]]
    return seen.assign(exponential=np.exp(seen["scaled score"] - seen["scaled score"].max()))


# -- from weights to the output --------------------------------------------------------------------------------


@dataclass(frozen=True)
class WeightedValues:
    """One query token's weighted values: those with the largest weights by themselves, the rest as their sum.

    Attributes:
        positions: of the key tokens shown, in order.
        weights: theirs [shown].
        values: weight x value vector, [shown, d_value].
        rest: the sum of all others', [d_value]; None where there are none.
        rest_weight: what weight those have together.
        context: the sum of all, as the model's dtype rounds it, [d_value].
    """

    positions: list[int]
    weights: Numbers
    values: Numbers
    rest: Numbers | None
    rest_weight: float
    context: Numbers


def weighted_values(trace: Trace, layer: int, head: int, query: int, *, most: int = 24) -> WeightedValues:
    """Compute the weighted values of one query token: its top key tokens, and the rest together.

    Args:
        trace: the prompt's trace.
        layer: counted from 0.
        head: a query head, counted from 0.
        query: the query token's position.
        most: how many key tokens are shown by themselves.

    Returns:
        The weighted values and their sum.
    """
    weights = trace.weights(layer, head, queries=one_row(trace, query))[0].float()  # [s]
    allowed = trace.allowed(layer, queries=one_row(trace, query), head=head)[0].expand(trace.n)
    values = trace.value(layer, head).float()  # [s, d_value]
    order = weights.masked_fill(~allowed, -1.0).argsort(descending=True, stable=True)
    count = min(most, int(allowed.sum()))
    shown = order[:count].sort().values
    others = order[count : int(allowed.sum())]
    return WeightedValues(
        positions=shown.tolist(),
        weights=numbers(weights[shown]),
        values=numbers(weights[shown, None] * values[shown]),
        rest=numbers(weights[others] @ values[others]) if len(others) else None,
        rest_weight=float(weights[others].sum()),
        context=numbers(compute_contexts(trace, layer, query)[head]),
    )


def compute_contexts(trace: Trace, layer: int, query: int) -> Tensor:
    """Compute the context vectors of all heads for one query token; one row of weights per head is computed.

    Args:
        trace: the prompt's trace.
        layer: counted from 0.
        query: the query token's position.

    Returns:
        [h, d_value].
    """
    weights = trace.weights(layer, queries=one_row(trace, query))  # [h, 1, s]
    return context_vectors(weights, trace.value(layer))[:, 0]
