"""List what a sweep edits, one thing after the other: each head, each layer, each token or each edge."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from inspector.capture.edits import Edit
from inspector.errors import InspectorError
from inspector.lab.edit_arguments import Values
from inspector.lab.head_edits import mean, patch, zero
from inspector.model.model import Model
from inspector.text import refuse_other

SweptKind = Literal["zero", "mean", "patch", "cut", "drop"]
Over = Literal["heads", "layers", "tokens", "edges"]
MOST = 20_000  # cells of one sweep


@dataclass(frozen=True)
class Cell:
    """One thing that a sweep edits; what does not tell it from others is None."""

    edit: Edit
    layer: int | None = None
    head: int | None = None
    query: int | None = None
    key: int | None = None


def whole_edit(kind: SweptKind, source: Values | Sequence[Values] | None, n: int) -> Edit:
    """Return the edit that a sweep makes a part of in each cell.

    Args:
        kind: what is done.
        source: where a patch or mean takes its values from.
        n: how many tokens the prompt has.

    Returns:
        The edit, of all layers.

    Raises:
        InspectorError: the kind is unknown, or lacks a source or has one too many.
    """
    refuse_other(kind, get_args(SweptKind), "kind of sweep")
    if (kind in ("patch", "mean")) != (source is not None):
        wrong = "needs a source of values: give one" if source is None else "takes no source of values: leave it out"
        raise InspectorError(f"A sweep of kind {kind!r} {wrong}.")
    if kind == "zero":
        return zero()
    if kind == "patch":
        return patch(source)  # type: ignore[arg-type]
    if kind == "mean":
        return mean(source)  # type: ignore[arg-type]
    return Edit(kind=kind, keys=tuple(range(n)))


def cells_of(whole: Edit, over: Over, model: Model, n: int, *, query: int | None) -> list[Cell]:
    """Return what a sweep edits, in the order of the layers that each changes first.

    Args:
        whole: the edit of which each cell makes a part, with its layers named.
        over: what changes from cell to cell.
        model: the model.
        n: how many tokens the prompt has.
        query: of edges, the one query token that they lead from; None: every.

    Returns:
        The cells.

    Raises:
        InspectorError: this kind cannot be swept over that, or there would be more than MOST cells.
    """
    refuse_other(over, get_args(Over), "thing to sweep over")
    cuts = whole.kind in ("cut", "drop")
    if cuts != (over in ("tokens", "edges")) and not (whole.kind == "patch" and over == "tokens"):
        raise InspectorError(
            f"A sweep of kind {whole.kind!r} does not go over {over}: zero, mean and patch go over heads or layers, "
            "patch over tokens too, cut and drop over tokens or edges."
        )
    layers = whole.layers or ()
    count = {"heads": sum(model.layers[layer].heads for layer in layers), "layers": len(layers), "tokens": n}.get(
        over, n * (n - 1) // 2 if query is None else query
    )
    if count > MOST:
        raise InspectorError(
            f"A sweep over {over} would have {count:,} cells, and {MOST:,} are run: name fewer layers, or a query."
        )
    if over == "heads":
        return list(_heads(whole, model))
    if over == "layers":
        return [Cell(replace(whole, layers=(layer,)), layer=layer) for layer in layers]
    return list(_tokens(whole, n) if over == "tokens" else _edges(whole, n, query))


def _heads(whole: Edit, model: Model) -> Iterator[Cell]:
    for layer in whole.layers or ():
        for head in range(model.layers[layer].heads):
            yield Cell(replace(whole, layers=(layer,), heads=(head,)), layer=layer, head=head)


def _tokens(whole: Edit, n: int) -> Iterator[Cell]:
    if whole.kind == "patch":
        for token in range(n):
            yield Cell(replace(whole, positions=(token,)), query=token)
        return
    for token in range(n - 1):  # nobody comes after the last to look at it
        yield Cell(replace(whole, keys=(token,)), key=token)


def _edges(whole: Edit, n: int, query: int | None) -> Iterator[Cell]:
    for row in range(1, n) if query is None else (query,):
        for key in range(row):
            yield Cell(replace(whole, queries=(row,), keys=(key,)), query=row, key=key)
