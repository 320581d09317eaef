"""Compute one head's weights with its mask, and with every key allowed.

All weights are computed from the captured queries and keys by the functions that every page uses; n x n numbers are
made for one head, and for the first tokens of a long prompt only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch

from inspector.analysis.shares import Numbers, numbers
from inspector.capture.masks import masked_weights
from inspector.errors import InspectorError
from inspector.verification.compare import Check, compare_stage

if TYPE_CHECKING:
    from inspector.trace.trace import Trace

UNMASKED_UP_TO = 512  # tokens: two n x n maps are drawn side by side


@dataclass(frozen=True)
class MaskOnOff:
    """One head's attention weights under the model's own mask and with every key allowed.

    Attributes:
        masked: [n, n], NaN where the mask forbids.
        free: [n, n].
        check: `masked` against the trace's weights.
        forbidden: a row per query token: position, token, later (how much of its weight goes to later tokens once they
            are allowed) and earlier (to earlier ones that the layer's window or chunk hides).
    """

    masked: Numbers
    free: Numbers
    check: Check
    forbidden: pd.DataFrame


def mask_on_off(trace: Trace, layer: int, head: int, *, up_to: int = UNMASKED_UP_TO) -> MaskOnOff:
    """Compute both for the first tokens, which then see no others.

    Args:
        trace: the prompt's trace.
        layer: counted from 0.
        head: a query head, counted from 0.
        up_to: tokens, at most.

    Returns:
        Both maps and what the mask forbids.

    Raises:
        InspectorError: there is no such head, or it is not known what the layer would do without its mask.
    """
    n = min(trace.n, up_to)
    rows = slice(0, n)
    reference = trace.weights(layer, head, queries=rows)[:, :n]  # says why where weights cannot be computed
    stored = trace.stored[layer]
    if stored.bias is not None:
        raise InspectorError(
            f"Layer {layer} adds a bias to its scores that is known only where its mask allows attention, so its "
            "weights without the mask cannot be computed; choose another layer or model."
        )
    sinks = None if stored.sinks is None else stored.sinks[head : head + 1]
    mask = trace.allowed(layer, queries=rows, head=head)[:, :n]

    def weights(allowed: torch.Tensor) -> torch.Tensor:
        return masked_weights(
            trace.query(layer, head)[None, :n],
            trace.key(layer, head)[None, :n],
            allowed,
            scale=stored.info.scale,
            softcap=stored.info.softcap,
            sinks=sinks if sinks is None or sinks.ndim == 1 else sinks[:, :n],
        )[0].to(stored.value.dtype)

    masked, free = weights(mask), weights(torch.ones_like(mask))
    check = compare_stage(
        layer,
        "weights",
        masked,
        reference,
        tolerance=0.0 if n == trace.n else trace.n * torch.finfo(reference.dtype).eps,
        reason="the same operations on the same numbers"
        if n == trace.n
        else f"a row's sum over {n} keys instead of {trace.n:,}, all but {n} of them 0, in another order",
    )
    later = torch.ones(n, n, dtype=torch.bool, device=mask.device).triu(1)
    out = free.double()
    frame = pd.DataFrame(
        {
            "position": np.arange(n),
            "token": list(trace.tokens.labels[:n]),
            "later": (out * (later & ~mask)).sum(-1).cpu().numpy(),
            "earlier": (out * (~later & ~mask)).sum(-1).cpu().numpy(),
        }
    )
    return MaskOnOff(numbers(masked.masked_fill(~mask, torch.nan)), numbers(free), check, frame)
