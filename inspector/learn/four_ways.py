"""A trace, a head and a query token go in; its context vector computed in four ways comes out, each judged against the
trace's own, and what goes wrong when the computation is spoilt.

Queries, keys and values are the trace's own; the computing is `reimpl`'s: `stepwise` (loops over Python numbers,
float64), `attention` (matrices) and `blockwise` (a running softmax). Of a long prompt the matrices hold a strip of
query rows.
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
from inspector.verification.compare import Check, compare
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

    context [d_value], float64 copies; check: how far from the trace's own, and whether within the tolerance. Where the
    layer has something this way does not know, both are None and `refused` says what. control: a way that is spoilt on
    purpose, which is to be caught.
    """

    name: str
    how: str
    context: npt.NDArray[np.float64] | None
    check: Check | None
    control: bool = False
    refused: str = ""


def compute_four_ways(trace: Trace, layer: int, head: int, query: int, *, block: int) -> list[Way]:
    """The four ways, then the controls that this query token can tell apart (a single key has no other order).

    The reference is `trace.context(layer, head)[query]`. Raises InspectorError where the layer's weights are not
    explained, or there is no such query token or block.
    """
    _check(trace, query, block)
    rows = strip(trace, layer, query)
    own = context_vectors(trace.weights(layer, head, queries=rows)[None], trace.value(layer, head)[None])[0]
    at = query - rows.start
    reference = own[at]
    tolerance, reason = _tolerance(trace, layer, head, query)

    def judged(name: str, how: str, found: Tensor, *, control: bool = False) -> Way:
        check = compare(layer, "context", found, reference, tolerance=tolerance, reason=reason)
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
    """The query rows that the matrices hold: all, or of a long prompt those up to this query that fit MATRIX_BYTES."""
    height = max(1, MATRIX_BYTES // (4 * trace.n * trace.layers[layer].heads))
    return slice(0, trace.n) if height >= trace.n else slice(max(0, query + 1 - height), query + 1)


# -- inside ------------------------------------------------------------------------------------------------------


def _keys(trace: Trace, layer: int, head: int, query: int) -> list[int]:
    """The key positions that the query may look at."""
    may = trace.allowed(layer, slice(query, query + 1), head)[0]
    found: list[int] = may.nonzero().flatten().tolist()
    return found


def _loops(
    trace: Trace, layer: int, head: int, query: int, keys: Sequence[int], values: Sequence[int] | None = None
) -> Tensor:
    """Context [d_value] in float64; `values`: the positions whose values go with `keys` (None: the same)."""
    kept = trace.stored[layer]
    at = _numbers(trace.query(layer, head)[query])
    offered = [_numbers(vector) for vector in trace.key(layer, head)[list(keys)]]
    passed = [_numbers(vector) for vector in trace.value(layer, head)[list(keys if values is None else values)]]
    if kept.info.softcap is None and kept.bias is None and kept.sinks is None:
        return torch.tensor(attend_one(at, offered, passed, scale=kept.info.scale).context, dtype=torch.float64)
    scaled = [dot(at, key) * kept.info.scale for key in offered]
    if (cap := kept.info.softcap) is not None:
        scaled = [math.tanh(number / cap) * cap for number in scaled]
    if kept.bias is not None:  # [h or 1, t or 1, s]
        table = kept.bias[head if kept.bias.shape[0] > 1 else 0]
        added = table[query if table.shape[0] > 1 else 0]
        scaled = [number + float(added[key]) for number, key in zip(scaled, keys, strict=True)]
    if kept.sinks is not None:  # one more score, which takes its share and passes nothing on
        sink = kept.sinks[head]  # a number, or one for each query
        scaled.append(float(sink if sink.ndim == 0 else sink[query]))
    weights = softmax(scaled)[: len(offered)]
    context = [dot(weights, column) for column in zip(*passed, strict=True)]
    return torch.tensor(context, dtype=torch.float64)


def _matrices(trace: Trace, layer: int, head: int | None, rows: slice) -> Tensor:
    """Context vectors [h, t, d_value] of these query rows, of one head [1, t, d_value] or of all; from the vectors on,
    not from the weights that the trace computes."""
    kept = trace.stored[layer]
    heads = range(kept.info.heads) if head is None else (head,)
    part = slice(None) if head is None else slice(head, head + 1)
    query = torch.stack([trace.query(layer, h)[rows] for h in heads])
    if head is None:
        key, value = kept.key.to(query), trace.value(layer)
    else:
        key, value = trace.key(layer, head)[None], trace.value(layer, head)[None]
    bias, sinks = kept.bias, kept.sinks
    if bias is not None:
        bias = bias[part if bias.shape[0] > 1 else slice(None), rows if bias.shape[1] > 1 else slice(None)]
    if sinks is not None:
        sinks = sinks[part] if sinks.ndim == 1 else sinks[part, rows]
    info, may = kept.info, _may(trace, layer, head, rows)
    weights = masked_weights(query, key, may, scale=info.scale, softcap=info.softcap, bias=bias, sinks=sinks)
    return context_vectors(weights.to(value.dtype), value)


def _may(trace: Trace, layer: int, head: int | None, rows: slice) -> Tensor:
    """Where these queries may look, [t, s] or (where heads differ) [h, t, s]."""
    mask = trace.stored[layer].mask
    if isinstance(mask, Tensor) and mask.ndim == 3:
        return mask[:, rows] if head is None else mask[head : head + 1, rows]
    return trace.allowed(layer, rows)


def _blockwise(trace: Trace, layer: int, head: int, block: int) -> Tensor:
    """Context vectors [t, d_value] of all queries of this head."""
    kept = trace.stored[layer]
    if kept.bias is not None:
        raise InspectorError("This layer adds a bias to its scores, which the blockwise way does not know.")
    if not isinstance(kept.mask, MaskRule):
        raise InspectorError("This layer's mask follows no rule that could be asked block by block.")
    sinks = kept.sinks
    if sinks is not None and sinks.ndim == 2:
        raise InspectorError("This layer's sinks depend on the query, which the blockwise way does not know.")
    found = blockwise_context(
        trace.query(layer, head)[None],
        trace.key(layer, head)[None],
        trace.value(layer, head)[None],
        scale=kept.info.scale,
        rule=kept.mask,
        softcap=kept.info.softcap,
        sinks=None if sinks is None else sinks[head : head + 1],
        block=block,
    )
    return found[0]


def _spoilt(
    trace: Trace, layer: int, head: int, query: int
) -> list[tuple[str, str, Sequence[int], Sequence[int] | None]]:
    """Name, what is wrong, keys, values: the mistakes that can show for this query token."""
    keys = _keys(trace, layer, head, query)
    found: list[tuple[str, str, Sequence[int], Sequence[int] | None]] = []
    if len(keys) > 1:
        found.append(("Keys in reverse order", "control: each weight meets another token's value", keys[::-1], keys))
    if len(keys) < trace.n and trace.stored[layer].bias is None:
        found.append((FORGOTTEN, f"control: all {trace.n} keys instead of {len(keys)}", range(trace.n), None))
    return found


def _tolerance(trace: Trace, layer: int, head: int, query: int) -> tuple[float, str]:
    """How far another order of summation may lead, and why, as inspector.verification.compare has it."""
    relative, why = _relative(trace, layer, head, query)
    largest = float(trace.value(layer, head).double().abs().max())
    return relative * largest, f"{why}; times the largest value {largest:.3g}"


def _relative(trace: Trace, layer: int, head: int, query: int) -> tuple[float, str]:
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
    """Rounding of a result to the dtype, and of the sums inside, which are float32 at least."""
    unit = torch.finfo(dtype).eps
    return unit, min(unit, torch.finfo(torch.float32).eps)


def _numbers(vector: Tensor) -> list[float]:
    found: list[float] = vector.double().cpu().tolist()
    return found


def _check(trace: Trace, query: int, block: int) -> None:
    if not 0 <= query < trace.n:
        raise InspectorError(f"There is no query token {query}: this prompt has tokens 0 to {trace.n - 1}.")
    if block < 1:
        raise InspectorError(f"A block of {block} keys holds nothing: choose 1 or more.")
