"""Mistakes of a backward pass: layers whose output is right and whose gradients are not.

They are planted to see which would have shown, and held against somebody's gradients as causes. A straight-through
term x - x.detach() adds nothing to a number and its own gradient to the pass back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from inspector.judging.findings import Step
from inspector.judging.gradients import Exact, with_gradient
from reimpl.attention import CausalSelfAttention, repeat_heads, scaled_scores
from reimpl.project import Projected, Projections
from reimpl.rope import rotate
from reimpl.spec import AttentionSpec


def _through(value: Tensor, path: Tensor) -> Tensor:
    """Return these values with the gradient of another path."""
    return value.detach() + (path - path.detach())


def _detaching(*names: str) -> type[CausalSelfAttention]:
    class Detached(Exact):
        def project(self, x: Tensor, shared: tuple[Tensor, Tensor] | None = None) -> Projected:
            made = super().project(x, shared)
            return made._replace(**{name: getattr(made, name).detach() for name in names})

    return Detached


class _WeightsDetached(Exact):
    def weigh(self, scores: Tensor, mask: Tensor) -> Tensor:
        return super().weigh(scores, mask).detach()


class _NoRowSum(Exact):
    def weigh(self, scores: Tensor, mask: Tensor) -> Tensor:
        weights = super().weigh(scores, mask).detach()
        return _through(weights, weights * scores)


class _SoftmaxThrough(Exact):
    def weigh(self, scores: Tensor, mask: Tensor) -> Tensor:
        return _through(super().weigh(scores, mask), scores)


class _Unmasked(Exact):
    """Weights made again for the pass back without the mask, as a kernel that keeps row sums makes them."""

    def weigh(self, scores: Tensor, mask: Tensor) -> Tensor:
        weights = super().weigh(scores, mask).detach()
        due = scores.detach()
        seen = due.masked_fill(weights == 0, -torch.inf)
        again = (due - seen.logsumexp(-1, keepdim=True)).exp() * weights.sum(-1, keepdim=True)

        def change(gradient: Tensor) -> Tensor:
            return again * (gradient - (weights * gradient).sum(-1, keepdim=True))

        return _through(weights, with_gradient(scores, change))


class _WeightsHalf(Exact):
    def weigh(self, scores: Tensor, mask: Tensor) -> Tensor:
        weights = super().weigh(scores, mask).detach()
        half = weights.bfloat16().double()

        def change(gradient: Tensor) -> Tensor:
            return half * (gradient - (half * gradient).sum(-1, keepdim=True))

        return _through(weights, with_gradient(scores, change))


def _scaling(power: int) -> type[CausalSelfAttention]:
    class Scaled(Exact):
        def score(self, query: Tensor, key: Tensor) -> Tensor:
            return with_gradient(super().score(query, key), lambda gradient: gradient * self.spec.scale**power)

    return Scaled


class _CapThrough(Exact):
    def score(self, query: Tensor, key: Tensor) -> Tensor:
        return _through(super().score(query, key), scaled_scores(query, key, scale=self.spec.scale))


def _of_group(gradient: Tensor, group: int, how: str) -> Tensor:
    """Take the first query head's gradient of each group, or the mean of all; [h, s, d]."""
    if how == "mean":
        return gradient / group
    first = torch.arange(gradient.shape[0]) % group == 0
    return gradient * first[:, None, None]


def _grouping(which: str, how: str) -> type[CausalSelfAttention]:
    class Grouped(Exact):
        def _repeated(self, x: Tensor) -> Tensor:
            repeated = repeat_heads(x, self.spec.heads)
            return with_gradient(repeated, lambda gradient: _of_group(gradient, self.spec.group, how))

        def score(self, query: Tensor, key: Tensor) -> Tensor:
            return super().score(query, self._repeated(key) if which == "key" else key)

        def weighted_sum(self, weights: Tensor, value: Tensor) -> Tensor:
            return super().weighted_sum(weights, self._repeated(value) if which == "value" else value)

    return Grouped


