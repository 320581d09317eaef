"""The gradients of one of our layers, in float64, and how far rounding may move them.

The loss is the sum of the output times fixed random numbers, so that each part of the layer has a gradient. How far
right code may be off is measured: each step's numbers are moved at random by as much as its rounding may move them,
forwards and backwards (Parker 1997, "Monte Carlo arithmetic"), and the gradients watched.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from inspector.judging.limits import SPREAD, angle_errors
from inspector.verification.tolerances import sum_rounding
from reimpl.attention import CausalSelfAttention, ExternalInputs, attention_weights, repeat_heads
from reimpl.norm import exact_norms
from reimpl.project import Projected
from reimpl.rope import join_planes, split_planes

SAMPLES = 4  # of rounding, the largest of which counts
FLOOR = 0.05  # of the largest error: what a row that happened to be moved little may be off all the same
# From the output backwards: the order in which a backward pass makes gradients, and in which they are compared.
BACKWARDS = ("context", "weights", "value", "query", "key", "query_pre", "key_pre", "input")
Change = Callable[[Tensor], Tensor]


class Exact(CausalSelfAttention):
    """Our layer with its softmax in float64 too."""

    def weigh(self, scores: Tensor, mask: Tensor) -> Tensor:
        """Return the weights, in the dtype of the scores throughout."""
        return attention_weights(scores, mask, sinks=self.sinks, precision=scores.dtype)


class _Passing(torch.autograd.Function):
    """Numbers that pass as they are, with their gradient changed."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, change: Change) -> Tensor:
        """Return x."""
        ctx.change = change
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        """Change the gradient."""
        return ctx.change(gradients[0]), None


def with_gradient(x: Tensor, change: Change) -> Tensor:
    """Return numbers as they are, whose gradient is changed on its way back.

    Args:
        x: any numbers.
        change: gradient -> what passes on.
    """
    made: Tensor = _Passing.apply(x, change)  # type: ignore[no-untyped-call]
    return made


