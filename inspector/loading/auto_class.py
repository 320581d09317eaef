"""Choose the library's class to load a model with: one that reads token ids by itself.

Besides causal language models these are text models saved without a head or with another one (class scores, rewards),
and models of several modalities, whose language model is all that runs for a prompt of text. No weights are read here.
"""

from __future__ import annotations

import importlib
import inspect
import re
from types import ModuleType
from typing import Any

import transformers
from transformers import PreTrainedModel
from transformers.models.auto import modeling_auto

# What a decoder's class is called, and one that has a decoder's attention under another head.
_DECODERS_FOR = ("ForCausalLM", "ForConditionalGeneration")
_OTHER_HEADS = ("ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering")
_LANGUAGE_MODEL_HEADS = ("CausalLM", "ConditionalGeneration", "MaskedLM", "PreTraining", "LMHead", "DoubleHeads")


def is_causal(model_type: str) -> bool:
    """Return whether this model type is in the library's list of causal language models."""
    return model_type in modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES


def decoder_class(config: Any) -> type[PreTrainedModel] | None:
    """Return the class that loads a model of this config and reads token ids.

    A causal language model's is the library's own choice, unless the config names the bare model without its head, or
    one with a head that scores classes. Where the library has no class of that name (rewards), it is the bare model:
    only the head is missing. Of other types it is the class that the config names (a bare model, or one with another
    head on it), or the library's for models that read images and text.

    Args:
        config: a PretrainedConfig of the library.

    Returns:
        The class, or None where the library has none.
    """
    kind = config.model_type
    named = next(iter(getattr(config, "architectures", None) or []), None)
    bare = modeling_auto.MODEL_MAPPING_NAMES.get(kind)
    listed = [
        names.get(kind)
        for names in (
            modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
            modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
            modeling_auto.MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES,
        )
    ]
    wanted = [named, *listed]
    if is_causal(kind) and named != bare:
        wanted = [named, bare] if isinstance(named, str) and _for_something_else(named) else listed
    found = (_class(name, config) for name in wanted if isinstance(name, str) and _may_decode(name, [*listed, bare]))
    return next((kind for kind in found if kind is not None), None)


def _may_decode(name: str, listed: list[Any]) -> bool:
    """Return whether a class of this name may be a decoder, given those that the library lists for its type."""
    other_head = name.endswith(_OTHER_HEADS) and any(listed)  # on a model that would be taken without it
    bare = name.endswith("Model") and "For" not in name
    return name in listed or name.endswith(_DECODERS_FOR) or other_head or bare


def _for_something_else(name: str) -> bool:
    """Return whether a class is, by its name (TypeForRewardModel), for something else than predicting tokens."""
    return re.search("For[A-Z]", name) is not None and not any(head in name for head in _LANGUAGE_MODEL_HEADS)


def _class(name: str, config: Any) -> type[PreTrainedModel] | None:
    """Return the class of this name for such a config, if there is one and it reads token ids."""
    found: Any = getattr(transformers, name, None) or getattr(_modeling_file(config), name, None)
    is_model = isinstance(found, type) and issubclass(found, PreTrainedModel)
    if not is_model or not isinstance(config, found.config_class or ()):
        return None
    return found if "input_ids" in inspect.signature(found.forward).parameters else None


def _modeling_file(config: Any) -> ModuleType | None:
    """Import the library's file that has the classes of this config's type, or return None."""
    package, _, file = type(config).__module__.rpartition(".")
    if not package.startswith("transformers.models.") or not file.startswith("configuration_"):
        return None
    try:
        return importlib.import_module(f"{package}.{file.replace('configuration_', 'modeling_', 1)}")
    except ImportError:
        return None
