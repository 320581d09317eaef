"""Say why a head looks there: split the score of one query and key by what was written into the residual stream."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from inspector.analysis.score_breakdown import row, strongest_key
from inspector.analysis.score_terms import ScoreSum, score_sum
from inspector.errors import InspectorError
from inspector.lab.explanation import CANCELS
from inspector.lab.logit_shares import position
from inspector.text import refuse_other
from inspector.trace.trace import Trace

ByPart = Literal["pair", "query", "key", "plane"]
MISS = 1e-5  # of the largest pair: sums of float32 numbers that cancel


def score_parts(
    trace: Trace,
    layer: int,
    head: int,
    key: int | None = None,
    *,
    query: int = -1,
    by: ByPart = "key",
    centred: bool = True,
    heads: bool = False,
) -> pd.DataFrame:
    """Split a scaled score by the parts of the residual stream that made its query and its key.

    Args:
        trace: the prompt's trace.
        layer: counted from 0.
        head: a query head, counted from 0.
        key: the key token's position; None: the one with the largest score beside the first token.
        query: the query token's position (negative: from the end).
        by: "key" or "query" (a row a part of that vector), "pair" (a row a part of either) or "plane" (parts of the
            key by rotation frequency).
        centred: split the score minus the mean score of its row: what is the same for all keys, which the softmax
            does not see, drops out of every share.
        heads: split earlier layers' attention into heads.

    Returns:
        A row a share, the largest first: part, kind, layer and head (of pairs each with query_ and key_ before it),
        plane and wavelength in tokens (by plane; missing for what does not turn), and share. `frame.attrs` has layer,
        head, query, key, by, centred, score (what the shares add up to), remainder, limit, cancellation (the sum of all
        pairs' magnitudes over the score's) and warning, a sentence where that is large.

    Raises:
        InspectorError: the score is no such sum in this model, or there is no such layer, head or token.
        NoModel: the trace was opened from a file, without its model.
    """
    refuse_other(by, get_args(ByPart), "way to split a score")
    at = position(trace, query)
    found = score_sum(trace, layer, head, at, heads=heads)
    where = strongest_key(row(trace, layer, head, at)) if key is None else position(trace, key)
    return score_frame(found, layer, head, at, where, by, centred=centred)


def score_frame(
    found: ScoreSum, layer: int, head: int, query: int, key: int, by: ByPart, *, centred: bool
) -> pd.DataFrame:
    """Write one key's shares as a frame.

    Args:
        found: the row of scores in parts.
        layer: counted from 0.
        head: the query head.
        query: the query token's position.
        key: the key token's position.
        by: as in `score_parts`.
        centred: as in `score_parts`.

    Returns:
        The frame of `score_parts`.

    Raises:
        InspectorError: the query may not look at this key, or the shares do not add up.
    """
    if key not in found.positions:
        raise InspectorError(f"Query token {query} may not look at key token {key} in layer {layer}: it has no score.")
    pairs = found.pairs(key, centred=centred)
    score = found.target(key, centred=centred)
    rows = _by_plane(found, key, centred) if by == "plane" else _rows(found, pairs, by)
    frame = pd.DataFrame(rows)
    frame = frame.astype({name: "Int64" for name in frame if name.endswith(("layer", "head", "plane"))})
    remainder = score - float(frame["share"].sum())
    limit = MISS * max(1.0, float(pairs.abs().max()))
    if not abs(remainder) <= limit:
        raise InspectorError(
            f"The parts of the score of query {query} and key {key} in layer {layer}, head {head} add up to "
            f"{score - remainder:.6g}, and it is {score:.6g}: they miss it by {abs(remainder):.2g}, more than the "
            f"{limit:.1g} that float32 sums may, so no share is shown; load the model in float32."
        )
    cancellation = float(pairs.abs().sum()) / max(abs(score), 1e-30)
    frame = frame.sort_values("share", key=abs, ascending=False, kind="stable", ignore_index=True)
    frame.attrs = {
        "layer": layer,
        "head": head,
        "query": query,
        "key": key,
        "by": by,
        "centred": centred,
        "score": score,
        "remainder": remainder,
        "limit": limit,
        "cancellation": cancellation,
        "warning": f"The parts cancel: their magnitudes add up to {cancellation:.0f} times the score, so read sums of "
        "parts, not single ones."
        if cancellation > CANCELS
        else "",
    }
    return frame


def _rows(found: ScoreSum, pairs: Tensor, by: ByPart) -> list[dict[str, Any]]:
    if by != "pair":
        shares = pairs.sum(1 if by == "query" else 0).tolist()
        return [{**vars(name), "share": share} for name, share in zip(found.names, shares, strict=True)]
    return [
        {**_named("query", one), **_named("key", other), "share": share}
        for one, shares in zip(found.names, pairs.tolist(), strict=True)
        for other, share in zip(found.names, shares, strict=True)
    ]


def _named(side: str, name: Any) -> dict[str, Any]:
    return {f"{side}_{field}": value for field, value in vars(name).items()}


def _by_plane(found: ScoreSum, key: int, centred: bool) -> list[dict[str, Any]]:
    """Return a row for each part of the key and plane, and one for the dimensions that do not turn, if any."""
    shares, planes = found.by_plane(key, centred=centred), found.planes
    width = shares.shape[1]
    groups: list[tuple[int | None, float, list[int]]] = []
    still = list(range(width))
    if planes is not None:
        for number, first, second, speed in zip(planes.plane, planes.first, planes.second, planes.speed, strict=True):
            groups.append((int(number), float(2 * np.pi / speed), [int(first), int(second)]))
        still = planes.still(width).tolist()
    if still:
        groups.append((None, float("inf"), still))
    summed = torch.stack([shares[:, dims].sum(1) for _, _, dims in groups], dim=1).tolist()  # [c, groups]
    return [
        {**vars(name), "plane": plane, "wavelength": wavelength, "share": share}
        for name, row_of_part in zip(found.names, summed, strict=True)
        for (plane, wavelength, _), share in zip(groups, row_of_part, strict=True)
    ]
