"""Patterns of layers that only one family has: what a layer is, where a file has no `layer_types`."""

from __future__ import annotations

from reimpl.config import Fields
from reimpl.families.layer_types import CHUNKED, FULL, OTHER, SLIDING


def rope_listed(fields: Fields, layer: int) -> bool:
    """As no_rope_layers says (1: has RoPE, its name notwithstanding), else all but every fourth or so."""
    listed, interval = fields.get("no_rope_layers"), fields.get("no_rope_layer_interval") or 4
    return bool(listed[layer]) if listed else (layer + 1) % interval != 0


def no_rope_slides(fields: Fields, layer: int) -> str:
    used = fields.get("use_sliding_window")
    return SLIDING if used and not rope_listed(fields, layer) else FULL


def rope_in_chunks(fields: Fields, layer: int) -> str:
    """Llama 4: layers with RoPE see their own chunk, the others everything."""
    return CHUNKED if rope_listed(fields, layer) else FULL


def at_listed_layers(fields: Fields, layer: int) -> str:
    """Bamba: full attention at `attn_layer_indices`; newer files list every layer's kind."""
    types = fields.get("layers_block_type")
    if types is not None:
        return FULL if types[layer] in ("attention", FULL) else OTHER
    return FULL if layer in (fields.get("attn_layer_indices") or ()) else OTHER


def flint_kinds(fields: Fields, layer: int) -> str:
    """Full attention in the first two layers, every fourth and the last."""
    last = fields.integer("num_hidden_layers") - 1
    return FULL if layer < 2 or layer % 4 == 1 or layer == last else SLIDING


def lfm3_kinds(_: Fields, layer: int) -> str:
    if layer % 4 == 2:
        return FULL
    return SLIDING if layer % 4 == 0 and layer > 0 else OTHER


def conv_unless_listed(fields: Fields, layer: int) -> str:
    """LFM2: full attention at `full_attn_idxs`; everywhere where the file has no such list."""
    listed = fields.get("full_attn_idxs")
    return FULL if listed is None or layer in listed else OTHER


def not_across(fields: Fields, layer: int) -> str:
    """Mllama: some layers look at an image instead of the text, and do nothing without one."""
    return OTHER if layer in (fields.get("cross_attention_layers") or ()) else FULL


def mimo_kinds(_: Fields, layer: int) -> str:
    """Full attention in the first layer and in every sixth."""
    return FULL if layer == 0 or (layer + 1) % 6 == 0 else SLIDING


def counted_from_the_last(fields: Fields, layer: int) -> str:
    """Every fourth layer is full attention, counted backwards from the last."""
    return FULL if (fields.integer("num_hidden_layers") - 1 - layer) % 4 == 0 else SLIDING
