"""How large a difference may be, and why: each tolerance of a verification with its reason.

In float32 the usual difference is exactly 0, because the same operations run in the same order. The tolerance is for
implementations and devices that sum in another order: the rounding error of a sum of K products grows as sqrt(K)
units of the dtype's precision, relative to the largest number of that stage (Higham & Mary 2019, "A new approach to
probabilistic rounding error analysis").
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from inspector.verification.compare import largest
from reimpl.attention import AttentionTrace, scaled_scores

if TYPE_CHECKING:
    from inspector.capture.records import LayerInfo

# Against float64: sums in another order may be off by as much again as the library's own.
FLOAT64_RATIO = 2.0
# Of the logits of the spliced model: twice what the library's own two forms of attention differ by; where it has but
# one form, so many roundings of the largest logit for each layer.
NOISE_RATIO, ROUNDINGS_A_LAYER = 2, 4
# Two forms of one attention that are further apart than this many roots of the dtype's unit, of the largest logit, are
# not one attention: a mistake moves logits by as much as they are large, rounding by a thousandth of that in float32.
NOISE_MOST = 2.0
# In float64 the eager form still takes its softmax in float32: so many of that unit, of the largest logit.
SOFTMAX_ROUNDINGS = 32


def sum_rounding(dtype: torch.dtype, products: int) -> float:
    """Return the relative error of a sum of so many products in this dtype.

    The result is rounded once to the dtype; the products are summed in float32, or in float64 for float64
    (half-precision matrix products accumulate in float32 too).
    """
    unit = torch.finfo(dtype).eps
    sum_unit = unit if dtype == torch.float64 else torch.finfo(torch.float32).eps
    return unit + sum_unit * math.sqrt(products)


def projection_tolerance(dtype: torch.dtype, d_model: int, number: float) -> float:
    """Return how far a projected vector may be off when its products are summed in another order.

    Args:
        dtype: what the model computed it in.
        d_model: the width of the attention input: so many products are summed.
        number: the largest number of the vectors compared.

    Returns:
        The largest difference allowed.
    """
    return sum_rounding(dtype, d_model) * number


def stage_tolerances(
    reference: AttentionTrace, info: LayerInfo, *, d_model: int, chained: bool
) -> dict[str, tuple[float, str]]:
    """Return for each stage the largest difference that another order of summation may explain, and why.

    Args:
        reference: the library's numbers of this layer.
        info: what the layer is like.
        d_model: the width of the attention input.
        chained: each stage inherits the error of the stages before it; else it starts from the library's numbers.

    Returns:
        Stage -> (tolerance, reason).
    """
    dtype = reference.value.dtype
    unit = torch.finfo(dtype).eps
    n, width = reference.weights.shape[-1], info.heads * reference.value.shape[-1]
    scores = scaled_scores(reference.query, reference.key, scale=info.scale, softcap=info.softcap)
    steep = largest(scores.masked_fill_(reference.weights <= 0, 0))
    del scores  # h x n x n

    project, turn = sum_rounding(dtype, d_model), 3 * unit  # a rotation is two products and a sum
    # A score that is off by e changes a weight w by at most 2·w(1-w)·e, half of e.
    score = sum_rounding(dtype, info.d_head) * steep
    context, output = sum_rounding(dtype, n), sum_rounding(dtype, width)
    if chained:
        turn += project
        score += 2 * turn * steep
        context += unit + project + score / 2
        output += context
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
        "context": (context * largest(reference.value), f"{names}: {n} weighted values{inherited}"),
        "output": limit("output", output, f"{width} products summed in another order"),
    }


def logit_tolerance(eager: Tensor, *, noise: float, layers: int) -> float:
    """Return how far the spliced model's logits may be from the library's.

    Errors add up over the layers, so the yardstick is what the library's own two forms of attention differ by.

    Args:
        eager: the library's logits [n, vocabulary] through its eager attention.
        noise: the largest difference of its other form's logits from these.
        layers: how many attention layers there are.

    Returns:
        The largest difference allowed.
    """
    unit = torch.finfo(eager.dtype).eps
    return max(NOISE_RATIO * noise, ROUNDINGS_A_LAYER * unit * float(eager.abs().max()) * layers)


def is_noise(noise: float, eager: Tensor) -> bool:
    """Say whether two forms of the library's attention differ by rounding alone.

    Args:
        noise: the largest difference of their logits.
        eager: the logits [n, vocabulary] of one of them.
    """
    most = NOISE_MOST * math.sqrt(torch.finfo(eager.dtype).eps)
    if eager.dtype == torch.float64:
        most = max(most, SOFTMAX_ROUNDINGS * torch.finfo(torch.float32).eps)
    return noise <= most * float(eager.abs().max())
