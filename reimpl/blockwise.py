"""The same attention without ever holding an n x n matrix: rotated queries, keys and values of any length in;
context vectors, or a small pooled picture of the weights, out.

`blockwise_context` keeps, for each query, the largest score so far, the sum of exponentials and the weighted
values; a new block of keys rescales all three. Milakov & Gimelshein 2018 (https://arxiv.org/abs/1805.02867);
the idea behind FlashAttention (Dao et al. 2022).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from reimpl.attention import attention_weights, repeat_heads, scaled_scores
from reimpl.mask import allowed
from reimpl.spec import MaskRule


def blockwise_context(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    scale: float,
    rule: MaskRule | None = None,
    softcap: float | None = None,
    sinks: Tensor | None = None,
    block: int = 256,
) -> Tensor:
    """Context vectors [h, t, d] of query [h, t, d], key and value [g, s, d]; memory grows with t * block only.

    `rule` None: no mask (every query sees every key). Queries are taken to stand at the last t of s positions.
    """
    heads, t = query.shape[0], query.shape[1]
    s = key.shape[1]
    positions = torch.arange(s, device=query.device)
    largest = torch.full((heads, t, 1), float("-inf"), device=query.device, dtype=torch.float32)
    if sinks is not None:  # the sink is one more score, met first, that carries no value
        largest = sinks.float().view(-1, 1, 1).expand(heads, t, 1).clone()
    total = torch.zeros_like(largest) if sinks is None else torch.ones_like(largest)
    context = torch.zeros(heads, t, value.shape[-1], device=query.device, dtype=torch.float32)
    for start in range(0, s, block):
        part = slice(start, start + block)
        scores = scaled_scores(query, key[:, part], scale=scale, softcap=softcap).float()
        if rule is not None:
            scores = scores.masked_fill(~allowed(rule, positions[s - t :], positions[part]), float("-inf"))
        new = torch.maximum(largest, scores.amax(-1, keepdim=True))
        # A query that has met no key yet has largest = new = -inf; its factor is irrelevant, but must not be NaN.
        shrink = torch.exp(largest - new).nan_to_num(0.0)
        shares = torch.exp(scores - new).nan_to_num(0.0)
        total = total * shrink + shares.sum(-1, keepdim=True)
        context = context * shrink + shares @ repeat_heads(value[:, part], heads).float()
        largest = new
    return (context / total).to(query.dtype)


def weight_strips(
    query: Tensor,
    key: Tensor,
    *,
    scale: float,
    rule: MaskRule | None = None,
    softcap: float | None = None,
    sinks: Tensor | None = None,
    strip: int = 256,
) -> Iterator[tuple[int, Tensor]]:
    """Exact attention weights of all heads by strips of query rows: yields (first row, weights [h, <=strip, s])."""
    s, t = key.shape[1], query.shape[1]
    positions = torch.arange(s, device=query.device)
    for start in range(0, t, strip):
        rows = slice(start, min(start + strip, t))
        scores = scaled_scores(query[:, rows], key, scale=scale, softcap=softcap)
        may = None if rule is None else allowed(rule, positions[s - t :][rows], positions)
        yield start, attention_weights(scores, may, sinks=sinks)


def pooled_weights(
    query: Tensor,
    key: Tensor,
    *,
    cells: int,
    scale: float,
    rule: MaskRule | None = None,
    softcap: float | None = None,
    sinks: Tensor | None = None,
    strip: int = 256,
) -> Tensor:
    """The largest weight in each of cells x cells tiles of the grid, for every head: [h, c, c], c = min(cells, t).

    Tile (i, j) covers query rows and key columns ceil(i*t/c) ... ; largest, not mean, so that a lone strong pair in
    a long text stays visible. Never more than strip rows of one layer's weights are in memory.
    """
    t, s = query.shape[1], key.shape[1]
    rows, columns = min(cells, t), min(cells, s)
    row_of = (torch.arange(t, device=query.device) * rows) // t
    column_of = (torch.arange(s, device=query.device) * columns) // s
    pooled = torch.zeros(query.shape[0], rows, columns, device=query.device)
    for start, weights in weight_strips(query, key, scale=scale, rule=rule, softcap=softcap, sinks=sinks, strip=strip):
        wide = torch.zeros(*weights.shape[:-1], columns, device=query.device)
        wide.scatter_reduce_(2, column_of.expand_as(weights), weights.float(), "amax")
        index = row_of[start : start + weights.shape[1]][None, :, None].expand_as(wide)
        pooled.scatter_reduce_(1, index, wide, "amax")
    return pooled
