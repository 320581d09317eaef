"""Read what attention's costs depend on: a model's layers, heads and widths, its cache and its parameters.

Sizes in formulas: n tokens, L layers, H query heads, G key/value heads, d = d_head, m = d_model, b bytes a number.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from torch import Tensor
from transformers.cache_utils import DummyLayer, DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from inspector.errors import InspectorError
from inspector.model.model import model_or_none

if TYPE_CHECKING:
    from inspector.model.model import Model
    from inspector.trace.trace import Trace


@dataclass(frozen=True)
class LayerSizes:
    """One layer. `back`: the library's cache keeps this many last positions at most (None: all), which with the new
    token are the window."""

    heads: int
    kv_heads: int
    d_head: int
    d_value: int
    back: int | None = None

    def cached(self, n: int) -> int:
        """How many positions the cache holds after n tokens."""
        return n if self.back is None else min(n, self.back)


@dataclass(frozen=True)
class Sizes:
    """What the formulas need. element: bytes a number takes; limit: the positions the model has (None: no limit).
    d_model is None where a trace from a file does not say it."""

    layers: tuple[LayerSizes, ...]
    d_model: int | None
    element: int
    dtype: str
    limit: int | None

    def weights_of_head(self, n: int) -> int:
        """n² · b. The scores take as much; half of both lies behind the mask and takes its place all the same."""
        return n * n * self.element

    def weights_of_layer(self, n: int, layer: int) -> int:
        """H · n² · b."""
        return self.layers[layer].heads * self.weights_of_head(n)

    def weights(self, n: int) -> int:
        """L · H · n² · b, were all layers' kept at the same time."""
        return sum(self.weights_of_layer(n, layer) for layer in range(len(self.layers)))

    def cache(self, n: int) -> int:
        """L · 2 · n · G · d · b; in a layer with a window only its last positions."""
        return sum(one.cached(n) * one.kv_heads * (one.d_head + one.d_value) for one in self.layers) * self.element

    def stored(self, n: int) -> int:
        """L · n · (H + 2 G) · d · b: queries, keys and values of every token, windows or not."""
        each = (one.heads * one.d_head + one.kv_heads * (one.d_head + one.d_value) for one in self.layers)
        return n * sum(each) * self.element

    def matrices(self) -> int | None:
        """L · (2 H + 2 G) · d · m · b: W_q, W_k, W_v and W_o, for any n. None where m is not known."""
        if self.d_model is None:
            return None
        each = ((one.heads + one.kv_heads) * (one.d_head + one.d_value) for one in self.layers)
        return sum(each) * self.d_model * self.element

    def without_sharing(self) -> Sizes:
        """The same model if every query head had keys and values of its own."""
        return replace(self, layers=tuple(replace(one, kv_heads=one.heads) for one in self.layers))


@dataclass(frozen=True)
class Parameters:
    """Bytes of the library's parameters, tied ones once: all of the model, and those inside its attention modules.

    matrices: of W_q, W_k, W_v and W_o as the reimplementation reads them from the checkpoint; None where the family is
    not reimplemented, or has no four such matrices. why: the reason then.
    """

    whole: int
    attention: int
    matrices: int | None
    why: str = ""


def sizes(trace: Trace) -> Sizes:
    """The sizes of this trace's model. A trace from a file has no model at hand: its limit is unknown then."""
    value = trace.value(0)  # in the model's own dtype, however the trace keeps it
    backs = _backs(trace)
    layers = tuple(
        LayerSizes(info.heads, info.kv_heads, info.d_head, info.d_value, back)
        for info, back in zip(trace.layers, backs, strict=True)
    )
    model = model_or_none(trace)
    try:
        d_model = trace.input(0).shape[-1]
    except InspectorError:
        d_model = None
    return Sizes(
        layers=layers,
        d_model=d_model,
        element=value.element_size(),
        dtype=str(value.dtype).removeprefix("torch."),
        limit=None if model is None else model.positions,
    )


def parameters(model: Model) -> Parameters:
    """Bytes of the loaded model's parameters, counted."""
    names = {info.name for info in model.layers}
    attention = [parameter for name in sorted(names) for parameter in model.model.get_submodule(name).parameters()]
    matrices, why = None, ""
    try:
        ours = model.reimplementation
        heads = [model.head_parameters(layer, head) for layer, one in enumerate(ours) for head in range(one.spec.heads)]
        matrices = _nbytes(part for one in heads for part in (one.W_q, one.W_k, one.W_v, one.W_o))
    except InspectorError as error:
        why = str(error)
    return Parameters(_nbytes(model.model.parameters()), _nbytes(attention), matrices, why)


def cache_bytes(cache: Any) -> int:
    """Bytes of the tensors in a library's cache, one after the other.

    Raises InspectorError for a cache of layers that hold anything but keys and values (states of a recurrence).
    """
    return _nbytes(
        part for layer in _cache_layers(cache) for part in (layer.keys, layer.values) if isinstance(part, Tensor)
    )


def _cache_layers(cache: Any) -> list[Any]:
    """The cache's layers, all of a kind that can be counted."""
    if not isinstance(cache, DynamicCache):
        kind = "no cache" if cache is None else f"a {type(cache).__name__}"
        raise InspectorError(f"This model hands back {kind}, which is not made of keys and values alone.")
    known = (DynamicLayer, DynamicSlidingWindowLayer, DummyLayer)  # the last one holds nothing
    other = next((layer for layer in cache.layers if type(layer) not in known), None)
    if other is not None:
        raise InspectorError(
            f"This model's cache has a {type(other).__name__}, which is not made of keys and values alone."
        )
    return list(cache.layers)


def _backs(trace: Trace) -> list[int | None]:
    """How many last positions each layer's cache keeps: what the library's own cache says of itself (it may keep all
    where the mask has a window, or nothing where a layer uses another's keys). From the masks where it cannot be asked.
    A window of w is the new token and w - 1 before it; stretches (chunks) are cached the same way."""
    model = model_or_none(trace)
    if model is not None:
        try:
            layers = _cache_layers(model.cache(trace.tokens.ids[:1]))
        except InspectorError:
            layers = []
        if len(layers) == len(trace.layers):
            windows = [0 if type(one) is DummyLayer else getattr(one, "sliding_window", None) for one in layers]
            return [None if window is None else max(window - 1, 0) for window in windows]
    limits = [info.window or info.chunk for info in trace.layers]
    return [None if limit is None else limit - 1 for limit in limits]


def _nbytes(tensors: Iterable[Tensor]) -> int:
    """Bytes of tensors, each place in memory once."""
    return sum({(one.data_ptr(), one.nbytes): one.nbytes for one in tensors}.values())
