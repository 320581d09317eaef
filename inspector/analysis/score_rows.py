"""Compute the scores of rows of weights from their definitions, and rows without the first token."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from inspector.analysis.score_definitions import MEASURES, Measure, Text


def row_scores(
    weights: Tensor, t: Tensor, s: Tensor, text: Text, measures: Iterable[Measure] = MEASURES
) -> dict[str, Tensor]:
    """Compute each score of each row of weights.

    Args:
        weights: [h, t, s] of the query tokens at positions t (no first token among them) and keys at positions s.
        t: query positions, in rising order.
        s: key positions, one after the other.
        text: the text whose pairs of tokens are looked at.
        measures: which scores.

    Returns:
        By name [h, t], each row summed in float32, as its softmax was; rows that do not count are in it.
    """
    w = weights.float().cpu()

    def at(back: int) -> Tensor:
        place = t - back - s[0]  # the column of the token so far back; a window may have left it out
        there = (place >= 0) & (t - back >= (1 if back else 0))
        found = w.new_zeros(w.shape[:2])
        found[:, there] = w[:, there.nonzero()[:, 0], place[there]]
        return found

    found: dict[str, Tensor] = {}
    for measure in measures:
        if measure.back is not None:
            found[measure.name] = at(measure.back)
        elif measure.pairs is not None:
            found[measure.name] = torch.einsum("hts,ts->ht", w, measure.pairs(t, s, text).float())
        else:
            entropy = found["entropy"] if "entropy" in found else found.get("narrow")
            found[measure.name] = torch.special.entr(w).sum(-1) / math.log(2) if entropy is None else entropy
    return found


def without_first(weights: Tensor, s: Tensor) -> Tensor:
    """Take the first token out of rows of weights, and share its weight out among the others in proportion.

    Args:
        weights: [h, t, s].
        s: key positions, one after the other.

    Returns:
        [h, t, s]: rows sum to what they did before, or to 0 where all weight was on the first token.
    """
    if int(s[0]) != 0:
        return weights
    whole = weights.sum(-1, keepdim=True)
    rest = weights.clone()
    rest[..., 0] = 0
    return rest * (whole / rest.sum(-1, keepdim=True).clamp_min(torch.finfo(rest.dtype).tiny)).clamp_max(1e6)
