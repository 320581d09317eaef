"""Which of our attention layers answers which attention call of the library's model."""

from __future__ import annotations

from collections.abc import Sequence

from inspector.capture.records import LayerInfo
from inspector.errors import InspectorError
from reimpl.attention import CausalSelfAttention


def pair(ours: Sequence[CausalSelfAttention], calls: Sequence[LayerInfo], model: str) -> list[CausalSelfAttention]:
    """Return our layer for each call: by the place's name, or by order where the library's modules have other names.

    Args:
        ours: our layers.
        calls: the model's attention calls. A module that runs several times answers several calls.
        model: the model's name.

    Returns:
        One of our layers for each call.

    Raises:
        InspectorError: neither way gives a pairing.
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
    """Say whether the module `name` (model.layers.3.self_attn) is the one at our `place` (layers.3.self_attn)."""
    return name == place or name.endswith("." + place)
