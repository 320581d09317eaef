"""Keep a prompt's keys and values, and run its later tokens from there: what stands before them they cannot change."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from inspector.capture.listener import Listener
from inspector.errors import NotRun
from inspector.model.forward import ForwardPasses


class PrefixCache:
    """The keys and values of a prompt's tokens in every layer, by the library's own key/value cache."""

    def __init__(self, passes: ForwardPasses, ids: Sequence[int], listener: Listener) -> None:
        """Run the prompt once.

        Args:
            passes: the model's.
            ids: the prompt's n token ids.
            listener: what watches the pass.

        Raises:
            NotRun: the model keeps something else beside keys and values of every token.
        """
        self._passes, self._ids = passes, list(ids)
        cache = DynamicCache()
        passes.rows(self._ids, listener, cache=cache)
        self._kept = [
            (layer.keys, layer.values)
            for layer in cache.layers
            if type(layer) is DynamicLayer and layer.keys is not None and layer.values is not None
        ]
        if not self._kept or len(self._kept) < len(cache.layers) or any(k.shape[-2] != len(ids) for k, _ in self._kept):
            raise NotRun("The prompt was not cached.") from RuntimeError("it caches more than keys and values")

    def rows(self, first: int, count: int, listener: Listener) -> Tensor:
        """Run the tokens from one on, as several rows that a listener tells apart.

        Args:
            first: the first token that is run; those before it come from the cache.
            count: how many rows.
            listener: what watches the pass.

        Returns:
            The logits after the last token of every row, [count, vocabulary].
        """
        cache = DynamicCache()
        for layer, pair in enumerate(self._kept):
            cache.update(*(one[:, :, :first].expand(count, -1, -1, -1) for one in pair), layer)
        return self._passes.rows(self._ids[first:], listener, cache=cache, count=count)
