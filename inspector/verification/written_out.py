"""A copy of a model whose attention has plain matrices where the model holds packed or adapted ones.

The library's own class runs in it, on the weights that the model holds. The reimplementation takes its place in this
copy, so that what differs there is attention's alone. Where a model's kernels round what they multiply (8-bit
products), this copy is what can be verified at all; how far its products are from the model's is said.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from inspector.errors import InspectorError
from inspector.model.matrices import is_own_product, needs_writing_out, off_its_matrix
from inspector.model.model import Model
from inspector.model.weights_in_memory import find_weights
from inspector.trace.trace import Trace
from inspector.verification.tolerances import sum_rounding

ORDER = 16  # times the rounding of a sum: what another order of summation may do to the worst of many products
EIGHT_BITS = 2.0**-5  # of the largest product: more than this, no rounding of inputs to 8 bits does


def with_plain_matrices(model: Model) -> Model:
    """Copy a model with plain matrices in its attention; every other parameter is shared.

    Args:
        model: any.

    Returns:
        The copy; the model itself where its attention holds plain matrices.
    """
    forms = model.packed_or_adapted
    if not forms:
        return model
    shared = {id(tensor): tensor for tensor in [*model.model.parameters(), *model.model.buffers()]}
    twin = copy.deepcopy(model.model, shared)
    tensors = find_weights(model.model, model.dtype).tensors
    for name in forms:
        if not needs_writing_out(model.model.get_submodule(name)):
            continue
        matrix, bias = tensors[f"{name}.weight"].to(model.dtype), tensors.get(f"{name}.bias")
        with torch.device("meta"):
            plain = nn.Linear(matrix.shape[1], matrix.shape[0], bias=bias is not None)
        plain.weight = nn.Parameter(matrix, requires_grad=False)
        if bias is not None:
            plain.bias = nn.Parameter(bias.to(model.dtype), requires_grad=False)
        place, _, last = name.rpartition(".")
        setattr(twin.get_submodule(place), last, plain)
    return Model(twin.eval(), model.tokenizer, model.source)


def verifiable(model: Model, prompt: Any) -> tuple[Model, Any, list[str]]:
    """Return the model that can be verified: itself, or its written-out copy where its kernels round their inputs.

    Args:
        model: the model.
        prompt: its prompt, which may be a trace.

    Returns:
        The model and the prompt to verify, and remarks.

    Raises:
        InspectorError: its products are too far from those with its matrices for rounding to 8 bits.
    """
    largest, kind = 0.0, ""
    tensors = find_weights(model.model, model.dtype).tensors
    for name in model.packed_or_adapted:
        module = model.model.get_submodule(name)
        if needs_writing_out(module):
            matrix, bias = tensors[f"{name}.weight"].to(model.dtype), tensors.get(f"{name}.bias")
            off = off_its_matrix(module, matrix, None if bias is None else bias.to(model.dtype))
            more_than_order = off > ORDER * sum_rounding(model.dtype, matrix.shape[1])
            if more_than_order and is_own_product(module):
                raise InspectorError(
                    f"{name} is a {type(module).__name__} that does more than multiply by a matrix ({off:.1%} off on "
                    "random inputs), so no reimplementation can stand for it: verify the model without it."
                )
            if more_than_order and off > largest:
                largest, kind = off, type(module).__name__
    if not kind:
        return model, prompt, []
    if largest > EIGHT_BITS:
        raise InspectorError(
            f"The products of this model's {kind} are off by {largest:.1%} from those with its own matrices, more than "
            "rounding to 8 bits explains: verify a copy whose attention multiplies by plain matrices."
        )
    if isinstance(prompt, Trace):
        prompt = list(prompt.tokens.ids) if prompt.prompt is None else prompt.prompt
    remark = (
        f"This model's {kind} rounds what it multiplies: its products are off by up to {largest:.2%} from those with "
        "its own matrices (random inputs). Verified is a copy with these matrices written out."
    )
    return with_plain_matrices(model), prompt, [remark]
