"""Split the score of one query token and one key token by rotation plane, which is by RoPE's frequencies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from inspector.analysis.score_breakdown import PairSteps, Vector, pair_steps
from inspector.errors import InspectorError
from inspector.model.model import model_of
from inspector.text import spans
from reimpl.frequencies import rope_frequencies
from reimpl.spec import RopeSpec

if TYPE_CHECKING:
    from inspector.trace.trace import Trace

NOT_ROTATED = "not rotated"


def planes(trace: Trace, layer: int, head: int, query: int, key: int) -> pd.DataFrame:
    """Split the score of one query token and one key token by rotation frequency.

    Args:
        trace: the prompt's trace.
        layer: counted from 0.
        head: a query head, counted from 0.
        query: the query token's position.
        key: the key token's position.

    Returns:
        A row for each plane that turns, the fastest first as a rule, and one more for the dimensions that do not turn:
        plane: its number, from 0; missing (NA) for what is not rotated.
        dimensions: the two dimensions that turn together, as text.
        wavelength: after how many tokens it has turned once, 2·pi / radians per position (infinite: never).
        angle_degrees: by how much query and key are turned against each other: their distance times the plane's speed.
        share: the sum of query * key over its dimensions. All shares add up to the score.
        content: what the share would be with both tokens at the same position: the dot product of the unrotated vectors
        in this plane (times the square of the attention factor, where the RoPE rule has one).
        position: the rest, which comes from rotation by the distance.

    Raises:
        InspectorError: the layer does not use RoPE, its family is not reimplemented, the trace has no model, or its
            vectors are not its unrotated ones turned in these planes.
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
        frame.loc[len(frame)] = [pd.NA, f"{NOT_ROTATED}: {spans(still.tolist(), '–')}", np.inf, 0.0, rest, rest, 0.0]
    return frame


def dimensions(trace: Trace, layer: int, steps: PairSteps, *, rope: bool = True) -> pd.DataFrame:
    """Return a pair's vectors as numbers, a row per dimension.

    Args:
        trace: the prompt's trace.
        layer: counted from 0.
        steps: the pair's steps, as `score_breakdown.pair_steps` returns them.
        rope: False takes the vectors before rotation.

    Returns:
        Columns dimension, query, key, product, and where planes are known plane: the number of the plane that the
        dimension turns in, missing (NA) where it does not turn.

    Raises:
        InspectorError: vectors before rotation are asked for and there are none.
    """
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


@dataclass(frozen=True)
class Turning:
    """The planes of a layer that turn.

    Attributes:
        plane: the planes' numbers [planes].
        first: the first dimension of each [planes].
        second: the second dimension of each [planes].
        speed: radians per position [planes].
        factor: what cosine and sine are multiplied by.
        direction: 1, or -1 where the layer turns backwards.
        scaled: dimensions of planes that stand still, but have the factor.
    """

    plane: npt.NDArray[np.int64]
    first: npt.NDArray[np.int64]
    second: npt.NDArray[np.int64]
    speed: npt.NDArray[np.float32]
    factor: float
    direction: int
    scaled: npt.NDArray[np.int64]  # dimensions of planes that stand still, but have the factor

    def angles(self, position: int) -> Vector:
        """Return by how many radians each plane is turned at a position, with its sign.

        Args:
            position: of the token.

        Returns:
            [planes], float64.
        """
        formed = (np.float32(position) * self.speed).astype(np.float64)  # formed in float32, as the library does
        return formed * self.direction

    def turned(self, before: Vector, position: int) -> Vector:
        """Rotate a vector as the layer does at a position.

        Args:
            before: [d], before rotation.
            position: of the token.

        Returns:
            [d], after rotation.
        """
        angle = self.angles(position)
        cos, sin = np.cos(angle) * self.factor, np.sin(angle) * self.factor
        after = before.copy()
        after[self.scaled] *= self.factor
        after[self.first] = before[self.first] * cos - before[self.second] * sin
        after[self.second] = before[self.second] * cos + before[self.first] * sin
        return after

    def still(self, width: int) -> npt.NDArray[np.int64]:
        """Return the dimensions that do not turn.

        Args:
            width: d, the head's dimensions.

        Returns:
            Their numbers in order.
        """
        return np.setdiff1d(np.arange(width), np.concatenate((self.first, self.second)))


def turning(trace: Trace, layer: int) -> Turning:
    """Return a layer's planes and how fast they turn.

    Args:
        trace: the prompt's trace.
        layer: counted from 0.

    Returns:
        The planes that turn.

    Raises:
        InspectorError: the layer does not use RoPE, the trace has no model, or the family is not reimplemented.
    """
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
    """Return first and second dimension of each of the dim/2 planes, in a head of `width` dimensions."""
    start = width - rope.dim if rope.last else 0
    count = np.arange(rope.dim // 2)
    if rope.style == "halves":
        return start + count, start + count + rope.dim // 2
    return start + 2 * count, start + 2 * count + 1
