"""Families with multi-head latent attention (latent.py): DeepSeek's, and those who took it over.

Some choose the keys that a query may look at by a part of their own, the indexer, whose table comes from outside then.
"""

from __future__ import annotations

from dataclasses import replace

from reimpl.config import Fields, rope_spec
from reimpl.families.custom import grows_by_rope_parameters
from reimpl.families.family import At, Change, Family, every_layer
from reimpl.families.layer_types import ALL_INDEXED, INDEXED, OTHER, SLIDING, LayerTypes, every
from reimpl.families.rope_bases import own_words_only
from reimpl.families.tensor_names import Renamed
from reimpl.frequencies import magnitude
from reimpl.spec import AttentionSpec, GateSpec, LatentSpec, RopeSpec


def latent(*, interleaved: bool | str = True, steeper: bool = True, **differs: object) -> Change:
    """Read the widths of the latent vectors from the standard fields.

    Args:
        interleaved: whether the files hold pairs, or the field that says so.
        steeper: YaRN's mscale_all_dim also multiplies the scale, squared.
        differs: fields of LatentSpec in which the family differs.

    Returns:
        The change of a layer's spec.
    """

    def change(spec: AttentionSpec, at: At) -> AttentionSpec:
        turning, fixed = at.fields.integer("qk_rope_head_dim"), at.fields.integer("qk_nope_head_dim")
        pairs = at.fields.get(interleaved, True) if isinstance(interleaved, str) else interleaved
        found = LatentSpec(
            query_rank=at.fields.optional_integer("q_lora_rank"),
            key_value_rank=at.fields.integer("kv_lora_rank"),
            rope_dim=turning,
            stored_in_pairs=bool(pairs),
        )
        return replace(
            spec,
            d_head=fixed + turning,
            d_value=at.fields.integer("v_head_dim"),
            kv_heads=spec.heads,  # latent vectors are expanded for every head
            scale=(fixed + turning) ** -0.5 * (_steeper(spec.rope) if steeper else 1.0),
            rope=None if spec.rope is None else replace(spec.rope, dim=turning, last=True),
            latent=replace(found, **differs),  # type: ignore[arg-type]
        )

    return change


def _steeper(rope: RopeSpec | None) -> float:
    """Square YaRN's magnitude: once for queries, once for keys."""
    numbers = dict(rope.scaling) if rope is not None else {}
    all_dim, factor = numbers.get("mscale_all_dim", 0), numbers.get("factor")
    return magnitude(float(factor), float(all_dim)) ** 2 if all_dim and factor else 1.0  # type: ignore[arg-type]


def _also(*changes: Change) -> Change:
    """Apply several changes in order."""

    def change(spec: AttentionSpec, at: At) -> AttentionSpec:
        for each in changes:
            spec = each(spec, at)
        return spec

    return change


def _scaled_latents(spec: AttentionSpec, _: At) -> AttentionSpec:
    """Multiply queries and key/value latents by sqrt(d_model / rank) (LongCat)."""
    if spec.latent is None:
        return spec
    queries = (spec.d_model / (spec.latent.query_rank or spec.d_model)) ** 0.5
    keys_values = (spec.d_model / spec.latent.key_value_rank) ** 0.5
    return replace(spec, latent=replace(spec.latent, query_factor=queries, key_value_factor=keys_values))


def _dots_types(_: Fields, layer: int) -> str:
    """Choose keys in the first two layers and every fourth; slide in the others."""
    return INDEXED if layer < 2 or layer % 4 == 1 else SLIDING


SLIDING_DOTS = {
    "num_attention_heads": 64, "num_key_value_heads": 64, "q_lora_rank": 1024, "kv_lora_rank": 1024, "head_dim": 256,
    "qk_nope_head_dim": 192, "v_head_dim": 128,
}  # fmt: skip


def _dots(spec: AttentionSpec, at: At) -> AttentionSpec:
    """Give Dots 3's sliding layers widths of their own, `swa_*` in files that do not list them by layer."""
    if at.layer_type == SLIDING and at.fields.get("per_layer_config") is None:
        widths = {name: at.fields.get(f"swa_{name}", usual) for name, usual in SLIDING_DOTS.items()}
        turning = at.fields.get("swa_qk_rope_head_dim", widths["head_dim"] - widths["qk_nope_head_dim"])
        at = at._replace(fields=at.fields.overridden({**widths, "qk_rope_head_dim": turning}))
        heads = widths["num_attention_heads"]
        spec = replace(spec, heads=heads, kv_heads=heads, rope=_rope_dims(at, 0))
    latents = _also(latent(rope_norm=True, factor_on_latent=True), _scaled_latents, _eps_of_config)
    return latents(spec, at)


