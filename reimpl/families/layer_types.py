"""What each layer is, where a file has no `layer_types`: a config and a layer's number in, the layer's type out.

The types' names are the library's. One of WITHOUT_ATTENTION has none (a convolution, a recurrence); one that stands in
no list here is refused, since what its layer computes is not known.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from reimpl.config import Fields
from reimpl.spec import CheckpointError, UnsupportedError

FULL, SLIDING, CHUNKED, OTHER = "full_attention", "sliding_attention", "chunked_attention", "linear_attention"
INDEXED = "indexed_attention"
REFERENCE_SLIDING = "reference_sliding_attention"  # keeps an image's tokens in view; with text alone it slides
CHOSEN = {INDEXED, "minimax_m3_sparse"}  # the model chooses the keys that a query may look at
SLIDES = {SLIDING, REFERENCE_SLIDING}
ATTENDS = {FULL, CHUNKED, "attention", "hybrid", *SLIDES, *CHOSEN}
WITHOUT_ATTENTION = {OTHER, "conv", "mamba", "recurrent", "moe", "mlp"}
# What transformers 5.17 writes for a type, and what newer releases write.
OLDER_NAMES = {"deepseek_sparse_attention": INDEXED, "qwen_sparse_attention": INDEXED}


@dataclass(frozen=True)
class LayerTypes:
    """Say what each layer is.

    of:    (fields, layer's number) -> its type.
    reads: the fields that decide it. They are understood, so a file that lists its layers' types may have them too.
    """

    of: Callable[[Fields, int], str]
    reads: tuple[str, ...] = ()


def listed_type(types: object, layer: int) -> str:
    """Read one layer's type from a file's `layer_types`.

    Args:
        types: the list, as config.json has it.
        layer: the layer's number, from 0.

    Returns:
        The type, in today's words.

    Raises:
        CheckpointError: it is no list, or one that ends before this layer.
        UnsupportedError: the type is in none of the lists above.
    """
    if not isinstance(types, list | tuple) or layer >= len(types):
        said = f"only {len(types)}" if isinstance(types, list | tuple) else repr(types)
        raise CheckpointError(f"config.json has layer_types for {said} layers, and layer {layer} needs one; check it.")
    found = OLDER_NAMES.get(str(types[layer]), str(types[layer]))
    if found not in ATTENDS | WITHOUT_ATTENTION:
        known = ", ".join(sorted(ATTENDS | WITHOUT_ATTENTION))
        raise UnsupportedError(
            f'config.json gives layer {layer} the type "{found}", which is not modelled, so nothing is computed; known '
            f"types: {known}. Its attention can still be captured and viewed."
        )
    return found


def every(field: str, n: int, otherwise: str = SLIDING, layer_type: str = FULL) -> LayerTypes:
    """Make every n-th layer full attention, the others `otherwise`; n from the field where a file has it.

    Args:
        field: the field that says n; "" where there is none.
        n: where the file does not say it.
        otherwise: the type of the other layers.
        layer_type: of every n-th layer.

    Returns:
        The layers' types.
    """

    def of(fields: Fields, layer: int) -> str:
        period = fields.get(field) or n
        if isinstance(period, str):  # spelt out, L for local: "LLLG"
            return otherwise if period[layer % len(period)] == "L" else layer_type
        return layer_type if (layer + 1) % period == 0 else otherwise

    return LayerTypes(of, reads=(field,) if field else ())


def last_full(types: LayerTypes) -> LayerTypes:
    """Make the last layer full attention in any case.

    Args:
        types: of the other layers.

    Returns:
        The layers' types.
    """

    def of(fields: Fields, layer: int) -> str:
        return FULL if layer == fields.integer("num_hidden_layers") - 1 else types.of(fields, layer)

    return LayerTypes(of, types.reads)


def in_turn(*types: str) -> LayerTypes:
    """Repeat these types over and over.

    Args:
        types: of the first layers, in order.

    Returns:
        The layers' types.
    """
    return LayerTypes(lambda _, layer: types[layer % len(types)])


def _when_used(fields: Fields, _: int) -> str:
    return SLIDING if fields.get("use_sliding_window") else FULL


def _from_max_window_layers(fields: Fields, layer: int) -> str:
    first, used = fields.get("max_window_layers", 28), fields.get("use_sliding_window")
    return SLIDING if used and layer >= first else FULL


def _even_below_max_window_layers(fields: Fields, layer: int) -> str:
    first, used = fields.get("max_window_layers", 28), fields.get("use_sliding_window")
    return SLIDING if used and layer % 2 == 0 and layer < first else FULL


def _behind_max_window_layers(fields: Fields, layer: int) -> str:
    first = fields.get("max_window_layers")
    return SLIDING if first is not None and layer >= first else FULL


ALL_FULL = in_turn(FULL)
ALL_SLIDING = in_turn(SLIDING)  # where a window is set at all
ALL_INDEXED = in_turn(INDEXED)  # every layer attends to keys that a part of the model, the indexer, has chosen
SLIDING_WHEN_USED = LayerTypes(_when_used, reads=("use_sliding_window",))
FROM_MAX_WINDOW_LAYERS = LayerTypes(_from_max_window_layers, reads=("use_sliding_window", "max_window_layers"))
EVEN_BELOW_MAX_WINDOW_LAYERS = LayerTypes(
    _even_below_max_window_layers, reads=("use_sliding_window", "max_window_layers")
)
BEHIND_MAX_WINDOW_LAYERS = LayerTypes(_behind_max_window_layers, reads=("max_window_layers",))
