"""Bring somebody's numbers into our shapes: kind of array, batch dimension, order of axes, repeated key/value heads."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import torch
import torch.utils.dlpack
from torch import Tensor

from inspector.errors import InspectorError

OF_HEADS = ("query_pre", "key_pre", "query", "key", "value", "context")
MOST_ONES = 6  # axes of 1 that are tried as a batch or one token
GROUPED = ("key_pre", "key", "value")


def as_tensor(found: Any, what: str, *, attached: bool = False) -> Tensor:
    """Return somebody's array as a tensor of its own, on the CPU or where it was.

    Args:
        found: a torch tensor, a numpy array, or any array that speaks dlpack, such as JAX's.
        what: which it is, for the sentence: "your output at layer 3".
        attached: keep autograd's graph behind a tensor of torch.

    Returns:
        The tensor, without a graph unless it was to be kept.

    Raises:
        InspectorError: it is no array of numbers, or no tensor of torch where its graph was to be kept.
    """
    if attached and not isinstance(found, Tensor):
        raise InspectorError(
            f"gradients=True needs tensors of torch, and {what} is of type {type(found).__name__}: return torch "
            "tensors computed from the input, or leave gradients out."
        )
    if isinstance(found, Tensor):
        tensor = found if attached else found.detach()
    else:
        try:
            tensor = _read_array(found)
        except (TypeError, ValueError, RuntimeError) as error:
            raise _no_array(found, what) from error
    if tensor.is_nested or tensor.is_meta or tensor.is_quantized:
        kind = "nested" if tensor.is_nested else "quantized" if tensor.is_quantized else "on the meta device"
        raise InspectorError(f"{what[0].upper()}{what[1:]} is {kind}: return a dense tensor of floating-point numbers.")
    tensor = tensor if tensor.layout == torch.strided else tensor.to_dense()
    if not (tensor.is_floating_point() or tensor.dtype in (torch.int32, torch.int64)):
        raise InspectorError(
            f"{what[0].upper()}{what[1:]} is an array of {str(tensor.dtype)[6:]}; return floating-point numbers."
        )
    return tensor if tensor.is_floating_point() else tensor.float()


def _read_array(found: Any) -> Tensor:
    """Read an array that is no tensor of torch; TypeError, ValueError or RuntimeError where it holds no numbers."""
    if hasattr(found, "__dlpack__"):
        try:
            return torch.utils.dlpack.from_dlpack(found).clone()
        except (BufferError, RuntimeError, TypeError):  # numpy arrays that are read-only speak dlpack in vain
            if not hasattr(found, "__array__"):
                raise TypeError from None
    if hasattr(found, "__array__"):
        return torch.tensor(found.__array__())
    if isinstance(found, list):
        return torch.tensor(found)
    raise TypeError


def _no_array(found: object, what: str) -> InspectorError:
    return InspectorError(
        f"{what[0].upper()}{what[1:]} is {'nothing' if found is None else f'of type {type(found).__name__}'}: return a "
        "tensor (torch, numpy, or JAX through dlpack), a pair (output, weights), or a mapping of stages."
    )


def read_layout(stage: str, found: Tensor, reference: Tensor, heads: int) -> tuple[Tensor, str]:
    """Bring one stage into our shape; where two readings have it, take the nearer one.

    Args:
        stage: which one.
        found: somebody's numbers, in any layout.
        reference: the model's, head-first: [h or g, n, d], [h, n, n], or the output [n, m].
        heads: how many query heads there are: keys and values may come repeated for each of them.

    Returns:
        The numbers, and how they were read, in words; empty where they came in our shape. What no reading brings into
        our shape comes back as it is, but for a batch dimension of 1.
    """
    candidates: list[tuple[Tensor, str]] = []
    for tensor, how in _readings(stage, found, reference, heads):
        if tensor.shape == reference.shape:
            if not how and reference.shape[0] != reference.shape[1]:
                return tensor, ""
            candidates.append((tensor, how))
    if candidates:
        distances = [_distance(tensor, reference) for tensor, _ in candidates]
        return candidates[distances.index(min(distances))]
    without_batch = found[0] if found.ndim == reference.ndim + 1 and found.shape[0] == 1 else found
    return without_batch, ""


def read_alike(stage: str, gradient: Tensor, found: Tensor, reference: Tensor, heads: int) -> Tensor | None:
    """Bring the gradient by a stage into our shape as the stage itself was read; of repeated heads it is the sum.

    Args:
        stage: which one.
        gradient: of the same shape as somebody's stage.
        found: somebody's stage.
        reference: the model's, in our shape.
        heads: how many query heads there are.

    Returns:
        The gradient in our shape; None where the stage was not read into it.
    """
    _, how = read_layout(stage, found, reference, heads)
    for tensor, said in _readings(stage, gradient, reference, heads):
        if tensor.shape == reference.shape and said == how:
            return tensor
    while gradient.ndim > 2 and gradient.shape[0] == 1 and gradient.ndim > reference.ndim - 1:
        gradient = gradient[0]
    for laid_out, said in _head_first(gradient, heads, reference.shape[-1]):
        if "repeated" in how and how.startswith(said):
            return torch.unflatten(laid_out, 0, (reference.shape[0], -1)).sum(1)
    return None


def _readings(stage: str, found: Tensor, reference: Tensor, heads: int) -> Iterator[tuple[Tensor, str]]:
    """Yield every reading that its shape permits, ours first: an axis of 1 may be a batch, or one token."""
    for tensor in _without_ones(found, reference.shape):
        yield from _readings_as_it_stands(stage, tensor, reference, heads)


def _without_ones(found: Tensor, due: torch.Size) -> Iterator[Tensor]:
    """Yield a tensor as it is, then without one or more of its axes of 1."""
    yield found
    if found.ndim > 2 and found.shape != due:
        ones = [axis for axis in range(found.ndim - 1) if found.shape[axis] == 1][:MOST_ONES]
        for count in range(1, min(len(ones), found.ndim - 2) + 1):
            for axes in combinations(ones, count):
                yield found.squeeze(axes)


def _readings_as_it_stands(stage: str, found: Tensor, reference: Tensor, heads: int) -> Iterator[tuple[Tensor, str]]:
    yield found, ""
    if stage == "output":
        if found.ndim == 2 and found.shape == reference.shape[::-1]:
            yield found.T, "[m, n], turned to [n, m]"
        if found.ndim == 1 and found.numel() == reference.numel():
            yield found.view(reference.shape), "one row of numbers, cut into [n, m]"
        return
    if stage == "weights":
        if found.ndim == 3:
            yield found.transpose(0, 1), "[n, h, n], read as [h, n, n]"
        if found.ndim == 2 and reference.shape[0] == 1:
            yield found[None], "[n, n] of the one head"
        if found.ndim == 4:
            yield found.flatten(0, 1), "[groups, members, n, n]"
        return
    for count, d, more in _head_counts(stage, reference, heads):
        for laid_out, how in _head_first(found, count, d):
            one, repeated = _one_of_each(laid_out, reference.shape[0]) if more else (laid_out, "")
            yield one, ", ".join(filter(None, (how, repeated)))


def _head_counts(stage: str, reference: Tensor, heads: int) -> Iterator[tuple[int, int, bool]]:
    yield reference.shape[0], reference.shape[-1], False
    if stage in GROUPED and heads != reference.shape[0]:
        yield heads, reference.shape[-1], True


def _head_first(found: Tensor, heads: int, d: int) -> Iterator[tuple[Tensor, str]]:
    """Yield the readings of a stage of heads as [heads, n, d]."""
    if found.ndim == 4 and found.shape[0] * found.shape[1] == heads:
        yield found.flatten(0, 1), "[groups, members, n, d]"
    if found.ndim == 4 and found.shape[1] * found.shape[2] == heads:
        yield found.flatten(1, 2).transpose(0, 1), "[n, groups, members, d]"
    if found.ndim == 3:
        if found.shape[0] == heads:
            yield found, ""
        if found.shape[1] == heads and found.shape[2] == d:
            yield found.transpose(0, 1), "[n, h, d]"
        if found.shape[0] == heads and found.shape[1] == d:
            yield found.transpose(1, 2), "[h, d, n]"
    if found.ndim == 2 and found.shape[1] == heads * d:
        yield found.unflatten(1, (heads, d)).transpose(0, 1), "[n, h·d]"
    if found.ndim == 2 and heads == 1 and found.shape[1] == d:
        yield found[None], "[n, d] of the one head"


def _one_of_each(x: Tensor, groups: int) -> tuple[Tensor, str]:
    """Take one head of each group where key/value heads come repeated in the right order 0 0 1 1."""
    if x.shape[0] % groups:
        return x, ""
    first = x[:: x.shape[0] // groups]
    if torch.equal(first.repeat_interleave(x.shape[0] // groups, dim=0), x):
        return first, f"repeated for each of {x.shape[0]} query heads"
    return x, ""


def _distance(found: Tensor, reference: Tensor) -> float:
    """Return how far two tensors are apart on the whole; infinite where anything is not finite."""
    size = float((found.detach().double() - reference.double()).abs().sum())
    return size if math.isfinite(size) else math.inf
