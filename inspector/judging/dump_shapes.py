"""Say which shape a stage has in a layer, and leave out what an array may have more: a batch of one, a cache's rest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from inspector.capture.records import LayerInfo
from inspector.judging.dump_names import INPUT
from inspector.judging.dump_settings import LAYOUTS
from inspector.verification.compare import distance, largest

_PADDED = 1024  # rows and columns that a cache may have after the prompt
_OF_KEYS = ("key_pre", "key", "value")


@dataclass(frozen=True)
class StageShape:
    """The shape of one stage of one layer, for a prompt of n tokens and vectors of the width m."""

    stage: str
    info: LayerInfo
    n: int
    m: int

    @property
    def width(self) -> int:
        """How many numbers a head has of each token."""
        return self.info.d_value if self.stage in ("value", "context") else self.info.d_head

    @property
    def heads(self) -> int:
        """How many heads the stage has."""
        return self.info.kv_heads if self.stage in _OF_KEYS else self.info.heads

    @property
    def most(self) -> int:
        """How many numbers an array may have to be read at all."""
        if self.stage == "weights":
            return self.heads * (self.n + _PADDED) ** 2
        return self.n * max(self.m, self.info.heads * self.width)

    def fits(self, tensor: Tensor) -> bool:
        """Return whether an array has as many numbers as the stage.

        Args:
            tensor: in any layout; keys and values may be repeated for each query head, and weights may have the column
                that sinks add, which the judge names.

        Returns:
            Whether it can be the stage.
        """
        n, count = self.n, tensor.numel()
        if self.stage in ("output", INPUT):
            return count == n * self.m
        if self.stage == "weights":
            return count in (self.heads * n * n, self.heads * n * (n + 1))
        return count == self.heads * n * self.width or (
            self.stage in _OF_KEYS and count == self.info.heads * n * self.width
        )

    def is_ours(self, tensor: Tensor) -> bool:
        """Return whether an array of vectors is head-first, keys and values as they are or for each query head."""
        return tensor.shape in ((self.heads, self.n, self.width), (self.info.heads, self.n, self.width)) and (
            self.stage in _OF_KEYS or tensor.shape[0] == self.heads
        )

    def in_words(self, found: Sequence[int], *, layout: str | None = None) -> str:
        """Say the shape, in the layouts that it may have.

        Args:
            found: the shape that it has instead.
            layout: the only one that it may have, of `dump_settings.LAYOUTS`; None: each of them.

        Returns:
            The end of a sentence.
        """
        n, h, d = self.n, self.heads, self.width
        other = set(found) & {n - 1, n + 1} - {n, h, d, self.m}
        more = f", where this looks like {other.pop()} tokens and the prompt has {n}" if len(other) == 1 else ""
        if self.stage in ("output", INPUT):
            return f"[{n}, {self.m}]{more}"
        if self.stage == "weights":
            return f"[{h}, {n}, {n}]{more}"
        each = dict(zip(LAYOUTS, (f"[{h}, {n}, {d}]", f"[{n}, {h}, {d}]", f"[{n}, {h * d}]"), strict=True))
        if layout is not None:
            return f"{each[layout]} in the layout {layout} that dump.json says{more}"
        *first, last = each.values()
        return f"{', '.join(first)} or {last}{more}"


def without_padding(weights: Tensor, n: int) -> Tensor:
    """Leave out what a cache has after the prompt: rows and columns of weights that are exactly 0.

    Args:
        weights: [..., queries, keys].
        n: how many tokens the prompt has.

    Returns:
        [..., n, n]; as it was where what would be left out is not 0.
    """
    for axis in (-1, -2):
        more = weights.shape[axis] - n if weights.ndim > 2 else 0
        if more > 0 and not bool((weights.narrow(axis, n, more) != 0).any()):
            weights = weights.narrow(axis, 0, n)
    return weights


def unbatched(tensor: Tensor, axes: int = 3) -> Tensor:
    """Leave out first axes of length 1 while there are more axes than needed.

    Args:
        tensor: any array.
        axes: how many it needs.

    Returns:
        The array with as many axes, or more.
    """
    while tensor.ndim > axes and tensor.shape[0] == 1:
        tensor = tensor[0]
    return tensor


def apart(found: Tensor, reference: Tensor) -> float:
    """Return the largest difference over the reference's largest number; infinite for another shape.

    Args:
        found: any numbers; those that are not finite count as 0.
        reference: what they may be.

    Returns:
        0 where they are the same.
    """
    if found.shape != reference.shape:
        return math.inf
    return distance(torch.nan_to_num(found), reference) / (largest(reference) or 1.0)
