"""A trace, a head, a query token and a key token go in; every step from their two vectors to the attention weight comes
out, and the score split by rotation frequency.

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
from inspector.model.model import model_of
from reimpl.frequencies import rope_frequencies
from reimpl.spec import RopeSpec

if TYPE_CHECKING:
    from inspector.trace.trace import Trace

Vector = npt.NDArray[np.float64]

NOT_ROTATED = "not rotated"


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


def planes(trace: Trace, layer: int, head: int, query: int, key: int) -> pd.DataFrame:
    """The score of one query token and one key token, split by rotation frequency: a row for each plane that turns, the
    fastest first as a rule, and one more for the dimensions that do not.

    plane:         its number, from 0; missing (NA) for what is not rotated.
    dimensions:    the two dimensions that turn together, as text.
    wavelength:    after how many tokens it has turned once, 2·pi / radians per position (infinite: never).
    angle_degrees: by how much query and key are turned against each other: their distance times the plane's speed.
    share:         the sum of query * key over its dimensions. All shares add up to the score.
    content:       what the share would be with both tokens at the same position: the dot product of the unrotated
                   vectors in this plane (times the square of the attention factor, where the RoPE rule has one).
    position:      the rest, which rotation by the distance makes.

    Raises InspectorError, one sentence, where the layer does not use RoPE, its family is not reimplemented, the trace
    has no model, or its vectors turn out not to be its unrotated ones turned in these planes.
    """
    found = turning(trace, layer)
    steps = pair_steps(trace, layer, head, query, key)
    if steps.query_before is None or steps.key_before is None or steps.product_before is None:
        raise InspectorError(steps.no_before)
    eps = torch.finfo(trace.stored[layer].query.dtype).eps
    for before, after, position in (
        (steps.query_before, steps.query, query),
        (steps.key_before, steps.key, key),
    ):
        room = 32 * eps * float(np.abs(after).max(initial=1e-30))
        if float(np.abs(found.turned(before, position) - after).max()) > room:
            raise InspectorError(
                f"The queries and keys of layer {layer} are not just its unrotated ones turned by position, so its "
                "score is not split by frequency."
            )
    share = steps.product[found.first] + steps.product[found.second]
    content = (steps.product_before[found.first] + steps.product_before[found.second]) * found.factor**2
    speed = found.speed.astype(np.float64)
    frame = pd.DataFrame(
        {
            "plane": pd.array(found.plane, dtype="Int64"),
            "dimensions": [f"{i}, {j}" for i, j in zip(found.first, found.second, strict=True)],
            "wavelength": 2 * np.pi / speed,
            "angle_degrees": np.degrees(steps.distance * speed),
            "share": share,
            "content": content,
            "position": share - content,
        }
    )
    still = found.still(len(steps.product))
    if len(still):
        rest = float(steps.product[still].sum())
        frame.loc[len(frame)] = [pd.NA, f"{NOT_ROTATED}: {_ranges(still)}", np.inf, 0.0, rest, rest, 0.0]
    return frame


def dimensions(trace: Trace, layer: int, steps: PairSteps, *, rope: bool = True) -> pd.DataFrame:
    """The vectors as numbers, a row per dimension: dimension, query, key, product, and (where planes are known) plane:
    the number of the plane it turns in, missing (NA) where it does not turn. `rope=False`: before rotation."""
    chosen = (
        (steps.query, steps.key, steps.product)
        if rope
        else (steps.query_before, steps.key_before, steps.product_before)
    )
    if any(vector is None for vector in chosen):
        raise InspectorError(steps.no_before)
    width = len(steps.product)
    frame = pd.DataFrame({"dimension": np.arange(width), **dict(zip(("query", "key", "product"), chosen, strict=True))})
    try:
        found = turning(trace, layer)
    except InspectorError:
        return frame
    plane = pd.array([pd.NA] * width, dtype="Int64")
    plane[found.first], plane[found.second] = found.plane, found.plane
    frame["plane"] = plane
    return frame


# -- planes ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Turning:
    """The planes of a layer that turn: numbers, first and second dimension, radians per position, all [planes]; the
    factor on cosine and sine, and the direction (-1: backwards)."""

    plane: npt.NDArray[np.int64]
    first: npt.NDArray[np.int64]
    second: npt.NDArray[np.int64]
    speed: npt.NDArray[np.float32]
    factor: float
    direction: int
    scaled: npt.NDArray[np.int64]  # dimensions of planes that stand still, but have the factor

    def angles(self, position: int) -> Vector:
        """By how many radians each plane is turned at this position, [planes]: position times speed, with its sign."""
        formed = (np.float32(position) * self.speed).astype(np.float64)  # formed in float32, as the library does
        return formed * self.direction

    def turned(self, before: Vector, position: int) -> Vector:
        """A vector [d] as the rotation leaves it at this position."""
        angle = self.angles(position)
        cos, sin = np.cos(angle) * self.factor, np.sin(angle) * self.factor
        after = before.copy()
        after[self.scaled] *= self.factor
        after[self.first] = before[self.first] * cos - before[self.second] * sin
        after[self.second] = before[self.second] * cos + before[self.first] * sin
        return after

    def still(self, width: int) -> npt.NDArray[np.int64]:
        """The dimensions that do not turn."""
        return np.setdiff1d(np.arange(width), np.concatenate((self.first, self.second)))


def turning(trace: Trace, layer: int) -> Turning:
    """The layer's planes and how fast they turn. Raises InspectorError, one sentence, where nothing turns or it is not
    known: no RoPE, no model at hand, a family that is not reimplemented."""
    if trace.layers[layer].rope is False:
        raise InspectorError(f"Layer {layer} does not use RoPE: nothing is turned, its score is all content.")
    rope = model_of(trace, "the speed at which planes turn").reimplementation[layer].spec.rope
    if rope is None:
        raise InspectorError(f"Layer {layer} does not use RoPE: nothing is turned, its score is all content.")
    first, second = _plane_dimensions(rope, trace.layers[layer].d_head)
    per_position, factor = rope_frequencies(rope, length=trace.n)
    speed = per_position.detach().cpu().numpy().astype(np.float32)
    turns = speed != 0
    return Turning(
        plane=np.flatnonzero(turns),
        first=first[turns],
        second=second[turns],
        speed=speed[turns],
        factor=float(factor),
        direction=-1 if rope.backwards else 1,
        scaled=np.concatenate((first[~turns], second[~turns])),
    )


def _plane_dimensions(rope: RopeSpec, width: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """First and second dimension of each of the dim/2 planes, in a head of `width` dimensions."""
    start = width - rope.dim if rope.last else 0
    count = np.arange(rope.dim // 2)
    if rope.style == "halves":
        return start + count, start + count + rope.dim // 2
    return start + 2 * count, start + 2 * count + 1


def _ranges(numbers: npt.NDArray[np.int64]) -> str:
    """0–3, 8, 10–11."""
    runs = np.split(numbers, np.flatnonzero(np.diff(numbers) > 1) + 1)
    return ", ".join(f"{run[0]}" if len(run) == 1 else f"{run[0]}–{run[-1]}" for run in runs)


# -- inside ----------------------------------------------------------------------------------------------------


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
