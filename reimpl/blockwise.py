"""The same attention without ever holding an n x n matrix: rotated queries, keys and values of any length in;
context vectors out.

It keeps, for each query, the largest score so far, the sum of exponentials and the weighted
values; a new block of keys rescales all three. Milakov & Gimelshein 2018 (https://arxiv.org/abs/1805.02867);
the idea behind FlashAttention (Dao et al. 2022).
"""

from __future__ import annotations

import torch
from torch import Tensor

from reimpl.attention import repeat_heads, scaled_scores
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
