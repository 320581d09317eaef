"""Families near to Llama that do one thing in a way of their own: a small function each, and its row."""

from __future__ import annotations

from dataclasses import replace

from reimpl.config import rope_numbers, rope_spec
from reimpl.families.family import At, Change, Family, all_but_full, every_layer, sliding_layers
from reimpl.families.layer_patterns import (
    AT_LISTED_LAYERS,
    CONV_UNLESS_LISTED,
    COUNTED_FROM_THE_LAST,
    DORY,
    FLINT,
    LFM3,
    MIMO,
    NO_ROPE_SLIDES,
    NOT_ACROSS,
    ROPE_IN_CHUNKS,
    rope_listed,
)
from reimpl.families.layer_types import ALL_SLIDING, FULL, OTHER, SLIDING, every, in_turn, last_full
from reimpl.families.llama import GRANITE, HEAD_NORM, NO_BIAS, NO_WEIGHT, WHOLE_NORM, WIDE_HEAD_NORM, WIDE_WHOLE_NORM
from reimpl.families.rope_bases import own_words_only, two_bases
from reimpl.families.tensor_names import Renamed
from reimpl.spec import AttentionSpec, GateSpec, MaskRule, NormSpec, RopeSpec, TemperatureSpec


def has_rope(at: At) -> bool:
    """Hold for layers that have RoPE, as the file lists them."""
    return rope_listed(at.fields, at.layer)


def base_per_layer(at: At, d_head: int) -> RopeSpec | None:
    """Read each layer's base from `layer_rope_theta`, 0 for no RoPE."""
    bases = at.fields.get("layer_rope_theta")
    rope = rope_spec(at.fields, d_head, at.layer_type)
    if bases is None or rope is None:
        return rope
    return replace(rope, theta=float(bases[at.layer])) if bases[at.layer] else None


def listed_or_sliding(at: At, d_head: int) -> RopeSpec | None:
    """Read `layer_rope_theta`; where a file has no such list, sliding layers have RoPE and full layers none."""
    listed = at.fields.get("layer_rope_theta") is not None
    return base_per_layer(at, d_head) if listed or at.layer_type != FULL else None


def rope_if_said(at: At, d_head: int) -> RopeSpec | None:
    """Read RoPE only where position_embedding_type says so (Granite's hybrids)."""
    rope = rope_spec(at.fields, d_head, at.layer_type)
    return rope if at.fields.get("position_embedding_type") == "rope" else None


def factor(key: str, field: str) -> Change:
    """Take a spec's constant factor `key` from a field."""

    def change(spec: AttentionSpec, at: At) -> AttentionSpec:
        factor = at.fields.get(field)
        return spec if factor is None else replace(spec, **{key: float(factor)})  # type: ignore[arg-type]

    return change


def normed_after_rope(spec: AttentionSpec, at: At) -> AttentionSpec:
    """Normalise only where RoPE is, and if the file says so; elsewhere queries grow with their position (Llama 4)."""
    if spec.rope is not None:
        return spec
    temperature = TemperatureSpec(at.fields.number("attn_scale"), at.fields.number("floor_scale"), first=1)
    grows = at.fields.get("attn_temperature_tuning", True)
    return replace(spec, query_norm=None, key_norm=None, temperature=temperature if grows else None)


def grows_by_rope_parameters(spec: AttentionSpec, at: At) -> AttentionSpec:
    """Let queries grow with their position by `llama_4_scaling_beta`, one of the RoPE parameters (Ministral 3)."""
    numbers = rope_numbers(at.fields, at.layer_type) or {}
    beta = numbers.get("llama_4_scaling_beta")
    if beta is None:
        return spec
    return replace(spec, temperature=TemperatureSpec(beta, numbers["original_max_position_embeddings"]))


def beam(spec: AttentionSpec, at: At) -> AttentionSpec:
    """Let queries of full layers, which have no RoPE, grow with their position: the constants are the library's."""
    return replace(
        spec, temperature=TemperatureSpec(0.1, 2048, first=1, rule="power") if at.layer_type == FULL else None
    )


def dory(spec: AttentionSpec, at: At) -> AttentionSpec:
    """Multiply queries and gate by squares of learned numbers, stored small, and normalise after the gate (nGPT)."""
    stored = at.fields.number("initializer_range")
    gate = GateSpec(learned=spec.d_model**0.25 / stored)
    return replace(spec, gate=gate, gate_first=True, query_learned=spec.d_head**0.5 / stored)


def laguna(spec: AttentionSpec, at: At) -> AttentionSpec:
    """Gate by a softplus, for each head or dimension; layers may have other numbers of heads."""
    heads, gating = at.fields.get("num_attention_heads_per_layer"), at.fields.get("gating", True)
    per_head = gating is True or gating == "per-head"
    spec = replace(spec, gate=GateSpec("gate", "softplus", per_head=per_head))
    return replace(spec, heads=heads[at.layer]) if heads else spec


