"""Check that a record accounts for what the library computed, and say what it leaves out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from inspector.capture.masks import masked_weights
from inspector.capture.records import Call
from reimpl.attention import context_vectors, scaled_scores
from reimpl.mask import allowed
from reimpl.spec import MaskRule


def unexplained(call: Call, found: Tensor, kwargs: Mapping[str, Any]) -> str:
    """Say why this record would give other weights than the library used; empty where it gives the same.

    A model may do what the record does not hold (a term in its scores, keys chosen elsewhere): better no picture than a
    wrong one. The check costs one row of weights.

    Args:
        call: the record, with all of its vectors.
        found: the model's own context vectors of the last query, [h, d_value].
        kwargs: what the module handed to its attention function by name, to name what may be the cause.

    Returns:
        The reason, as part of a sentence.
    """
    t, s = call.query.shape[1], call.key.shape[1]
    positions = torch.arange(s, device=call.key.device)
    if isinstance(call.mask, MaskRule):
        mask = allowed(call.mask, positions[s - 1 :], positions)
    else:
        mask = call.mask[..., t - 1 : t, :]
    with torch.inference_mode():
        last, bias = call.query[:, -1:], None if call.bias is None else call.bias[:, -1:]
        sinks = call.sinks if call.sinks is None or call.sinks.ndim == 1 else call.sinks[:, -1:]
        weights = masked_weights(last, call.key, mask, scale=call.scale, softcap=call.softcap, bias=bias, sinks=sinks)
        context = context_vectors(weights.to(call.value.dtype), call.value)[:, 0].float()
        # Room for rounding, in half precision too; what a forgotten term changes is of the values' own size. Never less
        # than float32's: a float64 model's softmax is computed in it, except in the fused kernels.
        steep = 1 + float(scaled_scores(last, call.key, scale=call.scale, softcap=call.softcap).abs().max())
        eps = max(torch.finfo(call.value.dtype).eps, torch.finfo(torch.float32).eps)
        room = min(0.25, 16 * eps * steep) * float(call.value.abs().max())
        if float((context - found.reshape(context.shape).float()).abs().nan_to_num(torch.inf).max()) <= room:
            return ""
    usual = {"dropout", "scaling", "is_causal", "sliding_window", "softcap", "s_aux", "position_ids", "use_cache"}
    others = sorted(name for name, value in kwargs.items() if value is not None and name not in usual)
    kind = type(call.module).__name__
    return f"{kind} does more than query·key, mask and softmax ({', '.join(others) or 'inside its function'})"
