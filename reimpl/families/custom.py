"""Families near to Llama that do one thing in a way of their own: a small function each, and its row."""

from __future__ import annotations

from dataclasses import replace

from reimpl.config import rope_numbers, rope_spec
from reimpl.families.family import At, Change, Family, all_but_full, every_layer, sliding_layers
from reimpl.families.layer_patterns import (
    at_listed_layers,
    conv_unless_listed,
    counted_from_the_last,
    flint_kinds,
    lfm3_kinds,
    mimo_kinds,
    no_rope_slides,
    not_across,
    rope_in_chunks,
    rope_listed,
)
from reimpl.families.layer_types import FULL, OTHER, SLIDING, every, in_turn, last_full, sliding
from reimpl.families.llama import GRANITE, HEAD_NORM, NO_BIAS, NO_WEIGHT, WHOLE_NORM, WIDE_HEAD_NORM, WIDE_WHOLE_NORM
from reimpl.families.rope_bases import own_words_only, two_bases
from reimpl.spec import AttentionSpec, GateSpec, MaskRule, NormSpec, RopeSpec, TemperatureSpec


def has_rope(at: At) -> bool:
    return rope_listed(at.fields, at.layer)


def base_per_layer(at: At, d_head: int) -> RopeSpec | None:
    """`layer_rope_theta` lists each layer's base, 0 for no RoPE."""
    bases = at.fields.get("layer_rope_theta")
    rope = rope_spec(at.fields, d_head, at.kind)
    if bases is None or rope is None:
        return rope
    return replace(rope, theta=float(bases[at.layer])) if bases[at.layer] else None


def listed_or_sliding(at: At, d_head: int) -> RopeSpec | None:
    """The same; where a file has no such list, sliding layers have RoPE and full layers none."""
    listed = at.fields.get("layer_rope_theta") is not None
    return base_per_layer(at, d_head) if listed or at.kind != FULL else None


def rope_if_said(at: At, d_head: int) -> RopeSpec | None:
    """Granite's hybrids have RoPE only where position_embedding_type says so."""
    rope = rope_spec(at.fields, d_head, at.kind)
    return rope if at.fields.get("position_embedding_type") == "rope" else None


def factor(key: str, field: str) -> Change:
    def change(spec: AttentionSpec, at: At) -> AttentionSpec:
        factor = at.fields.get(field)
        return spec if factor is None else replace(spec, **{key: float(factor)})  # type: ignore[arg-type]

    return change


def normed_after_rope(spec: AttentionSpec, at: At) -> AttentionSpec:
    """Norms only where RoPE is, and only if the file says so; elsewhere queries grow with their position (Llama 4)."""
    grows = at.fields.get("attn_temperature_tuning", True)
    scale, every_n = at.fields.number("attn_scale"), at.fields.number("floor_scale")
    if spec.rope is not None:
        return spec
    temperature = TemperatureSpec(scale, every_n, first=1) if grows else None
    return replace(spec, query_norm=None, key_norm=None, temperature=temperature)


def grows_by_rope_parameters(spec: AttentionSpec, at: At) -> AttentionSpec:
    """`llama_4_scaling_beta` among the RoPE parameters: queries grow with their position (Ministral 3)."""
    numbers = rope_numbers(at.fields, at.kind) or {}
    beta = numbers.get("llama_4_scaling_beta")
    if beta is None:
        return spec
    return replace(spec, temperature=TemperatureSpec(beta, numbers["original_max_position_embeddings"]))


def beam(spec: AttentionSpec, at: At) -> AttentionSpec:
    """Full layers have no positions but queries that grow with theirs: the constants are the library's."""
    return replace(spec, temperature=TemperatureSpec(0.1, 2048, first=1, rule="power") if at.kind == FULL else None)


def laguna(spec: AttentionSpec, at: At) -> AttentionSpec:
    heads, gating = at.fields.get("num_attention_heads_per_layer"), at.fields.get("gating", True)
    per_head = gating is True or gating == "per-head"
    spec = replace(spec, gate=GateSpec("gate", "softplus", per_head=per_head))
    return replace(spec, heads=heads[at.layer]) if heads else spec


def mimo(spec: AttentionSpec, at: At) -> AttentionSpec:
    """Sliding layers have twice the key/value heads; values are narrower than keys."""
    values = {"d_value": at.fields.integer("v_head_dim"), "value_factor": at.fields.get("attention_value_scale") or 1.0}
    return replace(spec, kv_heads=spec.kv_heads * (2 if at.kind != FULL else 1), **values)  # type: ignore[arg-type]