def mimo(spec: AttentionSpec, at: At) -> AttentionSpec:
    """Give sliding layers twice the key/value heads; values are narrower than keys."""
    values = {"d_value": at.fields.integer("v_head_dim"), "value_factor": at.fields.get("attention_value_scale") or 1.0}
    before = at.fields.get("sliding_window_size")  # keys before the query; sliding_window counts the query's own too
    if before is not None and at.layer_type == SLIDING:
        spec = replace(spec, mask=replace(spec.mask, window=before + 1))
    return replace(spec, kv_heads=spec.kv_heads * (2 if at.layer_type != FULL else 1), **values)  # type: ignore[arg-type]


def lfm3_gate(spec: AttentionSpec, at: At) -> AttentionSpec:
    """Gate by a number a head, unless the file says no."""
    return replace(spec, gate=GateSpec("gate", per_head=True) if at.fields.get("use_attention_gate", True) else None)


def windowed(spec: AttentionSpec, at: At) -> AttentionSpec:
    """Let a window, where one is set, hold in full layers (MiniMax)."""
    return replace(spec, mask=MaskRule(window=at.fields.get("sliding_window")))


def all_unless_windowed(at: At) -> bool:
    """Hold for all but full layers where others slide; without a window for every layer (EXAONE 4)."""
    return all_but_full(at) or at.fields.get("sliding_window") is None


def scaled_where_listed(at: At, d_head: int) -> RopeSpec | None:
    """Scale frequencies in `rope_scaling_layers` only (Molmo 2)."""
    rope, listed = rope_spec(at.fields, d_head, at.layer_type), at.fields.get("rope_scaling_layers")
    if rope is None or listed is None or at.layer in listed:
        return rope
    return replace(rope, rule="default", scaling=())


def molmo_norm(spec: AttentionSpec, at: At) -> AttentionSpec:
    """Normalise each head where qk_norm_type is "qwen3", all heads together where it is "olmo"."""
    if at.fields.get("qk_norm_type", "olmo") == "qwen3" or spec.query_norm is None:
        return spec
    whole = replace(spec.query_norm, over="whole")
    return replace(spec, query_norm=whole, key_norm=whole)


def short_factors(at: At, d_head: int) -> RopeSpec | None:
    """Take LongRoPE's short list always: Phi-3.5-MoE's class asks for frequencies without telling the length."""
    rope = rope_spec(at.fields, d_head, at.layer_type)
    if rope is None or rope.rule != "longrope":
        return rope
    numbers = dict(rope.scaling)
    return replace(rope, scaling=tuple(sorted({**numbers, "long_factor": numbers["short_factor"]}.items())))


def backwards(at: At, d_head: int) -> RopeSpec | None:
    """Turn in the opposite direction."""
    rope = rope_spec(at.fields, d_head, at.layer_type)
    return None if rope is None else replace(rope, backwards=True)


def some_dimensions(at: At, d_head: int) -> RopeSpec | None:
    """Turn the first `rotary_dim` dimensions, where the RoPE parameters do not say which part turns."""
    rope, dim = rope_spec(at.fields, d_head, at.layer_type), at.fields.get("rotary_dim")
    return replace(rope, dim=dim) if rope is not None and dim and rope.dim == d_head else rope


def keys_chosen(spec: AttentionSpec, _: At) -> AttentionSpec:
    """Leave to a part that is not attention how much each query may look at each key."""
    return replace(spec, mask=MaskRule(given=True))


def privacy_filter(spec: AttentionSpec, at: At) -> AttentionSpec:
    """Scale both queries and keys; each query looks `sliding_window` tokens to both sides."""
    factor = spec.d_head**-0.25
    window = at.fields.integer("sliding_window") + 1
    return replace(
        spec, scale=1.0, query_factor=factor, key_factor=factor, mask=MaskRule(window=window, both_sides=True)
    )  # fmt: skip


def step(spec: AttentionSpec, at: At) -> AttentionSpec:
    """Give sliding layers their number of heads; the scale may be stated apart from the head width."""
    other = (at.fields.get("attention_other_setting") or {}).get("num_attention_heads")
    heads = at.fields.get("num_sliding_attention_heads") or other
    if at.layer_type != FULL and heads and at.fields.get("per_layer_config") is None:
        spec = replace(spec, heads=heads)
    return replace(spec, scale=float(at.fields.get("query_pre_attn_scalar") or spec.d_head) ** -0.5)


def all_in_view(spec: AttentionSpec, _: At) -> AttentionSpec:
    """Keep the whole prompt in view: only what Unlimited-OCR writes itself slides out."""
    return replace(spec, mask=MaskRule())


GRANITE_SWA = replace(
    GRANITE, layer_types=in_turn(FULL, SLIDING, SLIDING, SLIDING), rope=base_per_layer, sinks=every_layer
)
OLMO3_ROPE = two_bases(("", 5e5), ("rope_theta", 5e5))
MUSE = Family(
    layer_types=COUNTED_FROM_THE_LAST,
    qk_norm=NO_WEIGHT,
    rope=listed_or_sliding,
    gate=GateSpec(),
    change=factor("query_factor", "qk_scale_factor"),
)
QK_NORM_OUT_PROJ = {
    "projections.q_norm": "q_layernorm", "projections.k_norm": "k_layernorm", "o_proj": "out_proj",
}  # fmt: skip  # fmt: skip

