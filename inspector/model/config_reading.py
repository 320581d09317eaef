"""What the library's class makes of a config.json, and what it never reads of it.

config.json ─► the library's config object ─► its attention
     └───────────► reimpl's specs ◄─┘ what the object says wins; what it left out is named

A field that no line of the class's code, nor of the library's code for attention, reads cannot change attention.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import importlib
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from transformers import PreTrainedModel

from inspector.model.sizes import text_config
from reimpl.checkpoint import attention_specs, read_config
from reimpl.families import family_of
from reimpl.harmless_fields import ClassReading, harmless
from reimpl.spec import CheckpointError

# The library's code for attention that all models share.
SHARED = (
    "transformers.modeling_rope_utils", "transformers.masking_utils", "transformers.integrations.sdpa_attention",
    "transformers.cache_utils",
)  # fmt: skip

PART = "partial_rotary_factor"  # how much of each head RoPE turns

# Where files say how RoPE turns; their numbers may stand in any of these.
ROPE_FIELDS = ("rope_parameters", "rope_scaling", "rope_theta", PART)

# Read by the shared code for any model, but to any effect only where the model's own code asks for it: a mask for
# sliding or chunked layers; RoPE's plain rule for a part of each head.
OWN_CODE_DECIDES = {
    "layer_types": "layer_types",
    "sliding_window": "create_sliding_window_causal_mask",
    "attention_chunk_size": "create_chunked_causal_mask",
}
PLAIN_RULES = {"default", "mrope"}
# What the shared code reads of RoPE's numbers, never of the config itself.
OF_ROPE_ALONE = {
    "rope_type", "type", "factor", "mscale", "mscale_all_dim", "beta_fast", "beta_slow", "attention_factor", "truncate",
    "low_freq_factor", "high_freq_factor", "short_factor", "long_factor", "short_mscale", "long_mscale",
}  # fmt: skip


@dataclass(frozen=True)
class Code:
    """Hold what a Python file reads: names of attributes and of strings; and the defaults of its getattr calls."""

    names: frozenset[str]
    defaults: Mapping[str, Any]


@dataclass(frozen=True)
class ConfigReading:
    """Hold a config as the library's class reads it.

    Attributes:
        config: the config that the reimplementation is built from.
        by_class: what the class's code never reads, and its defaults.
        remarks: sentences on what the file says and the library does not heed.
    """

    config: Mapping[str, Any]
    by_class: ClassReading
    remarks: tuple[str, ...] = ()


def read_as_library(model: PreTrainedModel, folder: Path | None) -> ConfigReading:
    """Read a model's config as its class does, and say what the class does not heed of the file.

    Args:
        model: the library's model.
        folder: holds its config.json; None for a model without files.

    Returns:
        The reading: the file's words where the object means the same, else the object's.

    Raises:
        UnsupportedError: the class reads a field that is not modelled.
        CheckpointError: a field is missing or has an impossible value.
    """
    config = {**model.config.to_dict(), "model_type": model.config.model_type}
    if folder is None:
        return ConfigReading(config, class_reading(model, config))
    file = read_config(folder)
    by_class = class_reading(model, config, file)
    theirs = attention_specs(config, by_class)
    try:
        same = attention_specs(file, by_class) == theirs
    except CheckpointError:  # words that the class translates, or that have been taken back since it was loaded
        same = False
    return ConfigReading(file if same else config, by_class, tuple(_remarks(file, model, by_class, same=same)))


def class_reading(model: PreTrainedModel, *configs: Mapping[str, Any]) -> ClassReading:
    """Say which fields of these configs the code of a model's class never reads, and what it takes for those left out.

    Args:
        model: the library's model.
        configs: its config.json, or its config object as a dict.

    Returns:
        The reading; one that ignores nothing where the code cannot be looked into.
    """
    own, shared = ([_code(place) for place in places] for places in (_own_places(model), SHARED))
    object_part = text_config(model)
    defaults = {name: value for code in (*own, *shared) if code for name, value in code.defaults.items()}
    with contextlib.suppress(Exception):  # a class that cannot be made without values has no defaults
        defaults |= type(object_part)().to_dict()
    if None in own or None in shared:
        return ClassReading(defaults=defaults)
    own_names = frozenset[str]().union(*(code.names for code in own if code))
    read = own_names.union(*(code.names for code in shared if code)) - {
        field for field, asking in OWN_CODE_DECIDES.items() if not own_names & {field, asking}
    }
    rules = {
        value for name, _, value in _numbers({"": object_part.to_dict().get("rope_parameters")}) if name == "rope_type"
    }
    if PART not in own_names and rules <= PLAIN_RULES:
        read -= {PART}
    fields = {name for config in configs for name in family_of(config)[1]} | {PART}
    return ClassReading(
        ignored=fields - read,
        of_rope_alone=(OF_ROPE_ALONE & fields) - (own_names - {"rope_type", "type"}) - (fields - read),
        defaults=defaults,
    )


def _own_places(model: PreTrainedModel) -> list[str]:
    """Name the files of the code of a model and of its config, without those that all models share."""
    classes = {type(module) for module in model.modules()} | {type(model.config), type(text_config(model))}
    places = {base.__module__ for each in classes for base in each.__mro__}
    return sorted(place for place in places if place.startswith("transformers.models.") or not _shared(place))


def _shared(place: str) -> bool:
    """Return whether a module is no model's own: of the library, of torch, of Python."""
    top = place.partition(".")[0]
    return top in ("transformers", "torch") or top in sys.stdlib_module_names


