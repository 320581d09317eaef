"""Make a tiny model of a well-known checkpoint's config: sizes shrunk, every other field as `published/` has it."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import AutoConfig

from inspector.coverage import table, tiny
from inspector.coverage.published import PUBLISHED
from inspector.loading.auto_class import decoder_class

MOST_PARAMETERS = 20_000_000  # a file that leaves sizes out gets its class's
HEAD = 16  # width of a head; planes of RoPE are half of it, or of the part of it that turns

# What a size becomes; fields that a file does not have are not added.
SMALL: dict[str, int] = {
    "hidden_size": 64, "n_embd": 64, "intermediate_size": 96, "intermediate_size_mlp": 96, "moe_intermediate_size": 32,
    "shared_expert_intermediate_size": 32, "shared_intermediate_size": 32, "block_ff_dim": 96, "block_dim": 64,
    "lru_width": 64, "conv_dim": 64, "conv_dim_out": 64, "mlp_intermediate_size": 96, "vocab_size": table.VOCABULARY,
    "head_dim": HEAD, "attention_head_dim": HEAD, "rotary_dim": HEAD // 2, "kv_lora_rank": 16, "q_lora_rank": 24,
    "qk_nope_head_dim": 16, "qk_rope_head_dim": 8, "v_head_dim": 12, "query_pre_attn_scalar": 24,
    "sliding_window": 9, "sliding_window_size": 9, "attention_window_size": 9, "attention_chunk_size": 9,
    "num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4, "num_experts_per_tok": 2, "experts_per_token": 2,
    "n_group": 1, "topk_group": 1, "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 16,
    "linear_value_head_dim": 16, "mamba_n_heads": 8, "mamba_d_head": 16, "mamba_d_state": 16, "mamba_d_ssm": 128,
    "top_k_experts": 2, "global_head_dim": 2 * HEAD, "swa_head_dim": HEAD, "swa_v_head_dim": 12, "qk_head_dim": 24,
    "index_head_dim": 16, "index_n_heads": 2, "index_topk": 9,
    "sparse_index_dim": 16, "sparse_num_index_heads": 2, "sparse_topk_blocks": 2, "sparse_block_size": 4,
}  # fmt: skip
HEADS = ("num_attention_heads", "n_head", "num_heads", "swa_num_attention_heads")
KV_HEADS = ("num_key_value_heads", "num_kv_heads", "num_global_key_value_heads", "swa_num_key_value_heads")
LAYERS = ("num_hidden_layers", "n_layer")
PERIODS = ("sliding_window_pattern", "_sliding_window_pattern", "full_attention_interval", "no_rope_layer_interval")
TEXT_PARTS = ("text_config",)
OTHER_PARTS = ("vision_config",)


def published_of(model_type: str) -> list[str]:
    """List the configs of a model type, or of the multimodal model whose language part it is.

    Args:
        model_type: the library's.

    Returns:
        Their names, those that were seen published first.
    """
    return [
        name
        for name, config in PUBLISHED.items()
        if model_type in (config["model_type"], f"{config['model_type']}_text")
        or model_type == config.get("text_config", {}).get("model_type")
    ]


def shrunk(config: Mapping[str, Any]) -> dict[str, Any]:
    """Shrink a config's sizes, and its lists of one entry a layer or a plane to match.

    Args:
        config: config.json as a dict.

    Returns:
        A new one.
    """
    small = copy.deepcopy(dict(config))
    for name in TEXT_PARTS:
        if name in small:
            small[name] = shrunk(small[name])
    heads = next((config[name] for name in HEADS if name in config), 8 if "hidden_size" in config else 0)
    small |= {name: table.HEADS for name in HEADS if name in config}
    for name in KV_HEADS:
        if isinstance(config.get(name), int):
            small[name] = {heads: table.HEADS, 1: 1}.get(config[name], 2)
    layers = max(4, *(config[name] for name in PERIODS if isinstance(config.get(name), int)), 0)
    listed = next((config[name] for name in LAYERS if name in config), 0) if heads else 0
    for name, value in config.items():
        if name in SMALL and isinstance(value, int) and not isinstance(value, bool):
            small[name] = SMALL[name] if value else value
        elif isinstance(value, list) and listed and len(value) == listed:
            small[name] = _every_kind(value, layers)
        elif name == "sparse_attention_config":
            small[name] = {
                own: _every_kind(each, layers) if isinstance(each, list) else SMALL.get(own, each)
                for own, each in value.items()
            }
        elif name.endswith("_token_id"):  # of a vocabulary that is no longer there
            small[name] = 0
        elif name in ("full_attn_idxs", "cross_attention_layers"):
            small[name] = [1, 3]
    if int(HEAD * (config.get("partial_rotary_factor") or 1.0)) % 2:  # a part of odd width cannot turn in pairs
        small |= {name: 3 * HEAD // 2 for name in ("head_dim", "swa_head_dim") if name in config}
    small |= {name: layers for name in LAYERS if name in config}
    if heads:  # a language model's: what its class takes for a vocabulary left out is large
        small |= {"vocab_size": table.VOCABULARY, "pad_token_id": 0}
    if isinstance(small.get("rope_scaling"), dict):
        planes = int(small.get("qk_rope_head_dim", HEAD) * (config.get("partial_rotary_factor") or 1.0)) // 2
        if sum(small["rope_scaling"].get("mrope_section") or []) > planes:
            first = planes // 4
            second = (planes - first) // 2
            small["rope_scaling"]["mrope_section"] = [first, second, planes - first - second]
        for name in ("long_factor", "short_factor"):
            if name in small["rope_scaling"]:
                small["rope_scaling"][name] = config["rope_scaling"][name][:planes]
    return small


def _every_kind(listed: list[Any], layers: int) -> list[Any]:
    """Cut a list of one entry a layer, so that each kind takes its turn."""
    head = listed[:layers]
    if all(kind in head for kind in listed):
        return head
    return [*head[:-1], next(kind for kind in listed if kind not in head)]


def _entry(model_type: str) -> tiny.Entry:
    """Return coverage's entry of a type, or of the model whose language part it is."""
    installed = tiny.types()
    return installed.get(model_type) or installed[model_type.removesuffix("_text")]


def save(name: str, folder: Path, *, seed: int = 0) -> Path:
    """Save a tiny random model of a published config.json, this file beside its weights, and a tokenizer.

    Args:
        name: one of PUBLISHED's.
        folder: where to; it is made.
        seed: of the random weights.

    Returns:
        The folder.

    Raises:
        ValueError: the model would be large.
    """
    file = shrunk(PUBLISHED[name])
    settings = AutoConfig.for_model(**copy.deepcopy({key: v for key, v in file.items() if key not in OTHER_PARTS}))
    settings = settings.get_text_config()
    made = decoder_class(settings) or tiny.model_class(_entry(settings.model_type))
    model = tiny.random_model(made, settings, name, most=MOST_PARAMETERS, seed=seed)
    model.save_pretrained(folder)
    tiny.word_tokenizer(folder)
    kept = {key: value for key, value in file.items() if key not in OTHER_PARTS}
    if "text_config" in file:  # the language model's part, and what tools added beside it
        kept = file["text_config"] | {key: value for key, value in file.items() if key.startswith("unsloth")}
    kept |= {"architectures": [made.__name__], "model_type": settings.model_type}
    (folder / "config.json").write_text(json.dumps(kept), encoding="utf-8")
    return folder