def _dots_rope(at: At, d_head: int) -> RopeSpec | None:
    """Turn `qk_rope_head_dim` dimensions; older words for RoPE are refused."""
    own_words_only(at, d_head)
    return _rope_dims(at, d_head)


def _eps_of_config(spec: AttentionSpec, at: At) -> AttentionSpec:
    """Give the norms of latents the file's eps, not the class's."""
    eps = at.fields.number("rms_norm_eps")
    return spec if spec.latent is None else replace(spec, latent=replace(spec.latent, eps=eps))


def _rope_dims(at: At, _: int) -> RopeSpec | None:
    """Turn `qk_rope_head_dim` dimensions."""
    rope = rope_spec(at.fields, at.fields.integer("qk_rope_head_dim"), at.layer_type)
    return None if rope is None else replace(rope, dim=at.fields.integer("qk_rope_head_dim"))


def _yarn_by_another_name(at: At, d_head: int) -> RopeSpec | None:
    """Read "deepseek_yarn" in rope_scaling as "yarn", as the class does (Sarvam)."""
    scaling = at.fields["rope_scaling"] or {}
    if "deepseek_yarn" in (scaling.get("type"), scaling.get("rope_type")):
        today = {**{name: value for name, value in scaling.items() if name != "type"}, "rope_type": "yarn"}
        at = at._replace(fields=at.fields.overridden({"rope_scaling": today}))
    return _rope_dims(at, d_head)


MLA = Family(rope=_rope_dims, change=latent(interleaved="rope_interleave"))
INDEXED_MLA = replace(MLA, layer_types=ALL_INDEXED, change=latent(), ignored=("indexer.",))

DEEPSEEK: dict[str, Family] = {
    "axk1": MLA,
    "axk2": replace(
        INDEXED_MLA, change=latent(gated=True), tensors={"projections.q_b_proj": Renamed("q_b_proj", "q_gate_proj")},
    ),
    "bailing_hybrid": replace(
        MLA, layer_types=every("layer_group_size", 6, otherwise=OTHER),
        names={"max_position_embeddings": "model_max_length"},
        change=latent(), gate=GateSpec(per_head=True),
        attention=(Renamed("layers.{i}.attention", "layers.{i}.self_attn"),),
        tensors={"o_proj": Renamed("dense", "o_proj"), "projections.gate.proj": "g_proj"},
    ),
    "deepseek_v2": replace(MLA, change=latent(interleaved=False), rope_style="pairs", rope_wide=True),
    "deepseek_v3": MLA,
    "deepseek_v32": INDEXED_MLA,
    "dots3_note_text": replace(
        INDEXED_MLA, reads=tuple(f"swa_{name}" for name in (*SLIDING_DOTS, "qk_rope_head_dim")),
        layer_types=LayerTypes(_dots_types), rope=_dots_rope,
        change=_dots,
        gate=GateSpec(per_head=True), tensors={"projections.gate.proj": "g_proj"},
    ),
    "glm4_moe_lite": MLA,
    "glm_moe_dsa": INDEXED_MLA,
    "hy_v4": replace(
        INDEXED_MLA, change=latent(interleaved=False), gate=GateSpec(), sinks=every_layer,
        tensors={
            "projections.gate.proj": Renamed("linear_gate", "gate_proj"),
            "sinks": Renamed("learnable_sink_param", "sinks"),
        },
    ),
    "longcat_flash": replace(
        MLA,
        names={"num_hidden_layers": "num_layers"},
        change=_also(latent(), _scaled_latents),
        attention=("layers.{i}.self_attn.0", "layers.{i}.self_attn.1"),
    ),
    "minicpm3": replace(MLA, change=latent(interleaved=False)),
    "mistral4": replace(
        MLA, change=_also(latent(interleaved="rope_interleave"), grows_by_rope_parameters),
    ),
    "sarvam_mla": replace(
        MLA, rope=_yarn_by_another_name, harmless=frozenset({"q_head_dim"}),  # qk_nope_head_dim + qk_rope_head_dim
    ),
    "youtu": MLA,
}  # fmt: skip
