"""Attention as pure functions: queries, keys and values in; scores, weights and context vectors out.

This is the whole of it once queries, keys and values are there: everything that draws or checks weights uses these, so
there is one softmax in the house. Vaswani et al. 2017 (https://arxiv.org/abs/1706.03762).
"""

from __future__ import annotations

import torch
from torch import Tensor


def repeat_heads(x: Tensor, heads: int) -> Tensor:
    """Give each query head its group's key/value head, in order 0 0 0 1 1 1 ...

    Args:
        x: keys or values [..., g, s, d].
        heads: how many query heads there are, a multiple of g.

    Returns:
        [..., h, s, d].
    """
    return x.repeat_interleave(heads // x.shape[-3], dim=-3)


def scaled_scores(query: Tensor, key: Tensor, *, scale: float, softcap: float | None = None) -> Tensor:
    """Compute query·key for every pair, times the scale; nothing is masked.

    Args:
        query: [..., h, t, d].
        key: [..., g, s, d].
        scale: what each product is multiplied by, usually 1/sqrt(d).
        softcap: bends scaled scores to softcap·tanh(score/softcap); None: as they are.

    Returns:
        The scaled scores [..., h, t, s].
    """
    key = repeat_heads(key, query.shape[-3])  # [..., h, s, d]
    scores = torch.einsum("...htd,...hsd->...hts", query, key) * scale
    return scores if softcap is None else torch.tanh(scores / softcap) * softcap


def attention_weights(
    scores: Tensor, mask: Tensor | None, *, sinks: Tensor | None = None, precision: torch.dtype = torch.float32
) -> Tensor:
    """Take the softmax over the keys a query may look at.

    It is computed in float32 whatever the dtype (float64 too), as the library does. With sinks a score joins each
    row's softmax and takes its share away: rows then sum to less than 1.

    Args:
        scores: [..., h, t, s].
        mask: [t, s] or [h, t, s], true where looking is allowed; or, for models that add something to scores, that,
            and -inf elsewhere; None: every query looks at every key.
        sinks: [h].
        precision: the dtype of the softmax.

    Returns:
        The weights [..., h, t, s], in the dtype of the scores.
    """
    if mask is not None:
        boolean = mask.dtype == torch.bool
        scores = scores.masked_fill(~mask, float("-inf")) if boolean else scores + mask.to(scores.dtype)
    if sinks is None:
        return torch.softmax(scores, dim=-1, dtype=precision).to(scores.dtype)
    column = sinks.to(scores.dtype).view(-1, 1, 1).expand(*scores.shape[:-1], 1)  # [..., h, t, 1]
    return torch.softmax(torch.cat((scores, column), dim=-1), dim=-1, dtype=precision)[..., :-1].to(scores.dtype)


def context_vectors(weights: Tensor, value: Tensor) -> Tensor:
    """Sum the values by their weights.

    Args:
        weights: [..., h, t, s].
        value: [..., g, s, d_value].

    Returns:
        The context vectors [..., h, t, d_value].
    """
    return torch.einsum("...hts,...hsd->...htd", weights, repeat_heads(value, weights.shape[-3]))
