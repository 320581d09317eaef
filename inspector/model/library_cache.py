"""Find the library's key/value cache in what a model returns, and hand it one: transformers 5.24 renamed it."""

from __future__ import annotations

import inspect
from typing import Any

from torch import nn

NAMES = ("cache", "past_key_values")  # the newer name first: asked for the older one, a newer library warns


def returned_cache(result: Any) -> dict[str, Any]:
    """Return the cache that a pass left, as the argument by which the same model takes it back.

    Args:
        result: what the library's model returned.

    Returns:
        One name and the cache; empty where the model hands none back.
    """
    for name in NAMES:
        if (found := getattr(result, name, None)) is not None:
            return {name: found}
    return {}


def cache_argument(model: nn.Module, cache: Any) -> dict[str, Any]:
    """Return a cache as the argument by which a model takes it.

    Args:
        model: the library's model.
        cache: what it is to go on from.

    Returns:
        One name and the cache.
    """
    taken = inspect.signature(model.forward).parameters
    return {next((name for name in NAMES if name in taken), NAMES[-1]): cache}
