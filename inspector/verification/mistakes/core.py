"""Planted mistakes, the negative controls: a right attention layer goes in, the same layer with one known mistake
comes out. A verification that lets one of them pass is worth nothing; one whose numbers equal somebody's own
implementation names the likely cause.

Each mistake is a changed spec or a subclass overriding one step of `CausalSelfAttention`. Where a model cannot make
a mistake (no bias to drop), `plant` gives the reason instead of a layer: it is listed as such and not counted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from inspector.verification.mistakes.options import SPECIAL
from reimpl.attention import CausalSelfAttention, context_vectors
from reimpl.norm import head_first
from reimpl.project import Projected
from reimpl.rope import rotate
from reimpl.spec import AttentionSpec, RopeSpec

Planted = CausalSelfAttention | str


@dataclass(frozen=True)
class Mistake:
    """`meaning` completes the sentence "your numbers equal ours with ..."."""

    name: str
    meaning: str
    plant: Callable[[CausalSelfAttention, int], Planted]  # (layer, tokens in the prompt) -> layer or reason why not


# -- mistakes of configuration: the spec says something else ------------------------------------------------------


def _spec(change: Callable[[AttentionSpec], AttentionSpec | str]) -> Callable[[CausalSelfAttention, int], Planted]:
    def plant(layer: CausalSelfAttention, _: int) -> Planted:
        changed = change(layer.spec)
        return changed if isinstance(changed, str) else CausalSelfAttention.like(layer, changed)

    return plant


def _rope(change: Callable[[RopeSpec], RopeSpec | str | None]) -> Callable[[CausalSelfAttention, int], Planted]:
    def changed(spec: AttentionSpec) -> AttentionSpec | str:
        if spec.rope is None:
            return "this layer has no RoPE"
        new = change(spec.rope)
        return new if isinstance(new, str) else replace(spec, rope=new)

    return _spec(changed)


def _unscaled(rope: RopeSpec) -> RopeSpec | str:
    if rope.rule == "default":
        return "its RoPE frequencies are not scaled"
    return replace(rope, rule="default", scaling=())


def _other_style(rope: RopeSpec) -> RopeSpec:
    return replace(rope, style="pairs" if rope.style == "halves" else "halves")


def _all_dimensions(spec: AttentionSpec) -> AttentionSpec | str:
    if spec.rope is None:
        return "this layer has no RoPE"
    if spec.rope.dim == spec.d_head or spec.rope.rule == "longrope":  # whose factors are one for each plane
        return "its RoPE turns all dimensions"
    return replace(spec, rope=replace(spec.rope, dim=spec.d_head))


def _rope_added(spec: AttentionSpec) -> AttentionSpec | str:
    if spec.rope is not None:
        return "this layer has RoPE"
    return replace(spec, rope=RopeSpec(theta=10000.0, dim=spec.d_head))


def _head_width_scale(spec: AttentionSpec) -> AttentionSpec | str:
    if spec.scale == spec.d_head**-0.5:
        return "its scale is 1/sqrt(d_head)"
    return replace(spec, scale=spec.d_head**-0.5)


def _no_window(layer: CausalSelfAttention, n: int) -> Planted:
    window = layer.spec.mask.window
    if window is None:
        return "this layer has no sliding window"
    if n <= window:
        return f"the window of {window} is longer than the control prompt of {n} tokens"
    return CausalSelfAttention.like(layer, replace(layer.spec, mask=replace(layer.spec.mask, window=None)))


def _window_off_by_one(layer: CausalSelfAttention, n: int) -> Planted:
    window = layer.spec.mask.window
    if window is None or n <= window:
        return _no_window(layer, n)
    return CausalSelfAttention.like(layer, replace(layer.spec, mask=replace(layer.spec.mask, window=window + 1)))


def _no_norm(spec: AttentionSpec) -> AttentionSpec | str:
    if spec.query_norm is None and spec.key_norm is None:
        return "this layer does not normalise queries or keys"
    return replace(spec, query_norm=None, key_norm=None)


def _no_qkv_bias(spec: AttentionSpec) -> AttentionSpec | str:
    return replace(spec, qkv_bias=False) if spec.qkv_bias else "this layer's projections have no bias"


def _no_output_bias(spec: AttentionSpec) -> AttentionSpec | str:
    return replace(spec, output_bias=False) if spec.output_bias else "this layer's W_o has no bias"


def _no_softcap(spec: AttentionSpec) -> AttentionSpec | str:
    return replace(spec, softcap=None) if spec.softcap else "this layer's scores are not soft-capped"


def _scale_one(spec: AttentionSpec) -> str | None:
    return "this layer's scale is 1" if spec.scale == 1 else None


def _no_scale(spec: AttentionSpec) -> AttentionSpec | str:
    return _scale_one(spec) or replace(spec, scale=1.0)


def _model_width_scale(spec: AttentionSpec) -> AttentionSpec | str:
    if spec.heads == 1:
        return "with one head d_model and d_head may be the same"
    return replace(spec, scale=spec.d_model**-0.5)


# -- mistakes of computation: one step is done wrongly -------------------------------------------------------------


class _KeysShifted(CausalSelfAttention):
    def rotate(self, query: Tensor, key: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        return rotate(query, positions, self.spec.rope), rotate(key, positions + 1, self.spec.rope)


class _CountFromOne(CausalSelfAttention):
    def rotate(self, query: Tensor, key: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        return super().rotate(query, key, positions + 1)


class _TurnedBackwards(CausalSelfAttention):
    def rotate(self, query: Tensor, key: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        return super().rotate(query, key, -positions)


class _QueriesOnly(CausalSelfAttention):
    def rotate(self, query: Tensor, key: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        return rotate(query, positions, self.spec.rope), key


class _ValuesTurned(CausalSelfAttention):
    def project(self, x: Tensor, shared: tuple[Tensor, Tensor] | None = None) -> Projected:
        right = super().project(x, shared)
        positions = torch.arange(x.shape[-2], device=x.device)
        return right._replace(value=rotate(right.value, positions, self.spec.rope))


def permitted(mask: Tensor) -> Tensor:
    """True where looking is allowed, of a table that says so or that adds -inf elsewhere."""
    return mask if mask.dtype == torch.bool else mask > -torch.inf


class NoMask(CausalSelfAttention):
    """Every query may look at every key."""

    def mask(self, query_positions: Tensor, key_positions: Tensor, external: Tensor | None = None) -> Tensor:
        return torch.ones_like(super().mask(query_positions, key_positions, external))


class _SeesNext(CausalSelfAttention):
    def mask(self, query_positions: Tensor, key_positions: Tensor, external: Tensor | None = None) -> Tensor:
        if external is not None:  # each query with the table of the next
            return torch.cat((external[..., 1:, :], external[..., -1:, :]), dim=-2)
        return super().mask(query_positions + 1, key_positions)


class _NotItself(CausalSelfAttention):
    def mask(self, query_positions: Tensor, key_positions: Tensor, external: Tensor | None = None) -> Tensor:
        itself = query_positions[:, None] == key_positions[None, :]
        mask = super().mask(query_positions, key_positions, external)
        others = permitted(mask) & ~itself
        alone = ~others.any(-1, keepdim=True)  # a token with nobody else keeps itself
        return mask & (others | alone) if mask.dtype == torch.bool else mask.masked_fill(~(others | alone), -torch.inf)


class _MaskedAfterwards(CausalSelfAttention):
    def weigh(self, scores: Tensor, mask: Tensor) -> Tensor:
        return scores.float().softmax(-1).to(scores.dtype) * permitted(mask)


class _SoftmaxOverQueries(CausalSelfAttention):
    def weigh(self, scores: Tensor, mask: Tensor) -> Tensor:
        return scores.masked_fill(~permitted(mask), float("-inf")).float().softmax(-2).to(scores.dtype)


class _ScaledTwice(CausalSelfAttention):
    def score(self, query: Tensor, key: Tensor) -> Tensor:
        return super().score(query, key) * self.spec.scale


def _tiled(x: Tensor, heads: int) -> Tensor:
    """Key/value heads in the order 0 1 2 0 1 2 instead of 0 0 1 1 2 2."""
    return torch.cat([x] * (heads // x.shape[-3]), dim=-3)


class _GroupsTiled(CausalSelfAttention):
    def score(self, query: Tensor, key: Tensor) -> Tensor:
        return super().score(query, _tiled(key, self.spec.heads))

    def weighted_sum(self, weights: Tensor, value: Tensor) -> Tensor:
        return context_vectors(weights, _tiled(value, self.spec.heads))


class _FirstGroupForAll(CausalSelfAttention):
    def score(self, query: Tensor, key: Tensor) -> Tensor:
        return super().score(query, key[..., :1, :, :])

    def weighted_sum(self, weights: Tensor, value: Tensor) -> Tensor:
        return context_vectors(weights, value[..., :1, :, :])


class _KeyValueSwapped(CausalSelfAttention):
    def project(self, x: Tensor, shared: tuple[Tensor, Tensor] | None = None) -> Projected:
        right = super().project(x, shared)
        return right._replace(key=right.value, value=right.key)


class _HeadsCutWrongly(CausalSelfAttention):
    def project(self, x: Tensor, shared: tuple[Tensor, Tensor] | None = None) -> Projected:
        t = x.shape[-2]

        def cut(y: Tensor) -> Tensor:  # [..., h, t, d] laid out as [..., t, h*d], then read as [..., h, t, d]
            return y.transpose(-3, -2).flatten(-3).unflatten(-1, (-1, t, y.shape[-1]))

        right = super().project(x, shared)
        return right._replace(query=cut(right.query), key=cut(right.key), value=cut(right.value))


class _HeadsNotPutBack(CausalSelfAttention):
    def output_projection(self, context: Tensor, gate: Tensor | None = None) -> Tensor:
        t = context.shape[-2]
        return self.o_proj(context.flatten(-3).unflatten(-1, (t, -1)))


class _NoBlend(CausalSelfAttention):
    def output_projection(self, context: Tensor, gate: Tensor | None = None) -> Tensor:
        return context.transpose(-3, -2).flatten(-2)


class _NormMoved(CausalSelfAttention):
    """Queries and keys normalised after rotation instead of before it, or the reverse."""

    def project(self, x: Tensor, shared: tuple[Tensor, Tensor] | None = None) -> Projected:
        right = super().project(x, shared)
        if self._late():
            return right._replace(query=self._normed(right.query, "q"), key=self._normed(right.key, "k"))
        bare = CausalSelfAttention.like(self, replace(self.spec, query_norm=None, key_norm=None)).project(x, shared)
        return right._replace(query=bare.query, key=bare.key)

    def rotate(self, query: Tensor, key: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        query, key = super().rotate(query, key, positions)
        return (query, key) if self._late() else (self._normed(query, "q"), self._normed(key, "k"))

    def after_rotation(self, query: Tensor, key: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        return (query, key) if self._late() else super().after_rotation(query, key, positions)

    def _late(self) -> bool:
        return self.spec.query_norm is not None and self.spec.query_norm.after_rope

    def _normed(self, x: Tensor, which: str) -> Tensor:
        return head_first(getattr(self.projections, f"{which}_norm", None), x)


def _step(
    kind: type[CausalSelfAttention], *, unless: Callable[[AttentionSpec], str | None] = lambda _: None
) -> Callable[[CausalSelfAttention, int], Planted]:
    def plant(layer: CausalSelfAttention, n: int) -> Planted:
        reason = unless(layer.spec) or ("one token has nothing to confuse" if n < 2 else None)
        return reason or kind.like(layer)

    return plant


def _without_rope(spec: AttentionSpec) -> str | None:
    return "this layer has no RoPE" if spec.rope is None else None


def _turns_no_keys(spec: AttentionSpec) -> str | None:
    return "its keys are another layer's, turned already" if spec.shares is not None else _without_rope(spec)


def _without_groups(spec: AttentionSpec) -> str | None:
    if spec.kv_heads == 1:
        return "one key/value head serves all query heads"
    return "each query head has its own key/value head" if spec.group == 1 else None


def _one_kv_head(spec: AttentionSpec) -> str | None:
    return "there is only one key/value head" if spec.kv_heads == 1 else None


def _one_head(spec: AttentionSpec) -> str | None:
    return "there is only one head" if spec.heads == 1 else None


def _width_changes(spec: AttentionSpec) -> str | None:
    if spec.heads * spec.d_value != spec.d_model:
        return "W_o changes the width, so leaving it out cannot go unnoticed"
    return None


def _not_swappable(spec: AttentionSpec) -> str | None:
    if spec.shares is not None or spec.latent is not None or spec.value_is_key:
        return "this layer has no W_k and W_v of its own to exchange"
    return "keys and values have different widths" if spec.d_value != spec.d_head else None


def _no_norms(spec: AttentionSpec) -> str | None:
    norm = spec.query_norm or spec.key_norm
    if norm is not None and not norm.weight:
        return "a norm without weight gives the same before and after rotation"
    reason = _no_norm(spec)
    return reason if isinstance(reason, str) else _without_rope(spec)


# Where several mistakes give the same numbers at a stage, the first in this list is named as the likely cause.
MISTAKES: tuple[Mistake, ...] = (
    Mistake("rope style swapped", "paired instead of half rotation (or the reverse)", _rope(_other_style)),
    Mistake("rope base 10x", "ten times the RoPE base", _rope(lambda r: replace(r, theta=r.theta * 10))),
    Mistake("rope base 10000", "RoPE base 10000 instead of the config's", _rope(
        lambda r: "its base is 10000" if r.theta == 10000 else replace(r, theta=10000.0))),
    Mistake("no rope", "no rotation by position at all", _rope(lambda _: None)),
    Mistake("rope everywhere", "rotation in a layer that has none", _spec(_rope_added)),
    Mistake("rope on all dimensions", "all dimensions rotated instead of the first part", _spec(_all_dimensions)),
    Mistake("rope scaling ignored", "the rule that scales RoPE frequencies left out", _rope(_unscaled)),
    Mistake("rope backwards", "rotation in the opposite direction", _step(_TurnedBackwards, unless=_without_rope)),
    Mistake("positions from one", "positions counted from 1", _step(_CountFromOne, unless=_without_rope)),
    Mistake("keys shifted", "key positions one too high", _step(_KeysShifted, unless=_turns_no_keys)),
    Mistake("keys not rotated", "only queries rotated, not keys", _step(_QueriesOnly, unless=_turns_no_keys)),
    Mistake("values rotated", "values rotated as well", _step(_ValuesTurned, unless=_without_rope)),
    Mistake("no scale", "scores not scaled", _spec(_no_scale)),
    Mistake("scale of d_model", "scores divided by sqrt(d_model) instead of sqrt(d_head)", _spec(_model_width_scale)),
    Mistake("scale of d_head", "1/sqrt(d_head) instead of the model's own scale", _spec(_head_width_scale)),
    Mistake("scaled twice", "the scale applied twice", _step(_ScaledTwice, unless=_scale_one)),
    Mistake("no mask", "no causal mask", _step(NoMask)),
    Mistake("mask sees next", "a mask that also lets the next token be seen", _step(_SeesNext)),
    Mistake("mask hides itself", "a mask that hides each token from itself", _step(_NotItself)),
    Mistake("masked after softmax", "the mask applied after the softmax", _step(_MaskedAfterwards)),
    Mistake("softmax over queries", "the softmax over query tokens instead of key tokens", _step(_SoftmaxOverQueries)),
    Mistake("window ignored", "the sliding window left out", _no_window),
    Mistake("window off by one", "a sliding window one token too long", _window_off_by_one),
    Mistake("soft-cap left out", "scores not soft-capped", _spec(_no_softcap)),
    Mistake("key/value heads tiled", "key/value heads repeated as 0 1 2 0 1 2 instead of 0 0 1 1 2 2",
            _step(_GroupsTiled, unless=_without_groups)),
    Mistake("one key/value head for all", "the first key/value head used for all query heads",
            _step(_FirstGroupForAll, unless=_one_kv_head)),
    Mistake("keys and values swapped", "W_k and W_v exchanged", _step(_KeyValueSwapped, unless=_not_swappable)),
    Mistake("heads cut wrongly", "vectors cut into heads without exchanging the token and head axes",
            _step(_HeadsCutWrongly, unless=_one_head)),
    Mistake("heads not put back", "context vectors joined without exchanging the head and token axes",
            _step(_HeadsNotPutBack, unless=_one_head)),
    Mistake("no W_o", "W_o left out", _step(_NoBlend, unless=_width_changes)),
    Mistake("qkv bias dropped", "the biases of queries, keys and values dropped", _spec(_no_qkv_bias)),
    Mistake("output bias dropped", "the bias of W_o dropped", _spec(_no_output_bias)),
    Mistake("query/key norm dropped", "queries and keys not normalised", _spec(_no_norm)),
    Mistake("norm on the other side of rope", "queries and keys normalised after rotation instead of before, or the "
            "reverse", _step(_NormMoved, unless=_no_norms)),
    *(Mistake(*special) for special in SPECIAL),
)  # fmt: skip
