"""Reading a config.json: its fields over a family's defaults in; values and the RopeSpec out.

A field that nobody read may change the numbers, so it is refused by name.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from reimpl.choices import RopeRule
from reimpl.spec import CheckpointError, RopeSpec, UnsupportedError


class Fields:
    """Hold a config's fields over their defaults, keeping count of which were read.

    Args:
        defaults: for fields that the config leaves out.
        config: config.json as a dict.
        names: this model type's own name for a standard field ("hidden_size" -> "n_embd").
    """

    def __init__(
        self, defaults: Mapping[str, Any], config: Mapping[str, Any], names: Mapping[str, str] | None = None
    ) -> None:
        self.names = names or {}
        self.defaults, self.values = defaults, {**defaults, **config}
        self.given = config
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        """Read a field that the config or a default must have; CheckpointError where neither has."""
        self.read |= {name, self.names.get(name, name)}
        for known in (self.names.get(name, name), name):
            if known in self.values:
                return self.values[known]
        raise CheckpointError(f"config.json has no {name}, and this model type has no default for it.")

    def get(self, name: str, otherwise: Any = None) -> Any:
        """Read a field that may be absent."""
        self.read |= {name, self.names.get(name, name)}
        return self.values.get(self.names.get(name, name), self.values.get(name, otherwise))

    def count_as_read(self, *names: str) -> None:
        """Note that these fields are understood, whether or not a layer of this config reads them."""
        self.read |= {*names, *(self.names.get(name, name) for name in names)}

    def of_layer(self, layer: int) -> Fields:
        """Give the fields as layer `layer` has them: some files override fields for single layers."""
        listed = {int(number): fields for number, fields in (self.get("per_layer_config") or {}).items()}  # "05", too
        return self.overridden(listed.get(layer) or {})

    def overridden(self, overrides: Mapping[str, Any]) -> Fields:
        """Give the fields with others in some places; what is read there counts as read here."""
        if not overrides:
            return self
        view = Fields(self.defaults, {**self.given, **overrides}, self.names)
        view.read = self.read
        self.read |= set(overrides)
        return view

    def integer(self, name: str) -> int:
        """Read a whole number of 0 or more; CheckpointError where it is none."""
        value = self[name]
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise CheckpointError(f"config.json has {name}={value!r}; a whole number is needed.")
        return value

    def optional_integer(self, name: str) -> int | None:
        """Read a whole number that may be absent."""
        return None if self.get(name) is None else self.integer(name)

    def number(self, name: str) -> float:
        """Read a number; CheckpointError where it is none."""
        value = self[name]
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise CheckpointError(f"config.json has {name}={value!r}; a number is needed.")
        return float(value)

    def flag(self, rule: bool | str) -> bool:
        """Read a flag: the field of this name, or the answer itself."""
        return bool(self[rule]) if isinstance(rule, str) else rule

    def refuse_unread(self, also: Collection[str] = ()) -> None:
        """Refuse fields that could matter and that nobody read.

        A field may also be known to be harmless, or be switched off (null, false, empty).

        Args:
            also: fields that are harmless in this model type.

        Raises:
            UnsupportedError: names the fields.
        """
        unread = {name for name, value in self.given.items() if value is not None and value is not False}
        unread -= self.read | set(also) | {own for name, own in self.names.items() if harmless(name)}
        unread = {name for name in unread if not harmless(name) and self.given[name] not in ([], {}, "")}
        if unread:
            raise UnsupportedError(
                f"config.json has fields that are not modelled: {', '.join(sorted(unread))}. They may change the "
                "attention, so nothing is computed; if one is harmless, add it to HARMLESS in reimpl/config.py."
            )


def rope_numbers(fields: Fields, layer_type: str) -> dict[str, Any] | None:
    """Read what a file says of RoPE for layers of a type, in today's words.

    Older files have `rope_theta` and `rope_scaling` instead of `rope_parameters`.

    Args:
        fields: the config's.
        layer_type: as in families/layer_types.py.

    Returns:
        rope_theta, rope_type and the rule's own numbers; None: these layers have no RoPE.
    """
    today, scaling = fields["rope_parameters"] or {}, fields["rope_scaling"]
    base, older = fields["rope_theta"], not fields.given.get("rope_parameters")
    if older and scaling:
        return {"rope_theta": base, **scaling}
    if any(isinstance(numbers, dict) for numbers in today.values()):
        if today.get(layer_type, today) is None:
            return None
        today = today.get(layer_type, {})
    if older and fields.given.get("rope_theta"):  # alone; what that does differs from class to class (defaults.py)
        reading = fields.get("rope_theta_alone")
        if reading == "replaces":
            return {**today, "rope_theta": base}
        if reading == "ignored":
            base = fields.defaults["rope_theta"]
    return {"rope_theta": base, **today}


def rope_spec(fields: Fields, d_head: int, layer_type: str) -> RopeSpec | None:
    """Read the RopeSpec of layers of a type.

    Args:
        fields: the config's.
        d_head: width of a head.
        layer_type: as in families/layer_types.py.

    Returns:
        The RopeSpec; None: these layers have none.

    Raises:
        UnsupportedError: the rule is not modelled.
        CheckpointError: a number that the rule needs is missing.
    """
    numbers = rope_numbers(fields, layer_type)
    return None if numbers is None else spec_of_numbers(fields, numbers, d_head)


def spec_of_numbers(fields: Fields, numbers: Mapping[str, Any], d_head: int) -> RopeSpec:
    """Make the RopeSpec of numbers in today's words.

    Args:
        fields: the config's, for what stands outside the numbers.
        numbers: rope_theta, rope_type and the rule's own.
        d_head: width of a head.

    Returns:
        The RopeSpec.

    Raises:
        UnsupportedError: the rule, or one of its numbers, is not modelled.
        CheckpointError: a number that the rule needs is missing.
    """
    given = dict(numbers)
    theta, part = given.pop("rope_theta"), fields["partial_rotary_factor"]
    old_name = given.pop("type", "default")
    rule = given.pop("rope_type", old_name)
    if rule in PLAIN_NAMES:
        rule = "default"
    fraction = 1.0 if rule == "proportional" else given.pop("partial_rotary_factor", part)
    for name in OTHER_USES:  # read where they are used, if at all
        given.pop(name, None)
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
        theta=float(theta),
        dim=int(d_head * fraction),
        rule=rule,
        scaling=tuple((name, tuple(v) if isinstance(v, list) else v) for name, v in sorted(given.items())),
    )


# With text alone, positions on all axes of multimodal RoPE are equal, and it is the plain rule.
PLAIN_NAMES = {"default", "mrope"}
OTHER_USES = {"mrope_section", "mrope_interleaved", "llama_4_scaling_beta"}

# A frequency rule's own numbers: those it needs, and those it may have.
RULE_FIELDS: dict[RopeRule, tuple[set[str], set[str]]] = {
    "default": (set(), set()),
    "linear": ({"factor"}, {"original_max_position_embeddings"}),
    "dynamic": ({"factor", "max_position_embeddings"}, {"original_max_position_embeddings"}),
    "yarn": (
        {"max_position_embeddings", "original_max_position_embeddings"},
        {"factor", "attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "truncate"},
    ),
    "longrope": (
        {"max_position_embeddings", "original_max_position_embeddings", "short_factor", "long_factor"},
        {"factor", "attention_factor", "short_mscale", "long_mscale"},
    ),
    "llama3": ({"factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"}, set()),
    "proportional": (set(), {"factor", "partial_rotary_factor"}),
}

# Fields that cannot change what attention computes from its input: names, or how names begin or end.
HARMLESS = {
    "architectures", "model_type", "transformers_version", "torch_dtype", "dtype", "auto_map", "use_cache",
    "vocab_size", "initializer_range", "tie_word_embeddings", "pretraining_tp", "transformers.js_config",
    "output_attentions", "output_hidden_states", "return_dict", "id2label", "label2id", "problem_type",
    "is_encoder_decoder", "is_decoder", "max_position_embeddings", "num_logits_to_keep",
    "cache_implementation", "tokenizer_class", "task_specific_params", "init_method",
    "max_window_layers",  # read where a class does so
    "attention_softmax_in_fp32", "scale_attention_softmax_in_fp32",  # in float32 it is, whatever a file says
    "rope_interleaved",  # written by SmolLM2's training tool; its files are in halves, and False there
    # Feed-forward layers and experts.
    "intermediate_size", "hidden_act", "hidden_activation", "activation", "activation_function", "n_inner", "dff",
    "chunk_size_feed_forward", "ffn_hidden_size", "ffn_dim", "ff_factor", "ffn_config", "expert_ffn_hidden_size",
    "dense_intermediate_size",
    "intermediate_size_mlp", "interleave_moe_layer_step", "intermediate_multiple_size", "shared_intermediate_size",
    "shared_expert_intermediate_size", "shared_expert_combination_strategy", "share_expert_dim", "use_expert_bias",
    "num_experts", "num_experts_per_tok", "num_experts_per_token", "num_local_experts", "num_shared_experts",
    "num_dense_layers", "n_routed_experts", "n_shared_experts", "zero_expert_num", "top_k_experts",
    "enable_moe_block", "enable_moe_fp32_combine", "expert_selection_fn", "decoder_sparse_step",
    "first_k_dense_replace", "norm_topk_prob", "topk_group", "topk_method", "n_group", "num_expert_group",
    "route_scale", "scoring_func", "use_double_wide_mlp", "activation_sparsity_pattern", "output_router_logits",
    "input_jitter_noise", "z_loss_coefficient", "aux_loss_alpha", "seq_aux", "ep_size", "add_bias_linear",
    # The block around attention and the stack: norms, residuals, multipliers, embeddings, logits.
    "rms_norm_eps", "norm_eps", "norm_epsilon", "norm_after", "layer_norm_eps", "layer_norm_epsilon", "post_norm_eps",
    "norm_type", "normalization_function", "num_ln_in_parallel_attn",
    "use_post_norm", "use_sandwich_norm", "gated_norm_rank", "use_parallel_residual", "parallel_attn",
    "classifier_activation", "decoder_bias", "final_logit_softcapping", "logits_soft_cap", "logit_scale",
    "logits_scaling", "lm_head_multiplier", "output_multiplier", "embedding_multiplier", "residual_multiplier",
    "attention_in_multiplier", "attention_out_multiplier", "residual_gate_temperature", "embedding_scale",
    "embedding_size", "type_vocab_size", "dim_model_base", "scale_depth", "scale_emb", "n_ctx", "hidden_dropout",
    "hidden_dropout_prob", "resid_pdrop", "embd_pdrop", "emb_pdrop", "residual_dropout", "embedding_dropout",
    "dropout", "attention_probs_dropout_prob", "classifier_dropout", "laurel_rank", "keys_to_ignore_at_inference",
    "hidden_size_per_layer_input", "vocab_size_per_layer_input", "num_layers_per_stack", "H_cycles", "L_cycles",
    "L_bp_cycles", "qk_head_dim",  # qk_nope_head_dim + qk_rope_head_dim
    # Recurrent and convolutional layers beside the attention layers.
    "lru_width", "block_size", "full_attn_alpha_factor", "full_attn_beta_factor", "chunk_size", "n_mamba_heads",
    "num_mem_blocks", "use_conv_bias", "use_mamba_kernels", "use_mem_eff_path", "block_auto_adjust_ff_dim",
    "block_ffn_dim_multiplier", "block_multiple_of", "block_dim", "block_use_swiglu", "short_conv_kernel_size",
    "num_nextn_predict_layers", "layer_group_size",
    # Other parts of multimodal models, and what their tokens are.
    "vq_config", "vocabulary_map", "model_parallel_size", "codec_config", "depth_decoder_config", "num_codebooks",
    "frame_size", "tie_codebooks_embeddings", "text_vocab_size", "additional_vocab_size", "max_source_positions",
    "heads_per_ngram",
    "make_ngram_vocab_size_divisible_by", "number_of_conv_states", "split_ngram_parts", "seed",
}  # fmt: skip
HARMLESS_STARTS = (
    "mamba_", "ssm_", "moe_", "mlp_", "linear_", "conv_", "conv1d_", "router_", "routed_", "altup_", "hc_", "mtp_",
    "time_step_", "swiglu_", "kda_", "codebook_", "audio_", "image_", "video_", "vision_", "indexer_", "index_",
    "prefix_", "summary_", "shared_experts_", "ngram_", "ple_", "aligner_", "resampler_",
    "learnable_sink_init", "share_expert", "initializer_", "embedding_initializer",
)  # fmt: skip
HARMLESS_ENDS = ("_token_id", "_loss_coef", "_bos_id", "_eos_id", "_init_variance_scale", "_multipliers")


def harmless(name: str) -> bool:
    """Tell whether a field cannot change what attention computes from its input."""
    return name in HARMLESS or name.startswith(("_", *HARMLESS_STARTS)) or name.endswith(HARMLESS_ENDS)
