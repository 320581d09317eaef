"""Compute one query token's context vector in four ways, and compare each with the trace's own.

Ways that are spoilt on purpose show that a mistake would be seen. Queries, keys and values are the trace's own; the
computing is `reimpl`'s: `stepwise` (loops over Python numbers, float64), `attention` (matrices) and `blockwise` (a
running softmax). Of a long prompt the matrices have a strip of query rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from inspector.capture.masks import masked_weights
from inspector.errors import InspectorError
from inspector.verification.compare import Check, compare_stage
from reimpl.attention import context_vectors
from reimpl.blockwise import blockwise_context
from reimpl.spec import MaskRule
from reimpl.stepwise import attend_one, dot, softmax

if TYPE_CHECKING:
    from inspector.trace.trace import Trace

FORGOTTEN = "Mask forgotten"
MATRIX_BYTES = 64 * 2**20  # of one layer's float32 weights, all heads


@dataclass(frozen=True)
class Way:
    """One way to the same context vector.

    Attributes:
        name: a word or two.
        how: what it does.
        context: [d_value], float64 copies; None where refused.
        check: how far from the trace's own, and whether within the tolerance; None where refused.
        control: whether this way is spoilt on purpose, and has to be caught.
        refused: what of this layer the way does not support; else empty.
    """

    name: str
    how: str
    context: npt.NDArray[np.float64] | None
    check: Check | None
    control: bool = False
    refused: str = ""


def compute_four_ways(trace: Trace, layer: int, head: int, query: int, *, block: int) -> list[Way]:
    """Compute the context vector in four ways, and in the spoilt ways that this query token can tell apart.

    The reference is `trace.context(layer, head)[query]`. A single key has no other order, so that no way spoils it.

    Args:
        trace: the prompt's trace.
        layer: counted from 0.
        head: a query head, counted from 0.
        query: the query token's position.
        block: keys in a block of the blockwise way.

    Returns:
        The four ways, then the controls.

    Raises:
        InspectorError: the layer's weights cannot be computed, or there is no such query token or block.
    """
    _check(trace, query, block)
    rows = strip(trace, layer, query)
    own = context_vectors(trace.weights(layer, head, queries=rows)[None], trace.value(layer, head)[None])[0]
    at = query - rows.start
    reference = own[at]
    tolerance, reason = _tolerance(trace, layer, head, query)

    def judged(name: str, how: str, found: Tensor, *, control: bool = False) -> Way:
        check = compare_stage(layer, "context", found, reference, tolerance=tolerance, reason=reason)
        return Way(name, how, found.double().cpu().numpy(), check, control=control)

    ways = [
        judged(
            "Plain loops",
            "this query alone: dot products, softmax, weighted values, one Python number after the other (float64)",
            _loops(trace, layer, head, query, _keys(trace, layer, head, query)),
        ),
        judged(
            "Matrices",
            "all queries of this head at once: query · keyᵀ, softmax by row, times value",
            _matrices(trace, layer, head, rows)[0, at],
        ),
        judged(
            "Batched",
            "all heads of the layer at once, a stack of such matrices",
            _matrices(trace, layer, None, rows)[head, at],
        ),
    ]
    blocks = math.ceil(trace.n / block)
    how = f"{blocks} blocks of up to {block} keys, a running softmax, no n × n matrix"
    try:
        ways.append(judged("Blockwise", how, _blockwise(trace, layer, head, block)[query]))
    except InspectorError as error:
        ways.append(Way("Blockwise", how, None, None, refused=str(error)))
    for name, how, keys, values in _spoilt(trace, layer, head, query):
        ways.append(judged(name, how, _loops(trace, layer, head, query, keys, values), control=True))
    return ways


def strip(trace: Trace, layer: int, query: int) -> slice:
    """Return the query rows of the matrices: all, or of a long prompt those up to this query that fit MATRIX_BYTES.

    Args:
        trace: the prompt's trace.
        layer: counted from 0.
        query: the query token's position.

    Returns:
        A slice of query positions.
    """
    height = max(1, MATRIX_BYTES // (4 * trace.n * trace.layers[layer].heads))
    return slice(0, trace.n) if height >= trace.n else slice(max(0, query + 1 - height), query + 1)


# -- inside ------------------------------------------------------------------------------------------------------


def _keys(trace: Trace, layer: int, head: int, query: int) -> list[int]:
    """Return the key positions that the query may attend to."""
    allowed = trace.allowed(layer, head, queries=slice(query, query + 1))[0]
    found: list[int] = allowed.nonzero().flatten().tolist()
    return found


def _loops(
    trace: Trace, layer: int, head: int, query: int, keys: Sequence[int], values: Sequence[int] | None = None
) -> Tensor:
    """Compute the context vector [d_value] in float64 loops.

    values: the positions whose values go with `keys` (None: the same).
    """
    stored = trace.stored[layer]
    at = _numbers(trace.query(layer, head)[query])
    key_vectors = [_numbers(vector) for vector in trace.key(layer, head)[list(keys)]]
    value_vectors = [_numbers(vector) for vector in trace.value(layer, head)[list(keys if values is None else values)]]
    if stored.info.softcap is None and stored.bias is None and stored.sinks is None:
        return torch.tensor(
            attend_one(at, key_vectors, value_vectors, scale=stored.info.scale).context, dtype=torch.float64
        )
    scaled = [dot(at, key) * stored.info.scale for key in key_vectors]
    if (cap := stored.info.softcap) is not None:
        scaled = [math.tanh(number / cap) * cap for number in scaled]
    if stored.bias is not None:  # [h or 1, t or 1, s]
        table = stored.bias[head if stored.bias.shape[0] > 1 else 0]
        added = table[query if table.shape[0] > 1 else 0]
        scaled = [number + float(added[key]) for number, key in zip(scaled, keys, strict=True)]
    if stored.sinks is not None:  # one more score, which takes its share and brings no value
        sink = stored.sinks[head]  # a number, or one for each query
        scaled.append(float(sink if sink.ndim == 0 else sink[query]))
    weights = softmax(scaled)[: len(key_vectors)]
    context = [dot(weights, column) for column in zip(*value_vectors, strict=True)]
    return torch.tensor(context, dtype=torch.float64)


def _matrices(trace: Trace, layer: int, head: int | None, rows: slice) -> Tensor:
    """Compute context vectors [h, t, d_value] of these query rows, of one head or of all (None).

    They start from the vectors, not from the weights that the trace computes.
    """
    stored = trace.stored[layer]
    heads = range(stored.info.heads) if head is None else (head,)
    part = slice(None) if head is None else slice(head, head + 1)
    query = torch.stack([trace.query(layer, h)[rows] for h in heads])
    if head is None:
        key, value = stored.key.to(query), trace.value(layer)
    else:
        key, value = trace.key(layer, head)[None], trace.value(layer, head)[None]
    bias, sinks = stored.bias, stored.sinks
    if bias is not None:
        bias = bias[part if bias.shape[0] > 1 else slice(None), rows if bias.shape[1] > 1 else slice(None)]
    if sinks is not None:
        sinks = sinks[part] if sinks.ndim == 1 else sinks[part, rows]
    info, mask = stored.info, _mask(trace, layer, head, rows)
    weights = masked_weights(query, key, mask, scale=info.scale, softcap=info.softcap, bias=bias, sinks=sinks)
    return context_vectors(weights.to(value.dtype), value)


def _mask(trace: Trace, layer: int, head: int | None, rows: slice) -> Tensor:
    """Return where these queries may attend, [t, s] or (where heads differ) [h, t, s]."""
    mask = trace.stored[layer].mask
    if isinstance(mask, Tensor) and mask.ndim == 3:
        return mask[:, rows] if head is None else mask[head : head + 1, rows]
    return trace.allowed(layer, 0, queries=rows)


def _blockwise(trace: Trace, layer: int, head: int, block: int) -> Tensor:
    """Compute context vectors [t, d_value] of all queries of this head, block by block."""
    stored = trace.stored[layer]
    if stored.bias is not None:
        raise InspectorError("This layer adds a bias to its scores, which the blockwise way does not support.")
    if not isinstance(stored.mask, MaskRule):
        raise InspectorError("This layer's mask follows no rule that could be applied block by block.")
    sinks = stored.sinks
    if sinks is not None and sinks.ndim == 2:
        raise InspectorError("This layer's sinks depend on the query, which the blockwise way does not support.")
    found = blockwise_context(
        trace.query(layer, head)[None],
        trace.key(layer, head)[None],
        trace.value(layer, head)[None],
        scale=stored.info.scale,
        rule=stored.mask,
        softcap=stored.info.softcap,
        sinks=None if sinks is None else sinks[head : head + 1],
        block=block,
    )
    return found[0]


def _spoilt(
    trace: Trace, layer: int, head: int, query: int
) -> list[tuple[str, str, Sequence[int], Sequence[int] | None]]:
    """Return name, what is wrong, keys and values of the mistakes that can show for this query token."""
    keys = _keys(trace, layer, head, query)
    found: list[tuple[str, str, Sequence[int], Sequence[int] | None]] = []
    if len(keys) > 1:
        found.append(("Keys in reverse order", "control: each weight meets another token's value", keys[::-1], keys))
    if len(keys) < trace.n and trace.stored[layer].bias is None:
        found.append((FORGOTTEN, f"control: all {trace.n} keys instead of {len(keys)}", range(trace.n), None))
    return found


def _tolerance(trace: Trace, layer: int, head: int, query: int) -> tuple[float, str]:
    """Return how far another order of summation may lead, and why, as inspector.verification.compare does."""
    relative, why = _relative(trace, layer, head, query)
    largest = float(trace.value(layer, head).double().abs().max())
    return relative * largest, f"{why}; times the largest value {largest:.3g}"


def _relative(trace: Trace, layer: int, head: int, query: int) -> tuple[float, str]:
    """Return the same relative to the largest value."""
    info = trace.layers[layer]
    unit, sum_unit = _units(trace.stored[layer].query.dtype)
    scores = trace.scaled_scores(layer, head, queries=slice(query, query + 1))[0]
    steep = float(scores[_keys(trace, layer, head, query)].double().abs().max())
    # A score that is off by e moves all weights of its row together by at most e.
    relative = 2 * unit + sum_unit * math.sqrt(trace.n) + steep * (unit + sum_unit * math.sqrt(info.d_head))
    name = str(trace.stored[layer].query.dtype).removeprefix("torch.")
    return relative, (
        f"{name} rounds at {unit:.1e}: √{info.d_head} roundings of a score of up to {steep:.3g}, √{trace.n} of the sum"
    )


def _units(dtype: torch.dtype) -> tuple[float, float]:
    """Return the rounding of a result to the dtype, and of the sums inside, which are float32 at least."""
    unit = torch.finfo(dtype).eps
    return unit, min(unit, torch.finfo(torch.float32).eps)


def _numbers(vector: Tensor) -> list[float]:
    """Return a vector as Python numbers."""
    found: list[float] = vector.double().cpu().tolist()
    return found


def _check(trace: Trace, query: int, block: int) -> None:
    """Refuse a query token or a block that does not exist."""
    if not 0 <= query < trace.n:
        raise InspectorError(f"There is no query token {query}: this prompt has tokens 0 to {trace.n - 1}.")
    if block < 1:
        raise InspectorError(f"A block of {block} keys is empty: choose 1 or more.")
