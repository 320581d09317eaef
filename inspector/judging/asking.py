"""Ask somebody's attention for every layer, once each, and read what dtype it computes in."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from inspector.errors import InspectorError
from inspector.judging.answers import Handed
from inspector.judging.calls import Called
from inspector.judging.layer_at import LayerAt
from inspector.judging.stage_check import HALF, rounded_to
from inspector.trace.trace import Trace
from reimpl.attention import CausalSelfAttention

LONG = 512  # tokens from which a layer's n x n tables are let go of and made again when they are needed


def ask_layers(
    handed: Handed, trace: Trace, ours: Sequence[CausalSelfAttention], name: str
) -> tuple[list[LayerAt], list[str]]:
    """Ask for every layer that was handed over.

    Args:
        handed: somebody's attention.
        trace: the recorded prompt.
        ours: our layers; empty where the family is not reimplemented.
        name: the model's.

    Returns:
        The layers as they were answered, and sentences on how they were read.

    Raises:
        InspectorError: a layer was handed over that the model does not have.
    """
    count = len(trace.layers)
    wanted = range(count) if handed.layers is None else handed.layers
    if odd := [layer for layer in wanted if not 0 <= layer < count]:
        raise InspectorError(
            f"You handed over layer {odd[0]}, and {name} has layers 0 to {count - 1}: hand over one of these."
        )
    if callable(getattr(handed, "begin", None)):
        handed.begin()  # type: ignore[attr-defined]
    said: list[str] = []
    asked = [LayerAt(trace, layer, ours) for layer in wanted]
    for at in asked:
        said += at.ask(handed)
        if trace.n > LONG:
            at.forget()
    if isinstance(handed, Called) and handed.for_one_layer and len(asked) > 1:
        best = min(asked, key=_far)
        said.append(
            f"a function of the attention input alone: taken as layer {best.index}'s, the nearest of {len(asked)}; "
            "give it a second parameter, the layer, to be asked for all"
        )
        return [best], said
    return asked, said


def _far(at: LayerAt) -> float:
    """Return how far an answer is from a layer's numbers, of their largest."""
    sizes = [
        float((tensor - getattr(at.reference, stage)).abs().max() / getattr(at.reference, stage).abs().max())
        for stage, tensor in at.found.items()
        if tensor.shape == getattr(at.reference, stage).shape
    ]
    return max(sizes) if sizes and all(math.isfinite(size) for size in sizes) else math.inf


def dtype_read(asked: Sequence[LayerAt], own: torch.dtype) -> torch.dtype:
    """Return what somebody's code computes in, read from its numbers.

    Args:
        asked: the layers as they were answered.
        own: what the model computes in.
    """
    found = {rounded_to(at.found, at.raw_dtypes) for at in asked[:3]}
    half = found.pop() if len(found) == 1 else None
    return half if half is not None else own if own in (*HALF, torch.float64) else torch.float32
