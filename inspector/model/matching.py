"""Which of our layers answers which attention call of the library's model: our layers by their place and the recorded
calls go in; one of our layers for each call, and what it takes from elsewhere in the model, come out.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from inspector.capture.records import Layer, LayerInfo
from inspector.errors import InspectorError
from inspector.trace.trace import Trace
from reimpl.attention import CausalSelfAttention, ExternalInputs


def pair(ours: Sequence[CausalSelfAttention], calls: Sequence[LayerInfo], model: str) -> list[CausalSelfAttention]:
    """Our layer for each call, by the place's name; by order where the library's modules have other names.

    A module that runs several times answers several calls. InspectorError where neither way gives a pairing.
    """
    found = [next((layer for layer in ours if stands_at(call.name, layer.place)), None) for call in calls]
    if all(found) and {id(layer) for layer in found} == {id(layer) for layer in ours}:
        return [layer for layer in found if layer is not None]
    if len(ours) != len(calls):
        raise InspectorError(
            f"The checkpoint describes {len(ours)} attention layers and {model} ran {len(calls)}; "
            "compare a model with its own checkpoint."
        )
    return list(ours)


def stands_at(name: str, place: str) -> bool:
    """Is the library's module `name` ("model.layers.3.self_attn") the one at our `place` ("layers.3.self_attn")?"""
    return name == place or name.endswith("." + place)


def external_inputs(layer: CausalSelfAttention, trace: Trace, index: int) -> ExternalInputs:
    """What our layer takes from elsewhere for call `index`: another layer's keys and values, the model's choice of
    keys."""
    shared = None
    if layer.spec.shares is not None:
        source = _source(trace, layer.spec.shares)
        shared = (source.key, source.value)
    return ExternalInputs(shared, _table(trace, index) if layer.spec.mask.given else None)


def _source(trace: Trace, place: str) -> Layer:
    for kept in trace.stored:
        if stands_at(kept.info.name, place):
            return kept
    raise InspectorError(f"A layer shares the keys of {place}, which did not run; its numbers cannot be compared.")


def _table(trace: Trace, index: int) -> Tensor:
    """The model's own choice: true where a query may look at a key, or what it adds to scores, -inf elsewhere."""
    kept = trace.stored[index]
    may = kept.mask if isinstance(kept.mask, Tensor) else trace.allowed(index, 0)
    return may if kept.bias is None else torch.where(may, kept.bias.float(), -torch.inf)
