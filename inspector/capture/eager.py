"""Attend with each module's own eager function instead of the configured one: it has weights and context at hand."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from inspector.capture.attention_inputs import AttentionInputs, attend_eagerly
from inspector.capture.listener import Listener
from inspector.capture.recorder import Recorder
from inspector.capture.records import Call
from inspector.capture.torch_functions import Attended, Watch
from reimpl.attention import context_vectors


class EagerListener(Listener):
    """Let a forward pass attend eagerly, and record nothing."""

    def compute(self, inputs: AttentionInputs) -> Any:
        """Compute the attention with the module's own eager function."""
        return attend_eagerly(inputs)

    def new_watch(self) -> Watch:
        """Replace torch's ready-made attention in modules' own code by its plain form."""
        return Watch(None, shown=True)


class StageRecorder(Recorder):
    """Record each attention call with its weights and context, from the module's own eager function.

    Both are stored whole, n x n: for one layer at a time.
    """

    def compute(self, inputs: AttentionInputs) -> Any:
        """Compute the attention with the module's own eager function."""
        return attend_eagerly(inputs)

    def end(self, call: Call, inputs: AttentionInputs, result: Any) -> None:
        """Store weights and context of a call."""
        call.context = result[0][0].transpose(0, 1)  # [h, t, d_value]
        call.weights = None if result[1] is None else shared_with_sinks(result[1][0], call.context, call)
        super().end(call, inputs, result)

    def new_watch(self) -> Watch:
        """Watch for attention, with torch's ready-made one in its plain form."""
        return Watch(self._seen, shown=True)

    def call_of(self, found: Attended) -> Call:
        """Make a call of an attention in a module's own code, with its weights and context."""
        call = super().call_of(found)
        call.weights, call.context = found.weights, found.context
        return call


def shared_with_sinks(weights: Tensor, context: Tensor, call: Call) -> Tensor:
    """Return weights as they multiply values.

    A function may return them before its sinks took their share, which it takes off the context instead: rows then sum
    to 1, and their context is too large.

    Args:
        weights: [h, t, s], as the module's eager function returned them.
        context: [h, t, d_value], which it returned beside them.
        call: the record.

    Returns:
        [h, t, s].
    """
    if call.sinks is None:
        return weights
    whole = context_vectors(weights, call.value).float()
    rounding = 32 * torch.finfo(weights.dtype).eps * float(call.value.abs().max())
    if float((whole - context.float()).abs().max()) <= rounding:
        return weights
    share = (whole * context.float()).sum(-1, keepdim=True) / (whole * whole).sum(-1, keepdim=True)
    return (weights * share).to(weights.dtype)
