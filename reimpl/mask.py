"""Which keys a query may look at: positions and a MaskRule go in, a table of yes and no comes out."""

from __future__ import annotations

from torch import Tensor

from reimpl.spec import MaskRule


def allowed(rule: MaskRule, query_positions: Tensor, key_positions: Tensor) -> Tensor:
    """True where the query at position t may look at the key at position s: bool [t, s].

    Positions are given, not assumed to start at 0, so that some rows of a long text, or the one new query of
    cached generation, use the same function.
    """
    t, s = query_positions[:, None], key_positions[None, :]
    may = s <= (t + rule.window - 1 if rule.both_sides and rule.window is not None else t)
    if rule.window is not None:
        may = may & (s > t - rule.window)
    if rule.chunk is not None:
        may = may & (s // rule.chunk == t // rule.chunk)
    return may