def lfm3_gate(spec: AttentionSpec, at: At) -> AttentionSpec:
    return replace(spec, gate=GateSpec("gate", per_head=True) if at.fields.get("use_attention_gate", True) else None)


def windowed(spec: AttentionSpec, at: At) -> AttentionSpec:
    """MiniMax: a window, where one is set, holds in its full layers."""
    return replace(spec, mask=MaskRule(window=at.fields.get("sliding_window")))


def all_unless_windowed(at: At) -> bool:
    """EXAONE 4: full layers have no RoPE where others slide; without a window every layer has it."""
    return all_but_full(at) or at.fields.get("sliding_window") is None


def scaled_where_listed(at: At, d_head: int) -> RopeSpec | None:
    """Molmo 2: the frequency rule holds in `rope_scaling_layers` only."""
    rope, listed = rope_spec(at.fields, d_head, at.kind), at.fields.get("rope_scaling_layers")
    if rope is None or listed is None or at.layer in listed:
        return rope
    return replace(rope, rule="default", scaling=())


def molmo_norm(spec: AttentionSpec, at: At) -> AttentionSpec:
    """qk_norm_type: "qwen3" norms each head, "olmo" all heads together."""
    if at.fields.get("qk_norm_type", "olmo") == "qwen3" or spec.query_norm is None:
        return spec
    whole = replace(spec.query_norm, over="whole")
    return replace(spec, query_norm=whole, key_norm=whole)


def short_factors(at: At, d_head: int) -> RopeSpec | None:
    """Phi-3.5-MoE's class asks for frequencies without telling the length: always LongRoPE's short list."""
    rope = rope_spec(at.fields, d_head, at.kind)
    if rope is None or rope.rule != "longrope":
        return rope
    numbers = dict(rope.scaling)
    return replace(rope, scaling=tuple(sorted({**numbers, "long_factor": numbers["short_factor"]}.items())))


def backwards(at: At, d_head: int) -> RopeSpec | None:
    rope = rope_spec(at.fields, d_head, at.kind)
    return None if rope is None else replace(rope, backwards=True)


def some_dimensions(at: At, d_head: int) -> RopeSpec | None:
    """The first `rotary_dim` dimensions turn, where the RoPE parameters do not say which part does."""
    rope, dim = rope_spec(at.fields, d_head, at.kind), at.fields.get("rotary_dim")
    return replace(rope, dim=dim) if rope is not None and dim and rope.dim == d_head else rope


def keys_chosen(spec: AttentionSpec, at: At) -> AttentionSpec:
    """A part that is not attention says how much each query may look at each key."""
    at.fields.get("keep_window_size")
    return replace(spec, mask=MaskRule(given=True))


def privacy_filter(spec: AttentionSpec, at: At) -> AttentionSpec:
    """Both queries and keys are scaled; each looks `sliding_window` tokens to both sides."""
    factor = spec.d_head**-0.25
    window = at.fields.integer("sliding_window") + 1
    return replace(
        spec, scale=1.0, query_factor=factor, key_factor=factor, mask=MaskRule(window=window, both_sides=True)
    )  # fmt: skip


def step(spec: AttentionSpec, at: At) -> AttentionSpec:
    """Sliding layers may have another number of heads; the scale may be stated apart from the head width."""
    other = (at.fields.get("attention_other_setting") or {}).get("num_attention_heads")
    heads = at.fields.get("num_sliding_attention_heads") or other
    if at.kind != FULL and heads and at.fields.get("per_layer_config") is None:
        spec = replace(spec, heads=heads)
    return replace(spec, scale=float(at.fields.get("query_pre_attn_scalar") or spec.d_head) ** -0.5)


def all_in_view(spec: AttentionSpec, at: At) -> AttentionSpec:
    """Unlimited-OCR: the whole prompt stays in view; only what it writes itself slides out."""
    at.fields.get("sliding_window")
    return replace(spec, mask=MaskRule())


GRANITE_SWA = replace(GRANITE, kinds=in_turn(FULL, SLIDING, SLIDING, SLIDING), rope=base_per_layer, sinks=every_layer)
OLMO3_ROPE = two_bases(("", 5e5), ("rope_theta", 5e5))
MUSE = Family(
    kinds=counted_from_the_last,
    qk_norm=NO_WEIGHT,
    rope=listed_or_sliding,
    gate=GateSpec(),
    change=factor("query_factor", "qk_scale_factor"),
)
QK_NORM_OUT_PROJ = {
    "projections.q_norm": "q_layernorm", "projections.k_norm": "k_layernorm", "o_proj": "out_proj",
}  # fmt: skip  # fmt: skip

