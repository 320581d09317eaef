"""The planted mistakes of a verification, its negative controls: those of computation, and the list of all.

A verification that lets one of them pass is worth nothing; one whose numbers equal somebody's own
implementation names the likely cause.

Each mistake is a changed spec or a subclass overriding one step of `CausalSelfAttention`. Where a model cannot make
a mistake (no bias to drop), planting gives the reason instead of a layer: it is listed as such and not counted.
Mistakes of configuration stand in settings.py, those about one family's option in options.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from inspector.verification.mistakes import settings
from inspector.verification.mistakes.options import SPECIAL
from inspector.verification.mistakes.planting import Mistake, Plant, changed, rope, step, without_rope
from reimpl.attention import CausalSelfAttention, context_vectors
from reimpl.norm import head_first
from reimpl.project import Projected
from reimpl.rope import rotate
from reimpl.spec import AttentionSpec, RopeSpec

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


def permitted(may: Tensor) -> Tensor:
    """Return where looking is allowed, of a table that says so or that adds -inf elsewhere."""
    return may if may.dtype == torch.bool else may > -torch.inf


class NoMask(CausalSelfAttention):
    """A layer in which every query may look at every key."""

    def mask(self, query_positions: Tensor, key_positions: Tensor, given: Tensor | None = None) -> Tensor:
        """Return a table that forbids nothing."""
        return torch.ones_like(super().mask(query_positions, key_positions, given))


class _SeesNext(CausalSelfAttention):
    def mask(self, query_positions: Tensor, key_positions: Tensor, given: Tensor | None = None) -> Tensor:
        if given is not None:  # each query with the table of the next
            return torch.cat((given[..., 1:, :], given[..., -1:, :]), dim=-2)
        return super().mask(query_positions + 1, key_positions)


class _NotItself(CausalSelfAttention):
    def mask(self, query_positions: Tensor, key_positions: Tensor, given: Tensor | None = None) -> Tensor:
        itself = query_positions[:, None] == key_positions[None, :]
        may = super().mask(query_positions, key_positions, given)
        others = permitted(may) & ~itself
        alone = ~others.any(-1, keepdim=True)  # a token with nobody else keeps itself
        return may & (others | alone) if may.dtype == torch.bool else may.masked_fill(~(others | alone), -torch.inf)


class _MaskedAfterwards(CausalSelfAttention):
    def weigh(self, scores: Tensor, may: Tensor) -> Tensor:
        return scores.float().softmax(-1).to(scores.dtype) * permitted(may)


class _SoftmaxOverQueries(CausalSelfAttention):
    def weigh(self, scores: Tensor, may: Tensor) -> Tensor:
        return scores.masked_fill(~permitted(may), float("-inf")).float().softmax(-2).to(scores.dtype)


class _ScaledTwice(CausalSelfAttention):
    def score(self, query: Tensor, key: Tensor) -> Tensor:
        return super().score(query, key) * self.spec.scale


def _tiled(x: Tensor, heads: int) -> Tensor:
    """Repeat key/value heads in the order 0 1 2 0 1 2 instead of 0 0 1 1 2 2."""
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
            return torch.unflatten(y.transpose(-3, -2).flatten(-3), -1, (-1, t, y.shape[-1]))

        right = super().project(x, shared)
        return right._replace(query=cut(right.query), key=cut(right.key), value=cut(right.value))


class _HeadsNotPutBack(CausalSelfAttention):
    def output_projection(self, context: Tensor, gate: Tensor | None = None) -> Tensor:
        t = context.shape[-2]
        output: Tensor = self.o_proj(torch.unflatten(context.flatten(-3), -1, (t, -1)))
        return output


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


def _step(kind: type[CausalSelfAttention], unless: Callable[[AttentionSpec], str | None] = lambda _: None) -> Plant:
    """Plant a mistake of computation that one token alone cannot show."""
    return step(kind, unless, least=2)


def _turned(change: Callable[[RopeSpec], RopeSpec | str | None]) -> Plant:
    """Plant another RoPE."""
    return changed(rope(change))


# Where several mistakes give the same numbers at a stage, the first in this list is named as the likely cause.
MISTAKES: tuple[Mistake, ...] = (
    Mistake("rope style swapped", "paired instead of half rotation (or the reverse)", _turned(settings.other_style)),
    Mistake("rope base 10x", "ten times the RoPE base", _turned(lambda r: replace(r, theta=r.theta * 10))),
    Mistake("rope base 10000", "RoPE base 10000 instead of the config's", _turned(
        lambda r: "its base is 10000" if r.theta == 10000 else replace(r, theta=10000.0))),
    Mistake("no rope", "no rotation by position at all", _turned(lambda _: None)),
    Mistake("rope everywhere", "rotation in a layer that has none", changed(settings.rope_added)),
    Mistake("rope on all dimensions", "all dimensions rotated instead of the first part",
            changed(settings.all_dimensions)),
    Mistake("rope scaling ignored", "the rule that scales RoPE frequencies left out", _turned(settings.unscaled)),
    Mistake("rope backwards", "rotation in the opposite direction", _step(_TurnedBackwards, without_rope)),
    Mistake("positions from one", "positions counted from 1", _step(_CountFromOne, without_rope)),
    Mistake("keys shifted", "key positions one too high", _step(_KeysShifted, settings.turns_no_keys)),
    Mistake("keys not rotated", "only queries rotated, not keys", _step(_QueriesOnly, settings.turns_no_keys)),
    Mistake("values rotated", "values rotated as well", _step(_ValuesTurned, without_rope)),
    Mistake("no scale", "scores not scaled", changed(settings.no_scale)),
    Mistake("scale of d_model", "scores divided by sqrt(d_model) instead of sqrt(d_head)",
            changed(settings.model_width_scale)),
    Mistake("scale of d_head", "1/sqrt(d_head) instead of the model's own scale", changed(settings.head_width_scale)),
    Mistake("scaled twice", "the scale applied twice", _step(_ScaledTwice, settings.scale_one)),
    Mistake("no mask", "no causal mask", _step(NoMask)),
    Mistake("mask sees next", "a mask that also lets the next token be seen", _step(_SeesNext)),
    Mistake("mask hides itself", "a mask that hides each token from itself", _step(_NotItself)),
    Mistake("masked after softmax", "the mask applied after the softmax", _step(_MaskedAfterwards)),
    Mistake("softmax over queries", "the softmax over query tokens instead of key tokens", _step(_SoftmaxOverQueries)),
    Mistake("window ignored", "the sliding window left out", settings.no_window),
    Mistake("window off by one", "a sliding window one token too long", settings.window_off_by_one),
    Mistake("soft-cap left out", "scores not soft-capped", changed(settings.no_softcap)),
    Mistake("key/value heads tiled", "key/value heads repeated as 0 1 2 0 1 2 instead of 0 0 1 1 2 2",
            _step(_GroupsTiled, settings.without_groups)),
    Mistake("one key/value head for all", "the first key/value head used for all query heads",
            _step(_FirstGroupForAll, settings.one_kv_head)),
    Mistake("keys and values swapped", "W_k and W_v exchanged", _step(_KeyValueSwapped, settings.not_swappable)),
    Mistake("heads cut wrongly", "vectors cut into heads without exchanging the token and head axes",
            _step(_HeadsCutWrongly, settings.one_head)),
    Mistake("heads not put back", "context vectors joined without exchanging the head and token axes",
            _step(_HeadsNotPutBack, settings.one_head)),
    Mistake("no W_o", "W_o left out", _step(_NoBlend, settings.width_changes)),
    Mistake("qkv bias dropped", "the biases of queries, keys and values dropped", changed(settings.no_qkv_bias)),
    Mistake("output bias dropped", "the bias of W_o dropped", changed(settings.no_output_bias)),
    Mistake("query/key norm dropped", "queries and keys not normalised", changed(settings.no_norm)),
    Mistake("norm on the other side of rope", "queries and keys normalised after rotation instead of before, or the "
            "reverse", _step(_NormMoved, settings.no_norms)),
    *(Mistake(*special) for special in SPECIAL),
)  # fmt: skip
