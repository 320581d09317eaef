"""Bring a GGUF file's rotary frequencies into the library's config: base, width, scaling, and factors of its own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from inspector.errors import InspectorError

LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0}  # of every llama3 config so far
ROUNDED = 2e-6  # relative: the file's factors are float32 of a formula in float64, and the formula divides once more
ROPE_KEYS = {
    "rope.scale_linear",
    "rope.scaling.type",
    "rope.scaling.factor",
    "rope.freq_base",
    "rope.freq_base_swa",
    "rope.dimension_count",
    "rope.scaling.original_context_length",
    "rope.scaling.attn_factor",
    "rope.scaling.yarn_attn_factor",
    "rope.scaling.yarn_beta_fast",
    "rope.scaling.yarn_beta_slow",
}


def correct_rope(config: Any, own: Mapping[str, Any], tensors: Mapping[str, Any]) -> None:
    """Give a config the frequencies that a GGUF file's keys and tensors say.

    Args:
        config: the library's config of this file; its `rope_parameters` are replaced.
        own: the file's keys without the architecture before them.
        tensors: the file's factors of rotary frequencies by name, as arrays.

    Raises:
        InspectorError: the library's class cannot turn in the file's way.
    """
    said = {key: value for key, value in own.items() if key.startswith("rope.")}
    found = getattr(config, "rope_parameters", None)
    wanted = said.get("rope.scaling.type", "none") not in ("none", "") or "rope.scale_linear" in said or tensors
    if found is None:
        if wanted:
            raise cannot_do("rope.scaling.type", said.get("rope.scaling.type", "by factors"), config)
        return
    parameters: dict[str, Any] = {**found}
    nested = "full_attention" in parameters
    full: dict[str, Any] = {**(parameters["full_attention"] if nested else parameters)}
    if "rope.freq_base" in said:
        full["rope_theta"] = float(said["rope.freq_base"])
    _correct_width(full, said, config)
    full = _scaled(full, said, tensors, config)
    if nested:
        local = {**parameters["sliding_attention"]}
        local["rope_theta"] = float(said.get("rope.freq_base_swa", local["rope_theta"]))
        full = {"full_attention": full, "sliding_attention": local}
    elif said.get("rope.freq_base_swa", said.get("rope.freq_base")) != said.get("rope.freq_base"):
        raise cannot_do("rope.freq_base_swa", said["rope.freq_base_swa"], config)
    config.rope_parameters = full


def _correct_width(full: dict[str, Any], said: Mapping[str, Any], config: Any) -> None:
    """Let as many dimensions of a head turn as the file says."""
    width, turning = head_width(config), said.get("rope.dimension_count")
    if turning is None or turning == int(width * full.get("partial_rotary_factor", 1.0)):
        return
    if "partial_rotary_factor" not in full:
        raise cannot_do("rope.dimension_count", turning, config)
    full["partial_rotary_factor"] = turning / width


def _scaled(full: dict[str, Any], said: Mapping[str, Any], tensors: Mapping[str, Any], config: Any) -> dict[str, Any]:
    """Return the parameters with the file's way of scaling positions or frequencies."""
    plain: dict[str, Any] = {name: full[name] for name in ("rope_theta", "partial_rotary_factor") if name in full}
    factor = float(said.get("rope.scale_linear", said.get("rope.scaling.factor", 1.0)))  # older files' word first
    kind = said.get("rope.scaling.type") or ("linear" if factor != 1.0 else "none")  # as llama.cpp reads it
    original = int(said.get("rope.scaling.original_context_length", config.max_position_embeddings))
    attend = said.get("rope.scaling.attn_factor", 1.0)
    if attend != 1.0 and kind != "yarn" and "rope_factors_long.weight" not in tensors:
        raise cannot_do("rope.scaling.attn_factor", attend, config)
    if kind == "yarn" and (tensors or factor <= 1.0):
        raise cannot_do("rope.scaling.type", "yarn", config)
    if tensors:
        _refuse_odd_factors(tensors, full, config)
        if kind == "linear" and "rope_freqs.weight" in tensors:
            tensors = {"rope_freqs.weight": tensors["rope_freqs.weight"] * factor}
        return {**plain, **_by_factors(plain, said, tensors, config, original)}
    if kind == "linear":
        return {**plain, "rope_type": "linear", "factor": factor} if factor != 1.0 else full
    if kind == "yarn":
        return {**plain, **_yarn(said, factor, original)}
    if kind == "none" or (kind == "longrope" and full.get("rope_type") == "longrope"):
        return full
    raise cannot_do("rope.scaling.type", kind, config)


