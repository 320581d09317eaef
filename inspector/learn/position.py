"""Show what RoPE does to a pair of tokens: their planes turned by position, and their score at any distance.

Typed vectors work as well. Every score is `reimpl`'s rotation of the unrotated vectors and a dot product, as the model
computes it. Source: Su et al. 2021, https://arxiv.org/abs/2104.09864, section 3.4.2: the product depends on positions
by their difference only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch

from inspector.analysis import rope_planes, score_breakdown
from inspector.errors import InspectorError
from inspector.learn.rotation import dot, norms, same_speeds, sum_rounding, turned, unrotated
from inspector.learn.softmax import parse
from inspector.verification.compare import Check, compare_stage
from reimpl.rope import rotate
from reimpl.spec import RopeSpec

if TYPE_CHECKING:
    from inspector.trace.trace import Trace


def turned_planes(trace: Trace, layer: int, head: int, query: int, key: int) -> pd.DataFrame:
    """Return the two vectors of a pair in each plane that turns, before and after rotation.

    Args:
        trace: the prompt's trace.
        layer: counted from 0.
        head: a query head, counted from 0.
        query: the query token's position.
        key: the key token's position.

    Returns:
        A row per plane, the fastest first, with the columns of `rope_planes.planes` and:
        degrees_per_token: how fast it turns.
        query_angle, key_angle: position times that, modulo 360.
        {query,key}_{before,after}_{x,y}: the vector's two numbers in this plane, before and after rotation.

    Raises:
        InspectorError: as `rope_planes.planes`.
    """
    shares = rope_planes.planes(trace, layer, head, query, key)
    found, steps = rope_planes.turning(trace, layer), score_breakdown.pair_steps(trace, layer, head, query, key)
    frame = shares[shares["plane"].notna()].reset_index(drop=True)
    frame["degrees_per_token"] = np.degrees(found.speed.astype(np.float64)) * found.direction
    for name, position in (("query", query), ("key", key)):
        frame[f"{name}_angle"] = np.degrees(found.angles(position)) % 360
        for when, vector in (("before", getattr(steps, f"{name}_before")), ("after", getattr(steps, name))):
            frame[f"{name}_{when}_x"] = vector[found.first]
            frame[f"{name}_{when}_y"] = vector[found.second]
    return frame.sort_values("wavelength", kind="stable", ignore_index=True)


# -- one pair at every distance --------------------------------------------------------------------------------


@dataclass(frozen=True)
class DistanceCurve:
    """The score of one query vector and one key vector, were they any number of positions apart.

    Attributes:
        frame: distance, score.
        real: the pair's own distance.
        check: the score there against the trace's own.
        note: a sentence where the curve is shorter than asked for; else empty.
    """

    frame: pd.DataFrame
    real: int
    check: Check
    note: str


def by_distance(trace: Trace, layer: int, head: int, query: int, key: int, *, furthest: int = 256) -> DistanceCurve:
    """Compute a pair's score at every distance: the key stays where it is, the query is moved.

    Args:
        trace: the prompt's trace.
        layer: counted from 0.
        head: a query head, counted from 0.
        query: the query token's position.
        key: the key token's position.
        furthest: the last distance in tokens; the pair's own is always among them.

    Returns:
        The curve from distance 0 (or the pair's own, if the key comes later).

    Raises:
        InspectorError: the layer has no RoPE, it is not known how its planes turn, or its vectors are not its unrotated
            ones turned.
    """
    first, last = min(query, key), max(query, key)
    all_query, all_key, rope = unrotated(trace, layer, head, slice(first, last + 1))
    one_query, one_key = all_query[query - first][None], all_key[key - first][None]
    least = min(0, query - key)
    wanted = max(furthest, query - key)
    most, note = wanted, ""
    if not same_speeds(rope, trace.n, key + wanted + 1):
        most = trace.n - 1 - key
        note = (
            f"This model's RoPE turns at other speeds in a text of more than {trace.n} tokens, so the curve ends "
            f"where this prompt does, at distance {most}."
        )
    distances = torch.arange(least, most + 1)
    moved = turned(one_query.expand(len(distances), -1), key + distances, rope, trace.n)
    fixed = turned(one_key, torch.tensor([key]), rope, trace.n)
    scores = dot(moved, fixed)[:, 0]
    reference = trace.scores(layer, head, queries=slice(query, query + 1))[0, key]
    check = compare_stage(
        layer,
        "score",
        scores[query - key - least],
        reference,
        tolerance=sum_rounding(reference.dtype, one_query.shape[-1]) * norms(one_query, one_key),
        reason=f"{one_query.shape[-1]} products summed in another order; the rotation is the same to the bit",
    )
    frame = pd.DataFrame({"distance": distances.numpy(), "score": scores.double().cpu().numpy()})
    return DistanceCurve(frame, query - key, check, note)


def typed_by_distance(query: list[float], key: list[float], *, theta: float, furthest: int = 256) -> pd.DataFrame:
    """Compute the same curve for typed vectors, in float64.

    Args:
        query: 2, 4, ... numbers; dimensions 0 and 1 turn together, then 2 and 3.
        key: as many.
        theta: RoPE's base.
        furthest: the last distance in tokens.

    Returns:
        Columns distance, score.

    Raises:
        InspectorError: the vectors differ in length.
    """
    if len(query) != len(key):
        raise InspectorError(
            f"The query has {len(query)} numbers and the key {len(key)}; type the same number of numbers for both."
        )
    rope = RopeSpec(theta=theta, dim=len(query), style="pairs")
    distances = torch.arange(furthest + 1)
    moved = torch.tensor(query, dtype=torch.float64).expand(len(distances), -1)
    fixed = torch.tensor([key], dtype=torch.float64)
    scores = dot(rotate(moved, distances, rope, angles=torch.float64), fixed)[:, 0]
    return pd.DataFrame({"distance": distances.numpy(), "score": scores.numpy()})


def typed_vector(text: str, name: str) -> list[float]:
    """Read a vector of 2, 4, 6 or 8 numbers from typed text.

    Args:
        text: numbers, separated by commas or white space.
        name: what the vector is, for the sentence of an error.

    Returns:
        The numbers.

    Raises:
        InspectorError: something is not a number, or there are too many or too few.
    """
    found = parse(text, what=f"The {name}")
    if len(found) not in (2, 4, 6, 8):
        raise InspectorError(
            f"The {name} has {len(found)} numbers; RoPE turns dimensions two by two, so type 2, 4, 6 or 8 of them."
        )
    return found