class Rounded(Exact):
    """Our layer with each step's numbers moved at random, as far as rounding to a dtype may move them."""

    rounds_to: torch.dtype
    dice: torch.Generator

    def _thrown(self, like: Tensor) -> Tensor:
        return torch.rand(like.shape, generator=self.dice, dtype=like.dtype) * 2 - 1

    def _moved(self, x: Tensor, sizes: float | Tensor) -> Tensor:
        """Move what a step has made: by so much of each row's largest number, or by sizes of their own."""
        if isinstance(sizes, float):
            sizes = sizes * x.detach().abs().amax(-1, keepdim=True)
        return x + self._thrown(x) * sizes

    def _back(self, x: Tensor, products: int) -> Tensor:
        """Return what a step is given, its gradient moved on the way back as a sum of so many products."""
        size = sum_rounding(self.rounds_to, products)
        return with_gradient(x, lambda g: g + self._thrown(g) * size * g.abs().amax(-1, keepdim=True))

    def project(self, x: Tensor, shared: tuple[Tensor, Tensor] | None = None) -> Projected:
        """Project, rounded: sums over the width, and back over all heads' dimensions."""
        made = super().project(self._back(x, self.spec.heads * self.spec.d_head), shared)
        relative = sum_rounding(self.rounds_to, x.shape[-1])
        query, key, value = (self._moved(one, relative) for one in made[:3])
        return made._replace(query=query, key=key, value=value)

    def rotate(self, query: Tensor, key: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Rotate, rounded: two products and a sum, and angles that another formula gives otherwise."""
        unit = 3 * torch.finfo(self.rounds_to).eps
        query, key = super().rotate(self._back(query, 2), self._back(key, 2), positions)
        return self._moved(self._turned(query), unit), self._moved(self._turned(key), unit)

    def _turned(self, x: Tensor) -> Tensor:
        """Turn rotated vectors a little further or less far: by as much as angles may be off."""
        rope = self.spec.rope
        if rope is None:
            return x
        angles = angle_errors(self, x.shape[-2], x.device).to(x.dtype)  # [n, planes]
        angles = angles * self._thrown(angles[0])
        turning = x[..., -rope.dim :] if rope.last else x[..., : rope.dim]
        first, second = split_planes(turning.detach(), rope.style)
        aside = join_planes(-second * angles, first * angles, rope.style)
        moved = torch.zeros_like(x)
        (moved[..., -rope.dim :] if rope.last else moved[..., : rope.dim]).copy_(aside)
        return x + moved

    def score(self, query: Tensor, key: Tensor) -> Tensor:
        """Score, rounded: by as much as the products may be off, also where they cancel."""
        n, spec = query.shape[-2], self.spec
        scores = super().score(self._back(query, n), self._back(key, n * spec.group))
        keys = repeat_heads(key.detach(), query.shape[-3])
        products = (query.detach().square() @ keys.square().transpose(-1, -2)).sqrt() * abs(spec.scale)
        unit = torch.finfo(self.rounds_to).eps
        return self._moved(scores, sum_rounding(self.rounds_to, spec.d_head) * products + unit * scores.detach().abs())

    def weigh(self, scores: Tensor, mask: Tensor) -> Tensor:
        """Weigh, rounded: each weight by units of itself."""
        weights = super().weigh(self._back(scores, scores.shape[-1]), mask)
        return self._moved(weights, 2 * torch.finfo(self.rounds_to).eps * weights.detach())

    def weighted_sum(self, weights: Tensor, value: Tensor) -> Tensor:
        """Sum values, rounded: over all keys, and back over a head's width and over queries."""
        n, spec = weights.shape[-1], self.spec
        context = super().weighted_sum(self._back(weights, spec.d_value), self._back(value, n * spec.group))
        return self._moved(context, sum_rounding(self.rounds_to, n))

    def output_projection(self, context: Tensor, gate: Tensor | None = None) -> Tensor:
        """Multiply by W_o, rounded on the way back: over the model's width."""
        return super().output_projection(self._back(context, self.spec.d_model), gate)


def wide(layer: CausalSelfAttention, kind: type[CausalSelfAttention] = Exact) -> CausalSelfAttention:
    """Copy a layer into float64 on the CPU, as a layer of this class, its parameters open to gradients."""
    with torch.inference_mode(False):
        made = kind.like(layer)
        copies = {name: tensor.detach().cpu().double().clone() for name, tensor in layer.state_dict().items()}
        made.load_state_dict({name: copies[name] for name in made.state_dict()}, assign=True)
        exact_norms(made)
        return made.requires_grad_(True)


def cotangent(output: Tensor) -> Tensor:
    """Return the fixed random numbers that the output [n, m] is multiplied by; their sum is the loss."""
    dice = torch.Generator().manual_seed(16)
    return torch.randn(output.shape, generator=dice, dtype=torch.float64)


def gradients_of(
    layer: CausalSelfAttention, x: Tensor, external: ExternalInputs | None = None
) -> tuple[dict[str, Tensor], Tensor]:
    """Return the gradients of the loss by the input, each stage and each parameter, and the output.

    Args:
        layer: a layer in float64, from `wide`.
        x: the attention input [n, m].
        external: what the layer takes from elsewhere in the model.

    Returns:
        "input", stages and the layer's parameters by name -> gradient, zeros where none comes; and the output [n, m].
    """
    with torch.inference_mode(False), torch.enable_grad():
        x = x.detach().cpu().double().clone().requires_grad_()
        found: dict[str, Tensor] = {}
        output = layer(x, external=_wide(external), record=found)
        between = {"query_pre": found.pop("unrotated_query"), "key_pre": found.pop("unrotated_key")}
        at = {"input": x, **between, **found, **dict(layer.named_parameters())}
        asked = {name: tensor for name, tensor in at.items() if tensor.requires_grad}
        made = torch.autograd.grad((output * cotangent(output)).sum(), list(asked.values()), allow_unused=True)
    given = dict(zip(asked, made, strict=True))
    return {
        name: torch.zeros_like(tensor) if given.get(name) is None else given[name].detach()
        for name, tensor in at.items()
    }, output.detach()


def _wide(external: ExternalInputs | None) -> ExternalInputs:
    """Copy what comes from elsewhere into float64."""
    if external is None:
        return ExternalInputs()
    shared, mask = external
    wide_shared = None if shared is None else (shared[0].cpu().double().clone(), shared[1].cpu().double().clone())
    if mask is not None:
        mask = mask.cpu().clone() if mask.dtype == torch.bool else mask.cpu().double().clone()
    return ExternalInputs(wide_shared, mask)


def gradient_limits(
    layer: CausalSelfAttention,
    x: Tensor,
    exact: Mapping[str, Tensor],
    dtype: torch.dtype,
    external: ExternalInputs | None = None,
) -> dict[str, Tensor]:
    """Measure how far rounding may move each gradient; broadcasts to it.

    Args:
        layer: ours.
        x: the attention input [n, m].
        exact: the exact gradients.
        dtype: what somebody's code computes in.
        external: what the layer takes from elsewhere in the model.

    Returns:
        Name -> the largest difference allowed.
    """
    rounded = wide(layer, Rounded)
    assert isinstance(rounded, Rounded)  # noqa: S101
    rounded.rounds_to, rounded.dice = dtype, torch.Generator().manual_seed(17)
    far = {name: torch.zeros_like(tensor) for name, tensor in exact.items()}
    for _ in range(SAMPLES):
        moved, _ = gradients_of(rounded, x, external)
        far = {name: torch.maximum(worst, (moved[name] - exact[name]).abs()) for name, worst in far.items()}
    limits = {}
    for name, worst in far.items():
        rows = worst.amax(-1, keepdim=True) if worst.ndim > 1 else worst.max()
        # What comes back is rounded, and a matrix's gradient is a sum over tokens.
        own = sum_rounding(dtype, x.shape[0]) * float(exact[name].abs().max())
        limits[name] = SPREAD * (rows + FLOOR * float(worst.max())) + own
    return limits