def _refuse_odd_factors(tensors: Mapping[str, Any], full: Mapping[str, Any], config: Any) -> None:
    """Refuse factors that are not one positive number for each rotary frequency, or of which a list is missing."""
    widths = {head_width(config), getattr(config, "global_head_dim", None) or head_width(config)}
    planes = sorted(int(width * full.get("partial_rotary_factor", 1.0)) // 2 for width in widths)
    for name, values in tensors.items():
        factors = [float(value) for value in values.reshape(-1)]
        if len(factors) not in planes or not all(0 < factor < math.inf for factor in factors):
            raise InspectorError(
                f"The file's {name} holds {len(factors)} numbers from {min(factors, default=0):g} on, and each of a "
                f"head's {' or '.join(map(str, planes))} frequencies is divided by one positive number: convert the "
                "model again."
            )
    lists = {f"rope_factors_{name}.weight" for name in ("short", "long")}
    if len(lists & tensors.keys()) == 1:
        raise cannot_do("rope_factors", f"{min(lists & tensors.keys())} alone", config)


def _yarn(said: Mapping[str, Any], factor: float, original: int) -> dict[str, Any]:
    longer = 0.1 * math.log(factor) + 1.0 if factor > 1 else 1.0  # what llama.cpp and the library multiply by
    attend = said.get("rope.scaling.yarn_attn_factor", said.get("rope.scaling.attn_factor", 1.0))
    return {
        "rope_type": "yarn",
        "factor": factor,
        "original_max_position_embeddings": original,
        "beta_fast": float(said.get("rope.scaling.yarn_beta_fast", 32.0)),
        "beta_slow": float(said.get("rope.scaling.yarn_beta_slow", 1.0)),
        "attention_factor": float(attend) * longer,
    }


def _by_factors(
    plain: Mapping[str, Any], said: Mapping[str, Any], tensors: Mapping[str, Any], config: Any, original: int
) -> dict[str, Any]:
    """Return parameters that divide every frequency by the file's own factor."""
    if "rope_freqs.weight" in tensors:
        factors = [float(factor) for factor in tensors["rope_freqs.weight"].reshape(-1)]
        if all(factor == 1.0 for factor in factors):
            return {"rope_type": "default"}
        for length in (8192, original):
            if _like_llama3(factors, plain["rope_theta"], length):
                return {
                    "rope_type": "llama3",
                    "factor": max(factors),
                    "original_max_position_embeddings": length,
                    **LLAMA3,
                }
        short = long = factors
        attend = 1.0
    else:
        short, long = (
            [float(factor) for factor in tensors[f"rope_factors_{name}.weight"].reshape(-1)]
            for name in ("short", "long")
        )
        stretched = config.max_position_embeddings / original
        usual = math.sqrt(1 + math.log(stretched) / math.log(original)) if stretched > 1 else 1.0
        attend = float(said.get("rope.scaling.attn_factor", usual))
    return {
        "rope_type": "longrope",
        "factor": config.max_position_embeddings / original,
        "short_factor": short,
        "long_factor": long,
        "original_max_position_embeddings": original,
        "attention_factor": attend,
    }


def _like_llama3(factors: list[float], base: float, original: int) -> bool:
    """Return whether llama3's formula gives these factors."""
    greatest, low, high = max(factors), LLAMA3["low_freq_factor"], LLAMA3["high_freq_factor"]
    for index, factor in enumerate(factors):
        turns = original / (2 * math.pi * base ** (index / len(factors)))  # of this plane over the original length
        smooth = min(1.0, max(0.0, (turns - low) / (high - low)))
        if not math.isclose(factor, 1.0 / ((1.0 - smooth) / greatest + smooth), rel_tol=ROUNDED):
            return False
    return greatest > 1.0


def head_width(config: Any) -> int:
    """Return how many numbers a head's query has.

    Args:
        config: the library's config.

    Returns:
        The head dimension that the config names, or the share of a head in the model's width.
    """
    width: int = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return width


def cannot_do(key: str, value: Any, config: Any) -> InspectorError:
    """Return the refusal of a file that says of attention what the library's class does not do.

    Args:
        key: the file's key.
        value: what it says.
        config: the library's config of this file.

    Returns:
        The error, to be raised.
    """
    return InspectorError(
        f"The file says {key} = {short(value)}, which the library's {config.model_type} cannot do: its attention "
        "would not be this file's. Give the model's safetensors folder or its hub id instead."
    )


def short(value: Any) -> str:
    """Write a value in at most 40 characters.

    Args:
        value: anything.

    Returns:
        Its text, cut where it is longer.
    """
    text = str(value)
    return text if len(text) <= 40 else text[:37] + "..."
