"""The library's own numbers of a layer: its attention module run again, eager, on the input that was captured."""

from __future__ import annotations

import torch
from torch import Tensor

from inspector.capture.records import Call, Layer
from inspector.capture.rerun import run_again
from inspector.errors import InspectorError
from reimpl.attention import AttentionTrace


def attention_input(layer: Layer) -> Tensor:
    """Return what the layer's attention received, [n, d_model]; raises InspectorError where a file left it out."""
    found = _call(layer).input
    assert found is not None  # noqa: S101  (_call has just said so, in words)
    return found


def library_stages(layer: Layer, kv_heads: int | None = None) -> AttentionTrace:
    """Return the library's own stages of one layer, those before rotation included.

    Args:
        layer: a recorded layer, with its attention input.
        kv_heads: how many key and value heads the weights have: a few modules repeat them before anything else.

    Returns:
        The stages, head-first.

    Raises:
        InspectorError: the module gives other queries than in the forward pass, or no weights.
    """
    call = _call(layer)
    turned, plain = run_again(call), run_again(call, rotate=False)
    if not (torch.equal(turned.query, layer.query) and torch.equal(turned.key, layer.key)):
        raise InspectorError(
            f"Layer {layer.info.index} gave other queries when run again than in the forward pass, so there is no "
            "reference to compare with: trace the prompt again if the model was changed since, else please report it."
        )
    if turned.weights is None or turned.context is None or turned.output is None:
        raise InspectorError(f"Layer {layer.info.index}'s own eager attention gives no weights to compare with.")
    plain_key, key, value = (one_of_each_group(each, kv_heads) for each in (plain.key, turned.key, turned.value))
    return AttentionTrace(
        plain.query, plain_key, turned.query, key, value, turned.weights, turned.context, turned.output
    )


def one_of_each_group(heads: Tensor, kv_heads: int | None) -> Tensor:
    """Take one head of each group where all heads of a group are the same, bit for bit.

    Args:
        heads: keys or values [heads, t, d].
        kv_heads: how many groups there are; None leaves the heads as they are.

    Returns:
        [kv_heads, t, d]; the heads as they are where they are not copies.
    """
    if kv_heads is None or heads.shape[0] == kv_heads or heads.shape[0] % kv_heads:
        return heads
    first = heads[:: heads.shape[0] // kv_heads]
    return first if torch.equal(first.repeat_interleave(heads.shape[0] // kv_heads, dim=0), heads) else heads


def _call(layer: Layer) -> Call:
    """Return the recorded call, which a trace opened from a file lacks."""
    if layer.call is None or layer.call.input is None:
        raise InspectorError("This trace was opened from a file and cannot be verified; capture the prompt again.")
    return layer.call
