"""Families in the line of GPT: one matrix for queries, keys and values, LayerNorms, other tensor names."""

from __future__ import annotations

from dataclasses import replace

from reimpl.config import Fields
from reimpl.families.family import At, Family
from reimpl.families.layer_types import ALL_FULL, ALL_SLIDING, FULL, SLIDING, LayerTypes
from reimpl.families.rope_bases import two_bases
from reimpl.families.tensor_names import PerHead
from reimpl.spec import AttentionSpec, MaskRule, NormSpec, RopeSpec, UnsupportedError

LAYER_NORM = NormSpec(eps=0.0, kind="layer", bias=True)
GPT_NAMES = {
    "hidden_size": "n_embd",
    "num_hidden_layers": "n_layer",
    "num_attention_heads": "n_head",
    "attention_dropout": "attn_pdrop",
    "max_position_embeddings": "n_positions",
}
NEOX_NAMES = {"rope_theta": "rotary_emb_base", "partial_rotary_factor": "rotary_pct"}
NORMS = {"projections.q_norm": "q_layernorm", "projections.k_norm": "k_layernorm"}
ONE_MATRIX = {"projections.qkv_proj": "query_key_value", "o_proj": "dense"}


def first_dimensions(at: At, d_head: int) -> RopeSpec:
    """Turn as many of a head's dimensions as `rotary_dim` says."""
    return RopeSpec(theta=10000.0, dim=at.fields.get("rotary_dim") or d_head)


def _falcon(spec: AttentionSpec, at: At) -> AttentionSpec:
    """Share one key/value head; in the new architecture, groups; in neither, one for each query head."""
    if at.fields.get("alibi"):
        raise UnsupportedError("Falcon with alibi=true adds a bias by distance instead of RoPE, which is not modelled.")
    if at.fields.get("new_decoder_architecture"):
        return replace(spec, layout="grouped", kv_heads=at.fields.get("num_kv_heads") or spec.heads)
    if at.fields.get("multi_query", True):
        return replace(spec, layout="stacked", kv_heads=1)
    return replace(spec, layout="grouped", kv_heads=spec.heads)


def _clip_in_config(spec: AttentionSpec, at: At) -> AttentionSpec:
    """Read attention's numbers from a part of their own (DBRX)."""
    part = at.fields.get("attn_config") or {}
    rope = replace(spec.rope, theta=float(part.get("rope_theta", 10000.0))) if spec.rope else None
    return replace(
        spec, kv_heads=part.get("kv_n_heads", 1), clip=part.get("clip_qkv"), rope=rope,
        dropout=float(part.get("attn_pdrop") or 0.0),
    )  # fmt: skip


def _half_window(spec: AttentionSpec, at: At) -> AttentionSpec:
    """Halve `local_attention`, in which ModernBERT counts both sides: a decoder looks back only."""
    if at.layer_type == FULL:
        return spec
    both = at.fields.get("local_attention", 128)
    return replace(spec, mask=MaskRule(window=both // 2 if both else None))


def _every_nth_full(fields: Fields, layer: int) -> str:
    """Attend fully in every n-th layer, from the first on."""
    return SLIDING if layer % int(fields.get("global_attn_every_n_layers") or 3) else FULL


MODERNBERT_ROPE = two_bases(("local_rope_theta", 1e4), ("global_rope_theta", 160000.0), scales_local=True)
PERSIMMON = Family(
    layout="grouped",
    qkv_bias=True,
    output_bias=True,
    qk_norm=LAYER_NORM,
    qk_norm_if="qk_layernorm",
    norm_eps="layer_norm_eps",
    tensors={**ONE_MATRIX, **NORMS},
)

GPT: dict[str, Family] = {
    "chameleon": Family(
        qk_norm=NormSpec(eps=1e-5, kind="layer", over="each", bias=True), norm_eps="",
    ),
    "codegen": Family(
        names=GPT_NAMES, layout="quarters", qkv_bias=False, output_bias=False, rope=first_dimensions,
        rope_style="pairs", attention=("h.{i}.attn",), tensors={"o_proj": "out_proj"}, ignored=("causal_mask",),
    ),
    "dbrx": Family(
        names={"hidden_size": "d_model", "num_hidden_layers": "n_layers", "num_attention_heads": "n_heads",
               "max_position_embeddings": "max_seq_len"},
        layout="stacked", qkv_bias=False, output_bias=False, change=_clip_in_config,
        attention=("blocks.{i}.norm_attn_norm.attn",), tensors={"projections.qkv_proj": "Wqkv", "o_proj": "out_proj"},
    ),
    "falcon": Family(
        reads=("multi_query", "num_kv_heads"), qkv_bias="bias", output_bias="bias", change=_falcon,
        attention=("h.{i}.self_attention",), tensors=ONE_MATRIX, layout="stacked",
    ),
    "gpt_neox": Family(
        names=NEOX_NAMES, layout="grouped", attention=("layers.{i}.attention",), tensors=ONE_MATRIX,
        ignored=("bias", "masked_bias"),
    ),
    "gpt_neox_japanese": Family(
        names=NEOX_NAMES, layout="grouped", qkv_bias=False, output_bias=False, attention=("layers.{i}.attention",),
        tensors=ONE_MATRIX, ignored=("dense_bias",),
    ),
    "gptj": Family(
        names=GPT_NAMES, qkv_bias=False, output_bias=False, rope=first_dimensions, rope_style="pairs",
        attention=("h.{i}.attn",), tensors={"o_proj": "out_proj"}, ignored=("bias", "masked_bias"),
        harmless=frozenset({"rotary", "scale_attn_weights"}),  # the class does both, whatever a file says
    ),
    "kyutai_speech_to_text": Family(
        qkv_bias=False, output_bias=False, layer_types=ALL_FULL,
        tensors={f"projections.{x}_proj": f"{x}_proj.linear" for x in "qkv"} | {"o_proj": "o_proj.linear"},
    ),
    "modernbert-decoder": Family(
        reads=("local_attention", "local_rope_theta", "global_rope_theta"),
        layer_types=LayerTypes(_every_nth_full, reads=("global_attn_every_n_layers",)), rope=MODERNBERT_ROPE,
        attention=("layers.{i}.attn",),
        tensors={"o_proj": "Wo"}, change=_half_window,
    ),
    "persimmon": PERSIMMON,
    "phi": Family(
        qkv_bias=True, output_bias=True, qk_norm=LAYER_NORM, qk_norm_if="qk_layernorm", norm_eps="layer_norm_eps",
        tensors={"o_proj": "dense", **NORMS},
    ),
    "phi3": Family(
        qkv_bias=False, output_bias=False, layout="stacked", layer_types=ALL_SLIDING,
        harmless=frozenset({"full_attn_mod", "interpolate_factor"}),  # of the model's own code; its class reads neither
    ),
    "phi4_multimodal": Family(qkv_bias=False, output_bias=False, layout="stacked", layer_types=ALL_SLIDING),
    "stablelm": Family(
        qkv_bias="use_qkv_bias", output_bias=False, qk_norm=NormSpec(eps=0.0, kind="layer", over="each"),
        qk_norm_if="qk_layernorm", norm_eps="layer_norm_eps",
        tensors={
            "projections.q_norm": PerHead("q_layernorm.norms"), "projections.k_norm": PerHead("k_layernorm.norms"),
        },
    ),
}  # fmt: skip
GPT["moshi"] = GPT["kyutai_speech_to_text"]
