"""What each layer is, where a file has no `layer_types`: a config and a layer's number in, the kind of layer out.

The names are the library's. A kind outside ATTENDS is a layer without attention (a convolution, a recurrence).
"""

from __future__ import annotations

from collections.abc import Callable

from reimpl.config import Fields

Kind = Callable[[Fields, int], str]

FULL, SLIDING, CHUNKED, OTHER = "full_attention", "sliding_attention", "chunked_attention", "linear_attention"
INDEXED = "indexed_attention"
REFERENCE_SLIDING = "reference_sliding_attention"  # keeps an image's tokens in view; with text alone it slides
CHOSEN = {INDEXED, "minimax_m3_sparse"}  # the model chooses the keys that a query may look at
SLIDES = {SLIDING, REFERENCE_SLIDING}
ATTENDS = {FULL, CHUNKED, "attention", "hybrid", *SLIDES, *CHOSEN}


def full(_: Fields, __: int) -> str:
    return FULL


def sliding(_: Fields, __: int) -> str:
    """Every layer, where a window is set at all."""
    return SLIDING


def indexed(_: Fields, __: int) -> str:
    """Every layer attends to keys that a part of the model, the indexer, has chosen."""
    return INDEXED


def every(field: str, n: int, otherwise: str = SLIDING, kind: str = FULL) -> Kind:
    """Every n-th layer is full attention, the others `otherwise`; n from the field where a file has it."""

    def of(fields: Fields, layer: int) -> str:
        period = fields.get(field) or n
        if isinstance(period, str):  # spelt out, L for local: "LLLG"
            return otherwise if period[layer % len(period)] == "L" else kind
        return kind if (layer + 1) % period == 0 else otherwise

    return of


def last_full(kinds: Kind) -> Kind:
    """The same, but the last layer is full attention in any case."""

    def of(fields: Fields, layer: int) -> str:
        found = kinds(fields, layer)
        return FULL if layer == fields.integer("num_hidden_layers") - 1 else found

    return of


def in_turn(*kinds: str) -> Kind:
    """These kinds over and over."""

    def of(_: Fields, layer: int) -> str:
        return kinds[layer % len(kinds)]

    return of


def when_used(fields: Fields, _: int) -> str:
    return SLIDING if fields.get("use_sliding_window") else FULL


def from_max_window_layers(fields: Fields, layer: int) -> str:
    first, used = fields.get("max_window_layers", 28), fields.get("use_sliding_window")
    return SLIDING if used and layer >= first else FULL


def behind_max_window_layers(fields: Fields, layer: int) -> str:
    first = fields.get("max_window_layers")
    return SLIDING if first is not None and layer >= first else FULL


def even_below_max_window_layers(fields: Fields, layer: int) -> str:
    first, used = fields.get("max_window_layers", 28), fields.get("use_sliding_window")
    return SLIDING if used and layer % 2 == 0 and layer < first else FULL
