"""Check an atlas: some rows are computed again from the library's own eager attention, and a planted mistake must show.

A row that a hash chooses is checked in every layer and head: its weights, and what they add to each sum and histogram,
computed from the definitions. The planted mistake is the same with each head's number shifted by one.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from inspector.atlas.part import SUMMED
from inspector.atlas.row_statistics import RowFacts, RowSums, reference_sums
from inspector.capture.attention_inputs import AttentionInputs, attend_eagerly
from inspector.capture.batch import rows_of
from inspector.capture.eager import shared_with_sinks
from inspector.capture.records import Call

# Ours and the library's eager function take the same softmax of the same scores, each product's sums in its own order:
# float32 rounds each of d_head products and n weights, and a sum over a row of up to 1024 tokens is good to 1e-4 of a
# weight of 1. In half precision a weight has 8 or 11 bits.
ROOM = {torch.float64: 1e-5, torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 2e-3}
SUM_ROOM = 10.0  # times ROOM, of each query token's part of a sum


@dataclass
class Found:
    """What the comparisons of a shard came to.

    Attributes:
        rows: rows of tokens that were computed again.
        heads: heads of layers in which they were.
        weights: weights compared.
        differing: of them, those that differ at all.
        max_abs: the largest difference of a weight.
        max_sum: the largest difference of a sum or histogram, for each query token.
        shifted_abs: the largest difference with heads shifted by one, the smallest of all layers.
        planted: layers in which the mistake could be planted (those of one head have none to shift).
        caught: of them, those in which weights or sums differed by more than the tolerance.
        tolerance: of a weight.
        not_shown: layers whose eager function gives no weights.
    """

    rows: int = 0
    heads: int = 0
    weights: int = 0
    differing: int = 0
    max_abs: float = 0.0
    max_sum: float = 0.0
    shifted_abs: float = float("inf")
    planted: int = 0
    caught: int = 0
    tolerance: float = 0.0
    not_shown: int = 0

    @property
    def ok(self) -> bool:
        """Whether all that was compared agrees, and every planted mistake was caught."""
        agrees = self.max_abs <= self.tolerance and self.max_sum <= SUM_ROOM * self.tolerance
        return self.weights > 0 and agrees and self.caught == self.planted and not self.not_shown

    def plus(self, other: Found) -> Found:
        """Return both together.

        Args:
            other: of another shard.

        Returns:
            Counts added, differences the largest of both.
        """
        most = {"max_abs", "max_sum", "tolerance"}
        mine, theirs = asdict(self), asdict(other)
        return Found(
            **{
                name: max(value, theirs[name])
                if name in most
                else min(value, theirs[name])
                if name == "shifted_abs"
                else value + theirs[name]
                for name, value in mine.items()
            }
        )


class Checker:
    """Compare the chosen rows of a shard."""

    def __init__(self, rows: set[int]) -> None:
        """Choose.

        Args:
            rows: numbers of the rows in the corpus.
        """
        self.rows = rows
        self.found = Found(rows=len(rows))

    def check(
        self, inputs: AttentionInputs, place: int, call: Call, ours: Tensor, sums: RowSums, facts: RowFacts
    ) -> None:
        """Compare one row in one layer.

        Args:
            inputs: of the batch's attention call.
            place: the row's place in the batch.
            call: what was recorded of it.
            ours: the weights that the atlas has used, [h, n, n].
            sums: what they added.
            facts: of the row.
        """
        found = self.found
        result = attend_eagerly(rows_of(inputs)[place])
        if result[1] is None:
            found.not_shown += 1
            return
        weights = shared_with_sinks(result[1][0], result[0][0].transpose(0, 1), call)[..., : ours.shape[-1]]
        weights = weights.to(call.value.dtype).float().cpu()
        found.tolerance = ROOM.get(call.value.dtype, 1e-5)
        found.heads += len(ours)
        found.weights += ours.numel()
        found.differing += int((weights != ours).sum())
        found.max_abs = max(found.max_abs, float((weights - ours).abs().max()))
        found.max_sum = max(found.max_sum, _apart(sums, reference_sums(weights, facts), len(facts.text.ids)))
        if len(ours) > 1:
            shifted = weights.roll(1, dims=0)
            off = float((shifted - ours).abs().max())
            off_sums = _apart(sums, reference_sums(shifted, facts), len(facts.text.ids))
            found.planted += 1
            found.caught += off > found.tolerance and off_sums > SUM_ROOM * found.tolerance
            found.shifted_abs = min(found.shifted_abs, off)

    def to_dict(self) -> dict[str, Any]:
        """Return what was found, ready for JSON."""
        return asdict(self.found)


def _apart(a: RowSums, b: RowSums, n: int) -> float:
    """Return the largest difference of two rows' sums, for each query token; entropies near a bin's edge may move.

    Distances are compared in units of the row's length, so that each sum is of numbers up to 1 or a few bits.
    """
    scale = torch.ones(len(SUMMED), dtype=torch.float64)
    scale[SUMMED.index("distance")], scale[SUMMED.index("distance squared")] = n, n**2
    parts = [
        (a.sums - b.sums).abs() / scale,
        (a.distances - b.distances).abs(),
        (a.received - b.received).abs(),
        (a.given - b.given).abs(),
        ((a.entropies.cumsum(-1) - b.entropies.cumsum(-1)).abs() > 2).double() * n,  # two on an edge at once: none seen
    ]
    return max(float(part.max()) for part in parts) / max(n - 1, 1)
