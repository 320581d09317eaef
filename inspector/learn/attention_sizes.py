"""Read what attention's costs depend on: a model's layers, heads and widths, its cache and its parameters.

Sizes in formulas: n tokens, L layers, H query heads, G key/value heads, d = d_head, m = d_model, b bytes a number.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from inspector.errors import InspectorError
from inspector.learn.cache_sizes import stored_positions, tensor_bytes
from inspector.model.model import model_or_none
from reimpl import UnsupportedError

if TYPE_CHECKING:
    from inspector.model.model import Model
    from inspector.trace.trace import Trace


@dataclass(frozen=True)
class LayerSizes:
    """One layer's heads, widths and cache.

    Attributes:
        heads: query heads.
        kv_heads: key/value heads.
        d_head: width of a query or key.
        d_value: width of a value.
        back: the library's cache stores this many last positions at most (None: all), which with the new token are the
            window.
    """

    heads: int
    kv_heads: int
    d_head: int
    d_value: int
    back: int | None = None

    def cached(self, n: int) -> int:
        """Return how many positions the cache stores after n tokens.

        Args:
            n: tokens.

        Returns:
            Positions.
        """
        return n if self.back is None else min(n, self.back)


@dataclass(frozen=True)
class Sizes:
    """All that the formulas need to know of a model.

    Attributes:
        layers: each layer's sizes.
        d_model: width of the residual; None where a trace from a file does not have it.
        element: bytes of one number.
        dtype: the numbers' dtype, as text.
        limit: how many positions the model has (None: no limit).
    """

    layers: tuple[LayerSizes, ...]
    d_model: int | None
    element: int
    dtype: str
    limit: int | None

    def weights_of_head(self, n: int) -> int:
        """Return the bytes of one head's weights: n² · b.

        The scores take as much. Half of both is masked and takes its place all the same.

        Args:
            n: tokens.

        Returns:
            Bytes.
        """
        return n * n * self.element

    def weights_of_layer(self, n: int, layer: int) -> int:
        """Return the bytes of one layer's weights: H · n² · b.

        Args:
            n: tokens.
            layer: counted from 0.

        Returns:
            Bytes.
        """
        return self.layers[layer].heads * self.weights_of_head(n)

    def weights(self, n: int) -> int:
        """Return the bytes of all layers' weights, were they stored at the same time: L · H · n² · b.

        Args:
            n: tokens.

        Returns:
            Bytes.
        """
        return sum(self.weights_of_layer(n, layer) for layer in range(len(self.layers)))

    def cache(self, n: int) -> int:
        """Return the bytes of the key/value cache: L · 2 · n · G · d · b; of a window only its last positions.

        Args:
            n: tokens.

        Returns:
            Bytes.
        """
        return sum(one.cached(n) * one.kv_heads * (one.d_head + one.d_value) for one in self.layers) * self.element

    def stored(self, n: int) -> int:
        """Return the bytes of queries, keys and values of every token, windows or not: L · n · (H + 2 G) · d · b.

        Args:
            n: tokens.

        Returns:
            Bytes.
        """
        each = (one.heads * one.d_head + one.kv_heads * (one.d_head + one.d_value) for one in self.layers)
        return n * sum(each) * self.element

    def matrices(self) -> int | None:
        """Return the bytes of W_q, W_k, W_v and W_o, for any n: L · (2 H + 2 G) · d · m · b.

        Returns:
            Bytes; None where m is not known.
        """
        if self.d_model is None:
            return None
        each = ((one.heads + one.kv_heads) * (one.d_head + one.d_value) for one in self.layers)
        return sum(each) * self.d_model * self.element

    def without_sharing(self) -> Sizes:
        """Return the sizes of the same model if every query head had keys and values of its own."""
        return replace(self, layers=tuple(replace(one, kv_heads=one.heads) for one in self.layers))


@dataclass(frozen=True)
class Parameters:
    """Bytes of the library's parameters, tied ones counted once.

    Attributes:
        whole: of all of the model.
        attention: of its attention modules.
        matrices: of W_q, W_k, W_v and W_o as the reimplementation reads them from the checkpoint; None where the family
            is not reimplemented, or has no four such matrices.
        why: the reason then; else empty.
    """

    whole: int
    attention: int
    matrices: int | None
    why: str = ""


def sizes(trace: Trace) -> Sizes:
    """Read the sizes of a trace's model.

    Args:
        trace: the prompt's trace. One opened from a file without its model leaves the limit unknown.

    Returns:
        The sizes.
    """
    value = trace.value(0)  # in the model's own dtype, however the trace keeps it
    backs = stored_positions(trace)
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
    """Count the bytes of a loaded model's parameters.

    Args:
        model: the model.

    Returns:
        Bytes of all, of attention's, and of the four matrices.
    """
    names = {info.name for info in model.layers}
    attention = [parameter for name in sorted(names) for parameter in model.model.get_submodule(name).parameters()]
    matrices, why = None, ""
    try:
        layers = [model.attention_now(layer) for layer in range(len(model.reimplementation))]  # once, not for each head
        heads = [layer.head_matrices(head) for layer in layers for head in range(layer.spec.heads)]
        matrices = tensor_bytes(matrix for head in heads for matrix in head)
    except (InspectorError, UnsupportedError) as error:
        why = str(error)
    return Parameters(tensor_bytes(model.model.parameters()), tensor_bytes(attention), matrices, why)
