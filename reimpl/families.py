"""The table of families: what a model type's config.json means for attention, and where its tensors lie.

`Family()` is Llama's reading of the standard field names; a row states only where a model type differs, its
class's defaults included, since files on the hub leave defaults out. What a row does not read and
`HARMLESS` does not list is refused by name: an unread field may change the numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from reimpl.spec import AttentionSpec, CheckpointError, MaskRule, NormSpec, RopeSpec, UnsupportedError

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


def rope_spec(fields: Fields, d_head: int) -> RopeSpec:
    """The RopeSpec of today's `rope_parameters`, or of the older `rope_theta` and `rope_scaling`."""
    given = {**(fields["rope_scaling"] or {}), **(fields["rope_parameters"] or {})}
    theta, fallback = given.pop("rope_theta", None), fields["rope_theta"]
    old_name = given.pop("type", "default")
    rule = given.pop("rope_type", old_name)
    part = fields["partial_rotary_factor"]
    fraction = 1.0 if rule == "proportional" else given.pop("partial_rotary_factor", part)
    if rule not in RULE_FIELDS:
        raise UnsupportedError(f'rope_type "{rule}" is not modelled; known rules: {", ".join(RULE_FIELDS)}.')
    needed, optional = RULE_FIELDS[rule]
    for name in ("max_position_embeddings", "original_max_position_embeddings"):
        outside = fields[name]  # a field of the config itself goes first, as in the library
        if name in needed:
            given[name] = outside if outside is not None else given.get(name, fields["max_position_embeddings"])
    given = {name: value for name, value in given.items() if value is not None}
    if rule == "default":  # its numbers, if a file carries any, change nothing
        given = {}
    if missing := needed - given.keys():
        raise CheckpointError(f'rope_type "{rule}" needs {", ".join(sorted(missing))} in config.json.')
    if unread := given.keys() - needed - optional:
        raise UnsupportedError(f'rope_type "{rule}" with {", ".join(sorted(unread))} is not modelled.')
    return RopeSpec(
        theta=float(theta if theta is not None else fallback),
        dim=int(d_head * fraction),
        rule=rule,
        scaling=tuple((name, tuple(v) if isinstance(v, list) else v) for name, v in sorted(given.items())),
    )


class Fields:
    """A config's fields over their defaults, keeping count of which were read."""

    def __init__(self, defaults: Mapping[str, Any], config: Mapping[str, Any]) -> None:
        self.values = {**defaults, **config}
        self.given = config
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        self.read.add(name)
        if name not in self.values:
            raise CheckpointError(f"config.json has no {name}, and this model type has no default for it.")
        return self.values[name]

    def integer(self, name: str) -> int:
        value = self[name]
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise CheckpointError(f"config.json has {name}={value!r}; a whole number is needed.")
        return value

    def optional_integer(self, name: str) -> int | None:
        return None if self[name] is None else self.integer(name)

    def flag(self, rule: bool | str) -> bool:
        return bool(self[rule]) if isinstance(rule, str) else rule

    def refuse_unread(self) -> None:
        """Every field that could matter was read, is known to be harmless, or is switched off (null or false)."""
        unread = {name for name, value in self.given.items() if value is not None and value is not False}
        unread -= self.read | HARMLESS
        unread = {name for name in unread if not name.startswith("_")}  # a library's notes to itself
        if unread:
            raise UnsupportedError(
                f"config.json has fields that are not modelled: {', '.join(sorted(unread))}. They may change the "
                "attention, so nothing is computed; if one is harmless, add it to HARMLESS in reimpl/families.py."
            )


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

# A frequency rule's own numbers: those it needs, and those it may have.
RULE_FIELDS: dict[str, tuple[set[str], set[str]]] = {
    "default": (set(), set()),
    "linear": ({"factor"}, {"original_max_position_embeddings"}),
    "dynamic": ({"factor", "max_position_embeddings"}, {"original_max_position_embeddings"}),
    "yarn": (
        {"max_position_embeddings", "original_max_position_embeddings"},
        {"factor", "attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "truncate"},
    ),
    "longrope": (
        {"max_position_embeddings", "original_max_position_embeddings", "short_factor", "long_factor"},
        {"factor", "attention_factor"},
    ),
    "llama3": ({"factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"}, set()),
    "proportional": (set(), {"factor", "partial_rotary_factor"}),
}

# Fields that cannot change what attention computes from its input.
HARMLESS = {
    "architectures", "model_type", "transformers_version", "torch_dtype", "dtype", "auto_map",
    "vocab_size", "intermediate_size", "hidden_act", "initializer_range", "rms_norm_eps", "use_cache", "mlp_bias",
    "tie_word_embeddings", "pad_token_id", "bos_token_id", "eos_token_id", "unk_token_id", "pretraining_tp",
    "max_position_embeddings",
    "rope_interleaved",  # written by SmolLM2's training tool; its files are in halves, and False there
    "transformers.js_config", "chunk_size_feed_forward",
    # What stands around the attention: experts, multipliers and caps of other parts, norms of the block.
    "num_experts", "num_local_experts", "num_experts_per_tok", "norm_topk_prob", "router_aux_loss_coef",
    "output_router_logits", "router_jitter_noise", "moe_intermediate_size", "shared_expert_intermediate_size",
    "decoder_sparse_step", "mlp_only_layers", "final_logit_softcapping", "hidden_activation", "embedding_multiplier",
    "residual_multiplier", "logits_scaling", "norm_epsilon", "layer_norm_eps", "resid_pdrop", "embd_pdrop",
    "residual_dropout", "embedding_dropout", "output_attentions",
    "output_hidden_states", "return_dict", "id2label", "label2id", "problem_type", "is_encoder_decoder",
}  # fmt: skip

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
