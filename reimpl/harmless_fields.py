"""Fields of a config.json that cannot change what attention computes from its input."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ClassReading:
    """Hold how the library's class reads a config, where that is known; nothing of it is known here.

    Attributes:
        ignored: fields that the class's code never reads: whatever a file says there, attention is the same.
        of_rope_alone: fields that it reads among RoPE's numbers alone: in the config itself they say nothing.
        defaults: what the class takes for fields that a file leaves out: saying the same changes nothing.
    """

    ignored: Collection[str] = ()
    of_rope_alone: Collection[str] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)


UNKNOWN_CLASS = ClassReading()

# Fields that cannot change what attention computes from its input: names, or how names begin or end.
HARMLESS = {
    "architectures", "model_type", "transformers_version", "torch_dtype", "dtype", "auto_map", "use_cache",
    "vocab_size", "initializer_range", "tie_word_embeddings", "pretraining_tp", "transformers.js_config",
    "output_attentions", "output_hidden_states", "return_dict", "id2label", "label2id", "problem_type",
    "is_encoder_decoder", "is_decoder", "max_position_embeddings", "num_logits_to_keep",
    "cache_implementation", "tokenizer_class", "task_specific_params", "init_method", "transformers_weights",
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
    "logits_scaling", "lm_head_multiplier", "lm_head_bias", "output_multiplier", "embedding_multiplier",
    "residual_multiplier",
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
HARMLESS_ENDS = (
    "_token_id",
    "_token_index",
    "_loss_coef",
    "_bos_id",
    "_eos_id",
    "_init_variance_scale",
    "_multipliers",
)


def harmless(name: str) -> bool:
    """Tell whether a field cannot change what attention computes from its input."""
    return name in HARMLESS or name.startswith(("_", *HARMLESS_STARTS)) or name.endswith(HARMLESS_ENDS)
