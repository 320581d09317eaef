"""Compute one head's picture: its weights or scores as a map, pooled for a long prompt, and its strongest pairs.

Nothing here keeps an n x n tensor of more than one head: long prompts are read in strips of query rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from inspector.text import refuse_other
from reimpl.blockwise import Strip, pool_max

if TYPE_CHECKING:
    from inspector.trace.trace import Trace

Kind = Literal["weights", "scaled_scores", "weighted_values"]

MOST_SCALED = 20  # times that weights are scaled up without the first token: a remainder near zero is no pattern
EXACT_UP_TO = 1024  # tokens whose every cell is sent; more than a canvas can show side by side is pooled


@dataclass(frozen=True)
class Picture:
    """One head's map, exact or pooled.

    Attributes:
        values: [rows, columns] float32, NaN where the mask forbids every pair of the cell.
        pool: k: each cell stands for k x k pairs and has the largest of their numbers (1: exact).
        n: tokens of the prompt.
    """

    values: npt.NDArray[np.float32]
    pool: int
    n: int


def picture(
    trace: Trace,
    layer: int,
    head: int,
    *,
    kind: Kind = "weights",
    without_first: bool = False,
    exact_up_to: int = EXACT_UP_TO,
) -> Picture:
    """Compute one head's numbers for a canvas: exact, or pooled for a long prompt.

    Args:
        trace: the prompt's trace.
        layer: counted from 0.
        head: a query head, counted from 0.
        kind: weights, scaled_scores, or weighted_values (each weight times the length of the value vector it brings).
        without_first: leave the first token's column out, and scale the other weights of each row up to the row's sum,
            MOST_SCALED times at most.
        exact_up_to: cells along one side, at most; of a longer prompt several tokens share a cell.

    Returns:
        The picture, at most [exact_up_to, exact_up_to].

    Raises:
        InspectorError: there is no such kind, layer or head, or the layer's weights cannot be computed.
    """
    refuse_other(kind, get_args(Kind), "kind of picture")
    k = -(-trace.n // exact_up_to)
    side = -(-trace.n // k)
    cells = torch.full((side, side), torch.nan)
    for strip, values in _strips(trace, layer, head, kind, align=k, without_first=without_first):
        # -inf, not -1: scores are negative too, and a forbidden pair must never win its block.
        seen = values.masked_fill(~trace.allowed(layer, head, queries=strip.rows, keys=strip.keys), -torch.inf)
        pooled = pool_max(seen, k).cpu()
        cells[cells_of(strip.rows, k), cells_of(strip.keys, k)] = pooled.masked_fill(pooled == -torch.inf, torch.nan)
    return Picture(cells.numpy(), k, trace.n)


def window(
    trace: Trace,
    layer: int,
    head: int,
    rows: slice,
    columns: slice,
    *,
    kind: Kind = "weights",
    without_first: bool = False,
) -> npt.NDArray[np.float32]:
    """Return exact numbers of some query rows and key columns of one head.

    Args:
        trace: the prompt's trace.
        layer: counted from 0.
        head: a query head, counted from 0.
        rows: positions of the query tokens.
        columns: positions of the key tokens.
        kind: as in `picture`.
        without_first: as in `picture`.

    Returns:
        [rows, columns] float32, NaN where the mask forbids.

    Raises:
        InspectorError: as `picture` does.
    """
    refuse_other(kind, get_args(Kind), "kind of picture")
    values = _numbers(trace, layer, head, kind, rows, without_first=without_first)
    seen = values.masked_fill(~trace.allowed(layer, queries=rows, head=head), torch.nan)
    return seen[:, columns].cpu().numpy()


def by_words(
    trace: Trace, layer: int, head: int, groups: Sequence[Sequence[int]], *, without_first: bool = False
) -> npt.NDArray[np.float32]:
    """Return weights between groups of tokens: summed over a group's key tokens, averaged over its query tokens.

    What a word gives to another is then again a share: rows keep their sum.

    Args:
        trace: the prompt's trace.
        layer: counted from 0.
        head: a query head, counted from 0.
        groups: the token positions of each word.
        without_first: as in `picture`.

    Returns:
        [words, words] float32, NaN where no pair is allowed.
    """
    weights = _numbers(trace, layer, head, "weights", slice(0, trace.n), without_first=without_first).cpu()
    members = torch.zeros(len(groups), trace.n)
    for row, group in enumerate(groups):
        members[row, list(group)] = 1.0
    means = members / members.sum(1, keepdim=True)
    allowed = members @ trace.allowed(layer, head=head).float().cpu() @ members.T > 0
    merged = means @ weights @ members.T
    return merged.masked_fill(~allowed, torch.nan).numpy()


def strongest_pairs(trace: Trace, layer: int, head: int, *, count: int = 50, first_token: bool = True) -> pd.DataFrame:
    """Return the largest attention weights of one head, largest first.

    Args:
        trace: the prompt's trace.
        layer: counted from 0.
        head: a query head, counted from 0.
        count: how many.
        first_token: False leaves out key token 0: in many models most attention goes there (the attention sink) and
            hides the rest.

    Returns:
        A row per pair: query position, query token, key position, key token, weight.
    """
    best = torch.empty(0)
    where = torch.empty(0, dtype=torch.long)  # t * n + s
    for strip, values in _strips(trace, layer, head, "weights"):
        seen = values.masked_fill(~trace.allowed(layer, head, queries=strip.rows, keys=strip.keys), -1.0).cpu()
        if not first_token and strip.keys.start == 0:
            seen[:, 0] = -1.0
        flat = seen.flatten()
        top = flat.topk(min(count, flat.numel()))
        rows = top.indices // seen.shape[1] + strip.rows.start
        columns = top.indices % seen.shape[1] + strip.keys.start
        best, where = torch.cat([best, top.values]), torch.cat([where, rows * trace.n + columns])
    order = best.argsort(descending=True, stable=True)[:count]
    order = order[best[order] >= 0]
    query, key = (where[order] // trace.n).tolist(), (where[order] % trace.n).tolist()
    labels = trace.tokens.labels
    return pd.DataFrame(
        {
            "query position": query,
            "query token": [labels[t] for t in query],
            "key position": key,
            "key token": [labels[s] for s in key],
            "weight": best[order].double().numpy(),
        }
    )


def cells_of(part: slice, k: int) -> slice:
    """Return the cells of k tokens each that a stretch of tokens fills.

    Args:
        part: positions of tokens, from a multiple of k.
        k: tokens along one side of a cell.

    Returns:
        Positions of cells.
    """
    return slice(part.start // k, -(-part.stop // k))


def scaled_up(weights: torch.Tensor) -> torch.Tensor:
    """Leave out the first key token's column, and scale the rest of each row up to the row's sum.

    Where almost all of a row is on the first token, the rest is scaled MOST_SCALED times and sums up to less.

    Args:
        weights: [..., query, key], the first key token's column the first one.

    Returns:
        The same shape; a row that looks at the first token alone stays as it is but for that column.
    """
    whole = weights.sum(-1, keepdim=True)
    weights = weights.clone()
    weights[..., 0] = 0.0
    rest = weights.sum(-1, keepdim=True)
    return torch.where(rest > 0, weights * (whole / rest).clamp(max=MOST_SCALED), weights)


def _numbers(
    trace: Trace,
    layer: int,
    head: int,
    kind: Kind,
    rows: slice,
    keys: slice | None = None,
    *,
    without_first: bool = False,
) -> torch.Tensor:
    """Return some query rows of one head's numbers, [t, s] float32, masked pairs included.

    keys: as `trace.strips` gives it (None: all).
    """
    if kind == "scaled_scores":
        return trace.scaled_scores(layer, head, queries=rows, keys=keys).detach().float()
    weights = trace.weights(layer, head, queries=rows, keys=keys).detach().float()
    if without_first and (keys is None or keys.start == 0):
        weights = scaled_up(weights)
    if kind == "weights":
        return weights
    lengths: torch.Tensor = trace.value(layer, head)[keys or slice(None)].detach().float().norm(dim=-1)
    return weights * lengths


def _strips(
    trace: Trace, layer: int, head: int, kind: Kind, *, align: int = 1, without_first: bool = False
) -> Iterator[tuple[Strip, torch.Tensor]]:
    """Yield one head's rows strip by strip, with the keys that a strip's rows may attend to."""
    for strip in trace.strips(layer, head, align=align):
        yield strip, _numbers(trace, layer, head, kind, strip.rows, strip.keys, without_first=without_first)
