"""Tiny random models in which a logit is split, with the settings that make splitting hard. Not a test itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tiny
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

import inspector
from inspector.coverage.tiny import word_tokenizer
from inspector.model.model import Model

SIZES: dict[str, Any] = tiny.SIZES | {"max_position_embeddings": 64}
HEAD_16 = tiny.HEAD_16

# what is hard about it -> (model type, what differs from SIZES)
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {}),
    "llama, bias of W_o": ("llama", {"attention_bias": True}),
    "qwen2": ("qwen2", {}),
    "qwen3": ("qwen3", HEAD_16),
    "mistral, window": ("mistral", {**HEAD_16, "sliding_window": 5}),
    "gemma": ("gemma", HEAD_16),
    "gemma2": ("gemma2", {**HEAD_16, "sliding_window": 5, "final_logit_softcapping": 5.0}),
    "gemma3": ("gemma3_text", {**HEAD_16, "sliding_window": 5}),
    "phi": ("phi", {}),
    "phi3": ("phi3", {}),
    "gpt_neox": ("gpt_neox", {}),
    "gpt_neox, not parallel": ("gpt_neox", {"use_parallel_residual": False}),
    "cohere": ("cohere", {"logit_scale": 0.3}),
    "granite": (
        "granite",
        {"residual_multiplier": 0.3, "embedding_multiplier": 7.0, "logits_scaling": 3.0, "attention_multiplier": 0.3},
    ),
    "olmo2": ("olmo2", {}),
    "glm4": ("glm4", HEAD_16),
    "stablelm": ("stablelm", {"use_parallel_residual": True}),
    "falcon": ("falcon", {"new_decoder_architecture": False, "parallel_attn": True, "alibi": False}),
    "starcoder2": ("starcoder2", {}),
    "mixtral": ("mixtral", {"num_local_experts": 4}),
    "lfm2, blocks without attention": (
        "lfm2",
        {
            "num_hidden_layers": 6,
            "layer_types": ["conv", "full_attention", "full_attention", "conv", "full_attention", "conv"],
        },
    ),
    "gpt_oss": ("gpt_oss", {**HEAD_16, "num_local_experts": 4, "num_experts_per_tok": 2}),
}


QUICK = ("llama, bias of W_o", "qwen3", "gemma2", "gpt_neox", "cohere", "granite")  # each does what others do not


def tiny_model(family: str, folder: Path, *, std: float = 0.3) -> Model:
    """A tiny random model with a tokenizer, whose norms' weights and biases are far from 1 and 0."""
    kind, differs = FAMILIES[family]
    tiny.skip_where_this_release_does_otherwise(kind)
    torch.manual_seed(len(family))
    config = AutoConfig.for_model(kind, **{**SIZES, **differs})
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, mean=0.5 if parameter.ndim == 1 else 0.0, std=std)
    model.requires_grad_(False)
    word_tokenizer(folder)
    return inspector.load(model, AutoTokenizer.from_pretrained(folder))
