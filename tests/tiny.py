"""Tiny random models of the library's own classes, saved to disk as a checkpoint with a tokenizer.

Weights are large enough, and norms and biases far enough from 1 and 0, that leaving any of them out shows.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import CONFIG_MAPPING, AutoConfig, AutoModelForCausalLM

import inspector
from inspector.coverage.tiny import types, word_tokenizer
from inspector.loading import releases
from inspector.model.model import Model

SIZES: dict[str, Any] = {
    "vocab_size": 128,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "pad_token_id": None,
    "bos_token_id": None,
    "eos_token_id": None,
}

HEAD_16: dict[str, Any] = {"head_dim": 16}
EXPERTS: dict[str, Any] = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}

# name -> (model type, what differs from SIZES)
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "multi-head": ("llama", {"num_key_value_heads": 4}),
    "grouped": ("llama", {}),
    "multi-query": ("llama", {"num_key_value_heads": 1}),
    "wide heads": ("llama", {"head_dim": 32}),
    "one wide head": ("llama", {"num_attention_heads": 1, "num_key_value_heads": 1}),
    "biases": ("llama", {"attention_bias": True}),
    "linear": ("llama", {"rope_parameters": {"rope_type": "linear", "rope_theta": 1000.0, "factor": 4.0}}),
    "llama3": (
        "llama",
        {
            "rope_parameters": {
                "rope_type": "llama3",
                "rope_theta": 500000.0,
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 32,
            }
        },
    ),
    "dynamic": (
        "llama",
        {
            "max_position_embeddings": 32,
            "rope_parameters": {"rope_type": "dynamic", "rope_theta": 1000.0, "factor": 2.0},
        },
    ),
    "yarn": (
        "llama",
        {
            "max_position_embeddings": 64,
            "rope_parameters": {
                "rope_type": "yarn",
                "rope_theta": 1000.0,
                "factor": 4.0,
                "original_max_position_embeddings": 16,
            },
        },
    ),
    "yarn mscale": (
        "llama",
        {
            "max_position_embeddings": 64,
            "rope_parameters": {
                "rope_type": "yarn",
                "rope_theta": 1000.0,
                "factor": 4.0,
                "mscale": 0.7,
                "mscale_all_dim": 1.2,
                "truncate": False,
                "original_max_position_embeddings": 16,
            },
        },
    ),
    "longrope": (
        "llama",
        {
            "max_position_embeddings": 64,
            "rope_parameters": {
                "rope_type": "longrope",
                "rope_theta": 1000.0,
                "short_factor": [1.0 + 0.1 * i for i in range(8)],
                "long_factor": [2.0 + 0.3 * i for i in range(8)],
                "original_max_position_embeddings": 16,
            },
        },
    ),
    "proportional": (
        "llama",
        {
            "max_position_embeddings": 64,
            "rope_parameters": {"rope_type": "proportional", "rope_theta": 1000.0, "partial_rotary_factor": 0.5},
        },
    ),
    "mistral": ("mistral", {"sliding_window": 7, "head_dim": 16}),
    "qwen2": ("qwen2", {}),
    "qwen2 sliding": ("qwen2", {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1}),
    "mixtral": ("mixtral", {"num_local_experts": 4, "sliding_window": 6}),
    "arcee": ("arcee", {}),
    "gemma": ("gemma", {"head_dim": 24}),
    "gemma2": ("gemma2", {**HEAD_16, "sliding_window": 7, "query_pre_attn_scalar": 24, "attn_logit_softcapping": 2.0}),
    "glm": ("glm", HEAD_16),
    "glm4": ("glm4", {**HEAD_16, "attention_bias": False}),
    "granite": ("granite", {"attention_multiplier": 0.3}),
    "helium": ("helium", HEAD_16),
    "ernie4_5": ("ernie4_5", {**HEAD_16, "use_bias": True}),
    "olmo2": ("olmo2", {}),
    "phi3": ("phi3", {"sliding_window": 9, "original_max_position_embeddings": 256}),
    "phi3 partial": ("phi3", {"rope_parameters": {"rope_theta": 1000.0, "partial_rotary_factor": 0.5}}),
    "qwen2_moe": ("qwen2_moe", {**EXPERTS, "shared_expert_intermediate_size": 32}),
    "qwen3_moe": ("qwen3_moe", {**EXPERTS, "head_dim": 16}),
    "seed_oss": ("seed_oss", HEAD_16),
    "smollm3": ("smollm3", {"use_sliding_window": True, "sliding_window": 5, "no_rope_layers": [1, 0, 1]}),
    "starcoder2": ("starcoder2", {"sliding_window": 8}),
    "hunyuan alpha": (
        "hunyuan_v1_dense",
        {**HEAD_16, "rope_parameters": {"rope_type": "dynamic", "rope_theta": 1000.0, "alpha": 10.0, "factor": 1.0}},
    ),
    "phimoe longrope": (
        "phimoe",
        {
            "num_local_experts": 4,
            "max_position_embeddings": 64,
            "rope_parameters": {
                "rope_type": "longrope",
                "rope_theta": 1000.0,
                "short_factor": [1.0 + 0.1 * i for i in range(8)],
                "long_factor": [2.0 + 0.3 * i for i in range(8)],
                "short_mscale": 1.1,
                "long_mscale": 1.3,
                "original_max_position_embeddings": 16,
            },
        },
    ),
    "qwen3": ("qwen3", {"head_dim": 24}),
    "qwen3 biases": ("qwen3", {"head_dim": 16, "attention_bias": True}),
}


def save(kind: str, folder: Path, *, tokenizer: bool = True) -> Path:
    """A checkpoint of this kind in `folder`."""
    model_type, differs = KINDS[kind]
    skip_where_this_release_does_otherwise(model_type)
    torch.manual_seed(len(kind))
    config = AutoConfig.for_model(model_type, **{**SIZES, **differs})
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, mean=0.5 if parameter.ndim == 1 else 0.0, std=0.3)
    model.save_pretrained(folder)
    if tokenizer:
        word_tokenizer(folder)
    return folder


def does_otherwise(model_type: str, rows: Iterable[releases.Deviation]) -> str:
    """What the installed transformers does otherwise with this type; empty where that is none of the rows."""
    release = releases._release(releases.installed())
    return next((row.what for row in rows if model_type in row.types and release < releases._release(row.before)), "")


def skip_where_this_release_does_otherwise(model_type: str) -> None:
    """Skip the test where the installed transformers lacks this type, or is listed as computing it otherwise."""
    release = releases.installed()
    if model_type not in CONFIG_MAPPING and model_type not in types():
        pytest.skip(f"transformers {release} has no {model_type}")
    if what := does_otherwise(model_type, (*releases.DEVIATIONS, *releases.RAISES)):
        pytest.skip(f"transformers {release} does otherwise with {model_type}: {what}")


def skip_where_unknown_characters_are_swallowed(tokenizer: Any) -> None:
    """Skip the test where this release makes an unknown token for the packaged file, which takes any number of them."""
    if getattr(tokenizer.backend_tokenizer.model, "fuse_unk", False):
        pytest.skip(f"transformers {releases.installed()} gives a GGUF file's tokenizer an unknown token")


def load(kind: str, folder: Path, **options: Any) -> Model:
    return inspector.load(save(kind, folder), **options)


def ids(n: int, *, vocabulary: int = 128) -> list[int]:
    """n token ids, varied and with repetitions."""
    return [(i * 7 + (i // 5) * 3) % vocabulary for i in range(n)]