CUSTOM: dict[str, Family] = {
    "bamba": Family(layer_types=AT_LISTED_LAYERS),
    "beam": Family(
        layer_types=last_full(every("", 6)), qk_norm=WIDE_HEAD_NORM, gate=GateSpec(bias=True), change=beam,
    ),
    "doge": Family(
        reads=("keep_window_size",), qk_norm=HEAD_NORM, change=keys_chosen, ignored=("A", "dt_proj."),
    ),
    "dory": Family(
        defaults={"initializer_range": 0.0177},
        layer_types=DORY, rope=own_words_only, qk_norm=NormSpec(eps=1e-6, kind="l2", weight=False), norm_eps="",
        output_norm=NormSpec(eps=1e-6, kind="l2", over="whole", weight=False), change=dory,
        attention=(Renamed("layers.{i}.mixer", "layers.{half}.self_attn"),),
        tensors={"projections.gate.proj": Renamed("g_proj", "gate_proj")},
        harmless=frozenset({  # how often which layers run
            "n_input_layers", "n_recurrent_layers", "n_output_layers", "n_recurrent_loops", "recurrent_kv_cache_mode",
            "ngpt_alpha_init",
        }),
    ),
    "exaone4": Family(
        qkv_bias=False, output_bias=False, layer_types=every("sliding_window_pattern", 4),
        rope_layers=all_unless_windowed, qk_norm=HEAD_NORM,
    ),
    "exaone_moe": Family(
        qkv_bias=False, output_bias=False, layer_types=every("sliding_window_pattern", 4),
        rope_layers=all_unless_windowed, qk_norm=HEAD_NORM,
    ),
    "falcon_h1": Family(change=factor("key_factor", "key_multiplier")),
    "flint": Family(
        layer_types=FLINT, rope_layers=all_but_full, qk_norm=WIDE_HEAD_NORM, sinks=every_layer,
        tensors={"sinks": Renamed("softmax_offset", "sinks")},
    ),
    "granite_swa": GRANITE_SWA,
    "granitemoe_swa": GRANITE_SWA,
    "granitemoehybrid": replace(GRANITE, layer_types=in_turn(OTHER), rope=rope_if_said),
    "kolibri1": Family(layer_types=every("", 5), rope_layers=all_unless_windowed, qk_norm=HEAD_NORM),
    "laguna": Family(qk_norm=HEAD_NORM, change=laguna, tensors={"projections.gate.proj": "g_proj"}),
    "lfm2": Family(
        qkv_bias=False, output_bias=False, layer_types=CONV_UNLESS_LISTED, qk_norm=HEAD_NORM, norm_eps="norm_eps",
        tensors=QK_NORM_OUT_PROJ,
    ),
    "lfm3": Family(
        layer_types=LFM3, qk_norm=HEAD_NORM, norm_eps="norm_eps", change=lfm3_gate,
        tensors={"projections.gate.proj": Renamed("gate_proj", "g_proj")},
    ),
    "llama4_text": Family(
        reads=("attn_temperature_tuning", "attn_scale", "floor_scale"),  # in layers without RoPE
        layer_types=ROPE_IN_CHUNKS,
        rope_layers=has_rope, rope_style="pairs", rope_wide=True,
        qk_norm=replace(NO_WEIGHT, after_rope=True), qk_norm_if="use_qk_norm", change=normed_after_rope,
    ),
    "mimo_v2_flash": Family(
        layer_types=MIMO, rope=own_words_only, output_bias=False, change=mimo, sinks=sliding_layers,
        reads=("sliding_window_size",),  # in sliding layers
        tensors={"sinks": Renamed("attention_sink_bias", "sinks")},
    ),
    "minimax": Family(qkv_bias=False, output_bias=False, layer_types=in_turn(FULL, OTHER), change=windowed),
    "minimax_m2": Family(qkv_bias=False, output_bias=False, qk_norm=WHOLE_NORM, rope=some_dimensions),
    "ministral3": Family(qkv_bias=False, output_bias=False, layer_types=ALL_SLIDING, change=grows_by_rope_parameters),
    "mllama_text_model": replace(NO_BIAS, layer_types=NOT_ACROSS),
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
    "olmo3": Family(
        reads=("rope_theta",), layer_types=every("", 4), rope=OLMO3_ROPE, qk_norm=WIDE_WHOLE_NORM, rope_wide=True,
    ),
    "phimoe": Family(layer_types=ALL_SLIDING, rope=short_factors),
    "smollm3": Family(layer_types=NO_ROPE_SLIDES, rope_layers=has_rope),
    "step3p5": Family(
        rope=own_words_only,
        qk_norm=NormSpec(eps=0.0, plus_one=True), gate=GateSpec(per_head=True), change=step,
        tensors={"projections.gate.proj": "g_proj"},
    ),
    "unlimited_ocr_text": Family(reads=("sliding_window",), change=all_in_view),
}  # fmt: skip
CUSTOM["lfm2_moe"] = CUSTOM["lfm2"]
