"""Patterns of layers that only one family has: what a layer is, where a file has no `layer_types`."""

from __future__ import annotations

from reimpl.config import Fields
from reimpl.families.layer_types import CHUNKED, FULL, OTHER, SLIDING, LayerTypes

NO_ROPE_LAYERS = ("no_rope_layers", "no_rope_layer_interval")


def rope_listed(fields: Fields, layer: int) -> bool:
    """Tell whether a layer has RoPE: as no_rope_layers says (1: it has, the name notwithstanding), else by interval.

    Args:
        fields: the config's.
        layer: its number, from 0.

    Returns:
        Whether it has RoPE; without a list, all but every fourth or so.
    """
    listed, interval = fields.get("no_rope_layers"), fields.get("no_rope_layer_interval") or 4
    return bool(listed[layer]) if listed else (layer + 1) % interval != 0


def _no_rope_slides(fields: Fields, layer: int) -> str:
    """Slide in the layers without RoPE, where the window is used (SmolLM 3)."""
    used = fields.get("use_sliding_window")
    return SLIDING if used and not rope_listed(fields, layer) else FULL


def _rope_in_chunks(fields: Fields, layer: int) -> str:
    """Look within chunks in layers with RoPE, everywhere in the others (Llama 4)."""
    return CHUNKED if rope_listed(fields, layer) else FULL


def _at_listed_layers(fields: Fields, layer: int) -> str:
    """Attend at `attn_layer_indices`; newer files list every layer's type (Bamba)."""
    types = fields.get("layers_block_type")
    if types is not None:
        return FULL if types[layer] in ("attention", FULL) else OTHER
    return FULL if layer in (fields.get("attn_layer_indices") or ()) else OTHER


def _flint(fields: Fields, layer: int) -> str:
    """Attend fully in the first two layers, every fourth and the last."""
    last = fields.integer("num_hidden_layers") - 1
    return FULL if layer < 2 or layer % 4 == 1 or layer == last else SLIDING


def _lfm3(_: Fields, layer: int) -> str:
    """Attend fully in the third of four layers, slide in the first, but for the very first."""
    if layer % 4 == 2:
        return FULL
    return SLIDING if layer % 4 == 0 and layer > 0 else OTHER


def _conv_unless_listed(fields: Fields, layer: int) -> str:
    """Attend at `full_attn_idxs`; everywhere where the file has no such list (LFM2)."""
    listed = fields.get("full_attn_idxs")
    return FULL if listed is None or layer in listed else OTHER


def _not_across(fields: Fields, layer: int) -> str:
    """Leave out the layers that look at an image instead of the text, and do nothing without one (Mllama)."""
    return OTHER if layer in (fields.get("cross_attention_layers") or ()) else FULL


def _mimo(_: Fields, layer: int) -> str:
    """Attend fully in the first layer and in every sixth."""
    return FULL if layer == 0 or (layer + 1) % 6 == 0 else SLIDING


def _with_feed_forward_between(_: Fields, layer: int) -> str:
    """Count every second layer as one without attention; of the others each fourth is full, the rest slide (Dory)."""
    if layer % 2:
        return "mlp"
    return FULL if layer % 8 == 6 else SLIDING


def _counted_from_the_last(fields: Fields, layer: int) -> str:
    """Attend fully in every fourth layer, counted backwards from the last."""
    return FULL if (fields.integer("num_hidden_layers") - 1 - layer) % 4 == 0 else SLIDING


NO_ROPE_SLIDES = LayerTypes(_no_rope_slides, reads=("use_sliding_window", *NO_ROPE_LAYERS))
ROPE_IN_CHUNKS = LayerTypes(_rope_in_chunks, reads=NO_ROPE_LAYERS)
AT_LISTED_LAYERS = LayerTypes(_at_listed_layers, reads=("layers_block_type", "attn_layer_indices"))
CONV_UNLESS_LISTED = LayerTypes(_conv_unless_listed, reads=("full_attn_idxs",))
NOT_ACROSS = LayerTypes(_not_across, reads=("cross_attention_layers",))
FLINT = LayerTypes(_flint)
LFM3 = LayerTypes(_lfm3)
DORY = LayerTypes(_with_feed_forward_between)
MIMO = LayerTypes(_mimo)
COUNTED_FROM_THE_LAST = LayerTypes(_counted_from_the_last)