CUSTOM: dict[str, Family] = {
    "bamba": Family(kinds=at_listed_layers),
    "beam": Family(
        kinds=last_full(every("", 6)), qk_norm=WIDE_HEAD_NORM, gate=GateSpec(bias=True), change=beam,
    ),
    "doge": Family(qk_norm=HEAD_NORM, change=keys_chosen, ignored=("A", "dt_proj.")),
    "exaone4": Family(
        qkv_bias=False, output_bias=False, kinds=every("sliding_window_pattern", 4), rope_layers=all_unless_windowed,
        qk_norm=HEAD_NORM,
    ),
    "exaone_moe": Family(
        qkv_bias=False, output_bias=False, kinds=every("sliding_window_pattern", 4), rope_layers=all_unless_windowed,
        qk_norm=HEAD_NORM,
    ),
    "falcon_h1": Family(change=factor("key_factor", "key_multiplier")),
    "flint": Family(
        kinds=flint_kinds, rope_layers=all_but_full, qk_norm=WIDE_HEAD_NORM, sinks=every_layer,
        tensors={"sinks": "softmax_offset|sinks"},
    ),
    "granite_swa": GRANITE_SWA,
    "granitemoe_swa": GRANITE_SWA,
    "granitemoehybrid": replace(GRANITE, kinds=in_turn(OTHER), rope=rope_if_said),
    "kolibri1": Family(kinds=every("", 5), rope_layers=all_unless_windowed, qk_norm=HEAD_NORM),
    "laguna": Family(qk_norm=HEAD_NORM, change=laguna, tensors={"projections.gate.proj": "g_proj"}),
    "lfm2": Family(
        qkv_bias=False, output_bias=False, kinds=conv_unless_listed, qk_norm=HEAD_NORM, norm_eps="norm_eps",
        tensors=QK_NORM_OUT_PROJ,
    ),
    "lfm3": Family(
        kinds=lfm3_kinds, qk_norm=HEAD_NORM, norm_eps="norm_eps", change=lfm3_gate,
        tensors={"projections.gate.proj": "gate_proj|g_proj"},
    ),
    "llama4_text": Family(
        kinds=rope_in_chunks,
        rope_layers=has_rope, rope_style="pairs", rope_wide=True,
        qk_norm=replace(NO_WEIGHT, after_rope=True), qk_norm_if="use_qk_norm", change=normed_after_rope,
    ),
    "mimo_v2_flash": Family(
        kinds=mimo_kinds, rope=own_words_only, output_bias=False, change=mimo, sinks=sliding_layers,
        tensors={"sinks": "attention_sink_bias|sinks"},
    ),
    "minimax": Family(qkv_bias=False, output_bias=False, kinds=in_turn(FULL, OTHER), change=windowed),
    "minimax_m2": Family(qkv_bias=False, output_bias=False, qk_norm=WHOLE_NORM, rope=some_dimensions),
    "ministral3": Family(qkv_bias=False, output_bias=False, kinds=sliding, change=grows_by_rope_parameters),
    "mllama_text_model": replace(NO_BIAS, kinds=not_across),
    "molmo2_text": Family(
        output_bias=False, layout="stacked", qk_norm=HEAD_NORM, rope=scaled_where_listed, change=molmo_norm,
        tensors={"projections.qkv_proj": "att_proj", "o_proj": "attn_out"},
    ),
    "muse_glimmer_text": MUSE,
    "muse_spark_text": replace(MUSE, output_norm=NO_WEIGHT),
    "nanochat": Family(qk_norm=replace(NO_WEIGHT, after_rope=True), rope=backwards),
    "openai_privacy_filter": Family(
        rope_style="pairs", sinks=every_layer, change=privacy_filter,
    ),
    "olmo3": Family(kinds=every("", 4), rope=OLMO3_ROPE, qk_norm=WIDE_WHOLE_NORM, rope_wide=True),
    "phimoe": Family(kinds=sliding, rope=short_factors),
    "smollm3": Family(kinds=no_rope_slides, rope_layers=has_rope),
    "step3p5": Family(
        rope=own_words_only,
        qk_norm=NormSpec(eps=0.0, plus_one=True), gate=GateSpec(per_head=True), change=step,
        tensors={"projections.gate.proj": "g_proj"},
    ),
    "unlimited_ocr_text": Family(change=all_in_view),
}  # fmt: skip
CUSTOM["lfm2_moe"] = CUSTOM["lfm2"]
