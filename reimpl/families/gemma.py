"""Gemma and its kin: norms with 1 + weight, soft-capped scores, two RoPE bases, keys and values shared by layers."""

from __future__ import annotations

from dataclasses import replace

from reimpl.config import Fields, rope_spec
from reimpl.families.family import At, Change, Family
from reimpl.families.layer_types import FULL, OTHER, SLIDING, LayerTypes, every, in_turn, last_full
from reimpl.families.rope_bases import two_bases
from reimpl.spec import AttentionSpec, NormSpec, UnsupportedError

PLUS_ONE = NormSpec(eps=0.0, plus_one=True)
HEAD_NORM = NormSpec(eps=0.0, wide=True)


def _causal_only(spec: AttentionSpec, at: At) -> AttentionSpec:
    """Refuse what is not causal."""
    if at.fields.get("use_bidirectional_attention"):
        raise UnsupportedError("use_bidirectional_attention: this model's attention is not causal.")
    return spec


def last_of_type(layer: int, own: int, types: list[str]) -> str | None:
    """Find the last layer of the same type with keys of its own, for a layer behind the first ones.

    Args:
        layer: its number, from 0.
        own: how many layers, from the first, have keys of their own.
        types: of all layers.

    Returns:
        That layer's place; None where the layer has keys of its own.
    """
    if layer < own:
        return None
    found = max(i for i in range(own) if types[i] == types[layer])
    return f"layers.{found}.self_attn"


def _all_types(fields: Fields, n: int) -> list[str]:
    """List the types of all layers: as the file does, else every n-th full."""
    listed, layers = fields["layer_types"], fields.integer("num_hidden_layers")
    return list(listed) if listed is not None else [last_full(every("", n)).of(fields, i) for i in range(layers)]


def _shared(n: int) -> Change:
    """Let the last layers use the keys and values of an earlier one of their type."""

    def change(spec: AttentionSpec, at: At) -> AttentionSpec:
        own = at.fields.integer("num_hidden_layers") - at.fields.integer("num_kv_shared_layers")
        shares = last_of_type(at.layer, own, _all_types(at.fields, n))
        return replace(spec, scale=1.0, shares=shares)

    return change


def _gemma4(spec: AttentionSpec, at: At) -> AttentionSpec:
    """Give full layers wider heads and, perhaps, fewer key/value heads whose values are their keys."""
    spec = _shared(6)(spec, at)
    if at.fields.get("use_bidirectional_attention") == "all":
        raise UnsupportedError("use_bidirectional_attention=all: this model's attention is not causal.")
    if at.layer_type != FULL:
        return spec
    values_are_keys = bool(at.fields.get("attention_k_eq_v"))
    spec = replace(spec, value_is_key=values_are_keys and spec.shares is None)
    if at.fields.get("per_layer_config") is not None:  # today's files: it has the widths, and they are read already
        return spec
    wide, few = at.fields.get("global_head_dim", 512), at.fields.get("num_global_key_value_heads")
    kv_heads = few if few and values_are_keys else spec.kv_heads
    return replace(spec, d_head=wide, d_value=wide, kv_heads=kv_heads, rope=rope_spec(at.fields, wide, at.layer_type))


def _by_block_types(fields: Fields, layer: int) -> str:
    """Slide where `block_types`, over and over, say attention."""
    types = fields.get("block_types") or fields.get("_block_types") or ("recurrent", "recurrent", "attention")
    return SLIDING if types[layer % len(types)] == "attention" else OTHER


GEMMA3 = Family(
    reads=("rope_local_base_freq", "rope_theta", "attn_logit_softcapping"),  # a cap that the class never applies
    layer_types=every("sliding_window_pattern", 6),
    scale=("query_pre_attn_scalar", -0.5),
    qk_norm=PLUS_ONE,
    rope=two_bases(("rope_local_base_freq", 1e4), ("rope_theta", 1e6)),
    change=_causal_only,
)
GEMMA4 = Family(
    reads=("global_head_dim", "num_global_key_value_heads", "attention_k_eq_v"),  # in full layers
    layer_types=last_full(every("", 6)),
    qk_norm=HEAD_NORM,
    value_norm=NormSpec(eps=0.0, weight=False),
    change=_gemma4,
)

GEMMA: dict[str, Family] = {
    "gemma": Family(),
    "gemma2": Family(
        layer_types=in_turn(SLIDING, FULL), scale=("query_pre_attn_scalar", -0.5), softcap="attn_logit_softcapping",
    ),
    "gemma3_text": GEMMA3,
    "gemma3n_text": replace(
        GEMMA4, reads=("rope_local_base_freq", "rope_theta"), layer_types=every("", 5), change=_shared(5),
        rope=GEMMA3.rope,
    ),
    "gemma4_text": GEMMA4,
    "gemma4_unified_text": GEMMA4,
    "recurrent_gemma": Family(
        output_bias=True, window="attention_window_size", attention=("layers.{i}.temporal_block",),
        layer_types=LayerTypes(_by_block_types, reads=("block_types", "_block_types")),
    ),
    "vaultgemma": Family(
        layer_types=in_turn(SLIDING, FULL), scale=("query_pre_attn_scalar", -0.5), softcap="attn_logit_softcapping",
    ),
}  # fmt: skip
