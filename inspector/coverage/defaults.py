"""Write down what the library's config classes give to fields that a file leaves out: reimpl/families/defaults.py.

`python -m inspector.coverage.defaults` does it. Files on the hub leave defaults out, and `reimpl` knows no
transformers: so they are written down once, and tests/test_families.py compares them with the installed library.
"""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from typing import Any

import transformers
from transformers import PreTrainedConfig

from inspector.files import written_whole
from reimpl.families import FAMILIES, defaults
from reimpl.families.defaults import DEFAULTS
from reimpl.families.family import STANDARD_DEFAULTS

PLACE = Path(defaults.__file__)

# What the rows of reimpl.families read.
WANTED = (
    "num_attention_heads", "num_hidden_layers", "num_layers", "hidden_size", "num_key_value_heads", "head_dim",
    "max_position_embeddings", "original_max_position_embeddings", "attention_bias", "attention_out_bias",
    "attention_dropout", "rms_norm_eps", "layer_norm_eps", "norm_eps", "sliding_window", "attention_window_size",
    "use_sliding_window", "max_window_layers", "query_pre_attn_scalar", "attn_logit_softcapping",
    "attention_multiplier", "clip_qkv", "use_qk_norm", "qk_layernorm", "use_qkv_bias", "qkv_bias", "use_bias", "bias",
    "rotary_dim", "kv_lora_rank", "q_lora_rank", "qk_rope_head_dim", "v_head_dim", "qk_nope_head_dim",
    "rope_interleave", "attention_chunk_size", "floor_scale", "attn_scale", "attn_temperature_tuning",
    "key_multiplier", "attention_value_scale", "gating", "qk_scale_factor", "num_kv_shared_layers",
    "global_head_dim", "num_global_key_value_heads", "attention_k_eq_v", "no_rope_layer_interval",
    "new_decoder_architecture", "multi_query", "alibi", "n_embd", "n_head", "n_layer", "n_positions",
    "use_attention_gate", "cross_attention_layers", "qk_norm_type", "num_layers_per_stack", "local_attention",
    "model_max_length",    "d_model", "n_heads", "n_layers", "max_seq_len", "num_kv_heads",
)  # fmt: skip


def library_defaults() -> dict[str, dict[str, Any]]:
    """Return what each config class gives to fields left out, where that is not the table's own default.

    Returns:
        model_type -> field -> value.
    """
    found = {}
    for config_class in sorted(config_classes(), key=lambda c: str(c.model_type)):
        try:
            values = config_class().to_dict()
        except Exception:  # noqa: S112 - a class that cannot be made without values has no defaults
            continue
        found[config_class.model_type] = defaults_of(values) | rope_words(config_class)
    return found


def defaults_of(values: dict[str, Any]) -> dict[str, Any]:
    """Return the wanted fields of one config, RoPE's in the older, flat form where they fit it.

    Args:
        values: the config as a dict.

    Returns:
        field -> value.
    """
    found = {name: values[name] for name in WANTED if name in values and _differs(name, values)}
    rope = values.get("rope_parameters") or {}
    if any(isinstance(numbers, dict) for numbers in rope.values()) or rope.get("rope_type", "default") != "default":
        found["rope_parameters"] = rope
    else:
        flat = {name: rope.get(name) for name in ("rope_theta", "partial_rotary_factor")}
        found |= {name: value for name, value in flat.items() if value not in (None, STANDARD_DEFAULTS[name])}
    return found


