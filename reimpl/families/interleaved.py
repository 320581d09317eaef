"""Families that turn neighbouring dimensions (2i, 2i + 1), as RoPE's paper writes it: Cohere, GLM, Ernie, Helium."""

from __future__ import annotations

from dataclasses import replace

from reimpl.config import Fields
from reimpl.families.family import At, Family, all_but_full
from reimpl.families.layer_types import FULL, SLIDING, LayerTypes, every
from reimpl.families.rope_bases import own_words_only
from reimpl.spec import NormSpec

EACH_HEAD = NormSpec(eps=0.0, kind="layer", over="each")

ERNIE = Family(qkv_bias="use_bias", output_bias="use_bias", rope_style="pairs", rope_wide=True)
GLM = Family(output_bias=False, rope_style="pairs")
COHERE = Family(rope_style="pairs", rope_wide=True, norm_eps="layer_norm_eps")
COHERE2_UNREAD = frozenset({  # of the model's first code; the library's class reads none of them
    "layer_switch", "order_of_interleaved_layers", "position_embedding_type", "rotary_pct", "use_embedding_sharing",
    "use_gated_activation", "use_parallel_block", "use_parallel_embedding",
})  # fmt: skip
COHERE2 = replace(
    COHERE, harmless=COHERE2_UNREAD, layer_types=every("sliding_window_pattern", 4), rope_layers=all_but_full,
)  # fmt: skip


def _after_prefix(fields: Fields, layer: int) -> str:
    """Give the first layers, those without experts, a pattern of their own."""
    prefix, period = fields.get("first_k_dense_replace") or 0, fields.get("prefix_dense_sliding_window_pattern") or 1
    if layer < prefix:
        return SLIDING if (layer + 1) % period else FULL
    return every("sliding_window_pattern", 4).of(fields, layer - prefix)


def _sliding_or_prefix(at: At) -> bool:
    """Hold for sliding layers, and those of a prefix that is full throughout."""
    types, prefix = at.fields.get("mlp_layer_types"), at.fields.get("first_k_dense_replace") or 0
    dense = types[at.layer] == "dense" if types is not None else at.layer < prefix
    whole = (at.fields.get("prefix_dense_sliding_window_pattern") or 1) == 1
    return at.layer_type == SLIDING or (dense and whole)


AFTER_PREFIX = LayerTypes(
    _after_prefix,
    reads=("first_k_dense_replace", "prefix_dense_sliding_window_pattern", "sliding_window_pattern"),
)

INTERLEAVED: dict[str, Family] = {
    "cohere": replace(COHERE, qk_norm=EACH_HEAD, qk_norm_if="use_qk_norm"),
    "cohere2": COHERE2,
    "cohere2_moe": replace(COHERE2, layer_types=AFTER_PREFIX, rope=own_words_only, rope_layers=_sliding_or_prefix),
    "cohere_compass_text": Family(rope_wide=True),
    "ernie4_5": ERNIE,
    "ernie4_5_moe": ERNIE,
    "ernie4_5_vl_moe_text": ERNIE,
    "glm": GLM,
    "glm4": GLM,
    "glm4v_text": replace(GLM, qkv_bias=True),
    "glm_ocr_text": replace(GLM, qkv_bias=False),
    "helium": Family(output_bias=False, rope_style="pairs"),
    "paddleocr_vl_text": Family(qkv_bias="use_bias", output_bias="use_bias"),
}
