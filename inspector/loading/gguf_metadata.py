"""Bring into a converted config what a GGUF file says of attention and the library's reading leaves out.

The library reads the keys of its own table, a few for each architecture; scaled positions, factors of single rotary
frequencies and window sizes are in none of most rows. Here every key and tensor of the file is gone through: it is what
the config says, or the config is corrected, or it cannot change attention, or it is named.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from inspector.errors import InspectorError
from inspector.loading.gguf_rope import ROPE_KEYS, cannot_do, correct_rope, head_width, short
from inspector.text import few

NOT_ATTENTION = (
    "GGUF.", "general.", "tokenizer.", "split.", "quantize.", "adapter.", "training.", "imatrix.", "mradermacher.",
)  # fmt: skip
# Of an architecture's own keys: sizes that the weights' shapes hold too, and parts beside attention.
NOT_ATTENTION_OF_ARCHITECTURE = (
    "block_count", "context_length", "embedding_length", "feed_forward_length", "expert_", "vocab_size",
    "leading_dense", "tensor_data_layout", "use_parallel_residual",
    "moe_every_n_layers", "interleave_moe_layer_step", "nextn_predict_layers", "ssm.", "shortconv.", "altup.",
    "activation_sparsity", "decoder_", "router_logit_softcapping",
    "swiglu_clamp", "pooling_type", "rope.scaling.finetuned",
)  # fmt: skip
# A key, and the fields of config classes that say the same, the first that a class has.
FIELDS: dict[str, tuple[str, ...]] = {
    "attention.head_count": ("num_attention_heads",),
    "attention.head_count_kv": ("num_key_value_heads",),
    "attention.key_length": ("head_dim", "d_kv"),
    "attention.value_length": ("v_head_dim", "head_dim", "d_kv"),
    "attention.layer_norm_rms_epsilon": ("rms_norm_eps", "norm_eps", "layer_norm_epsilon"),
    "attention.layer_norm_epsilon": ("layer_norm_eps", "layer_norm_epsilon", "norm_epsilon", "norm_eps"),
    "attention.sliding_window": ("sliding_window",),
    "attn_logit_softcapping": ("attn_logit_softcapping",),
    "attention.relative_buckets_count": ("relative_attention_num_buckets",),
}
# Of what stands around attention: a key, the fields that say the same, and the value that changes nothing.
AROUND: dict[str, tuple[tuple[str, ...], float]] = {
    "logit_scale": (("logit_scale", "logits_scaling"), 1.0),
    "residual_scale": (("residual_multiplier",), 1.0),
    "embedding_scale": (("embedding_multiplier",), 1.0),
    "final_logit_softcapping": (("final_logit_softcapping",), 0.0),
}
SIZES = ("attention.head_count", "attention.head_count_kv", "attention.key_length", "attention.value_length")
LARGEST_GEMMA = {"gemma2": 46, "gemma3": 62}  # layers of the 27B sizes, by which llama.cpp knows them
OTHER_PARTS = ("v.", "mm.", "a.")  # of images and sound
DOES_NOTHING_AT = {"attention.causal": True, "attention.max_alibi_bias": 0.0, "attention.clamp_kqv": 0.0}


def complete_config(config: Any, keys: Mapping[str, Any], tensors: Mapping[str, Any], unread: Iterable[str]) -> str:
    """Correct a config to what the GGUF file says of attention.

    Args:
        config: the library's config of this file; changed in place.
        keys: the file's metadata.
        tensors: the file's factors of rotary frequencies by name, as arrays.
        unread: names of the file's tensors that the library's model has no place for.

    Returns:
        Sentences naming what nobody reads; empty where there is nothing.

    Raises:
        InspectorError: the file says something of attention that the library's class cannot do.
    """
    architecture = str(keys["general.architecture"])
    own = {key.removeprefix(architecture + "."): value for key, value in keys.items()}
    unread = list(unread)
    _refuse_unread_tensors(unread, config)
    correct_rope(config, own, tensors)
    if "attention.scale" not in own and (width := _scaling_width(architecture, own, config)):
        config.query_pre_attn_scalar = width
    named = [f"{key} = {short(own[key])}" for key in own if not _account_for(key, own[key], config)]
    left = [name for name in unread if not name.startswith(OTHER_PARTS)]
    said = [f"Nothing here reads these keys of the file: {few(named)}."] if named else []
    if left:
        said.append(f"The library's {config.model_type} has no place for these tensors of the file: {few(left)}.")
    return " ".join(said)


def _refuse_unread_tensors(unread: Iterable[str], config: Any) -> None:
    lost = [name for name in unread if ("attn" in name and "norm_2" not in name) or "rope" in name]
    if lost:
        raise InspectorError(
            f"The file holds {few(lost)}, which the library's {config.model_type} has no place for and leaves out: its "
            "attention would not be this file's. Give the model's safetensors folder or its hub id instead."
        )


def _account_for(key: str, value: Any, config: Any) -> bool:
    """Bring what a key says into the config where that is not there yet; False: it is to be named."""
    if key.startswith(NOT_ATTENTION) or key.startswith(NOT_ATTENTION_OF_ARCHITECTURE):
        return True
    if key in DOES_NOTHING_AT:
        if value != DOES_NOTHING_AT[key]:
            raise cannot_do(key, value, config)
        return True
    if key.startswith("rope."):
        return key in ROPE_KEYS and ("yarn" not in key or config.rope_parameters.get("rope_type") == "yarn")
    if key == "attention.scale":
        return _bring_scale(value, config)
    if key in (*AROUND, *FIELDS, "attention.scale") and not isinstance(value, int | float | list):
        raise InspectorError(f"The file says {key} = {short(value)}, which is no number: convert the model again.")
    if key in AROUND:
        names, idle = AROUND[key]
        if any(getattr(config, name, None) is not None for name in names):
            return _bring(names, value, config)
        return math.isclose(value, idle)
    if key in FIELDS:
        return _bring_field(key, value, config)
    if key == "attention.sliding_window_pattern":
        return _bring_pattern(value, config)
    return False


def _bring_field(key: str, value: Any, config: Any) -> bool:
    name = next((name for name in FIELDS[key] if getattr(config, name, None) is not None), None)
    if name is None:
        if key in SIZES:
            return True  # the class takes it from the weights' shapes, which were compared at loading
        if not value:
            return True
        raise cannot_do(key, value, config)
    if isinstance(value, list):  # one number a layer: 0 where a layer does not attend
        return getattr(config, name) in (max(value), value)
    if not math.isclose(getattr(config, name), value, rel_tol=1e-6):
        if key in SIZES:
            raise InspectorError(
                f"The file says {key} = {value}, and the library reads {name} = {getattr(config, name)}: its attention "
                "would not be this file's. Give the model's safetensors folder or its hub id instead."
            )
        setattr(config, name, type(getattr(config, name))(value))
    return True


def _bring(names: tuple[str, ...], value: float, config: Any) -> bool:
    name = next(name for name in names if getattr(config, name, None) is not None)
    if not math.isclose(getattr(config, name), value, rel_tol=1e-6):
        setattr(config, name, value)
    return True


def _bring_scale(value: float, config: Any) -> bool:
    if math.isclose(value, _scale(config), rel_tol=1e-6):
        return True
    for name, change in (("query_pre_attn_scalar", value**-2), ("attention_multiplier", value)):
        if getattr(config, name, None) is not None:
            setattr(config, name, change)
            return True
    raise cannot_do("attention.scale", value, config)


def _scaling_width(architecture: str, own: Mapping[str, Any], config: Any) -> int | None:
    """Return what llama.cpp takes the root of for Gemma's scale, of which no file says anything; None for others."""
    if architecture not in LARGEST_GEMMA:
        return None
    if own["block_count"] == LARGEST_GEMMA[architecture]:
        return int(own["embedding_length"] // own["attention.head_count"])
    return head_width(config)


def _scale(config: Any) -> float:
    if getattr(config, "attention_multiplier", None) is not None:
        return float(config.attention_multiplier)
    width = getattr(config, "query_pre_attn_scalar", None) or head_width(config)
    return math.sqrt(1 / width)


def _bring_pattern(value: Any, config: Any) -> bool:
    types = getattr(config, "layer_types", None)
    if types is None:
        return False
    slides = [kind == "sliding_attention" for kind in types]
    every = [(index + 1) % value != 0 for index in range(len(types))] if isinstance(value, int) else list(value)
    if [bool(yes) for yes in every] != slides:
        config.layer_types = ["sliding_attention" if yes else "full_attention" for yes in every]
    return True