def rope_words(config_class: type[PreTrainedConfig]) -> dict[str, Any]:
    """Return how a config class reads the older words for RoPE.

    Args:
        config_class: the class.

    Returns:
        rope_theta: the base it gives to a rope_scaling without one.
        rope_theta_alone: what a file's rope_theta does without rope_scaling, where it is not simply the base: it
        "replaces" the base of the class's own rule, or is "ignored".
    """
    usual = _rope_of(config_class, {})
    scaled = _rope_of(config_class, {"rope_scaling": {"rope_type": "linear", "factor": 2.0}})
    told = _rope_of(config_class, {"rope_theta": 54321.0})
    if not usual or not told:
        return {}
    words: dict[str, Any] = {}
    plain = "" in usual and usual[""].get("rope_type", "default") == "default"
    theta = scaled.get("", {}).get("rope_theta")
    if theta is not None and theta != (usual[""].get("rope_theta", 10000.0) if plain else 10000.0):
        words |= {"rope_theta": theta} | ({"rope_parameters": usual[""]} if "" in usual else {})
    read = [numbers.get("rope_theta") == 54321.0 for numbers in told.values()]
    if not any(read):
        words["rope_theta_alone"] = "ignored"
    if all(read) and not plain:
        words["rope_theta_alone"] = "replaces"
    return words


def _rope_of(config_class: type[PreTrainedConfig], options: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the class's RoPE parameters by kind of layer, "" for all; empty where it has none or refuses `options`."""
    try:
        found = config_class(**options).to_dict().get("rope_parameters") or {}
    except Exception:
        return {}
    if any(isinstance(numbers, dict) for numbers in found.values()):
        return {kind: numbers for kind, numbers in found.items() if numbers}
    return {"": found} if found else {}


def _differs(name: str, values: dict[str, Any]) -> bool:
    """Return whether a field's value is none that the table would assume."""
    value = values[name]
    heads, width = values.get("num_attention_heads"), values.get("hidden_size")
    if name == "num_key_value_heads" and value == heads:
        return False
    if name == "head_dim" and heads and width and value == width // heads:
        return False
    if name not in STANDARD_DEFAULTS:
        return value is not None and not isinstance(value, dict)
    return bool(value != STANDARD_DEFAULTS[name])


def config_classes() -> set[type[PreTrainedConfig]]:
    """Return the config classes of all model types of the installed transformers."""
    for module in pkgutil.iter_modules(transformers.models.__path__):
        try:
            importlib.import_module(f"transformers.models.{module.name}.configuration_{module.name}")
        except ImportError:
            continue
    found: set[type[PreTrainedConfig]] = set()
    waiting = [PreTrainedConfig]
    while waiting:
        classes = waiting.pop().__subclasses__()
        found |= {c for c in classes if c.model_type}
        waiting += classes
    return found


def written() -> str:
    """Return the text of reimpl/families/defaults.py."""
    lines = [
        "# ruff: noqa: E501",
        '"""What the library\'s config classes give to fields that a file leaves out, by model type.',
        "",
        f"Written by `python -m inspector.coverage.defaults` with transformers {transformers.__version__}.",
        '"""',
        "",
        "from __future__ import annotations",
        "",
        "from typing import Any",
        "",
        "# fmt: off",
        "DEFAULTS: dict[str, dict[str, Any]] = {",
    ]
    for model_type, values in library_defaults().items():
        if model_type in FAMILIES and values:
            lines.append(_wrapped(f'    "{model_type}": {{', [f'"{name}": {_text(v)}' for name, v in values.items()]))
    return "\n".join([*lines, "}", "# fmt: on", ""])


def main() -> None:
    """Write the file whole, or not at all."""
    with written_whole(PLACE) as part:
        part.write_text(written(), encoding="utf-8")
    print(f"{PLACE}: {len(DEFAULTS)} model types before, {len(library_defaults().keys() & FAMILIES.keys())} now")


def _text(value: Any) -> str:
    """Write a value as Python source, dicts in one order, whatever the class's."""
    if isinstance(value, dict):  # in one order, whatever the class's
        value = dict(sorted(value.items()))
    return repr(value).replace("'", '"')


def _wrapped(start: str, parts: list[str], width: int = 118) -> str:
    """Write a dict entry over several lines where it is long."""
    lines = [start]
    for part in parts:
        if len(lines[-1]) + len(part) > width:
            lines.append(" " * 8)
        lines[-1] += part + ", "
    return "\n".join(line.rstrip() for line in lines).removesuffix(",") + "},"


if __name__ == "__main__":
    main()
