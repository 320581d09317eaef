"""Turn a mask tensor of the library's into the rule behind it, so that no n x n table is stored; and back again.

Libraries add masks to scores: 0 where a query may look, a very low number elsewhere. Some add other numbers by the
same tensor, a bias on scores (by distance, or learned); what is neither 0 nor very low is stored as that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from reimpl.attention import attention_weights, scaled_scores
from reimpl.mask import allowed
from reimpl.spec import MaskRule

Mask = MaskRule | Tensor  # a rule, or (where none fits) the table of yes and no, [t, s] or [h, t, s]

# What is added to a score to forbid it: at least this low even in float16 and divided by a scale; no bias is so low
# but for keys thousands of positions away, whose weight is 0 in either reading.
FORBIDS = -5000.0


def read_mask(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    mask: Tensor | None,
    kwargs: Mapping[str, Any],
    *,
    every_row: bool = False,
) -> tuple[Mask, Tensor | None]:
    """Read the mask of an attention call, and the bias that its tensor adds to scores.

    Args:
        module: the attention module, which may say whether it is causal.
        query: [..., t, d].
        key: [..., s, d].
        mask: [1, h or 1, t, s or more], bool or added to scores; None where the library left it out.
        kwargs: what the module handed to its attention function by name (sliding_window, is_causal ...).
        every_row: prove a rule on all rows of the mask, which somebody may have changed in one.

    Returns:
        The mask, as a rule where one fits; and the bias [h or 1, t or 1, s], None where the tensor only forbids.
    """
    t, s = query.shape[-2], key.shape[-2]
    window = kwargs.get("sliding_window")
    if mask is None:
        causal = kwargs.get("is_causal")
        causal = getattr(module, "is_causal", True) if causal is None else causal
        if t > 1 and not causal:
            everything = torch.ones(1, 1, dtype=torch.bool, device=query.device).expand(t, s)
            return everything, None
        # The library leaves a mask out only while no window bites, so the window's rule says the same.
        return MaskRule(window=window), None
    table = mask.reshape(-1, *mask.shape[-2:])[..., :s]  # a batch of one; a mask may be wider than the keys
    table = table.expand(-1, t, s)
    if table.dtype == torch.bool:
        return find_rule(table, window, every_row=every_row), None
    allows = table > FORBIDS
    return find_rule(allows, window, every_row=every_row), bias_of(table, allows)


def find_rule(table: Tensor, window: int | None = None, *, every_row: bool = False) -> Mask:
    """Find the rule behind a table of yes and no, proven on some of its rows.

    Args:
        table: bool [1 or h, t, s], true where a query may look at a key.
        window: the width that the model names, in tokens, if it does.
        every_row: prove it on all rows.

    Returns:
        The rule; where none fits, the table, [t, s] or [h, t, s].
    """
    _, t, s = table.shape
    if s >= t:
        positions = torch.arange(s, device=table.device)
        rows = sorted({0, 1, t // 3, t // 2, t - 2, t - 1, *([window - 1, window, window + 1] if window else [])})
        rows = list(range(t)) if every_row else [row for row in rows if 0 <= row < t]
        shown = table[:, rows]
        seen = int(shown[0, -1].sum())  # what the last query sees tells the window, whatever the model calls it
        rules = [MaskRule(), MaskRule(window=window), MaskRule(window=seen)]
        if seen < s:
            rules.append(MaskRule(window=seen, both_sides=True))
        for rule in rules:
            if bool((shown == allowed(rule, positions[s - t :][rows], positions)).all()):
                return rule
        # The first query that does not see all before it tells a chunk's length: it begins the second one.
        short = (table[0].sum(-1) <= positions[s - t :]).nonzero()
        if len(short) and (length := int(short[0]) + s - t) > 0:
            rule = MaskRule(chunk=length)
            if bool((table == allowed(rule, positions[s - t :], positions)).all()):
                return rule
    return table[0] if table.shape[0] == 1 else table


def bias_of(added: Tensor, mask: Tensor, *, noise: Tensor | float = 0.0) -> Tensor | None:
    """Return what is added to the scores that the mask allows.

    Args:
        added: [h or 1, t, s], all that is added to the scores.
        mask: bool [h or 1, t, s], true where a query may look at a key.
        noise: how much of it is rounding, for each score or for all.

    Returns:
        The bias, [h or 1, t, s], or [h or 1, 1, s] where it is the same for every query; None where it is noise alone.
    """
    rest = torch.where(mask, added, 0)
    if bool((rest.abs() <= noise).all()):
        return None
    # ALiBi and its like add the same to a key whichever query asks: then one row says all of them.
    row = rest[:, -1:]
    if isinstance(noise, Tensor):  # the mean of what rounding left of it
        row = rest.sum(1, keepdim=True) / mask.sum(1, keepdim=True).clamp_min(1)
    same = ((rest - row).abs() <= noise) | ~mask
    return row.clone() if bool(same.all()) else rest


def masked_weights(
    query: Tensor,
    key: Tensor,
    mask: Tensor | None,
    *,
    scale: float,
    softcap: float | None = None,
    bias: Tensor | None = None,
    sinks: Tensor | None = None,
) -> Tensor:
    """Return attention weights by `reimpl`'s functions, with what a few models have besides.

    Args:
        query: [h, t, d], rotated.
        key: [g, s, d], rotated.
        mask: bool [t, s] or [h, t, s], true where a query may look at a key; None: everywhere.
        scale: what scores are multiplied by.
        softcap: the largest size of a scaled score, None where there is no such limit.
        bias: [h or 1, t or 1, s], added to the scaled scores.
        sinks: [h], or [h, t] where each query has a sink of its own.

    Returns:
        The weights, [h, t, s]; rows sum to 1, or to less where there are sinks.
    """
    scores = scaled_scores(query, key, scale=scale, softcap=softcap)
    if bias is not None:
        scores = scores + bias
    if sinks is not None and sinks.ndim == 2:
        # A row's softmax does not change when its scores and its sink are all moved by one number: to a sink of 0.
        scores, sinks = scores - sinks[..., None].to(scores.dtype), torch.zeros_like(sinks[:, 0])
    return attention_weights(scores, mask, sinks=sinks)


def additive_mask(mask: Mask, query: Tensor, key: Tensor) -> Tensor:
    """Return the float mask that an eager function adds to its scores.

    Args:
        mask: a rule, or a table of yes and no [t, s] or [h, t, s].
        query: [1, h, t, d], whose dtype the mask has.
        key: [1, g, s, d].

    Returns:
        [1, 1 or h, t, s]: 0 where a query may look at a key, the dtype's minimum elsewhere.
    """
    t, s = query.shape[-2], key.shape[-2]
    if isinstance(mask, MaskRule):
        positions = torch.arange(s, device=query.device)
        mask = allowed(mask, positions[s - t :], positions)
    return as_additive(mask[None, None] if mask.ndim == 2 else mask[None], query)


def as_additive(mask: Tensor, query: Tensor) -> Tensor:
    """Return a boolean mask as the float one that eager functions add; a float mask as it is.

    Args:
        mask: of any shape, true where a query may look at a key.
        query: the queries, whose dtype the mask has.

    Returns:
        0 where the mask is true, the dtype's minimum elsewhere.
    """
    if mask.dtype != torch.bool:
        return mask
    zero = torch.zeros((), dtype=query.dtype, device=mask.device)
    return torch.where(mask, zero, torch.finfo(query.dtype).min)


@dataclass(frozen=True)
class StoredMask:
    """A mask tensor [1, 1, n, n] stored as its rule: true or 0 where it allows, false or `low` elsewhere."""

    rule: MaskRule
    n: int
    dtype: torch.dtype
    device: torch.device
    low: float

    @classmethod
    def of(cls, tensor: Tensor) -> StoredMask | Tensor:
        """Return the tensor's rule if it is nothing but that (every element is compared), else the tensor itself.

        Args:
            tensor: any mask, such as [1, 1, n, n].

        Returns:
            The rule, or the tensor.
        """
        if tensor.ndim != 4 or tensor.shape[:2] != (1, 1) or tensor.shape[2] != tensor.shape[3]:
            return tensor
        if tensor.dtype != torch.bool and not tensor.is_floating_point():
            return tensor
        rule = find_rule(tensor[0] if tensor.dtype == torch.bool else tensor[0] > FORBIDS)
        if not isinstance(rule, MaskRule):
            return tensor
        low = 0.0 if tensor.dtype == torch.bool else float(tensor.min())
        stored = cls(rule, tensor.shape[-1], tensor.dtype, tensor.device, low)
        return stored if torch.equal(stored.tensor(), tensor) else tensor

    def tensor(self) -> Tensor:
        """Return the mask as it was, [1, 1, n, n]."""
        positions = torch.arange(self.n, device=self.device)
        mask = allowed(self.rule, positions, positions)[None, None]
        if self.dtype == torch.bool:
            return mask
        return torch.zeros((), dtype=self.dtype, device=self.device).where(mask, self.low)
