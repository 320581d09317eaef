"""Shift the positions of queries and keys alike, and compare all scores; shift only the keys as the control.

RoPE makes a score depend on positions by their difference only, so shifting all alike leaves nothing but rounding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd
import torch
from torch import Tensor

from inspector.analysis import rope_planes
from inspector.learn.rotation import dot, norms, same_speeds, sum_rounding, turned, unrotated
from inspector.verification.compare import Check, compare_stage

if TYPE_CHECKING:
    from inspector.trace.trace import Trace

SHIFTED_UP_TO = 512  # tokens whose scores are all computed again, several times n x n numbers


@dataclass(frozen=True)
class Shifted:
    """All pairs' scores with positions moved on by `shift`, against those where they are.

    Attributes:
        tokens: positions of the tokens used.
        shift: how many positions later.
        row: the query token's own row: position, token, score, both shifted, only keys shifted.
        both: queries and keys shifted, in the model's dtype.
        exact: the same in float64.
        keys_only: the control, only the keys shifted, which must not hold.
        note: a sentence where there is more to know; else empty.
    """

    tokens: range
    shift: int
    row: pd.DataFrame
    both: Check
    exact: Check
    keys_only: Check
    note: str


def shifted(trace: Trace, layer: int, head: int, query: int, shift: int) -> Shifted:
    """Compute the scores of every query token with every key token (the mask apart) at their positions plus `shift`.

    Args:
        trace: the prompt's trace. Of a longer one the SHIFTED_UP_TO tokens up to the query token are used.
        layer: counted from 0.
        head: a query head, counted from 0.
        query: the query token's position.
        shift: how many positions later.

    Returns:
        The scores of the query's row, and the checks of all.

    Raises:
        InspectorError: as `position.by_distance`.
    """
    rows = slice(max(0, query + 1 - SHIFTED_UP_TO), max(query + 1, min(trace.n, SHIFTED_UP_TO)))
    queries, keys, rope = unrotated(trace, layer, head, rows)
    at = torch.arange(rows.start, rows.stop)

    def scores(key_shift: int, query_shift: int, dtype: torch.dtype) -> Tensor:
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        turned_queries = turned(queries.to(dtype), at + query_shift, rope, trace.n, angles=wide)
        return dot(turned_queries, turned(keys.to(dtype), at + key_shift, rope, trace.n, angles=wide))

    here, moved, keys_only = (scores(*by, queries.dtype) for by in ((0, 0), (shift, shift), (shift, 0)))
    planes, reach = rope_planes.turning(trace, layer), 2 * int(at[-1]) + shift
    tolerance, reason = _shift_rounding(queries, keys, planes, reach, queries.dtype)
    exact_tolerance, exact_reason = _shift_rounding(queries, keys, planes, reach, torch.float64)
    own = query - rows.start
    return Shifted(
        tokens=range(rows.start, rows.stop),
        shift=shift,
        row=pd.DataFrame(
            {"position": at.numpy(), "token": list(trace.tokens.labels[rows])}
            | {
                name: values[own].double().cpu().numpy()
                for name, values in (("score", here), ("both shifted", moved), ("only keys shifted", keys_only))
            }
        ),
        both=compare_stage(layer, "scores", moved, here, tolerance=tolerance, reason=reason),
        exact=compare_stage(
            layer, "scores", scores(shift, shift, torch.float64), scores(0, 0, torch.float64),
            tolerance=exact_tolerance, reason=exact_reason,
        ),
        keys_only=compare_stage(layer, "scores", keys_only, here, tolerance=tolerance, reason=reason),
        note=""
        if same_speeds(rope, trace.n, int(at[-1]) + shift + 1)
        else "This model's RoPE turns at other speeds in a longer text, so a shift that makes the text longer changes "
        "the scores here.",
    )  # fmt: skip


def _shift_rounding(
    queries: Tensor, keys: Tensor, planes: rope_planes.Turning, reach: int, dtype: torch.dtype
) -> tuple[float, str]:
    """Return how far two scores may differ by rounding when all positions are shifted, and why.

    An angle, position x speed, is rounded to its last place, which grows with it: half a unit for query and key, at
    both places (`reach`: the last position here and there, added). Then each vector passes a rotation, two products
    and a sum. Planes err independently: the squares of their errors add up.
    """
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    sizes = [x.double()[:, list(planes.first)] ** 2 + x.double()[:, list(planes.second)] ** 2 for x in (queries, keys)]
    largest = sizes[0].amax(0).sqrt() * sizes[1].amax(0).sqrt() * planes.factor**2  # [planes]
    speed = torch.from_numpy(planes.speed).to(largest)
    error = largest * (torch.finfo(wide).eps * speed * reach + 12 * torch.finfo(dtype).eps)
    fastest = float(speed.max())
    summed = 2 * sum_rounding(dtype, queries.shape[-1]) * norms(queries, keys)
    return float(error.norm()) + summed, (
        f"angles up to {reach * fastest:,.0f} rad in all, rounded to {str(wide).removeprefix('torch.')}, and "
        f"{queries.shape[-1]} products summed, of vectors whose lengths multiply to {norms(queries, keys):.3g}"
    )
