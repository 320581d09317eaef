"""Reading a config.json: its fields over a family's defaults in; values and the RopeSpec out, and a refusal of whatever
was not read: a field that nobody read may change the numbers, so it is refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reimpl.spec import CheckpointError, RopeSpec, UnsupportedError


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
                "attention, so nothing is computed; if one is harmless, add it to HARMLESS in reimpl/config.py."
            )


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
