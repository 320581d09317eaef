"""Estimate from one backward pass what a sweep of heads or layers would measure: attribution patching.

The estimate is the change of each head output times the gradient of the logit by it, so it is right where the rest of
the model is a straight line. A sweep shows how well it agrees with what was measured.
Source: Syed et al. 2023, https://arxiv.org/abs/2310.10348.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from inspector.capture.context_gradients import ContextGradients
from inspector.lab.cells import Cell
from inspector.lab.effects import Readout
from inspector.model.model import Model


def estimates(
    model: Model, ids: Sequence[int], cells: Sequence[Cell], values: Mapping[int, Tensor], readout: Readout
) -> list[float]:
    """Return for each cell the estimated change of the readout.

    Args:
        model: the model.
        ids: the prompt's n token ids.
        cells: of a sweep of kind zero, mean or patch over heads or layers.
        values: what takes the place of head outputs, by layer; empty: zeros do.
        readout: the token that is looked at.

    Returns:
        As many numbers, in the unit of logits.

    Raises:
        InspectorError: the model cannot run with gradients.
    """
    listener = ContextGradients(model.passes.places(model.layers))
    with torch.inference_mode(False), torch.enable_grad():  # whatever mode the caller is in
        logits = model.passes.row_with_gradients(ids, listener)
        slopes = listener.gradients(readout.value(logits[0]))
    found = []
    for cell in cells:
        layer = cell.edit.layers[0] if cell.edit.layers else 0
        context = listener.contexts[layer]
        change = (values[layer] if values else torch.zeros_like(context)) - context
        by_head = (change * slopes[layer]).double().sum((1, 2))
        found.append(float(by_head.sum() if cell.head is None else by_head[cell.head]))
    return found
