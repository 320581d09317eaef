"""Families near to Llama: other biases, scales, norms of queries and keys, windows, gates."""

from __future__ import annotations

from reimpl.families.family import Family, all_but_full, every_layer
from reimpl.families.layer_types import ALL_SLIDING, BEHIND_MAX_WINDOW_LAYERS, FULL, OTHER, SLIDING, every, in_turn
from reimpl.families.rope_bases import alpha_in_base
from reimpl.families.tensor_names import Renamed, Stacked
from reimpl.spec import GateSpec, NormSpec

HEAD_NORM = NormSpec(eps=0.0)
WHOLE_NORM = NormSpec(eps=0.0, over="whole")
WIDE_HEAD_NORM = NormSpec(eps=0.0, wide=True)
WIDE_WHOLE_NORM = NormSpec(eps=0.0, over="whole", wide=True)
NO_WEIGHT = NormSpec(eps=0.0, weight=False)
GRANITE = Family(scale=("attention_multiplier", 1.0))
MISTRAL = Family(qkv_bias=False, output_bias=False, layer_types=ALL_SLIDING)
NO_BIAS = Family(qkv_bias=False, output_bias=False)

LLAMA_LIKE: dict[str, Family] = {
    "llama": Family(),
    "afmoe": Family(
        layer_types=every("global_attn_every_n_layers", 4), rope_layers=all_but_full, qk_norm=WIDE_HEAD_NORM,
        gate=GateSpec(),
    ),
    "apertus": Family(qk_norm=HEAD_NORM),
    "apertus1p5_text": Family(qk_norm=HEAD_NORM),
    "arcee": Family(),
    "aria_text": Family(),
    "bitnet": Family(output_norm=WHOLE_NORM, tensors={"output_norm": "attn_sub_norm"}),
    "cosmos3_edge_text": Family(),
    "csm": Family(),
    "cwm": Family(qkv_bias=False, output_bias=False, layer_types=in_turn(FULL, SLIDING, SLIDING, SLIDING)),
    "deepseek_ocr2_text": Family(),
    "dots1": Family(qk_norm=HEAD_NORM, layer_types=BEHIND_MAX_WINDOW_LAYERS),
    "emu3_text_model": Family(),
    "exaone": Family(
        names={"num_hidden_layers": "num_layers"},
        attention=(Renamed("h.{i}.attn.attention", "layers.{i}.self_attn"),),
        tensors={"o_proj": Renamed("out_proj", "o_proj")},
    ),
    "flex_olmo": Family(qk_norm=WIDE_WHOLE_NORM),
    "glm4_moe": Family(output_bias=False, qk_norm=HEAD_NORM, qk_norm_if="use_qk_norm"),
    "evolla": Family(harmless=frozenset({"protein_encoder_config"})),
    "glm4v_moe_text": Family(output_bias=False),
    "glm_image_text": Family(output_bias=False),
    "gpt_oss": Family(layer_types=in_turn(SLIDING, FULL), sinks=every_layer),
    "granite": GRANITE,
    "granite4_vision_text": GRANITE,
    "granite_docling_text": GRANITE,
    "granitemoe": GRANITE,
    "granitemoeshared": GRANITE,
    "higgs_audio_v2": Family(),
    "hrm_text": Family(
        names={"num_hidden_layers": "num_layers_per_stack"}, layout="gate first", gate=GateSpec("matrix"),
        attention=(
            Renamed("L_module.layers.{i}.attn", "L_module.layers.{i}.self_attn"),
            Renamed("H_module.layers.{i}.attn", "H_module.layers.{i}.self_attn"),
        ),
        tensors={"projections.qkv_proj": "gqkv_proj"},
    ),
    "hunyuan_v1_dense": Family(
        qk_norm=NormSpec(eps=0.0, after_rope=True), rope=alpha_in_base,
        harmless=frozenset({"use_qk_norm", "attention_head_dim", "use_cla", "cla_share_factor"}),  # read by no class
        tensors={"projections.q_norm": "query_layernorm", "projections.k_norm": "key_layernorm"},
    ),
    "hy_v3": Family(qk_norm=HEAD_NORM),
    "hyperclovax": GRANITE,
    "internlm3": Family(),
    "iquestcoder": Family(),
    "jais2": Family(),
    "mellum": Family(qk_norm=HEAD_NORM),
    "lara_mini": Family(
        layer_types=in_turn(OTHER, SLIDING, OTHER, FULL, SLIDING), rope_layers=all_but_full, qk_norm=HEAD_NORM,
    ),
    "minimax_m3_vl_text": Family(
        qkv_bias=False, output_bias=False, qk_norm=NormSpec(eps=0.0, plus_one=True), ignored=("indexer.",),
        harmless=frozenset({"rotary_dim"}),  # the library's class reads partial_rotary_factor alone
    ),
    "ministral": MISTRAL,
    "mistral": MISTRAL,
    "mixtral": MISTRAL,
    "nemotron": Family(),
    "olmo": Family(clip="clip_qkv"),
    "olmo2": Family(qk_norm=WIDE_WHOLE_NORM, rope_wide=True),
    "olmo_hybrid": Family(layer_types=every("", 4, otherwise=OTHER), qk_norm=WIDE_WHOLE_NORM, rope_wide=True),
    "olmoe": Family(qk_norm=WHOLE_NORM, clip="clip_qkv", rope_wide=True),
    "sarvam_moe": Family(
        names={"attention_bias": "use_qkv_bias"}, output_bias=False, qk_norm=HEAD_NORM, qk_norm_if="use_qk_norm",
        attention=(Renamed("layers.{i}.attention", "layers.{i}.self_attn"),),
        tensors={
            "projections.q_proj": Stacked("query_key_value", 0, "q_proj"),
            "projections.k_proj": Stacked("query_key_value", 1, "k_proj"),
            "projections.v_proj": Stacked("query_key_value", 2, "v_proj"),
            "projections.q_norm": Renamed("query_layernorm", "q_norm"),
            "projections.k_norm": Renamed("key_layernorm", "k_norm"),
            "o_proj": Renamed("dense", "o_proj"),
        },
    ),
    "seed_oss": Family(output_bias="attention_out_bias"),
    "solar_open": Family(),
    "starcoder2": Family(
        qkv_bias="use_bias", output_bias="use_bias", layer_types=ALL_SLIDING,
        harmless=frozenset({"scale_attn_weights"}),  # the class does, whatever a file says
    ),
    "voxtral_realtime_text": MISTRAL,
}  # fmt: skip
LLAMA_LIKE["hunyuan_v1_moe"] = LLAMA_LIKE["hunyuan_vl_text"] = LLAMA_LIKE["hunyuan_v1_dense"]
