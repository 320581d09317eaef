"""A mask tensor as the library made it goes in; the rule behind it comes out, so that no n x n table is kept. And back:
a rule as the float table that eager functions add to their scores, for as long as it is needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from reimpl.mask import allowed
from reimpl.spec import MaskRule

Mask = MaskRule | Tensor  # a rule, or (where none fits) the table of yes and no, [t, s] or [h, t, s]


def mask_rule(module: nn.Module, query: Tensor, key: Tensor, mask: Tensor | None, kwargs: Mapping[str, Any]) -> Mask:
    """The rule behind this call's mask, proven on some of its rows; the table itself only where no rule fits."""
    t, s = query.shape[-2], key.shape[-2]
    window = kwargs.get("sliding_window")
    if mask is None:
        causal = kwargs.get("is_causal")
        causal = getattr(module, "is_causal", True) if causal is None else causal
        if t > 1 and not causal:
            return torch.ones(1, 1, dtype=torch.bool, device=query.device).expand(t, s)  # everyone sees everyone
        # The library leaves a mask out only while no window bites, so the window's rule says the same.
        return MaskRule(window=window)
    table = mask[0] if mask.dtype == torch.bool else mask[0] == 0  # (1 or h, t, s)
    rows = sorted({0, 1, t // 3, t // 2, t - 2, t - 1, *([window - 1, window, window + 1] if window else [])})
    rows = [row for row in rows if 0 <= row < t]
    positions = torch.arange(s, device=mask.device)
    shown = table[:, rows, :s]
    plain = mask.dtype == torch.bool or bool(((mask[0][:, rows] == 0) | (mask[0][:, rows] < -1e4)).all())
    seen = int(shown[0, -1].sum())  # what the last query sees tells the window, whatever the model calls it
    for rule in (MaskRule(), MaskRule(window=window), MaskRule(window=seen)):
        if plain and bool((shown == allowed(rule, positions[s - t :][rows], positions)).all()):
            return rule
    return table[0] if table.shape[0] == 1 else table


def additive_mask(mask: Mask, query: Tensor, key: Tensor) -> Tensor:
    """The float mask an eager function adds to its scores, [1, 1, t, s]: 0 where allowed, the dtype's minimum else."""
    t, s = query.shape[-2], key.shape[-2]
    if isinstance(mask, MaskRule):
        positions = torch.arange(s, device=query.device)
        mask = allowed(mask, positions[s - t :], positions)
    return as_additive(mask[None, None] if mask.ndim == 2 else mask[None], query)


def as_additive(mask: Tensor, query: Tensor) -> Tensor:
    """A boolean mask as the float one that eager functions add; a float mask as it is."""
    if mask.dtype != torch.bool:
        return mask
    zero = torch.zeros((), dtype=query.dtype, device=mask.device)
    return torch.where(mask, zero, torch.finfo(query.dtype).min)
