"""Read what a model's key/value cache stores: bytes, and positions of each layer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from torch import Tensor
from transformers import cache_utils
from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from inspector.errors import InspectorError
from inspector.model.model import model_or_none

if TYPE_CHECKING:
    from inspector.trace.trace import Trace

STORES_NOTHING = getattr(cache_utils, "DummyLayer", None)  # transformers 5.17 has no such layer


def cache_bytes(cache: Any) -> int:
    """Count the bytes of the tensors in a library's cache.

    Args:
        cache: what the library's forward pass returns as its key/value cache.

    Returns:
        Bytes.

    Raises:
        InspectorError: the cache has layers of anything but keys and values (states of a recurrence).
    """
    return tensor_bytes(
        part for layer in cache_layers(cache) for part in (layer.keys, layer.values) if isinstance(part, Tensor)
    )


def cache_layers(cache: Any) -> list[Any]:
    """Return a library's cache layer by layer, where all layers are of a kind that can be counted.

    Args:
        cache: what the library's forward pass returns as its key/value cache.

    Returns:
        The cache's layers.

    Raises:
        InspectorError: there is no cache, or it has layers of anything but keys and values.
    """
    if not isinstance(cache, DynamicCache):
        kind = "no cache" if cache is None else f"a {type(cache).__name__}"
        raise InspectorError(f"This model returns {kind}, which is not made of keys and values alone.")
    known = (DynamicLayer, DynamicSlidingWindowLayer, STORES_NOTHING)
    other = next((layer for layer in cache.layers if type(layer) not in known), None)
    if other is not None:
        raise InspectorError(
            f"This model's cache has a {type(other).__name__}, which is not made of keys and values alone."
        )
    return list(cache.layers)


def stored_positions(trace: Trace) -> list[int | None]:
    """Return how many last positions each layer's cache stores.

    The library's own cache says so of itself (it may store all where the mask has a window, or nothing where a layer
    uses another's keys); where it cannot be asked, the masks do. A window of w is the new token and w - 1 before it;
    chunks are cached the same way.

    Args:
        trace: the prompt's trace.

    Returns:
        Positions of each layer; None: all.
    """
    model = model_or_none(trace)
    if model is not None:
        try:
            layers = cache_layers(model.passes.cache(trace.tokens.ids[:1]))
        except InspectorError:
            layers = []
        if len(layers) == len(trace.layers):
            windows = [0 if type(one) is STORES_NOTHING else getattr(one, "sliding_window", None) for one in layers]
            return [None if window is None else max(window - 1, 0) for window in windows]
    limits = [info.window or info.chunk for info in trace.layers]
    return [None if limit is None else limit - 1 for limit in limits]


def tensor_bytes(tensors: Iterable[Tensor]) -> int:
    """Count the bytes of tensors, each place in memory once.

    Args:
        tensors: of any shape.

    Returns:
        Bytes.
    """
    return sum({(one.data_ptr(), one.nbytes): one.nbytes for one in tensors}.values())
