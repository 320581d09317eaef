"""Give somebody's attention the text in every way that it can take it: whole, in chunks, token by token, padded.

What a piece gives must be what the same tokens have in the whole text; positions, cache and mask that are wrong only
in later calls show here and nowhere else.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from inspector.errors import InspectorError
from inspector.judging.findings import CHUNKS
from inspector.judging.layouts import read_layout
from inspector.judging.limits import Limit
from reimpl.attention import AttentionTrace

MOST_STEPS = 16  # of one token each
PADS = 3
COMPARED = ("query", "context", "output")


@dataclass
class Pieces:
    """What a way gave: the rows of some tokens of a layer's stages, and what was the matter."""

    layer: int
    start: int
    found: dict[str, Tensor]
    problem: str = ""


def pieces_of(way: str, n: int, decode: int | None) -> list[tuple[int, int]]:
    """Cut n tokens into the pieces of a way, from which token to which.

    Args:
        way: "token by token" or "in chunks".
        n: tokens.
        decode: how many tokens are given one by one; None: most of them, at most 16.
    """
    if way == CHUNKS:
        cuts = sorted({0, max(1, n // 2), max(1, n // 2 + (n - n // 2) // 2), n})
        return list(itertools.pairwise(cuts))
    steps = min(n - 1, decode if decode is not None else min(MOST_STEPS, n - max(1, n // 4)))
    first = n - steps
    return [(0, first), *((at, at + 1) for at in range(first, n))]


def can_continue(handed: Any) -> str:
    """Say how it takes new tokens after earlier ones: "reset", "past", or empty."""
    return str(getattr(handed, "continues", ""))


def run_pieces(
    handed: Any, xs: Mapping[int, Tensor], pieces: Sequence[tuple[int, int]], references: Mapping[int, AttentionTrace]
) -> Iterator[Pieces]:
    """Give the text piece by piece, each piece to all layers in turn, as a model does.

    Args:
        handed: somebody's attention, which goes on after earlier tokens.
        xs: each layer's attention input [n, m].
        pieces: from which token to which.
        references: the model's stages, by which axes are read.

    Yields:
        What came of each piece in each layer, in this order.
    """
    handed.begin()
    for start, end in pieces:
        for layer, x in xs.items():
            try:
                stages = handed.go_on(layer, x[start:end], start=start)
            except InspectorError as error:
                yield Pieces(layer, start, {}, str(error))
                return
            rows = {stage: getattr(references[layer], stage)[..., start:end, :] for stage in COMPARED}
            heads = references[layer].query.shape[0]
            found = {
                stage: read_layout(stage, stages[stage], rows[stage], heads)[0] for stage in COMPARED if stage in stages
            }
            yield Pieces(layer, start, {stage: tensor.float() for stage, tensor in found.items()})


def first_wrong(
    piece: Pieces, reference: AttentionTrace, limits: Mapping[str, Limit]
) -> tuple[str, int, float, float] | None:
    """Return stage, token, difference and limit where a piece first differs; None where it does not.

    Args:
        piece: what a way gave.
        reference: the model's stages of that layer.
        limits: how far right code may be.
    """
    for stage, found in piece.found.items():
        due = getattr(reference, stage).float()
        end = piece.start + found.shape[-2] if found.ndim else piece.start
        rows = due[..., piece.start : end, :]
        if found.shape != rows.shape:
            return stage, piece.start, float("inf"), 0.0
        most = limits[stage].most.expand_as(due)[..., piece.start : end, :]
        over = (found - rows).abs() - most
        bad = ~(over <= 0)
        if bad.any():
            token = (
                int(bad.flatten(0, -3).any(0).any(-1).nonzero()[0]) if bad.ndim > 2 else int(bad.any(-1).nonzero()[0])
            )
            at = (found - rows).abs()[..., token, :]
            worst = int(torch.nan_to_num(at, nan=float("inf")).argmax())
            return stage, piece.start + token, float(at.flatten()[worst]), float(most[..., token, :].flatten()[worst])
    return None


def padded(x: Tensor) -> tuple[Tensor, Tensor]:
    """Put padding before x [n, m]: copies of its first token, and which tokens are real [PADS + n]."""
    pads = x[:1].expand(PADS, -1) * 0.5
    real = torch.cat((torch.zeros(PADS, dtype=torch.long), torch.ones(x.shape[0], dtype=torch.long)))
    return torch.cat((pads, x)), real
