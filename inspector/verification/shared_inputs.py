"""What a layer's attention takes from elsewhere in the model: another layer's keys and values, a choice of keys."""

from __future__ import annotations

import torch
from torch import Tensor

from inspector.capture.records import Layer
from inspector.errors import InspectorError
from inspector.model.matching import stands_at
from inspector.trace.trace import Trace
from reimpl.attention import CausalSelfAttention, ExternalInputs


def external_inputs(layer: CausalSelfAttention, trace: Trace, index: int) -> ExternalInputs:
    """Return what our layer takes from elsewhere in the model for one attention call.

    Args:
        layer: our layer.
        trace: the recorded prompt.
        index: the call's number.

    Returns:
        The keys and values of an earlier layer that it shares, and the keys that the model chose.
    """
    shared = None
    if layer.spec.shares is not None:
        source = _source(trace, layer.spec.shares)
        shared = (source.key, source.value)
    return ExternalInputs(shared, _table(trace, index) if layer.spec.mask.given else None)


def _source(trace: Trace, place: str) -> Layer:
    """Return the layer whose keys and values are shared."""
    for layer in trace.stored:
        if stands_at(layer.info.name, place):
            return layer
    raise InspectorError(f"A layer shares the keys of {place}, which did not run; its numbers cannot be compared.")


def _table(trace: Trace, index: int) -> Tensor:
    """Return the model's own choice: true where a query may look, or what it adds to scores, -inf elsewhere."""
    layer = trace.stored[index]
    mask = layer.mask if isinstance(layer.mask, Tensor) else trace.allowed(index, 0)
    return mask if layer.bias is None else torch.where(mask, layer.bias.float(), -torch.inf)
