"""A trace, a layer and one query token go in; each head's share of that token's attention output comes out, and a
check of their sum against the output that the library computed.

W_o is applied to all heads' context vectors side by side, so the attention output is a sum: of each head's context
vector times that head's own slice of W_o (Elhage et al. 2021, "A mathematical framework for transformer circuits"),
and of W_o's bias where there is one. One row is computed, nothing n x n.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from inspector.compare import Check, compare
from inspector.errors import InspectorError
from reimpl.attention import context_vectors

if TYPE_CHECKING:
    from inspector.trace import Trace
    from reimpl.attention import CausalSelfAttention


def head_shares(trace: Trace, layer: int, query: int) -> Tensor:
    """Each head's share of the attention output of the token at position `query`: [h, m], float32 or wider.

    The context vector is rounded to the model's dtype as the library's is; its product with W_o is not.
    Raises InspectorError where there is no such layer or token, the trace has no model, the family is not
    reimplemented, or the weights cannot be told. Whether the shares add up is `output_check`'s to say.
    """
    weights = trace.weights(layer, queries=one_row(trace, query))  # [h, 1, s]
    context = context_vectors(weights, trace.value(layer))[:, 0]  # [h, d_value]
    w_o = _attention(trace, layer).o_proj.weight  # [m, h*d_value]
    wide = torch.promote_types(context.dtype, torch.float32)
    slices = w_o.unflatten(1, (len(context), -1)).to(context.device, wide)  # [m, h, d_value]
    return torch.einsum("hd,mhd->hm", context.to(wide), slices)


def output_bias(trace: Trace, layer: int) -> Tensor | None:
    """W_o's bias [m], which belongs to no head; None where it has none."""
    bias: Tensor | None = _attention(trace, layer).o_proj.bias
    return None if bias is None else bias.detach()


def output_check(trace: Trace, layer: int, query: int, shares: Tensor, output: Tensor | None = None) -> Check:
    """The sum of `shares` [h, m] and W_o's bias against the attention output of this token as the library computed it:
    `output` [m], or, where that is not at hand, fetched for all tokens.

    Raises InspectorError as `head_shares` does, and where the library's output could not be read.
    """
    one_row(trace, query)
    bias, reference = output_bias(trace, layer), trace.output(layer)[query] if output is None else output
    found = shares.sum(0) if bias is None else shares.sum(0) + bias.to(shares)
    tolerance, reason = _tolerance(trace, layer, query, shares, reference)
    return compare(layer, "output", found, reference.to(shares.device), tolerance=tolerance, reason=reason)


def why_not_a_sum(trace: Trace, layer: int, check: Check) -> str:
    """The sentence that says so where a check did not hold, with the cause where the layer's spec tells; else empty."""
    if check.ok:
        return ""
    spec = _attention(trace, layer).spec
    cause = (
        f": its vectors were kept rounded to {trace.precision}"
        if trace.precision is not None
        else ": it multiplies the joined context vectors by a gate before W_o"
        if spec.gate is not None
        else ": it normalises the context vectors before W_o"
        if spec.output_norm is not None
        else ""
    )
    return (
        f"In layer {layer} the heads' context vectors times W_o do not add up to the attention output{cause} (largest "
        f"difference {check.max_abs:.3g}, tolerance {check.tolerance:.1e}), so no head's share is shown; choose "
        "another layer or model."
    )


def one_row(trace: Trace, query: int) -> slice:
    """The slice of this one query row. Raises InspectorError where there is no such token."""
    if not 0 <= query < trace.n:
        raise InspectorError(f"There is no query token {query}: this prompt has tokens 0 to {trace.n - 1}.")
    return slice(query, query + 1)


def _attention(trace: Trace, layer: int) -> CausalSelfAttention:
    if trace.model is None:
        raise InspectorError(
            "This trace was opened from a file and has no model at hand, so its W_o is not known; run the prompt."
        )
    layers = trace.model.reimplementation
    if not 0 <= layer < len(layers):
        raise InspectorError(f"Layer {layer} does not exist: this model has layers 0 to {len(layers) - 1}.")
    return layers[layer]


def _tolerance(trace: Trace, layer: int, query: int, shares: Tensor, reference: Tensor) -> tuple[float, str]:
    """The largest difference that another order of summation may explain, and why (inspector/compare.py's terms)."""
    info, may = trace.layers[layer], trace.allowed(layer, queries=one_row(trace, query))
    dtype, width = reference.dtype, info.heads * info.d_value
    unit = torch.finfo(dtype).eps
    sum_unit = unit if dtype == torch.float64 else torch.finfo(torch.float32).eps
    scores = trace.scaled_scores(layer, queries=one_row(trace, query))
    steep = float(scores.masked_fill(~may, 0).abs().max())
    # The scores' error moves a weight by half of it at most; then n values are mixed and `width` products summed.
    score = (unit + sum_unit * math.sqrt(info.d_head)) * steep
    relative = score / 2 + 3 * unit + sum_unit * (math.sqrt(trace.n) + math.sqrt(width))
    largest = max(float(shares.abs().max()), float(reference.abs().max()))
    return relative * largest, (
        f"{dtype} unit {unit:.1e} x largest number {largest:.3g}: {trace.n} weighted values and {width} products "
        f"summed in another order, scores up to {steep:.3g}"
    ).removeprefix("torch.")
