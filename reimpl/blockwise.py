"""The same attention without ever holding an n x n matrix: strips of query rows, and context vectors of long texts.

The running softmax is Milakov & Gimelshein's (2018, https://arxiv.org/abs/1805.02867), the idea behind FlashAttention
(Dao et al. 2022).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from reimpl.functional import repeat_heads, scaled_scores
from reimpl.mask import allowed
from reimpl.spec import MaskRule


class Strip(NamedTuple):
    """Hold some query rows, and the stretch of keys outside which none of them may look."""

    rows: slice
    keys: slice


def seen_keys(rule: MaskRule | None, positions: slice, s: int) -> slice:
    """Find the stretch of keys outside which no query at these positions may look.

    Args:
        rule: the mask; None: every query looks at every key.
        positions: of the queries.
        s: how many keys there are.

    Returns:
        The stretch, within 0 to s.
    """
    if rule is None or rule.given:
        return slice(0, s)
    start = 0 if rule.window is None else max(0, positions.start - rule.window + 1)
    if rule.chunk is not None:
        start = max(start, positions.start // rule.chunk * rule.chunk)
    ahead = rule.window - 1 if rule.both_sides and rule.window is not None else 0
    return slice(min(start, s), min(positions.stop + ahead, s))


def strips(t: int, s: int, rule: MaskRule | None, *, height: int, align: int = 1) -> Iterator[Strip]:
    """Cut all query rows into strips, from the first on; queries stand at the last t of s positions.

    Under a causal mask half of all pairs lie outside the strips, and are never computed.

    Args:
        t: how many queries there are.
        s: how many keys.
        rule: the mask; None: every query looks at every key.
        height: of a strip, in rows, about.
        align: strips of rows and keys begin at its multiples, so that blocks of align x align are not cut.

    Yields:
        The strips, which together hold all rows.
    """
    height = max(1, height // align) * align
    for start in range(0, t, height):
        rows = slice(start, min(start + height, t))
        seen = seen_keys(rule, slice(rows.start + s - t, rows.stop + s - t), s)
        yield Strip(rows, slice(seen.start // align * align, min(-(-seen.stop // align) * align, s)))


def pool_max(values: Tensor, k: int) -> Tensor:
    """Take the largest number of each k x k block; the last blocks may be smaller.

    Args:
        values: [..., t, s].
        k: the blocks' side.

    Returns:
        [..., t/k, s/k], rounded up.
    """
    if k == 1:
        return values
    flat = values.reshape(-1, 1, *values.shape[-2:])
    pooled = functional.max_pool2d(flat, kernel_size=k, stride=k, ceil_mode=True)
    return pooled.reshape(*values.shape[:-2], *pooled.shape[-2:])


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
    """Compute context vectors with block x block scores a head at once; queries stand at the last t of s positions.

    Context is computed with a running softmax: for each query the largest score so far, the sum of exponentials and
    the weighted values are kept; a new block of keys rescales all three.

    Args:
        query: [h, t, d], rotated.
        key: [g, s, d], rotated.
        value: [g, s, d_value].
        scale: what each product is multiplied by.
        rule: the mask; None: every query looks at every key.
        softcap: bends scaled scores, as in `scaled_scores`.
        sinks: [h], as in `attention_weights`.
        block: rows and keys at once.

    Returns:
        The context vectors [h, t, d_value], in the dtype of the queries.
    """
    heads, t = query.shape[0], query.shape[1]
    s = key.shape[1]
    positions = torch.arange(s, device=query.device)
    found = []
    for rows, keys in strips(t, s, rule, height=block):
        some, at = query[:, rows], positions[s - t :][rows]
        largest = torch.full((heads, some.shape[1], 1), float("-inf"), device=query.device, dtype=torch.float32)
        if sinks is not None:  # the sink is one more score, met first, that carries no value
            largest = sinks.float().view(-1, 1, 1).expand_as(largest).clone()
        total = torch.zeros_like(largest) if sinks is None else torch.ones_like(largest)
        context = torch.zeros(*some.shape[:2], value.shape[-1], device=query.device, dtype=torch.float32)
        for start in range(keys.start, keys.stop, block):
            part = slice(start, min(start + block, keys.stop))
            scores = scaled_scores(some, key[:, part], scale=scale, softcap=softcap).float()
            if rule is not None:
                scores = scores.masked_fill(~allowed(rule, at, positions[part]), float("-inf"))
            new = torch.maximum(largest, scores.amax(-1, keepdim=True))
            # A query that has met no key yet has largest = new = -inf; its factor is irrelevant, but must not be NaN.
            shrink = torch.exp(largest - new).nan_to_num(0.0)
            shares = torch.exp(scores - new).nan_to_num(0.0)
            total = total * shrink + shares.sum(-1, keepdim=True)
            context = context * shrink + shares @ repeat_heads(value[:, part], heads).float()
            largest = new
        found.append(context / total)
    return torch.cat(found, dim=1).to(query.dtype)
