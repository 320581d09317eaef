"""Find the library's model in what people make of one: torch.compile's, DataParallel's, PEFT's, a pipeline, a Model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from inspector.errors import InspectorError


def unwrapped(given: Any, tokenizer: Any) -> tuple[Any, Any]:
    """Return the library's model inside a wrapper, and the tokenizer that came with it.

    Args:
        given: what was handed to `inspector.load`.
        tokenizer: what was handed over with it; None: a pipeline's own is taken.

    Returns:
        The innermost model and its tokenizer; both as they were where nothing is wrapped. Adapters stay in the model.

    Raises:
        InspectorError: an adapter is no part of the model's modules, so that the model inside would run without it.
    """
    inside: Any = given
    # A pipeline and our own Model hold both.
    if not isinstance(given, nn.Module | str) and isinstance(getattr(given, "model", None), nn.Module):
        inside, tokenizer = given.model, getattr(given, "tokenizer", None) if tokenizer is None else tokenizer
    while isinstance(inside, nn.Module) and not isinstance(inside, PreTrainedModel):
        wrapper: Any = inside
        # torch.compile's OptimizedModule, DataParallel and DistributedDataParallel, trl's models with a value head;
        # any other module is none of ours.
        names = ("_orig_mod", "module", "pretrained_model")
        inner: Any = next((found for name in names if (found := getattr(wrapper, name, None)) is not None), None)
        if hasattr(wrapper, "peft_config"):
            refuse_outside_modules(wrapper.peft_config)
            inner = wrapper.get_base_model() if hasattr(wrapper, "get_base_model") else getattr(wrapper, "model", None)
        if not isinstance(inner, nn.Module):
            break
        inside = inner
    return inside, tokenizer


def refuse_outside_modules(configs: Mapping[str, Any]) -> None:
    """Refuse adapters that add tokens, or attention of their own, instead of changing matrices.

    Args:
        configs: PEFT's configs by the adapters' names.

    Raises:
        InspectorError: naming the kind.
    """
    for config in configs.values():
        kind = str(getattr(config.peft_type, "value", config.peft_type))
        kind = "activated LoRA" if getattr(config, "alora_invocation_tokens", None) else kind
        if getattr(config, "is_prompt_learning", False) or kind in OUTSIDE:
            raise InspectorError(
                f"This PEFT model is adapted by {kind}, which works beside the model's matrices (tokens, keys or gates "
                "of its own) and cannot be looked into: give its base model, or one adapted by LoRA."
            )


# Kinds of adapter that work beside the matrices, or choose among adapters anew for each token.
OUTSIDE = ("ADAPTION_PROMPT", "XLORA", "POLY", "CARTRIDGE", "activated LoRA")
