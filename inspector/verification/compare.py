"""Two tensors that should be the same, compared: how far apart, how many elements differ at all, and whether it held.

Each comparison is a Check, which carries its tolerance and the reason of it (see tolerances.py).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

BLOCK = 2**18  # numbers compared at once: the caches hold them

# In the order of computation: the first that fails is where an implementation goes wrong.
STAGES = ("query_pre", "key_pre", "query", "key", "value", "weights", "context", "output")
STAGE_NAMES = {
    "query_pre": "query before RoPE",
    "key_pre": "key before RoPE",
    "query": "query after RoPE",
    "key": "key after RoPE",
    "value": "value",
    "weights": "attention weights",
    "context": "context vectors",
    "output": "attention output",
}


@dataclass(frozen=True)
class Check:
    """One stage of one layer, compared. `max_rel` is max_abs over the reference's largest magnitude."""

    layer: int
    stage: str
    max_abs: float
    max_rel: float
    differing: int
    elements: int
    tolerance: float
    reason: str
    ok: bool


def compare_stage(layer: int, stage: str, found: Tensor, reference: Tensor, *, tolerance: float, reason: str) -> Check:
    """Compare one stage's numbers with the reference.

    Args:
        layer: the layer's number.
        stage: what is compared, one of STAGES or a word of the caller's.
        found: the numbers to be judged, of any shape.
        reference: what they should be; of another shape never passes, nor do numbers that are not finite.
        tolerance: the largest difference allowed.
        reason: why that much is allowed.

    Returns:
        What was found.
    """
    if found.shape != reference.shape:
        why = f"shape {list(found.shape)} where the library has {list(reference.shape)}"
        return Check(layer, stage, math.inf, math.inf, found.numel(), reference.numel(), tolerance, why, ok=False)
    if not math.isfinite(largest(found)):
        return Check(
            layer, stage, math.inf, math.inf, int((~torch.isfinite(found)).sum()), found.numel(), tolerance,
            "numbers that are not finite", ok=False,
        )  # fmt: skip
    max_abs = distance(found, reference)
    scale = largest(reference)
    return Check(
        layer=layer,
        stage=stage,
        max_abs=max_abs,
        max_rel=max_abs / scale if scale else (math.inf if max_abs else 0.0),
        differing=int((found.to(reference.dtype) != reference).sum()),
        elements=reference.numel(),
        tolerance=tolerance,
        reason=reason,
        ok=max_abs <= tolerance,
    )


def distance(a: Tensor, b: Tensor) -> float:
    """Return the largest difference of two numbers in the same place, in float64, a block at a time."""
    blocks = zip(torch.split(a.reshape(-1), BLOCK), torch.split(b.reshape(-1), BLOCK), strict=True)
    return float(torch.stack([(x.double() - y).abs_().max() for x, y in blocks]).max())


def largest(x: Tensor) -> float:
    """Return the largest magnitude; not finite where any number is not."""
    low, high = (float(end) for end in torch.aminmax(x))
    return max(abs(low), abs(high))


def judge_twins(checks: list[Check], kinds: Sequence[Hashable]) -> list[Check]:
    """Hold layers of equal shape against each other.

    They run the same kernels, so another order of summation would show in all of them: where most are bit-identical at
    a stage, one that differs does so by its numbers, not by rounding, however small the difference.

    Args:
        checks: of all layers and stages.
        kinds: each layer's spec, or whatever else is equal for layers that run the same kernels.

    Returns:
        The checks, with those failed that only looked like rounding.
    """
    identical: dict[tuple[str, Hashable], list[bool]] = {}
    for check in checks:
        identical.setdefault((check.stage, kinds[check.layer]), []).append(check.differing == 0)
    judged = []
    for check in checks:
        twins = identical[check.stage, kinds[check.layer]]
        if check.ok and check.differing and 2 * sum(twins) > len(twins):
            why = f"{sum(twins)} of {len(twins)} layers of the same shape are identical here, so this is not rounding"
            check = replace(check, ok=False, tolerance=0.0, reason=why)
        judged.append(check)
    return judged
