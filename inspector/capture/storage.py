"""Say what is stored of a pass's attention calls, and let go of the rest."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from inspector.capture.records import Call
from inspector.errors import InspectorError
from reimpl.spec import MaskRule

_VECTORS = ("query", "key", "value")


@dataclass(frozen=True)
class Storage:
    """What is stored of each attention call.

    keep:    beyond queries, keys and values: any of "input", "output", "residual".
    layers:  the numbers of the calls of which it is stored (None: all); of the others only the facts are.
    vectors: whether queries, keys and values are stored at all.
    dtype:   what they are rounded to (None: they stay as the model made them).
    """

    keep: frozenset[str] = frozenset()
    layers: Collection[int] | None = None
    vectors: bool = True
    dtype: torch.dtype | None = None

    def includes(self, number: int) -> bool:
        """Whether anything is stored of the call of this number."""
        return self.layers is None or number in self.layers

    def reduce(self, call: Call, number: int) -> None:
        """Let go of a call's vectors, round them, or copy them out of a larger tensor.

        Args:
            call: the call, whose attributes are replaced.
            number: which of the pass's calls it is, from 0, for the error's sentence.

        Raises:
            InspectorError: a number lies beyond the range of `dtype`.
        """
        if not self.vectors or not call.stored:
            _empty(call)
            return
        for name in _VECTORS:
            vectors = getattr(call, name)
            if self.dtype is not None:
                setattr(call, name, rounded(vectors, self.dtype, f"A {name} of attention layer {number}"))
            elif vectors.untyped_storage().nbytes() > vectors.nbytes:
                setattr(call, name, vectors.clone())  # part of a fused projection, which would be stored whole with it

    def shorter(self, context: Tensor, number: int) -> Tensor:
        """Return edited context vectors as they are stored: rounded as queries, keys and values are.

        Args:
            context: [h, t, d_value].
            number: which of the pass's calls they are of, from 0, for the error's sentence.

        Returns:
            The vectors, a copy of their own.

        Raises:
            InspectorError: a number lies beyond the range of `dtype`.
        """
        if self.dtype is None:
            return context.clone()
        return rounded(context, self.dtype, f"A context vector of attention layer {number}")


VECTORS_ALONE = Storage()


def rounded(vectors: Tensor, dtype: torch.dtype, what: str) -> Tensor:
    """Return a copy in half precision.

    Args:
        vectors: a tensor of any shape.
        dtype: torch.float16 or torch.bfloat16.
        what: what the vectors are, for the error's sentence.

    Returns:
        The rounded copy, of the same shape.

    Raises:
        InspectorError: a number lies beyond the dtype's range.
    """
    copied = vectors.to(dtype, copy=True)
    if not bool(torch.isfinite(copied).all()):
        raise InspectorError(
            f"{what} has a number of {float(vectors.abs().max()):.3g}, beyond {str(dtype).removeprefix('torch.')}'s "
            f'largest, {torch.finfo(dtype).max:.3g}: use precision="bfloat16", or leave precision out.'
        )
    return copied


def _empty(call: Call) -> None:
    """Keep a call's shapes and facts, and none of its numbers."""
    for name in _VECTORS:
        setattr(call, name, getattr(call, name)[:, :0].clone())
    if isinstance(call.mask, Tensor):
        call.mask = MaskRule()
    if call.bias is not None:
        call.bias = call.bias[:, :0].clone()
