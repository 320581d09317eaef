"""List the decoder types of the installed transformers, and build a tiny random model of each, or a checkpoint of it.

Weights are large enough, and norms, biases, sinks and gates far enough from 1 and 0, that leaving any out shows.
"""

from __future__ import annotations

import copy
import importlib
import importlib.util
import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import CONFIG_MAPPING, PreTrainedModel, PreTrainedTokenizerFast
from transformers.configuration_utils import ALLOWED_LAYER_TYPES
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from inspector.coverage import table

INDEXED = "indexed_attention"  # transformers 5.17 has a name for each lineage instead
MOST_PARAMETERS = 4_000_000  # more means that a size is missing in the table, and the class's own was taken

# Parameters of recurrences, whose initial values keep a state from growing without bound: by last name, or by part.
LEFT_ALONE = ("A_log", "D", "dt_bias")
LEFT_ALONE_PARTS = (".mamba", "rg_lru", "recurrent")


@dataclass(frozen=True)
class Entry:
    """One decoder type.

    Attributes:
        name: the library's model type.
        class_name: its class.
        package: its place in transformers.models, "" where transformers itself exports it.
        alias_of: the entry whose text model this one has, under another name; "" for an entry of its own.
        rope: whether it rotates queries and keys; None where the table does not know the type.
        options: what its attention needs, as in table.CLASSES; None where that list cannot say it.
        otherwise: what it has in place of one softmax over queries and keys; "" where it has just that.
        needs: what it cannot run without, beside a prompt; "" where a prompt is enough.
    """

    name: str
    class_name: str
    package: str = ""
    alias_of: str = ""
    rope: bool | None = None
    options: str | None = None
    otherwise: str = ""
    needs: str = ""

    @property
    def known(self) -> bool:
        """Return whether this type is in the table; a later transformers may bring types that are not."""
        return self.rope is not None


def types() -> dict[str, Entry]:
    """List every decoder type of the installed transformers.

    Returns:
        Name -> entry: the library's own list of causal language models, and the text models of larger models that this
        list leaves out.
    """
    found = {name: _entry(name, class_name) for name, class_name in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.items()}
    for name, place in table.BACKBONES.items():
        package, class_name = place.split(".")
        if name not in found and importlib.util.find_spec(f"transformers.models.{package}") is not None:
            found[name] = _entry(name, class_name, package)
    return found


def equivalence_classes() -> dict[str, tuple[str, ...]]:
    """Group the installed types by what their attention needs.

    Types that are something else than one softmax over queries and keys are in no class.

    Returns:
        Options -> types whose attention needs just these, the one that stands for them first.
    """
    installed = types()
    members = {options: tuple(n for n in names.split() if n in installed) for options, names in table.CLASSES.items()}
    return {options: names for options, names in members.items() if names}


def _entry(name: str, class_name: str, package: str = "") -> Entry:
    """Return what the table knows of one type."""
    options = _OPTIONS.get(name)
    otherwise = _OTHERWISE.get(name, "")
    known = options is not None or bool(otherwise)
    rope = "ROPE_" in options if options is not None else name not in table.OTHERWISE_WITHOUT_ROPE
    return Entry(
        name=name,
        class_name=class_name,
        package=package,
        alias_of=table.ALIASES.get(name, ""),
        rope=rope if known else None,
        options=options,
        otherwise=otherwise,
        needs=table.NEEDS.get(name, ""),
    )


_OPTIONS = {name: options for options, names in table.CLASSES.items() for name in names.split()}
_OTHERWISE = table.OTHERWISE_WITH_ROPE | table.OTHERWISE_WITHOUT_ROPE


# --- a tiny model ------------------------------------------------------------------------------------


def model_class(entry: Entry) -> type[PreTrainedModel]:
    """Return the library's class of a type.

    Args:
        entry: the type.

    Returns:
        The model class.
    """
    place = f"transformers.models.{entry.package}.modeling_{entry.package}" if entry.package else "transformers"
    found: type[PreTrainedModel] = getattr(importlib.import_module(place), entry.class_name)
    return found


def config_class(entry: Entry) -> Any:
    """Return the class of settings that a type's model class takes.

    Args:
        entry: the type.

    Returns:
        The type's own config class, or that of the text part of a larger model.
    """
    own = model_class(entry).config_class
    if entry.package:
        return own
    listed = CONFIG_MAPPING[entry.name]
    return own if own in listed.sub_configs.values() else listed


def config(entry: Entry) -> Any:
    """Return the settings of a tiny model.

    They are table.SIZES where the type has such a field, what the table says of the type, and the class's own defaults
    for the rest.

    Args:
        entry: the type.

    Returns:
        An instance of its config class.
    """
    made = config_class(entry)
    default = made()
    renamed: dict[str, str] = getattr(made, "attribute_map", {})
    fields = {*default.to_dict(), *inspect.signature(made.__init__).parameters, *renamed}
    values = {name: value for name, value in table.SIZES.items() if name in fields}
    for other_name, field in renamed.items():
        if field in fields:  # never both: which of the two wins differs from class to class
            values.pop(other_name, None)
    if "kv_lora_rank" in fields:  # latent keys are made for every head, and head_dim means their rotated part
        values["num_key_value_heads"] = table.HEADS
        if "qk_rope_head_dim" in fields:
            values["head_dim"] = table.SIZES["qk_rope_head_dim"]
    overrides = table.OVERRIDES.get(entry.name, {})
    listed = _per_layer(default, layers=overrides.get("num_hidden_layers") or table.LAYERS)
    if "layers_block_type" not in overrides:  # layer_types under an older name
        values |= {name: kinds for name, kinds in listed.items() if name in fields}
    values |= _short_rope(default)
    values |= overrides
    if INDEXED not in ALLOWED_LAYER_TYPES and INDEXED in (values.get("layer_types") or ()):
        older = "qwen_sparse_attention" if entry.name.startswith("qwen") else "deepseek_sparse_attention"
        values["layer_types"] = [older if kind == INDEXED else kind for kind in values["layer_types"]]
    settings = made(**copy.deepcopy({name: value for name, value in values.items() if value is not None}))
    if "is_decoder" in vars(settings):
        settings.is_decoder = True
    return settings


