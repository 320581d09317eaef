"""The table of families: what a model type's config.json means for attention, and where its tensors lie.

`Family()` is Llama's reading of the standard field names; a row states only where a model type differs, its
class's defaults included, since files on the hub leave defaults out. What a row does not read and
`config.HARMLESS` does not list is refused by name: an unread field may change the numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from reimpl.config import Fields, rope_spec
from reimpl.spec import AttentionSpec, MaskRule, NormSpec, RopeSpec, UnsupportedError

Sliding = Callable[["Fields", int], bool]  # does this layer look back only over its window?


def never(_: Fields, __: int) -> bool:
    return False


def always(_: Fields, __: int) -> bool:
    """Every layer, where sliding_window is set at all."""
    return True


def when_used(fields: Fields, _: int) -> bool:
    return bool(fields["use_sliding_window"])


def by_layer(default: Sliding) -> Sliding:
    """As layer_types says; as `default` where a file leaves it out."""

    def sliding(fields: Fields, layer: int) -> bool:
        types, otherwise = fields["layer_types"], default(fields, layer)
        return types[layer] == "sliding_attention" if types is not None else otherwise

    return sliding


def every_other(_: Fields, layer: int) -> bool:
    return layer % 2 == 0


def from_max_window_layers(fields: Fields, layer: int) -> bool:
    first, used = fields.integer("max_window_layers"), fields["use_sliding_window"]
    return bool(used) and layer >= first


def even_below_max_window_layers(fields: Fields, layer: int) -> bool:
    first, used = fields.integer("max_window_layers"), fields["use_sliding_window"]
    return bool(used) and layer % 2 == 0 and layer < first


def without_rope(fields: Fields, layer: int) -> bool:
    return bool(fields["use_sliding_window"]) and not has_rope(fields, layer)


def has_rope(fields: Fields, layer: int) -> bool:
    """As no_rope_layers says (1: has RoPE, its name notwithstanding), else all but every fourth or so."""
    listed, interval = fields["no_rope_layers"], fields["no_rope_layer_interval"]
    return bool(listed[layer]) if listed is not None else (layer + 1) % interval != 0


@dataclass(frozen=True)
class Family:
    """How one model type's config becomes one AttentionSpec per layer.

    defaults:    values of the library's config class for fields that a file may leave out.
    qkv_bias:    True, False, or the name of the config field that says so; `output_bias` likewise.
    qk_norm:     RMSNorm of queries and keys before rotation: "" (none), "head" or "whole" (all heads together).
    scale:       (field, exponent): scores are multiplied by field ** exponent; None: d_head ** -0.5.
    softcap:     the field that holds the scores' soft-cap.
    sliding:     which layers look back only over `sliding_window` tokens.
    rope_layers: which layers have RoPE at all.
    rope_style:  "halves" or "pairs"; rope_wide: rotated in float32, then rounded.
    attention:   the attention module's place in the checkpoint, {i} the layer's number.
    tensors:     our parameter's name -> the checkpoint's, within that module.
    """

    defaults: Mapping[str, Any] = field(default_factory=dict)
    qkv_bias: bool | str = "attention_bias"
    output_bias: bool | str = "attention_bias"
    fused: bool = False
    qk_norm: str = ""
    norm_plus_one: bool = False
    scale: tuple[str, float] | None = None
    softcap: str | None = None
    sliding: Sliding = never
    rope_layers: Sliding = always
    rope_style: str = "halves"
    rope_wide: bool = False
    attention: str = "layers.{i}.self_attn."
    tensors: Mapping[str, str] = field(default_factory=lambda: dict(STANDARD_TENSORS))

    def specs(self, config: Mapping[str, Any]) -> list[AttentionSpec]:
        """One AttentionSpec per attention layer; UnsupportedError names any field that is not understood."""
        fields = Fields({**STANDARD_DEFAULTS, **self.defaults}, config)
        specs = [self._spec(fields, layer) for layer in range(fields.integer("num_hidden_layers"))]
        fields.refuse_unread()
        return specs

    def _spec(self, fields: Fields, layer: int) -> AttentionSpec:
        heads, d_model = fields.integer("num_attention_heads"), fields.integer("hidden_size")
        d_head = fields.optional_integer("head_dim") or d_model // heads
        norm = None
        if self.qk_norm:
            norm = NormSpec(float(fields["rms_norm_eps"]), self.qk_norm == "whole", self.norm_plus_one)
        window = fields.optional_integer("sliding_window") if self.sliding is not never else None
        slides, rotates, rope = self.sliding(fields, layer), self.rope_layers(fields, layer), self._rope(fields, d_head)
        return AttentionSpec(
            heads=heads,
            kv_heads=fields.optional_integer("num_key_value_heads") or heads,
            d_head=d_head,
            d_model=d_model,
            scale=d_head**-0.5 if self.scale is None else float(fields[self.scale[0]]) ** self.scale[1],
            rope=rope if rotates else None,
            mask=MaskRule(window=window if slides else None),
            fused=self.fused,
            qkv_bias=fields.flag(self.qkv_bias),
            output_bias=fields.flag(self.output_bias),
            query_norm=norm,
            key_norm=norm,
            softcap=None if self.softcap is None else fields[self.softcap],
            dropout=float(fields["attention_dropout"] or 0.0),
        )

    def _rope(self, fields: Fields, d_head: int) -> RopeSpec:
        return replace(rope_spec(fields, d_head), style=self.rope_style, wide=self.rope_wide)


STANDARD_TENSORS: dict[str, str] = {
    "projections.q_proj": "q_proj",
    "projections.k_proj": "k_proj",
    "projections.v_proj": "v_proj",
    "projections.qkv_proj": "qkv_proj",
    "projections.q_norm": "q_norm",
    "projections.k_norm": "k_norm",
    "o_proj": "o_proj",
}

STANDARD_DEFAULTS: dict[str, Any] = {
    "num_key_value_heads": None,  # as many as query heads
    "head_dim": None,  # hidden_size // num_attention_heads
    "rope_theta": 10000.0,
    "partial_rotary_factor": 1.0,
    "rope_scaling": None,
    "rope_parameters": None,
    "max_position_embeddings": 2048,
    "original_max_position_embeddings": None,
    "attention_bias": False,
    "attention_dropout": 0.0,
    "rms_norm_eps": 1e-6,
    "sliding_window": None,
    "use_sliding_window": False,
    "max_window_layers": 28,
    "layer_types": None,
}

QWEN_DEFAULTS = {"num_key_value_heads": 32, "max_position_embeddings": 32768, "sliding_window": 4096}
GLM = Family(
    defaults={"num_key_value_heads": 2, "head_dim": 128, "attention_bias": True, "partial_rotary_factor": 0.5},
    output_bias=False,
    rope_style="pairs",
)

FAMILIES: dict[str, Family] = {
    "llama": Family(),
    "arcee": Family(),
    "ernie4_5": Family(
        defaults={"num_key_value_heads": 2, "head_dim": 128, "rope_theta": 500000.0, "use_bias": False},
        qkv_bias="use_bias",
        output_bias="use_bias",
        rope_style="pairs",
        rope_wide=True,
    ),
    "gemma": Family(defaults={"num_key_value_heads": 16, "head_dim": 256}),
    "gemma2": Family(
        defaults={
            "num_key_value_heads": 4, "head_dim": 256, "query_pre_attn_scalar": 256, "attn_logit_softcapping": 50.0,
            "sliding_window": 4096,
        },
        scale=("query_pre_attn_scalar", -0.5),
        softcap="attn_logit_softcapping",
        sliding=by_layer(every_other),
    ),
    "glm": GLM,
    "glm4": GLM,
    "granite": Family(defaults={"attention_multiplier": 1.0}, scale=("attention_multiplier", 1.0)),
    "helium": Family(
        defaults={"num_key_value_heads": 20, "head_dim": 128, "rope_theta": 100000.0},
        output_bias=False,
        rope_style="pairs",
    ),
    "mistral": Family(
        defaults={"num_key_value_heads": 8, "sliding_window": 4096, "max_position_embeddings": 131072},
        qkv_bias=False,
        output_bias=False,
        sliding=always,
    ),
    "mixtral": Family(
        defaults={"num_key_value_heads": 8, "rope_theta": 1000000.0},
        qkv_bias=False,
        output_bias=False,
        sliding=always,
    ),
    "olmo2": Family(defaults={"rms_norm_eps": 1e-5}, qk_norm="whole", rope_wide=True),
    "phi3": Family(
        defaults={"max_position_embeddings": 4096, "original_max_position_embeddings": 4096},
        qkv_bias=False,
        output_bias=False,
        fused=True,
        sliding=always,
    ),
    "qwen2": Family(
        defaults=QWEN_DEFAULTS, qkv_bias=True, output_bias=False, sliding=by_layer(from_max_window_layers)
    ),
    "qwen2_moe": Family(
        defaults={**QWEN_DEFAULTS, "num_key_value_heads": 16, "qkv_bias": True},
        qkv_bias="qkv_bias",
        output_bias=False,
        sliding=by_layer(even_below_max_window_layers),
    ),
    "qwen3": Family(
        defaults={**QWEN_DEFAULTS, "head_dim": 128}, qk_norm="head", sliding=by_layer(from_max_window_layers)
    ),
    "qwen3_moe": Family(
        defaults={**QWEN_DEFAULTS, "num_key_value_heads": 4}, qk_norm="head", sliding=when_used
    ),
    "seed_oss": Family(
        defaults={
            "num_key_value_heads": 8, "head_dim": 128, "attention_bias": True, "attention_out_bias": False,
            "attention_dropout": 0.1,
        },
        output_bias="attention_out_bias",
    ),
    "smollm3": Family(
        defaults={
            "num_key_value_heads": 4, "rope_theta": 2000000.0, "no_rope_layers": None, "no_rope_layer_interval": 4,
        },
        sliding=by_layer(without_rope),
        rope_layers=has_rope,
    ),
    "starcoder2": Family(
        defaults={"num_key_value_heads": 2, "use_bias": True},
        qkv_bias="use_bias",
        output_bias="use_bias",
        sliding=always,
    ),
}  # fmt: skip


def family_of(config: Mapping[str, Any]) -> Family:
    """The row for this config's model_type; UnsupportedError where there is none."""
    model_type = config.get("model_type")
    if model_type not in FAMILIES:
        raise UnsupportedError(
            f'model_type "{model_type}" is not reimplemented; the families so far: {", ".join(sorted(FAMILIES))}. '
            "Its attention can still be captured and viewed."
        )
    return FAMILIES[model_type]
