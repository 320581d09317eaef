"""The table of families: what a model type's config.json means for attention, and where its tensors lie.

`Family()` is Llama's reading of the standard field names; a row states only where a model type differs, its
class's defaults included, since files on the hub leave defaults out. What a row does not read and
`HARMLESS` does not list is refused by name: an unread field may change the numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from reimpl.spec import AttentionSpec, CheckpointError, MaskRule, NormSpec, RopeSpec, UnsupportedError


@dataclass(frozen=True)
class Family:
    """How one model type's config becomes one AttentionSpec per layer.

    defaults:    values of the library's config class for fields that a file may leave out.
    qkv_bias:    True, False, or the name of the config field that says so; `output_bias` likewise.
    qk_norm:     RMSNorm over each head's queries and keys before rotation.
    window:      "never", "always" (every layer, where sliding_window is set) or "by_layer" (layer_types, or
                 Qwen's use_sliding_window with max_window_layers).
    attention:   the attention module's place in the checkpoint, {i} the layer's number.
    tensors:     our parameter's name -> the checkpoint's, within that module.
    """

    defaults: Mapping[str, Any] = field(default_factory=dict)
    qkv_bias: bool | str = "attention_bias"
    output_bias: bool | str = "attention_bias"
    qk_norm: bool = False
    window: str = "never"
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
        norm = NormSpec(eps=float(fields["rms_norm_eps"])) if self.qk_norm else None
        return AttentionSpec(
            heads=heads,
            kv_heads=fields.optional_integer("num_key_value_heads") or heads,
            d_head=d_head,
            d_model=d_model,
            scale=d_head**-0.5,
            rope=rope_spec(fields, d_head),
            mask=MaskRule(window=self._window(fields, layer)),
            qkv_bias=fields.flag(self.qkv_bias),
            output_bias=fields.flag(self.output_bias),
            query_norm=norm,
            key_norm=norm,
            dropout=float(fields["attention_dropout"] or 0.0),
        )

    def _window(self, fields: Fields, layer: int) -> int | None:
        if self.window == "never":
            return None
        window = fields.optional_integer("sliding_window")
        if self.window == "always":
            return window
        types, used = fields["layer_types"], fields["use_sliding_window"]
        first = fields.integer("max_window_layers")
        if not used:
            return None
        if types is not None:
            return window if types[layer] == "sliding_attention" else None
        return window if layer >= first else None


def rope_spec(fields: Fields, d_head: int) -> RopeSpec:
    """The RopeSpec of today's `rope_parameters`, or of the older `rope_theta` and `rope_scaling`."""
    given = {**(fields["rope_scaling"] or {}), **(fields["rope_parameters"] or {})}
    theta, fallback = given.pop("rope_theta", None), fields["rope_theta"]
    old_name = given.pop("type", "default")
    rule = given.pop("rope_type", old_name)
    fraction = 1.0 if rule == "proportional" else given.pop("partial_rotary_factor", 1.0)
    if rule not in RULE_FIELDS:
        raise UnsupportedError(f'rope_type "{rule}" is not modelled; known rules: {", ".join(RULE_FIELDS)}.')
    needed, optional = RULE_FIELDS[rule]
    for name in needed & {"max_position_embeddings", "original_max_position_embeddings"}:
        outside = fields[name]  # a field of the config itself goes first, as in the library
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
    "projections.q_norm": "q_norm",
    "projections.k_norm": "k_norm",
    "o_proj": "o_proj",
}

STANDARD_DEFAULTS: dict[str, Any] = {
    "num_key_value_heads": None,  # as many as query heads
    "head_dim": None,  # hidden_size // num_attention_heads
    "rope_theta": 10000.0,
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
    "transformers.js_config", "chunk_size_feed_forward", "output_attentions",
    "output_hidden_states", "return_dict", "id2label", "label2id", "problem_type", "is_encoder_decoder",
}  # fmt: skip

QWEN_DEFAULTS = {"num_key_value_heads": 32, "max_position_embeddings": 32768, "sliding_window": 4096}

FAMILIES: dict[str, Family] = {
    "llama": Family(),
    "mistral": Family(
        defaults={"num_key_value_heads": 8, "sliding_window": 4096, "max_position_embeddings": 131072},
        qkv_bias=False,
        output_bias=False,
        window="always",
    ),
    "qwen2": Family(defaults=QWEN_DEFAULTS, qkv_bias=True, output_bias=False, window="by_layer"),
    "qwen3": Family(defaults={**QWEN_DEFAULTS, "head_dim": 128}, qk_norm=True, window="by_layer"),
}


def family_of(config: Mapping[str, Any]) -> Family:
    """The row for this config's model_type; UnsupportedError where there is none."""
    model_type = config.get("model_type")
    if model_type not in FAMILIES:
        raise UnsupportedError(
            f'model_type "{model_type}" is not reimplemented; the families so far: {", ".join(sorted(FAMILIES))}. '
            "Its attention can still be captured and viewed."
        )
    return FAMILIES[model_type]
