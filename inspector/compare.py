"""Two tensors that should be the same go in; a Check comes out: how far apart, how many elements differ at all, the
tolerance with its reason, and whether it held.

In float32 the usual difference is exactly 0, because the same operations run in the same order. The tolerance is for
implementations and devices that sum in another order: the rounding error of a sum of K products grows as sqrt(K)
units of the dtype's precision, relative to the largest number of that stage (Higham & Mary 2019, "A new approach to
probabilistic rounding error analysis").
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from reimpl.attention import AttentionTrace
from reimpl.spec import AttentionSpec

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
    """One stage of one layer, judged. `max_rel` is max_abs over the reference's largest magnitude."""

    layer: int
    stage: str
    max_abs: float
    max_rel: float
    differing: int
    elements: int
    tolerance: float
    reason: str
    ok: bool


def compare(layer: int, stage: str, found: Tensor, reference: Tensor, *, tolerance: float, reason: str) -> Check:
    """Judge `found` against `reference`. Shapes that differ, and numbers that are not finite, never pass."""
    if found.shape != reference.shape:
        why = f"shape {list(found.shape)} where the library has {list(reference.shape)}"
        return Check(layer, stage, math.inf, math.inf, found.numel(), reference.numel(), tolerance, why, ok=False)
    if not bool(torch.isfinite(found).all()):
        return Check(
            layer, stage, math.inf, math.inf, int((~torch.isfinite(found)).sum()), found.numel(), tolerance,
            "numbers that are not finite", ok=False,
        )  # fmt: skip
    difference = (found.double() - reference.double()).abs()
    max_abs = float(difference.max())
    largest = float(reference.double().abs().max())
    return Check(
        layer=layer,
        stage=stage,
        max_abs=max_abs,
        max_rel=max_abs / largest if largest else (math.inf if max_abs else 0.0),
        differing=int((found.to(reference.dtype) != reference).sum()),
        elements=reference.numel(),
        tolerance=tolerance,
        reason=reason,
        ok=max_abs <= tolerance,
    )


def tolerances(reference: AttentionTrace, spec: AttentionSpec) -> dict[str, tuple[float, str]]:
    """For each stage the largest difference that another order of summation may explain, and why."""
    unit = torch.finfo(reference.value.dtype).eps
    sums = math.sqrt(spec.d_model)

    def largest(tensor: Tensor) -> float:
        return float(tensor.double().abs().max())

    # A change of every query and key by one part in 1/noise moves a score by noise times its size, and a weight w by
    # at most w(1-w) times that. |q|·|k| bounds every score without forming the n x n table again.
    noise = sums * unit
    steep = max(1.0, spec.scale * float(reference.query.norm(dim=-1).max() * reference.key.norm(dim=-1).max()))
    steep = min(steep, spec.softcap) if spec.softcap else steep
    rounding = f"{unit:.1e} x sqrt({spec.d_model} products)"
    plain = {
        stage: (noise * largest(getattr(reference, stage)), f"{rounding} x largest number of the stage")
        for stage in ("query_pre", "key_pre", "value")
    }
    turned = {
        stage: ((noise + 2 * unit) * largest(getattr(reference, stage)), f"{rounding} + one rotation, x largest number")
        for stage in ("query", "key")
    }
    return {
        **plain,
        **turned,
        "weights": (0.25 * noise * steep, f"{rounding} x largest possible score {steep:.3g} x w(1-w)"),
        "context": (noise * steep * largest(reference.value), f"{rounding} x largest possible score x largest value"),
        "output": (noise * steep * largest(reference.output), f"{rounding} x largest possible score x largest output"),
    }


def judge_twins(checks: list[Check], kinds: list[AttentionSpec]) -> list[Check]:
    """Hold layers against each other: where most layers of the same shape are bit-identical at a stage, one that
    differs does so by its numbers, not by rounding, however small the difference.

    Layers of equal shape run the same kernels, so another order of summation would show in all of them.
    """
    identical: dict[tuple[str, AttentionSpec], list[bool]] = {}
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
