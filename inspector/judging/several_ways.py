"""Run the ways beside the whole text, and say what came of each, or why it was not run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch

from inspector.errors import InspectorError
from inspector.judging.caches import cause_of_pieces
from inspector.judging.calls import Called
from inspector.judging.causes import Explained
from inspector.judging.findings import CHUNKS, PADDED, TOKENS, Way
from inspector.judging.layer_at import LayerAt
from inspector.judging.layouts import read_layout
from inspector.judging.search import NEAR
from inspector.judging.ways import (
    PADS,
    Pieces,
    can_continue,
    first_wrong,
    padded,
    pieces_of,
    run_pieces,
)

NO_CACHE = (
    "it cannot go on after earlier tokens; to have a cache judged, hand over an object with reset() that is called "
    'with new tokens only, or a function with past= that gives back "past"'
)
Cuts = dict[str, list[tuple[int, int]]]


def run_ways(
    handed: Any,
    asked: Sequence[LayerAt],
    wrong: Sequence[LayerAt],
    decode: int | Literal[False] | None,
    dtype: torch.dtype,
) -> tuple[list[Way], Explained, Cuts]:
    """Run every way that somebody's attention can take.

    Args:
        handed: somebody's attention.
        asked: the layers as they were judged on the whole text.
        wrong: those of them that differ there.
        decode: how many tokens one by one; None: as many as is usual; False: no other way is run.
        dtype: what their code computes in.

    Returns:
        A row for each way, what explains the first that differs, and the pieces of those run.
    """
    stages = sum(len(at.found) for at in asked)
    wholes = [at for at in asked if at not in wrong]
    right = len(wholes) == len(asked)
    said = "compared stage by stage" if right else f"{len(asked) - len(wholes)} of {len(asked)} layers differ"
    rows = [Way("whole", True, right, stages, None, "", None, None, None, said)]
    n = asked[0].trace.n if asked else 0
    why = "decode=False" if decode is False else NO_CACHE if not can_continue(handed) else ""
    why = why or ("the prompt has one token" if n < 2 else "")
    cuts: Cuts = {}
    explained = Explained()
    for way in (TOKENS, CHUNKS):
        if why:
            rows.append(_not_run(way, why))
            continue
        if not wholes:
            rows.append(_not_run(way, "the whole text differs already"))
            continue
        cuts[way] = pieces_of(way, n, decode if isinstance(decode, int) and decode else None)
        row, found = _one(way, handed, wholes, cuts[way], dtype)
        rows.append(row)
        explained = explained if explained.causes else found
    apart = "decode=False" if decode is False else "" if wholes else "the whole text differs already"
    rows.append(_not_run(PADDED, apart) if apart else _left_padded(handed, wholes))
    return rows, explained, cuts


def _not_run(way: str, why: str) -> Way:
    return Way(way, False, None, 0, None, "", None, None, None, why)


def _one(
    way: str, handed: Any, asked: Sequence[LayerAt], pieces: Sequence[tuple[int, int]], dtype: torch.dtype
) -> tuple[Way, Explained]:
    """Run one way over all layers, and find the cause of the first difference."""
    by_index = {at.index: at for at in asked}
    compared, wrong = 0, None
    kept: dict[int, list[Pieces]] = {}
    for piece in run_pieces(handed, {at.index: at.x for at in asked}, pieces, {at.index: at.reference for at in asked}):
        if piece.problem:
            problem = piece.problem.rstrip(".")
            return Way(way, True, False, compared, piece.layer, "", piece.start, None, None, problem), Explained()
        if not by_index[piece.layer].right_as_it_stands("query"):
            piece.found.pop("query", None)  # right, in another layout: weights and output tell
        kept.setdefault(piece.layer, []).append(piece)
        compared += len(piece.found)
        found = first_wrong(piece, by_index[piece.layer].reference, by_index[piece.layer].limits)
        if found is not None and wrong is None:
            wrong = (piece.layer, *found)
    if wrong is None:
        said = "" if compared else "it returned neither query, context nor output to compare"
        ok = True if compared else None
        return Way(way, bool(compared), ok, compared, None, "", None, None, None, said), Explained()
    layer, stage, token, far, limit = wrong
    explained = _cause(by_index[layer], kept.get(layer, []), pieces, dtype)
    how = f"first at layer {layer}, token {token}, by {far:.3g}"
    return Way(way, True, False, compared, layer, stage, token, far, limit, how), explained


def _cause(at: LayerAt, kept: Sequence[Pieces], pieces: Sequence[tuple[int, int]], dtype: torch.dtype) -> Explained:
    """Join a layer's pieces and hold them against the known mistakes of a cache."""
    if at.layer is None or not kept:
        return Explained()
    stages = [stage for stage in kept[0].found if all(stage in piece.found for piece in kept)]
    joined = {}
    for stage in stages:
        parts = [piece.found[stage] for piece in kept]
        if all(part.ndim == parts[0].ndim and part.shape[-1] == parts[0].shape[-1] for part in parts):
            joined[stage] = torch.cat(parts, dim=-2)
    count = sum(end - start for start, end in pieces[: len(kept)])
    joined = {stage: tensor for stage, tensor in joined.items() if tensor.shape[-2] == count}
    return cause_of_pieces(joined, at.right_chain, pieces[: len(kept)], NEAR[dtype])


def _left_padded(handed: Any, asked: Sequence[LayerAt]) -> Way:
    """Give the text with padding on the left, where a parameter takes the mask that says so."""
    if not (isinstance(handed, Called) and handed.form.padding):
        return _not_run(PADDED, "it takes no attention_mask")
    compared = 0
    handed.begin()
    for at in asked:
        x, real = padded(at.x)
        try:
            stages = handed.go_on(at.index, x, start=0, padding=real)
        except InspectorError as raised:
            why = str(raised).rstrip(".")
            return Way(PADDED, True, False, compared, at.index, "", None, None, None, why)
        found = {}
        for stage in ("query", "context", "output"):
            if stage in stages:
                due = getattr(at.reference, stage)
                long = torch.cat((due[..., :1, :].expand(*due.shape[:-2], PADS, due.shape[-1]), due), dim=-2)
                read = read_layout(stage, stages[stage], long, at.reference.query.shape[0])[0].float()
                found[stage] = read[..., PADS:, :] if read.shape == long.shape else read
        if at.layer is not None and at.layer.spec.rope is not None:
            found.pop("query", None)  # positions may count padding: what matters is their difference
        compared += len(found)
        wrong = first_wrong(Pieces(at.index, 0, found), at.reference, at.limits)
        if wrong is not None:
            stage, token, far, limit = wrong
            size = "not finite" if not math.isfinite(far) else f"by {far:.3g}"
            why = f"first at layer {at.index}, token {token}, {size}: is padding seen, or do positions not follow it?"
            return Way(PADDED, True, False, compared, at.index, stage, token, far, limit, why)
    return Way(PADDED, bool(compared), True if compared else None, compared, None, "", None, None, None, "")
