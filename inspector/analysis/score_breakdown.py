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
    """How one query token comes to give its weight to one key token, in the order of computation.

    Vectors are [d], float64 copies of what the model computed in its own dtype. `query` and `key` are after rotation,
    as the score uses them; `*_before` are before it (None where there is no before, and `no_before` says why).

    product:      query * key, dimension by dimension; it adds up to `score`, but for rounding in the model's dtype.
    score:        the raw dot product. scaled: score * scale. capped: `scaled` after the soft-cap, or the same.
    scaled_score: what the softmax sees, `capped` plus the bias (0 where the model adds none).
    allowed:      may this query look at this key? If not, the weight is 0.
    keys:         how many keys it may look at; largest: the row's largest scaled score.
    exponential:  e^(scaled_score - largest); total: the sum of these over the row, an attention sink's included.
    weight:       exponential / total, as the model's own softmax rounds it; NaN where `no_weight` says why not.
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
        """How many positions the key stands before the query."""
        return self.query_position - self.key_position


def pair_steps(trace: Trace, layer: int, head: int, query: int, key: int, *, before_rope: bool = True) -> PairSteps:
    """The steps for the query token at position `query` and the key token at position `key` of one head.

    `before_rope=False` leaves out the vectors before rotation, which for a long prompt may need another forward pass.
    Raises InspectorError where there is no such layer, head or token.
    """
    _check(trace, query, key)
    info, kept = trace.layers[layer], trace.stored[layer]
    after = _numbers(trace.query(layer, head)[query]), _numbers(trace.key(layer, head)[key])
    before, no_before = _before(trace, layer, head, query, key) if before_rope else (None, "They were not asked for.")
    frame = row(trace, layer, head, query)
    seen = frame["scaled score"][frame["allowed"]]
    chosen = frame.iloc[key]
    score, weight = float(chosen["score"]), float(chosen["weight"])
    scaled = score * info.scale
    capped = scaled if info.softcap is None else float(np.tanh(scaled / info.softcap)) * info.softcap
    bias = 0.0
    if kept.bias is not None:  # [h or 1, t or 1, s]
        table = kept.bias[head if kept.bias.shape[0] > 1 else 0]
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
    """One query token's whole row: a frame with all key tokens in order.

    Columns: position, token, allowed (may this query look there), score, scaled score (as the softmax sees it), weight
    (0 where it may not look; NaN everywhere where the model's weights cannot be told).
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
    """Of a row, the key with the largest scaled score other than the first token, which in many heads draws most
    attention whatever the prompt; the first where there is no other."""
    others = frame[frame["allowed"] & (frame["position"] > 0)]
    return int(others["position"].loc[others["scaled score"].idxmax()]) if len(others) else 0


def _before(trace: Trace, layer: int, head: int, query: int, key: int) -> tuple[tuple[Vector, Vector] | None, str]:
    """Query and key vector before rotation; or None, and why."""
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
    why = trace.stored[layer].unexplained
    return f"Layer {layer}'s weights cannot be shown: {why}." if why else ""


def _check(trace: Trace, query: int, key: int) -> None:
    for name, position in (("query", query), ("key", key)):
        if not 0 <= position < trace.n:
            raise InspectorError(f"There is no {name} token {position}: this prompt has tokens 0 to {trace.n - 1}.")


def _numbers(values: torch.Tensor) -> Vector:
    found: Vector = values.detach().double().cpu().numpy()
    return found
