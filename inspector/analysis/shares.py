"""Split one query token's attention output into its heads' shares, and check their sum against the library's output.

W_o is applied to all heads' context vectors side by side, so the attention output is a sum: of each head's context
vector times that head's own slice of W_o (Elhage et al. 2021, "A mathematical framework for transformer circuits"),
and of W_o's bias where there is one. One row is computed, nothing n x n.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from inspector.errors import InspectorError
from inspector.model.model import model_of
from inspector.verification.compare import Check, compare_stage
from reimpl.attention import context_vectors

if TYPE_CHECKING:
    from inspector.trace.trace import Trace
    from reimpl.attention import CausalSelfAttention


Numbers = npt.NDArray[np.floating]
BIAS = "bias of W_o"


@dataclass(frozen=True)
class Output:
    """One query token's attention output as the sum of its heads' shares, checked against the library's own.

    Attributes:
        library: the attention output in the library's forward pass [m].
        shares: each head's share [h, m].
        bias: W_o's bias [m], or None.
        total: the sum of shares and bias [m].
        check: `total` against `library`.
        frame: a row per head, and one for the bias if there is one: part, length, cosine with the library's output, and
            projection on it (signed, in units of length). All projections add up to the output's `length`, but for
            rounding. Cosine and projection are NaN where a vector has no direction.
        length: of the library's output.
        why_not: the sentence for a layer whose shares do not add up; no share is to be shown then.
    """

    library: Numbers
    shares: Numbers
    bias: Numbers | None
    total: Numbers
    check: Check
    frame: pd.DataFrame
    length: float
    why_not: str


def output(trace: Trace, layer: int, query: int, library: Numbers) -> Output:
    """Compute all heads' shares of the attention output of one query token.

    Args:
        trace: the prompt's trace.
        layer: counted from 0.
        query: the query token's position.
        library: [m], what the library computed for it (learn.token_vectors.residual_stream has it).

    Returns:
        The shares, their sum and its check.

    Raises:
        InspectorError: as `head_shares`.
    """
    shares, bias = head_shares(trace, layer, query), output_bias(trace, layer)
    check = output_check(trace, layer, query, shares, torch.from_numpy(library).to(trace.value(layer).dtype))
    parts = shares.double() if bias is None else torch.cat((shares.double(), bias.to(shares).double()[None]))
    whole = torch.from_numpy(library).to(parts)
    length = float(whole.norm())
    lengths, projections = parts.norm(dim=-1), parts @ (whole / length)
    frame = pd.DataFrame(
        {
            "part": [f"head {head}" for head in range(len(shares))] + ([] if bias is None else [BIAS]),
            "length": lengths.cpu().numpy(),
            "cosine": (projections / lengths).cpu().numpy(),
            "projection": projections.cpu().numpy(),
        }
    )
    return Output(
        library=library,
        shares=numbers(shares),
        bias=None if bias is None else numbers(bias),
        total=numbers(shares.sum(0) if bias is None else shares.sum(0) + bias.to(shares)),
        check=check,
        frame=frame,
        length=length,
        why_not=_why_not_a_sum(trace, layer, check),
    )


def head_shares(trace: Trace, layer: int, query: int) -> Tensor:
    """Compute each head's share of the attention output of one query token.

    The context vector is rounded to the model's dtype as the library's is; its product with W_o is not. Whether the
    shares add up is for `output_check` to say.

    Args:
        trace: the prompt's trace.
        layer: counted from 0.
        query: the query token's position.

    Returns:
        [h, m], float32 or wider.

    Raises:
        InspectorError: there is no such layer or token, the trace has no model, the family is not reimplemented, or the
            weights cannot be computed.
    """
    weights = trace.weights(layer, queries=one_row(trace, query))  # [h, 1, s]
    context = context_vectors(weights, trace.value(layer))[:, 0]  # [h, d_value]
    w_o = _attention(trace, layer).o_proj.weight  # [m, h*d_value]
    wide = torch.promote_types(context.dtype, torch.float32)
    slices = w_o.view(len(w_o), len(context), -1).to(context.device, wide)  # [m, h, d_value]
    return torch.einsum("hd,mhd->hm", context.to(wide), slices)


def output_bias(trace: Trace, layer: int) -> Tensor | None:
    """Return W_o's bias, which belongs to no head.

    Args:
        trace: the prompt's trace.
        layer: counted from 0.

    Returns:
        [m]; None where W_o has no bias.
    """
    bias: Tensor | None = _attention(trace, layer).o_proj.bias
    return None if bias is None else bias.detach()


def output_check(trace: Trace, layer: int, query: int, shares: Tensor, reference: Tensor) -> Check:
    """Compare the sum of all shares and W_o's bias with the attention output that the library computed.

    Args:
        trace: the prompt's trace.
        layer: counted from 0.
        query: the query token's position.
        shares: [h, m].
        reference: [m], the library's output for this token.

    Returns:
        The check, with its tolerance and the reason for it.

    Raises:
        InspectorError: as `head_shares`.
    """
    one_row(trace, query)
    bias = output_bias(trace, layer)
    found = shares.sum(0) if bias is None else shares.sum(0) + bias.to(shares)
    tolerance, reason = _tolerance(trace, layer, query, shares, reference)
    return compare_stage(layer, "output", found, reference.to(shares.device), tolerance=tolerance, reason=reason)


def _why_not_a_sum(trace: Trace, layer: int, check: Check) -> str:
    """Say that a check did not hold, with the cause where the layer's spec has it; else return an empty text."""
    if check.ok:
        return ""
    spec = _attention(trace, layer).spec
    cause = (
        f": its vectors were stored rounded to {trace.precision}"
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
    """Return the slice of one query row.

    Args:
        trace: the prompt's trace.
        query: the query token's position.

    Returns:
        The slice of this position alone.

    Raises:
        InspectorError: there is no such token.
    """
    if not 0 <= query < trace.n:
        raise InspectorError(f"There is no query token {query}: this prompt has tokens 0 to {trace.n - 1}.")
    return slice(query, query + 1)


def _attention(trace: Trace, layer: int) -> CausalSelfAttention:
    """Return our own attention of this layer, with the model's weights as they are now."""
    return model_of(trace, "W_o").attention_now(layer)


def _tolerance(trace: Trace, layer: int, query: int, shares: Tensor, reference: Tensor) -> tuple[float, str]:
    """Return the largest difference that another order of summation may explain, and why, as compare.py does."""
    info, allowed = trace.layers[layer], trace.allowed(layer, queries=one_row(trace, query)).any(0)
    dtype, width = reference.dtype, info.heads * info.d_value
    unit = torch.finfo(dtype).eps
    sum_unit = unit if dtype == torch.float64 else torch.finfo(torch.float32).eps
    scores = trace.scaled_scores(layer, queries=one_row(trace, query))
    steep = float(scores.masked_fill(~allowed, 0).abs().max())
    # The scores' error moves a weight by half of it at most; then n values are added up and `width` products summed.
    score = (unit + sum_unit * math.sqrt(info.d_head)) * steep
    relative = score / 2 + 3 * unit + sum_unit * (math.sqrt(trace.n) + math.sqrt(width))
    largest = max(float(shares.abs().max()), float(reference.abs().max()))
    return relative * largest, (
        f"{dtype} unit {unit:.1e} x largest number {largest:.3g}: {trace.n} weighted values and {width} products "
        f"summed in another order, scores up to {steep:.3g}"
    ).removeprefix("torch.")


def numbers(tensor: Tensor) -> Numbers:
    """Copy a tensor to numpy, wherever it lies; half precision as float32, which loses nothing.

    Args:
        tensor: of any shape.

    Returns:
        The same numbers, float32 or float64.
    """
    wide = tensor if tensor.dtype == torch.float64 else tensor.float()
    found: Numbers = wide.detach().cpu().numpy()
    return found
