"""The laws that edits obey exactly or to rounding, and by how much a run missed them.

What is measured here is measured in the run itself, at every edited layer. docs/lab.md has the further laws, which
need runs of their own, with the largest remainder found in each family of models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from inspector.capture.edits import Edit

# By kind: what holds, and how much may be missing. A cut is measured where up to 99 % of a row were cut: dividing by
# what is left makes float32's 6e-8 a hundred times larger, and a row has several such roundings.
_CUT = (
    "weights that are left are the old ones over what is left of their row (rows that lost less than 99 %), and cut "
    "ones are exactly 0",
    3e-5,
)
LAWS: dict[str, tuple[str, float]] = {
    "zero": ("what leaves the head is 0 in every element, and no other head or token changes", 0.0),
    "scale": ("what leaves the head is the old output times the factor, and no other head or token changes", 0.0),
    "mean": ("what leaves the head is the mean in every element, and no other head or token changes", 0.0),
    "patch": ("what takes part is the source's vector in every element, and no other head or token changes", 0.0),
    "cut": _CUT,
    "window": _CUT,
    # Sums of at most some thousand values in another order.
    "drop": ("the head's output is the old one less the dropped keys' weighted values, over the largest value", 1e-5),
}


@dataclass(frozen=True)
class Law:
    """One law of one edit, and by how much the run missed it."""

    edit: str
    law: str
    remainder: float
    tolerance: float

    @property
    def held(self) -> bool:
        """Whether it held."""
        return self.remainder <= self.tolerance


def laws_of(edits: Sequence[Edit], remainders: Mapping[int, float], dtype: torch.dtype) -> tuple[Law, ...]:
    """Return the laws that a run measured.

    Args:
        edits: those of the run.
        remainders: by an edit's number, as an Editor leaves them.
        dtype: the model's; tolerances are float32's, and wider by as much as a dtype rounds more coarsely.

    Returns:
        A law for each edit that one was measured of.
    """
    found = ((edit, remainders[number]) for number, edit in enumerate(edits) if number in remainders)
    coarser = max(1.0, torch.finfo(dtype).eps / torch.finfo(torch.float32).eps)
    return tuple(
        Law(str(edit), LAWS[edit.kind][0], remainder, LAWS[edit.kind][1] * coarser) for edit, remainder in found
    )
