"""Keep every layer's context vectors in a pass, ready to be asked how a number at its end changes with each of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from inspector.capture.attention_inputs import AttentionInputs
from inspector.capture.listener import Listener


class ContextGradients(Listener):
    """Add a zero to every layer's context, by which a gradient can be taken."""

    def __init__(self, places: Mapping[int, Sequence[int]]) -> None:
        """Prepare one pass; `places` has the layers that each attention module computes, by its id()."""
        super().__init__()
        self._places = places
        self._calls: dict[int, int] = {}
        self.contexts: dict[int, Tensor] = {}  # [h, t, d_value]
        self._zeros: dict[int, Tensor] = {}  # [1, t, h, d_value]

    def edit(self, inputs: AttentionInputs, result: Any) -> Any:
        """Add a zero to the context."""
        layers = self._places.get(id(inputs.module))
        if layers is None:
            return result
        count = self._calls.get(id(inputs.module), 0)
        self._calls[id(inputs.module)] = count + 1
        layer = layers[count % len(layers)]
        zeros = torch.zeros_like(result[0], requires_grad=True)
        self._zeros[layer] = zeros
        self.contexts[layer] = result[0].detach()[0].transpose(0, 1)
        return (result[0] + zeros, *result[1:])

    def gradients(self, number: Tensor) -> dict[int, Tensor]:
        """Return how a number changes with each context vector.

        Args:
            number: a single number computed from the pass.

        Returns:
            By layer, [h, t, d_value].
        """
        found = torch.autograd.grad(number, list(self._zeros.values()))
        return {layer: one[0].transpose(0, 1) for layer, one in zip(self._zeros, found, strict=True)}
