"""Find somebody's matrices behind their output, and which of the model's each one is: by its numbers, not its name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from inspector.judging.calls import Called
from inspector.judging.library_modules import LibraryModules
from reimpl.attention import CausalSelfAttention
from reimpl.project import Projections

NAMES = {
    "projections.q_proj": "W_q",
    "projections.k_proj": "W_k",
    "projections.v_proj": "W_v",
    "projections.qkv_proj": "W_q, W_k and W_v",
    "o_proj": "W_o",
    "projections.q_norm": "the norm of queries",
    "projections.k_norm": "the norm of keys",
    "projections.v_norm": "the norm of values",
    "output_norm": "the norm of context vectors",
}
SAME = 4.0  # units of a dtype by which a copy of a matrix may differ: rounding once, and back


@dataclass(frozen=True)
class Owned:
    """One of somebody's parameters: its numbers and its gradient; None where none reaches it."""

    numbers: Tensor
    gradient: Tensor | None


def behind(output: Tensor) -> list[Tensor]:
    """List the tensors that ask for gradients and that an output was computed from, by autograd's graph."""
    found: dict[int, Tensor] = {}
    waiting, seen = [output.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        leaf = getattr(node, "variable", None)
        if isinstance(leaf, Tensor):
            found[id(leaf)] = leaf
        waiting += [parent for parent, _ in node.next_functions]
    return list(found.values())


def own_parameters(handed: Any, layer: int) -> list[Tensor]:
    """List the parameters that ask for gradients in the module that was handed over for a layer; none of a function."""
    module: Any = None
    if isinstance(handed, LibraryModules):
        module = handed.modules.get(layer)
    elif isinstance(handed, Called):
        functions = handed.functions
        module = functions.get(layer) if isinstance(functions, Mapping) else functions
    return [p for p in module.parameters() if p.requires_grad] if isinstance(module, nn.Module) else []


def by_matrix(layer: CausalSelfAttention, numbers: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Name what belongs to a layer's parameters as people do, each matrix by itself and those that people fuse.

    Args:
        layer: ours.
        numbers: its parameters' names -> their values, or their gradients.

    Returns:
        "W_q", "the bias of W_k", "W_q, W_k and W_v" ... -> the same numbers.
    """
    found: dict[str, Tensor] = {}
    for name, tensor in numbers.items():
        owner, _, kind = name.rpartition(".")
        called = NAMES.get(owner, owner or name)
        found[f"the bias of {called}" if kind == "bias" else called] = tensor
    pr = layer.projections
    if isinstance(pr, Projections):
        held = CausalSelfAttention.like(layer)
        held.load_state_dict(dict(numbers), strict=False, assign=True)
        assert isinstance(held.projections, Projections)  # noqa: S101
        parts = list(held.projections.matrices())
        if len(parts) == 3 and not layer.spec.value_is_key:
            for called, part in zip(("W_q", "W_k", "W_v"), parts, strict=True):
                found.setdefault(called, part.detach())
            found.setdefault("W_q, W_k and W_v", torch.cat([part.detach() for part in parts]))
            biases = [found.get(f"the bias of {called}") for called in ("W_q", "W_k", "W_v")]
            if all(bias is not None for bias in biases):
                found.setdefault("the bias of W_q, W_k and W_v", torch.cat(biases))  # type: ignore[arg-type]
    return found


def matched(owned: Owned, values: Mapping[str, Tensor], gradients: Mapping[str, Tensor]) -> tuple[str, Tensor] | None:
    """Say which of the model's matrices a parameter is, and bring its gradient into that matrix's shape.

    Args:
        owned: somebody's parameter.
        values: the model's matrices by name.
        gradients: their gradients: where two matrices are the same, the nearer gradient decides.

    Returns:
        The name and the gradient; None where it is none of them.
    """
    numbers = owned.numbers.detach().cpu().double()
    gradient = torch.zeros_like(numbers) if owned.gradient is None else owned.gradient.detach().cpu().double()
    unit = torch.finfo(owned.numbers.dtype).eps
    fits = [
        (name, laid_out)
        for name, value in values.items()
        for turned, laid_out in _laid_out(numbers, gradient, value.shape)
        if bool((turned - value).abs().max() <= SAME * unit * value.abs().max())
    ]
    return min(fits, key=lambda fit: float((fit[1] - gradients[fit[0]]).abs().max()), default=None)


def _laid_out(numbers: Tensor, gradient: Tensor, shape: torch.Size) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield a parameter and its gradient as a matrix of this shape: as it stands, or transposed."""
    if numbers.numel() != shape.numel() or not numbers.numel():
        return
    yield numbers.reshape(shape), gradient.reshape(shape)
    if len(shape) == 2:
        other = (shape[1], shape[0])
        yield numbers.reshape(other).T, gradient.reshape(other).T
