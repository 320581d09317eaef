"""Rotate unrotated queries and keys to any positions, and compute their scores.

Rotation and products are `reimpl`'s. That the model's own vectors are these, rotated, is proven before any is used.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from inspector.analysis import rope_planes
from inspector.errors import InspectorError
from inspector.model.model import model_of
from reimpl.attention import scaled_scores
from reimpl.frequencies import rope_frequencies
from reimpl.rope import rotate
from reimpl.spec import RopeSpec

if TYPE_CHECKING:
    from inspector.trace.trace import Trace


def unrotated(trace: Trace, layer: int, head: int, rows: slice) -> tuple[Tensor, Tensor, RopeSpec]:
    """Return queries and keys before rotation, and the rule that rotates them: proven on the captured ones.

    Args:
        trace: the prompt's trace.
        layer: counted from 0.
        head: a query head, counted from 0.
        rows: positions of tokens.

    Returns:
        Queries [rows, d], keys [rows, d] and the rule.

    Raises:
        InspectorError: nothing turns, or the captured vectors are not these turned.
    """
    rope_planes.turning(trace, layer)  # says why where nothing turns
    rope = model_of(trace, "the speed at which planes turn").reimplementation[layer].spec.rope
    assert rope is not None  # noqa: S101
    positions = torch.arange(trace.n)[rows]
    found = []
    for ask in (trace.query, trace.key):
        before, after = ask(layer, head, rope=False)[rows], ask(layer, head)[rows]
        off = (turned(before, positions, rope, trace.n) - after).abs().max()
        if not float(off) <= 3 * torch.finfo(after.dtype).eps * float(after.abs().max()):  # two products and a sum
            raise InspectorError(
                f"The queries and keys of layer {layer} are not just its unrotated ones turned by position, so they "
                "cannot be turned by another; choose another layer or model."
            )
        found.append(before)
    return found[0], found[1], rope


def turned(x: Tensor, positions: Tensor, rope: RopeSpec, n: int, *, angles: torch.dtype = torch.float32) -> Tensor:
    """Rotate vectors as in a text of at least n tokens: rules that adapt to a text's length then have n tokens' speeds.

    Args:
        x: [t, d].
        positions: [t].
        rope: the rule.
        n: tokens of the text.
        angles: the dtype in which angles are computed.

    Returns:
        [t, d].
    """
    positions = torch.cat((positions, torch.tensor([n - 1]))).to(x.device)
    return rotate(torch.cat((x, x[-1:])), positions, rope, angles=angles)[:-1]


def dot(query: Tensor, key: Tensor) -> Tensor:
    """Compute scores as a trace does.

    Args:
        query: [t, d].
        key: [s, d].

    Returns:
        [t, s].
    """
    return scaled_scores(query[None], key[None], scale=1.0)[0]


def same_speeds(rope: RopeSpec, n: int, length: int) -> bool:
    """Return whether planes turn in a text of this length as in one of n tokens.

    Args:
        rope: the rule.
        n: tokens of a text.
        length: tokens of the other.

    Returns:
        Whether all speeds and factors are equal.
    """
    here, there = rope_frequencies(rope, n), rope_frequencies(rope, max(n, length))
    return torch.equal(here[0], there[0]) and here[1] == there[1]


def norms(query: Tensor, key: Tensor) -> float:
    """Return the largest length of a query vector times the largest of a key vector: no product is larger.

    Args:
        query: [t, d].
        key: [s, d].

    Returns:
        The product of both lengths.
    """
    return float(query.double().norm(dim=-1).max() * key.double().norm(dim=-1).max())


def sum_rounding(dtype: torch.dtype, products: int) -> float:
    """Return the relative error of a sum of products, rounded once to the dtype (inspector/verification/compare.py).

    Args:
        dtype: of the sum.
        products: how many are added.

    Returns:
        A relative error.
    """
    unit = torch.finfo(dtype).eps
    return unit + (unit if dtype == torch.float64 else torch.finfo(torch.float32).eps) * math.sqrt(products)
