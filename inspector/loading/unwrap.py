"""Find the library's model in what people make of one: torch.compile's module, DataParallel, a pipeline, our Model."""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers import PreTrainedModel


def unwrapped(given: Any, tokenizer: Any) -> tuple[Any, Any]:
    """Return the library's model inside a wrapper, and the tokenizer that came with it.

    Args:
        given: what was handed to `inspector.load`.
        tokenizer: what was handed over with it; None: a pipeline's own is taken.

    Returns:
        The innermost model and its tokenizer; both as they were where nothing is wrapped.
    """
    inside: Any = given
    # A pipeline and our own Model hold both.
    if not isinstance(given, nn.Module | str) and isinstance(getattr(given, "model", None), nn.Module):
        inside, tokenizer = given.model, getattr(given, "tokenizer", None) if tokenizer is None else tokenizer
    while isinstance(inside, nn.Module) and not isinstance(inside, PreTrainedModel):
        # torch.compile's OptimizedModule, DataParallel and DistributedDataParallel; any other module is none of ours.
        inner = getattr(inside, "_orig_mod", None) or getattr(inside, "module", None)
        if not isinstance(inner, nn.Module):
            break
        inside = inner
    return inside, tokenizer
