"""Compute the numbers of each station of the Walkthrough for one query token, in the order of computation.

stations.py names the stations. Those between one query and one key are `inspector.analysis.score_breakdown`; the
heads' shares are `inspector.analysis.shares`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from inspector.analysis.shares import Numbers, numbers, one_row
from inspector.errors import NoModel
from inspector.model.model import model_of
from reimpl.attention import attention_weights, context_vectors

if TYPE_CHECKING:
    from inspector.trace.trace import Trace

MATRICES = ("W_q", "W_k", "W_v", "W_o")


@dataclass(frozen=True)
class StreamNumbers:
    """The query token's vectors before and after a layer's attention, [d_model] each.

    Attributes:
        embedding: what the token starts with.
        residual: the residual before the block.
        input: the attention input.
        output: the attention output.
        next_residual: the residual before the next block.
        added_to: what the output is added to, in words, as capture/residual_stream.py names it.
    """

    embedding: Numbers | None = None
    residual: Numbers | None = None
    input: Numbers | None = None
    output: Numbers | None = None
    next_residual: Numbers | None = None
    added_to: str = ""


def residual_stream(trace: Trace, layer: int, query: int) -> StreamNumbers:
    """Return the query token's vectors before and after a layer's attention, by one more forward pass.

    Args:
        trace: the prompt's trace.
        layer: counted from 0.
        query: the query token's position.

    Returns:
        The vectors.

    Raises:
        InspectorError: there is no such token, or the trace has no model.
    """
    one_row(trace, query)
    found = model_of(trace, "the residual stream").residual_stream(trace.tokens.ids, trace.layers[layer], query)
    arrays = {name: numbers(v) for name, v in vars(found).items() if isinstance(v, Tensor)}
    return StreamNumbers(added_to=found.added_to, **arrays)


# -- from the token to its query, key and value ----------------------------------------------------------------


@dataclass(frozen=True)
class LookUp:
    """Where a token's embedding comes from: its row of the learned table.

    Attributes:
        row: [d_model].
        rows: how many vectors the table has.
        same: whether the first block receives that row in every element.
        factor: what the row is multiplied by first, where it is one number (some models do that); NaN where it is
            neither.
    """

    row: Numbers  # [d_model]
    rows: int
    same: bool
    factor: float


def look_up(trace: Trace, query: int, embedding: Numbers) -> LookUp | None:
    """Find a token's row of the embedding table.

    Args:
        trace: the prompt's trace.
        query: the token's position.
        embedding: what the first block receives [d_model].

    Returns:
        The row; None where the model has no such table of that width.
    """
    try:
        table = model_of(trace, "the embedding table").model.get_input_embeddings().weight
    except (AttributeError, NotImplementedError, NoModel):
        table = None
    if table is None or table.shape[-1] != len(embedding):
        return None
    unit = torch.finfo(table.dtype).eps
    row = numbers(table[trace.tokens.ids[query]])
    ratio = embedding[row != 0].astype(np.float64) / row[row != 0]
    even = len(ratio) > 0 and np.abs(ratio - ratio[0]).max() <= 2 * unit * abs(ratio[0])
    same = np.array_equal(row, embedding)
    return LookUp(row, table.shape[0], same, 1.0 if same else float(ratio.mean()) if even else math.nan)


def matrices(trace: Trace, layer: int, head: int) -> dict[str, Numbers]:
    """Return one head's slices of the four matrices.

    Args:
        trace: the prompt's trace.
        layer: counted from 0.
        head: a query head, counted from 0.

    Returns:
        W_q, W_k [d_head, d_model], W_v [d_value, d_model] and W_o [d_model, d_value] by name.

    Raises:
        InspectorError: the trace has no model, or the family is not reimplemented.
    """
    found = model_of(trace, "a head's matrices").head_parameters(layer, head)
    return {name: numbers(getattr(found, name)) for name in MATRICES}


def own_vectors(trace: Trace, layer: int, head: int, query: int) -> dict[str, Numbers]:
    """Return the query token's own query, key (before RoPE where the layer has it) and value vector in one head.

    Args:
        trace: the prompt's trace.
        layer: counted from 0.
        head: a query head, counted from 0.
        query: the token's position.

    Returns:
        Name -> vector.
    """
    before = trace.layers[layer].rope is True
    when = " before RoPE" if before else ""
    return {
        f"query{when}": numbers(trace.query(layer, head, rope=not before)[query]),
        f"key{when}": numbers(trace.key(layer, head, rope=not before)[query]),
        "value": numbers(trace.value(layer, head)[query]),
    }


def made_vectors(trace: Trace, layer: int, head: int, query: int, received: Numbers) -> pd.DataFrame:
    """Compute the query token's three vectors by their matrices, beside what the model has.

    Where a model adds a bias or normalises, many numbers differ: the matrix is not all of it then.

    Args:
        trace: the prompt's trace.
        layer: counted from 0.
        head: a query head, counted from 0.
        query: the token's position.
        received: its attention input [d_model].

    Returns:
        A row per vector: vector (as `own_vectors` names it); matrix; first: the first number of matrix times attention
        input; model: the same number as the model has it; differing: how many of `elements` numbers differ by more than
        rounding allows.

    Raises:
        InspectorError: as `matrices`.
    """
    parameters = matrices(trace, layer, head)
    unit = torch.finfo(trace.stored[layer].query.dtype).eps
    inputs = received.astype(np.float64)
    rows = []
    for (name, theirs), matrix in zip(own_vectors(trace, layer, head, query).items(), MATRICES, strict=False):
        weight = parameters[matrix].astype(np.float64)
        ours = weight @ inputs
        # The model sums the same products in its own precision: each may be off by one unit.
        room = unit * (np.abs(weight) @ np.abs(inputs))
        rows.append(
            {
                "vector": name,
                "matrix": matrix,
                "first": float(ours[0]),
                "model": float(theirs[0]),
                "differing": int((np.abs(ours - theirs) > room).sum()),
                "elements": len(theirs),
            }
        )
    return pd.DataFrame(rows)


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
