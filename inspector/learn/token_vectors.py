"""Compute the Walkthrough's first numbers: from a token to its embedding, attention input, query, key and value."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from inspector.analysis.shares import Numbers, numbers, one_row
from inspector.errors import NoModel
from inspector.model.model import model_of
from inspector.trace.trace_model import Ending
from inspector.verification.tolerances import projection_tolerance

if TYPE_CHECKING:
    from inspector.trace.trace import Trace
    from reimpl.spec import AttentionSpec, NormSpec

MATRICES = ("W_q", "W_k", "W_v", "W_o")


@dataclass(frozen=True)
class StreamNumbers:
    """The query token's vectors before and after a layer's attention, [d_model] each.

    Attributes:
        embedding: what the token starts with.
        residual: the residual before the block.
        input: the attention input.
        output: the attention output.
        next_residual: the residual before the next block.
        added_to: what the output is added to, in words, as capture/residual_stream.py names it.
    """

    embedding: Numbers | None = None
    residual: Numbers | None = None
    input: Numbers | None = None
    output: Numbers | None = None
    next_residual: Numbers | None = None
    added_to: str = ""


def residual_stream(trace: Trace, layer: int, query: int) -> StreamNumbers:
    """Return the query token's vectors before and after a layer's attention, by one more forward pass.

    Args:
        trace: the prompt's trace.
        layer: counted from 0.
        query: the query token's position.

    Returns:
        The vectors.

    Raises:
        InspectorError: there is no such token, or the trace has no model.
    """
    one_row(trace, query)
    found = model_of(trace, "the residual stream").passes.residual_stream(trace.tokens.ids, trace.layers[layer], query)
    trace.refuse_changed(Ending(found.outcome, found.marks))
    ends = ("outcome", "marks")
    arrays = {name: numbers(v) for name, v in vars(found).items() if isinstance(v, Tensor) and name not in ends}
    return StreamNumbers(added_to=found.added_to, **arrays)


@dataclass(frozen=True)
class LookUp:
    """Where a token's embedding comes from: its row of the learned table.

    Attributes:
        row: [d_model].
        rows: how many vectors the table has.
        same: whether the first block receives that row in every element.
        factor: what the row is multiplied by first, where it is one number (some models do that); NaN where it is
            neither.
    """

    row: Numbers  # [d_model]
    rows: int
    same: bool
    factor: float


def look_up(trace: Trace, query: int, embedding: Numbers) -> LookUp | None:
    """Find a token's row of the embedding table.

    Args:
        trace: the prompt's trace.
        query: the token's position.
        embedding: what the first block receives [d_model].

    Returns:
        The row; None where the model has no such table of that width.
    """
    try:
        table = model_of(trace, "the embedding table").model.get_input_embeddings().weight
    except (AttributeError, NotImplementedError, NoModel):
        table = None
    if table is None or table.shape[-1] != len(embedding):
        return None
    unit = torch.finfo(table.dtype).eps
    row = numbers(table[trace.tokens.ids[query]])
    ratio = embedding[row != 0].astype(np.float64) / row[row != 0]
    even = len(ratio) > 0 and np.abs(ratio - ratio[0]).max() <= 2 * unit * abs(ratio[0])
    same = np.array_equal(row, embedding)
    return LookUp(row, table.shape[0], same, 1.0 if same else float(ratio.mean()) if even else math.nan)


def matrices(trace: Trace, layer: int, head: int) -> dict[str, Numbers]:
    """Return one head's slices of the four matrices.

    Args:
        trace: the prompt's trace.
        layer: counted from 0.
        head: a query head, counted from 0.

    Returns:
        W_q, W_k [d_head, d_model], W_v [d_value, d_model] and W_o [d_model, d_value] by name.

    Raises:
        InspectorError: the trace has no model, or the family is not reimplemented.
    """
    found = model_of(trace, "a head's matrices").head_parameters(layer, head)
    return {name: numbers(getattr(found, name)) for name in MATRICES}


def own_vectors(trace: Trace, layer: int, head: int, query: int) -> dict[str, Numbers]:
    """Return the query token's own query, key (before RoPE where the layer has it) and value vector in one head.

    Args:
        trace: the prompt's trace.
        layer: counted from 0.
        head: a query head, counted from 0.
        query: the token's position.

    Returns:
        Name -> vector.
    """
    return {name: numbers(vectors[query]) for name, vectors in _head_vectors(trace, layer, head).items()}


def made_vectors(trace: Trace, layer: int, head: int, query: int, received: Numbers) -> pd.DataFrame:
    """Compute the query token's three vectors by their matrices, beside what the model has.

    Where a layer does more than multiply (`beyond_the_matrices` says what), many numbers differ: the matrix is not all
    of it then.

    Args:
        trace: the prompt's trace.
        layer: counted from 0.
        head: a query head, counted from 0.
        query: the token's position.
        received: its attention input [d_model].

    Returns:
        A row per vector: vector (as `own_vectors` names it); matrix; first: the first number of matrix times attention
        input; model: the same number as the model has it; differing: how many of `elements` numbers differ by more than
        verification allows for sums in another order.

    Raises:
        InspectorError: as `matrices`.
    """
    parameters = matrices(trace, layer, head)
    dtype = trace.stored[layer].query.dtype
    inputs = received.astype(np.float64)
    rows = []
    for (name, vectors), matrix in zip(_head_vectors(trace, layer, head).items(), MATRICES, strict=False):
        theirs = numbers(vectors[query])
        weight = parameters[matrix].astype(np.float64)
        ours = weight @ inputs
        room = projection_tolerance(dtype, len(inputs), float(vectors.abs().max()))
        rows.append(
            {
                "vector": name,
                "matrix": matrix,
                "first": float(ours[0]),
                "model": float(theirs[0]),
                "differing": int((np.abs(ours - theirs) > room).sum()),
                "elements": len(theirs),
            }
        )
    return pd.DataFrame(rows)


def beyond_the_matrices(trace: Trace, layer: int) -> str:
    """Say what a layer does to its query, key and value vectors beside multiplying by W_q, W_k and W_v.

    Its spec decides, not its numbers: a bias of zeros is a bias all the same.

    Args:
        trace: the prompt's trace.
        layer: counted from 0.

    Returns:
        Such as "adds a bias to query, key and value and normalises query and key", with "it" as the subject; empty
        where the matrices are all.

    Raises:
        InspectorError: the trace has no model, or the family is not reimplemented.
    """
    spec = model_of(trace, "what a layer does beside its matrices").reimplementation[layer].spec
    done = [
        f"adds a bias to {'query and key' if spec.value_is_key else 'query, key and value'}" if spec.qkv_bias else "",
        f"limits numbers to ±{spec.clip:g}" if spec.clip is not None else "",
        _normalised(spec),
        *(
            f"multiplies the {name} by {factor:g}"
            for name, factor in (
                ("query", spec.query_factor),
                ("key", spec.key_factor),
                ("value", spec.value_factor),
            )
            if factor != 1
        ),
        "multiplies the query by learned numbers" if spec.query_learned else "",
        "multiplies the query by a number that grows with its position" if spec.temperature is not None else "",
    ]
    said = [part for part in done if part]
    return " and ".join(filter(None, [", ".join(said[:-1]), *said[-1:]]))


def _normalised(spec: AttentionSpec) -> str:
    """Say which of the three vectors are normalised; an empty text where none is."""
    norms: dict[str, NormSpec | None] = {"query": spec.query_norm, "key": spec.key_norm, "value": spec.value_norm}
    names = [name for name, norm in norms.items() if norm is not None]
    return f"normalises {' and '.join(filter(None, [', '.join(names[:-1]), *names[-1:]]))}" if names else ""


def _head_vectors(trace: Trace, layer: int, head: int) -> dict[str, Tensor]:
    """Return one head's vectors of all tokens [n, d], by the names that `own_vectors` has."""
    before = trace.layers[layer].rope is True
    when = " before RoPE" if before else ""
    return {
        f"query{when}": trace.query(layer, head, rope=not before),
        f"key{when}": trace.key(layer, head, rope=not before),
        "value": trace.value(layer, head),
    }
