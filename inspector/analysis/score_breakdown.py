"""Follow one query token and one key token from their two vectors to the attention weight, step by step.

One row of the head's scores and weights is computed, never an n x n table. Numbers are numpy's and pandas'.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from inspector.errors import InspectorError

if TYPE_CHECKING:
    from inspector.trace.trace import Trace

Vector = npt.NDArray[np.float64]


@dataclass(frozen=True)
class PairSteps:
    """How the attention weight of one query token and one key token is computed, step by step.

    Vectors are [d], float64 copies of what the model computed in its own dtype.

    Attributes:
        query_position: of the query token.
        key_position: of the key token.
        query: its query vector after rotation, as the score uses it.
        key: its key vector after rotation.
        product: query * key, dimension by dimension; it adds up to `score`, but for rounding in the model's dtype.
        query_before: the query vector before rotation; None where there is none, and `no_before` says why.
        key_before: the key vector before rotation, likewise.
        product_before: query_before * key_before.
        no_before: why there are no vectors before rotation; else empty.
        score: the raw dot product.
        scale: what scores are multiplied by.
        scaled: score * scale.
        softcap: the limit that scaled scores approach; None where the layer has none.
        capped: `scaled` after the soft-cap, or the same.
        bias: what is added to the capped score (0 where the model adds nothing).
        scaled_score: what the softmax sees: `capped` plus `bias`.
        allowed: whether this query may attend to this key; if not, the weight is 0.
        keys: how many keys it may attend to.
        largest: the row's largest scaled score.
        exponential: e^(scaled_score - largest).
        total: the sum of these over the row, an attention sink's included.
        weight: exponential / total, as the model's own softmax rounds it; NaN where `no_weight` says why not.
        no_weight: why there is no weight; else empty.
    """

    query_position: int
    key_position: int
    query: Vector
    key: Vector
    product: Vector
    query_before: Vector | None
    key_before: Vector | None
    product_before: Vector | None
    no_before: str
    score: float
    scale: float
    scaled: float
    softcap: float | None
    capped: float
    bias: float
    scaled_score: float
    allowed: bool
    keys: int
    largest: float
    exponential: float
    total: float
    weight: float
    no_weight: str

    @property
    def distance(self) -> int:
        """Return how many positions the key stands before the query."""
        return self.query_position - self.key_position


def pair_steps(trace: Trace, layer: int, head: int, query: int, key: int, *, before_rope: bool = True) -> PairSteps:
    """Compute every step from one head's query and key vector to their attention weight.

    Args:
        trace: the prompt's trace.
        layer: counted from 0.
        head: a query head, counted from 0.
        query: the query token's position.
        key: the key token's position.
        before_rope: False leaves out the vectors before rotation, which of a long prompt may need another forward pass.

    Returns:
        The steps, in the order of computation.

    Raises:
        InspectorError: there is no such layer, head or token.
    """
    _check(trace, query, key)
    info, stored = trace.layers[layer], trace.stored[layer]
    after = _numbers(trace.query(layer, head)[query]), _numbers(trace.key(layer, head)[key])
    before, no_before = _before(trace, layer, head, query, key) if before_rope else (None, "They were not requested.")
    frame = row(trace, layer, head, query)
    seen = frame["scaled score"][frame["allowed"]]
    chosen = frame.iloc[key]
    score, weight = float(chosen["score"]), float(chosen["weight"])
    scaled = score * info.scale
    capped = scaled if info.softcap is None else float(np.tanh(scaled / info.softcap)) * info.softcap
    bias = 0.0
    if stored.bias is not None:  # [h or 1, t or 1, s]
        table = stored.bias[head if stored.bias.shape[0] > 1 else 0]
        bias = float(table[query if table.shape[0] > 1 else 0, key])
    largest = float(seen.max())
    exponentials = np.exp(seen - largest)
    # What a sink takes of the row is what the weights leave.
    sum_of_weights = float(frame["weight"].sum()) if info.sinks else 1.0
    allowed = bool(chosen["allowed"])
    return PairSteps(
        query_position=query,
        key_position=key,
        query=after[0],
        key=after[1],
        product=after[0] * after[1],
        query_before=before[0] if before else None,
        key_before=before[1] if before else None,
        product_before=before[0] * before[1] if before else None,
        no_before=no_before,
        score=score,
        scale=info.scale,
        scaled=scaled,
        softcap=info.softcap,
        capped=capped,
        bias=bias,
        scaled_score=float(chosen["scaled score"]),
        allowed=allowed,
        keys=len(seen),
        largest=largest,
        exponential=float(np.exp(chosen["scaled score"] - largest)) if allowed else 0.0,
        total=float(exponentials.sum()) / sum_of_weights if sum_of_weights > 0 else float("inf"),
        weight=weight,
        no_weight=_no_weight(trace, layer),
    )


def row(trace: Trace, layer: int, head: int, query: int) -> pd.DataFrame:
    """Return one query token's whole row of scores and weights.

    Args:
        trace: the prompt's trace.
        layer: counted from 0.
        head: a query head, counted from 0.
        query: the query token's position.

    Returns:
        A row per key token, in order: position, token, allowed (whether this query may attend to it), score, scaled
        score (as the softmax sees it), weight (0 where masked; NaN everywhere where the weights cannot be computed).

    Raises:
        InspectorError: there is no such layer, head or token.
    """
    _check(trace, query, 0)
    one = slice(query, query + 1)
    allowed = trace.allowed(layer, queries=one, head=head)[0].cpu().numpy()
    scores = _numbers(trace.scores(layer, head, queries=one)[0])
    scaled = _numbers(trace.scaled_scores(layer, head, queries=one)[0])
    if _no_weight(trace, layer):
        weights = np.full(trace.n, np.nan)
    else:
        weights = _numbers(trace.weights(layer, head, queries=one)[0])
    return pd.DataFrame(
        {
            "position": np.arange(trace.n),
            "token": list(trace.tokens.labels),
            "allowed": np.broadcast_to(allowed, (trace.n,)),
            "score": scores,
            "scaled score": scaled,
            "weight": weights,
        }
    )


def strongest_key(frame: pd.DataFrame) -> int:
    """Choose the key with the largest scaled score other than the first token.

    The first token draws most attention in many heads, whatever the prompt.

    Args:
        frame: the table that `row` returns.

    Returns:
        The key's position; 0 where there is no other.
    """
    others = frame[frame["allowed"] & (frame["position"] > 0)]
    return int(others["position"].loc[others["scaled score"].idxmax()]) if len(others) else 0


def _before(trace: Trace, layer: int, head: int, query: int, key: int) -> tuple[tuple[Vector, Vector] | None, str]:
    """Return query and key vector before rotation; or None, and why."""
    rope = trace.layers[layer].rope
    if rope is False:
        return None, f"Layer {layer} does not use RoPE: queries and keys are compared as they are."
    if rope is None:
        return None, "This layer's rotation cannot be switched off: its vectors are shown after it."
    try:
        found = trace.query(layer, head, rope=False)[query], trace.key(layer, head, rope=False)[key]
    except InspectorError as error:
        return None, str(error)
    return (_numbers(found[0]), _numbers(found[1])), ""


def _no_weight(trace: Trace, layer: int) -> str:
    """Say why this layer's weights cannot be shown; empty: they can."""
    why = trace.stored[layer].unexplained
    return f"Layer {layer}'s weights cannot be shown: {why}." if why else ""


def _check(trace: Trace, query: int, key: int) -> None:
    """Refuse positions that the prompt does not have."""
    for name, position in (("query", query), ("key", key)):
        if not 0 <= position < trace.n:
            raise InspectorError(f"There is no {name} token {position}: this prompt has tokens 0 to {trace.n - 1}.")


def _numbers(values: torch.Tensor) -> Vector:
    """Copy a tensor to numpy in float64."""
    found: Vector = values.detach().double().cpu().numpy()
    return found