@functools.cache
def _code(place: str) -> Code | None:
    """Read what a module's source reads; None where it has no source."""
    file = getattr(importlib.import_module(place), "__file__", None)
    try:
        tree = ast.parse(Path(str(file)).read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError):
        return None
    names: set[str] = set()
    defaults: dict[str, Any] = {}
    # There self is no config.
    layers = place in SHARED[1:] or (place.startswith("transformers.models.") and ".modeling_" in place)
    nodes = [*ast.walk(tree)]
    decorators = [one for node in nodes for one in getattr(node, "decorator_list", ())]
    about_arguments = {node for one in decorators for node in ast.walk(one)}  # @deprecate_kwarg("max_length")
    if place in SHARED[1:]:  # kwargs.get("softcap"): what a model hands over is named in its own code
        about_arguments |= {node.args[0] for node in nodes if _asks_arguments(node)}
    for node in nodes:
        if node in about_arguments:
            continue
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            if not layers or "config" in ast.unparse(node.value):
                names.add(node.attr)
        elif isinstance(node, ast.ImportFrom):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names.add(node.value)  # getattr(config, "name"), kwargs.pop("name"); whole sentences do no harm
        elif isinstance(node, ast.FunctionDef) and not layers:
            names |= {argument.arg for argument in (*node.args.args, *node.args.kwonlyargs)}
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "getattr":
            found = [each.value for each in node.args[1:] if isinstance(each, ast.Constant)]
            if len(found) == 2 and isinstance(found[0], str):
                defaults[found[0]] = found[1]
    return Code(frozenset(names), defaults)


def _asks_arguments(node: ast.AST) -> TypeGuard[ast.Call]:
    """Return whether this is kwargs.get(...) or kwargs.pop(...)."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute) or not node.args:
        return False
    return node.func.attr in ("get", "pop") and ast.unparse(node.func.value) == "kwargs"


def _remarks(file: Mapping[str, Any], model: PreTrainedModel, by_class: ClassReading, *, same: bool) -> Iterator[str]:
    """Say what the file has and the library's class does not heed."""
    _, part = family_of(file)
    config = text_config(model)
    kind = type(config).__name__
    if contradicted := list(_contradicted(part, config.to_dict(), rope_alone=same)):
        yield f"config.json is not all heeded by the library's {kind}: {'; '.join(contradicted)}."
    elif not same:
        yield f"The model's {kind} is not what config.json says: what the model has was taken."
    rope = {name: value for name, _, value in _numbers({"": part.get("rope_parameters") or part.get("rope_scaling")})}
    said = {**rope, **part}
    names = [name for name in sorted(by_class.ignored) if _says_something(name, said.get(name))]
    names += [name for name in sorted(by_class.of_rope_alone) if _says_something(name, part.get(name))]
    if names:
        yield f"config.json has fields that the library's code for this model never reads: {', '.join(names)}."


def _says_something(name: str, value: Any) -> bool:
    """Return whether a reader could think that a field changes attention."""
    if name == "quantization_config":  # read by what unpacks the weights
        return False
    return not harmless(name) and value not in (None, False, "", [], {}) and (name, value) != (PART, 1.0)


def _contradicted(part: Mapping[str, Any], config: Mapping[str, Any], *, rope_alone: bool) -> Iterator[str]:
    """Name the numbers of a file that the library's object has with other values: RoPE's, or any."""
    said: dict[str, list[Any]] = {}
    for name, _, value in _numbers({name: config.get(name) for name in ROPE_FIELDS}):
        said.setdefault(name, []).append(value)
    for name, place, value in _numbers({name: part.get(name) for name in ROPE_FIELDS}):
        if name in said and value not in said[name]:
            yield f"it says {place} {value}, the model has {' and '.join(map(str, said[name]))}"
    if rope_alone:
        return
    for name in sorted(part.keys() & config.keys() - set(ROPE_FIELDS)):
        if isinstance(part[name], bool | int | float) and part[name] != config[name] and not harmless(name):
            yield f"it says {name} {part[name]}, the model has {config[name]}"


def _numbers(fields: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, str, Any]]:
    """Give the numbers and words of nested fields: name, full name, value."""
    for name, value in fields.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{within}{name}.")
        elif value is not None:
            yield name, f"{within}{name}", value