class _TurnedOn(Exact):
    def rotate(self, query: Tensor, key: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        right = super().rotate(query, key, positions)
        back = (rotate(one, -positions, self.spec.rope) for one in (query, key))  # whose gradient is turned on
        return tuple(_through(a, b) for a, b in zip(right, back, strict=True))  # type: ignore[return-value]


class _TurnThrough(Exact):
    def rotate(self, query: Tensor, key: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        right = super().rotate(query, key, positions)
        return _through(right[0], query), _through(right[1], key)


class _NormConstant(Exact):
    """Queries and keys whose norm's root mean square counts as a constant."""

    def project(self, x: Tensor, shared: tuple[Tensor, Tensor] | None = None) -> Projected:
        right, pr = super().project(x, shared), self.projections
        assert isinstance(pr, Projections)  # noqa: S101  (unless() asks)
        raw_query, raw_key = pr.project(x)[:2]
        query, key = pr.split_heads(raw_query, None), pr.split_heads(raw_key, None)
        made = (one * (due / one).detach().nan_to_num() for one, due in ((query, right.query), (key, right.key)))
        return right._replace(**dict(zip(("query", "key"), made, strict=True)))


class _ProjectedBack(Exact):
    """W_o not transposed on the way back."""

    def output_projection(self, context: Tensor, gate: Tensor | None = None) -> Tensor:
        right = super().output_projection(context.detach(), gate)
        joined = context.transpose(-3, -2).flatten(-2)
        other = F.linear(joined, self.o_proj.weight.detach().T)
        return right + (other - other.detach())


def _needs_nothing(spec: AttentionSpec) -> str:
    del spec
    return ""


After = Callable[[str, Tensor, int], Tensor]  # (name, gradient, tokens) -> what stands in its place


@dataclass(frozen=True)
class GradientMistake:
    """One mistake; `meaning` completes "your backward pass has ...". unless: the reason why a layer cannot make it."""

    name: str
    meaning: str
    step: Step
    kind: type[CausalSelfAttention] = Exact
    unless: Callable[[AttentionSpec], str] = _needs_nothing
    after: After | None = None


def _averaged(name: str, gradient: Tensor, n: int) -> Tensor:
    return gradient / n if "." in name else gradient


def _no_bias(name: str, gradient: Tensor, n: int) -> Tensor:
    del n
    return torch.zeros_like(gradient) if name.endswith("bias") else gradient


def _needs_rope(spec: AttentionSpec) -> str:
    return "" if spec.rope is not None else "this layer has no RoPE"


def _needs_groups(spec: AttentionSpec) -> str:
    return "" if spec.group > 1 else "each query head has its own key/value head"


def _needs_cap(spec: AttentionSpec) -> str:
    return "" if spec.softcap is not None else "this layer has no soft-cap"


def _needs_norms(spec: AttentionSpec) -> str:
    norms = spec.query_norm, spec.key_norm
    plain = all(norm is not None and not norm.after_rope for norm in norms) and spec.gate is None
    return "" if plain and spec.latent is None and spec.shares is None else "no norm of queries and keys before RoPE"


def _needs_own(spec: AttentionSpec) -> str:
    return "" if spec.shares is None else "this layer has no keys and values of its own"


def _needs_scale(spec: AttentionSpec) -> str:
    return "" if spec.scale != 1 else "this layer's scale is 1"


def _needs_bias(spec: AttentionSpec) -> str:
    return "" if spec.qkv_bias or spec.output_bias else "this layer has no bias"


def _needs_square(spec: AttentionSpec) -> str:
    square = spec.heads * spec.d_value == spec.d_model and spec.gate is None and spec.output_norm is None
    return "" if square else "W_o is not square"


GRADIENT_MISTAKES: tuple[GradientMistake, ...] = (
    GradientMistake("weights detached", "no gradient through the weights (detached)", "softmax", _WeightsDetached),
    GradientMistake("queries detached", "no gradient through queries (detached)", "project", _detaching("query")),
    GradientMistake("keys detached", "no gradient through keys (detached)", "project", _detaching("key"), _needs_own),
    GradientMistake("values detached", "no gradient through values (detached)", "project", _detaching("value"),
                    _needs_own),
    GradientMistake("keys and values detached", "no gradient through keys and values (detached, as out of a cache)",
                    "project", _detaching("key", "value"), _needs_own),
    GradientMistake("softmax without its row sum", "w·g where the softmax's gradient is w·(g - sum of w·g)", "softmax",
                    _NoRowSum),
    GradientMistake("softmax straight through", "the gradient passed straight through the softmax", "softmax",
                    _SoftmaxThrough),
    GradientMistake("mask missing backwards", "weights made again without the mask", "mask", _Unmasked),
    GradientMistake("weights rounded backwards", "weights rounded to bfloat16", "softmax", _WeightsHalf),
    GradientMistake("scale missing backwards", "no scale on the gradient of scores", "score", _scaling(-1),
                    _needs_scale),
    GradientMistake("scale twice backwards", "the scale twice on the gradient of scores", "score", _scaling(1),
                    _needs_scale),
    GradientMistake("soft-cap straight through", "the gradient passed straight through the soft-cap", "score",
                    _CapThrough, _needs_cap),
    GradientMistake("one head's keys", "one query head's gradient for each key head, not the sum of its group",
                    "score", _grouping("key", "first"), _needs_groups),
    GradientMistake("keys averaged", "the mean of a group's gradients for its key head, not their sum", "score",
                    _grouping("key", "mean"), _needs_groups),
    GradientMistake("one head's values", "one query head's gradient for each value head, not the sum of its group",
                    "weighted sum", _grouping("value", "first"), _needs_groups),
    GradientMistake("values averaged", "the mean of a group's gradients for its value head, not their sum",
                    "weighted sum", _grouping("value", "mean"), _needs_groups),
    GradientMistake("turned on backwards", "gradients turned onwards by RoPE instead of back", "rotate", _TurnedOn,
                    _needs_rope),
    GradientMistake("not turned back", "gradients not turned back by RoPE", "rotate", _TurnThrough, _needs_rope),
    GradientMistake("norm constant", "the root mean square of queries and keys taken as a constant", "norm",
                    _NormConstant, _needs_norms),
    GradientMistake("W_o backwards", "W_o not transposed on the way back", "output projection", _ProjectedBack,
                    _needs_square),
    GradientMistake("matrices averaged", "gradients of matrices averaged over tokens instead of summed", "project",
                    after=_averaged),
    GradientMistake("biases without gradient", "no gradient of biases", "project", unless=_needs_bias, after=_no_bias),
)  # fmt: skip