def _per_layer(default: Any, *, layers: int) -> dict[str, list[str]]:
    """Cut the class's own lists of one kind a layer down to `layers`: every kind of attention takes its turn."""
    cut: dict[str, list[str]] = {}
    if kinds := sorted(set(getattr(default, "layer_types", None) or [])):
        cut["layer_types"] = [kinds[i % len(kinds)] for i in range(layers)]
    for name in ("mlp_layer_types", "indexer_types"):  # the first layers are of one kind, all others of another
        listed = getattr(default, name, None)
        if isinstance(listed, list):
            cut[name] = listed[:1] + listed[-1:] * (layers - 1)
    return cut


def _short_rope(default: Any) -> dict[str, Any]:
    """Return the class's own scaling rule, with thresholds that a short prompt passes."""
    rule = getattr(default, "rope_parameters", None)
    if not isinstance(rule, dict) or "original_max_position_embeddings" not in rule:
        return {}
    short = {"original_max_position_embeddings": table.ORIGINAL_POSITIONS}
    if "max_position_embeddings" in rule:
        short["max_position_embeddings"] = table.POSITIONS
    return {"rope_parameters": {**rule, **short}}


def build(entry: Entry, *, seed: int = 0) -> PreTrainedModel:
    """Build a tiny model of a type with random weights, float32, in eval mode.

    Args:
        entry: the type.
        seed: of the random weights.

    Returns:
        The library's model.

    Raises:
        ValueError: the settings make a large one. Whatever the library raises for settings it refuses comes through.
    """
    return random_model(model_class(entry), config(entry), entry.name, most=MOST_PARAMETERS, seed=seed)


def random_model(made: Any, settings: Any, name: str, *, most: int, seed: int = 0) -> PreTrainedModel:
    """Build a model of any class with random weights, unless its settings make a large one.

    Args:
        made: the library's class.
        settings: its config.
        name: what the model is called.
        most: how many parameters it may have.
        seed: of the random weights.

    Returns:
        The library's model, in float32 and eval mode.

    Raises:
        ValueError: the settings make a large one.
    """
    with torch.device("meta"):
        parameters = sum(parameter.numel() for parameter in made(copy.deepcopy(settings)).parameters())
    if parameters > most:
        raise ValueError(f"a tiny {name} would have {parameters:,} parameters: one of its sizes is not made small")
    torch.manual_seed(seed)
    model: PreTrainedModel = made(settings).float().eval()
    randomize(model, seed=seed)
    return model


def randomize(model: PreTrainedModel, *, seed: int = 0) -> None:
    """Draw every weight anew, and move norms, biases, sinks and gates away from the 1 or 0 they start at.

    Args:
        model: changed in place.
        seed: of the random weights.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and not _left_alone(name):  # what a class freezes is no weight: it is a formula
                drawn = torch.randn(parameter.shape, generator=generator)
                parameter.copy_(_moved(name, parameter, drawn))


def _left_alone(name: str) -> bool:
    """Return whether a parameter keeps its initial value."""
    return name.split(".")[-1] in LEFT_ALONE or any(part in name for part in LEFT_ALONE_PARTS)


def _moved(name: str, parameter: Tensor, drawn: Tensor) -> Tensor:
    """Return the parameter's new value, from `drawn`, of its shape and of variance 1."""
    if parameter.ndim >= 3:  # experts, stacked
        narrow: float = parameter.shape[-1] ** -0.5
        return drawn * narrow
    if parameter.ndim == 2 and "norm" not in name.lower():
        if "embed" in name.lower():
            return drawn * 0.5
        inputs = parameter.shape[1] if name.endswith("weight") else parameter.shape[0]
        scale: float = inputs**-0.5
        return drawn * 1.2 * scale
    start = parameter if bool(torch.isfinite(parameter).all()) else torch.zeros_like(parameter)
    return start + 0.2 * drawn


def save(entry: Entry, folder: Path, *, seed: int = 0) -> Path:
    """Save a checkpoint of a tiny model of a type, with a tokenizer.

    Args:
        entry: the type.
        folder: where to; it is made.
        seed: of the random weights.

    Returns:
        The folder.
    """
    build(entry, seed=seed).save_pretrained(folder)
    word_tokenizer(folder)
    return folder


def word_tokenizer(folder: Path) -> None:
    """Save a tokenizer of 128 made-up words w0 ... w127 split at spaces.

    Args:
        folder: where to.
    """
    unknown = "w0"
    made = Tokenizer(models.WordLevel({f"w{i}": i for i in range(table.VOCABULARY)}, unk_token=unknown))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=made, unk_token=unknown).save_pretrained(folder)
