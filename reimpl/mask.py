"""Which keys a query may look at: positions and a MaskRule go in, a table of yes and no comes out."""

from __future__ import annotations

from torch import Tensor

from reimpl.spec import MaskRule


def allowed(rule: MaskRule, query_positions: Tensor, key_positions: Tensor) -> Tensor:
    """Build the mask: true where the query at position t may look at the key at position s.

    Positions are handed in, not assumed to start at 0, so that some rows of a long text, or the one new query of
    cached generation, use the same function.

    Args:
        rule: causal, with a window or chunks where the layer has them.
        query_positions: [t].
        key_positions: [s].

    Returns:
        The mask, bool [t, s].
    """
    t, s = query_positions[:, None], key_positions[None, :]  # [t, 1], [1, s]
    mask = s <= (t + rule.window - 1 if rule.both_sides and rule.window is not None else t)  # [t, s]
    if rule.window is not None:
        mask = mask & (s > t - rule.window)
    if rule.chunk is not None:
        mask = mask & (s // rule.chunk == t // rule.chunk)
    return mask
