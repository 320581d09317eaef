"""The sizes and RoPE rules of a library model, as its config and modules name them.

Configs name one thing in several ways, leave it out, or differ from layer to layer; what is asked for here is asked
for in one place.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from inspector.capture.probe import Probe
from inspector.capture.records import LayerInfo

# What configs call the number of positions: nearly all, older code that comes with a model, MPT, Whisper's decoder.
POSITIONS = ("max_position_embeddings", "n_positions", "max_seq_len", "max_target_positions")


@dataclass(frozen=True)
class ModelSizes:
    """What the cost of a run follows from, read from a model once (`Model.sizes`).

    layers: one for each attention call. probed: what a trace stores of each, as a short pass has shown. width: d_model.
    inner_width: of the widest vectors inside a block's feed-forward part. positions: None where there is no limit.
    parameters: how many numbers the model has learned. fused_attention: attention makes no n x n tables.
    """

    name: str
    dtype: torch.dtype
    device: torch.device
    layers: tuple[LayerInfo, ...]
    probed: Probe
    width: int
    inner_width: int
    vocabulary: int
    positions: int | None
    parameters: int
    fused_attention: bool


def text_config(model: PreTrainedModel) -> Any:
    """Return the settings of the language model, within those of a model of several modalities."""
    try:
        return model.config.get_text_config()
    except ValueError:  # it holds more than one
        return model.config


def end_tokens(model: PreTrainedModel) -> frozenset[int]:
    """Return the ids of the tokens that end a text, as the model's generation_config has them, or else its config."""
    for settings in (getattr(model, "generation_config", None), text_config(model), model.config):
        found = getattr(settings, "eos_token_id", None)
        if found is not None:
            return frozenset(torch.as_tensor(found).flatten().tolist())
    return frozenset()


def setting(config: Any, name: str) -> Any:
    """Return a setting of a model's config.

    None where there is none, or where it differs from layer to layer (the library then raises an error of its own).
    """
    try:
        return getattr(config, name, None)
    except Exception:
        return None


def vocabulary(model: PreTrainedModel) -> int | None:
    """Return how many token ids the model knows; None where neither its embeddings nor its config say."""
    with contextlib.suppress(AttributeError, NotImplementedError):
        return int(model.get_input_embeddings().num_embeddings)
    size = setting(text_config(model), "vocab_size")  # its embeddings are a module of its own
    return None if size is None else int(size)


def width(model: PreTrainedModel) -> int:
    """Return d_model: how many numbers a token's vector has between blocks."""
    config = text_config(model)
    found = next((size for name in ("hidden_size", "n_embd", "d_model") if (size := setting(config, name))), None)
    return int(found) if found else int(model.get_input_embeddings().weight.shape[-1])


def inner_width(model: PreTrainedModel) -> int:
    """Return the width of the feed-forward part; four times d_model where the config does not say."""
    size = setting(text_config(model), "intermediate_size")
    return size if isinstance(size, int) else 4 * width(model)


def positions(model: PreTrainedModel) -> int | None:
    """Return how many positions the model has; None where its config sets no limit."""
    config = text_config(model)
    named = (setting(config, name) for name in POSITIONS)
    limit = next((size for size in named if isinstance(size, int) and size > 0), None)
    rope = setting(config, "rope_parameters") or {}
    rules = [rope, *rope.values()]  # one rule, or one for each kind of layer
    factors = [r["factor"] for r in rules if isinstance(r, dict) and r.get("rope_type") == "dynamic"]
    return int(limit * factors[0]) if limit and factors else limit  # made to go on past its trained length


def rope_types(module: nn.Module) -> tuple[str, ...]:
    """Return the RoPE rules of a module that makes angles: one, or one for each kind of layer; else none."""
    found = getattr(module, "rope_type", None)
    return tuple(found.values()) if isinstance(found, dict) else (found,) if isinstance(found, str) else ()


def forget_length(module: nn.Module) -> None:
    """Put a module with dynamic RoPE back to how it was before its first prompt."""
    for name, buffer in list(module.named_buffers(recurse=False)):
        original = getattr(module, name.replace("inv_freq", "original_inv_freq"), None)
        if name.endswith("inv_freq") and "original" not in name and isinstance(original, Tensor):
            setattr(module, name, original.to(buffer.device, copy=True))
    for name in [name for name in vars(module) if name.endswith("max_seq_len_cached")]:
        setattr(module, name, module.original_max_seq_len)
