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
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from reimpl.attention import AttentionTrace, scaled_scores
from reimpl.spec import AttentionSpec

if TYPE_CHECKING:
    from inspector.capture.records import LayerInfo

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
    """The largest difference of two numbers in the same place, taken in float64, a block at a time."""
    blocks = zip(a.reshape(-1).split(BLOCK), b.reshape(-1).split(BLOCK), strict=True)
    return float(torch.stack([(x.double() - y).abs_().max() for x, y in blocks]).max())


def largest(x: Tensor) -> float:
    """The largest magnitude; not finite where any number is not."""
    low, high = (float(end) for end in torch.aminmax(x))
    return max(abs(low), abs(high))


def tolerances(
    reference: AttentionTrace, info: LayerInfo, *, d_model: int, chained: bool
) -> dict[str, tuple[float, str]]:
    """For each stage the largest difference that another order of summation may explain, and why.

    A result is rounded once to the dtype (`unit`), after K products were summed in float32, or in float64 for
    float64 (`sum_unit` x sqrt(K)); half-precision matrix products accumulate in float32 too. Where stages are
    `chained`, each also inherits the error of the stages before it; else it starts from the library's numbers.
    """
    dtype = reference.value.dtype
    unit = torch.finfo(dtype).eps
    sum_unit = unit if dtype == torch.float64 else torch.finfo(torch.float32).eps
    n, width = reference.weights.shape[-1], info.heads * reference.value.shape[-1]
    scores = scaled_scores(reference.query, reference.key, scale=info.scale, softcap=info.softcap)
    steep = largest(scores.masked_fill_(reference.weights <= 0, 0))
    del scores  # h x n x n

    def rounding(products: int) -> float:
        return unit + sum_unit * math.sqrt(products)

    project, turn = rounding(d_model), 3 * unit  # a rotation is two products and a sum
    # A score that is off by e changes a weight w by at most 2·w(1-w)·e, half of e.
    score = rounding(info.d_head) * steep
    mix, blend = rounding(n), rounding(width)
    if chained:
        turn += project
        score += 2 * turn * steep
        mix += unit + project + score / 2
        blend += mix
    names = f"{dtype} unit {unit:.1e}".removeprefix("torch.")
    inherited = ", and what the stages before it bring" if chained else ""

    def limit(stage: str, relative: float, why: str) -> tuple[float, str]:
        number = largest(getattr(reference, stage))
        return relative * number, f"{names} x largest number {number:.3g}: {why}{inherited}"

    into = f"{d_model} products summed in another order"
    return {
        "query_pre": limit("query_pre", project, into),
        "key_pre": limit("key_pre", project, into),
        "value": limit("value", project, into),
        "query": limit("query", turn, "two products and a sum"),
        "key": limit("key", turn, "two products and a sum"),
        "weights": (unit + score / 2, f"{names}: {info.d_head} products x largest score {steep:.3g}{inherited}"),
        "context": (mix * largest(reference.value), f"{names}: {n} weighted values{inherited}"),
        "output": limit("output", blend, f"{width} products summed in another order"),
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
