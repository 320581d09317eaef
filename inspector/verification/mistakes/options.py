"""Mistakes that only some families can make: each leaves one option of their attention out, or gets it wrong.

core.py lists them after its own; for every field of AttentionSpec that differs from Llama's
there is at least one (tests/test_mistakes.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from inspector.verification.mistakes.planting import Change, Plant, Planted, changed, norms, rope, step, without_rope
from reimpl.attention import CausalSelfAttention
from reimpl.latent import LatentProjections
from reimpl.norm import Norm
from reimpl.project import Gate, Projected
from reimpl.rope import rotate
from reimpl.spec import AttentionSpec, LatentSpec, MaskRule, NormSpec


def _no_chunk(layer: CausalSelfAttention, n: int) -> Planted:
    chunk = layer.spec.mask.chunk
    if chunk is None:
        return "this layer does not look within chunks"
    if n <= chunk:
        return f"the chunk of {chunk} is longer than the control prompt of {n} tokens"
    return CausalSelfAttention.like(layer, replace(layer.spec, mask=MaskRule()))


def _chunk_as_window(layer: CausalSelfAttention, n: int) -> Planted:
    whole = _no_chunk(layer, n)
    if isinstance(whole, str):
        return whole
    return CausalSelfAttention.like(layer, replace(layer.spec, mask=MaskRule(window=layer.spec.mask.chunk)))


class _KeysNotChosen(CausalSelfAttention):
    def mask(self, query_positions: Tensor, key_positions: Tensor, external: Tensor | None = None) -> Tensor:
        mask = super().mask(query_positions, key_positions)
        return mask if external is None else mask.expand_as(external)


def _not_given(spec: AttentionSpec) -> str | None:
    return None if spec.mask.given else "the mask follows from positions alone"


def _no_sinks(spec: AttentionSpec) -> AttentionSpec | str:
    return replace(spec, sinks=False) if spec.sinks else "this layer has no attention sinks"


class _NoGate(CausalSelfAttention):
    def output_projection(self, context: Tensor, _: Tensor | None = None) -> Tensor:
        return super().output_projection(context)


class _RawGate(CausalSelfAttention):
    def project(self, x: Tensor, shared: tuple[Tensor, Tensor] | None = None) -> Projected:
        right = super().project(x, shared)
        gate = right.gate
        return right if gate is None else right._replace(gate=torch.logit(gate.double()).to(gate.dtype))


def _no_gate(spec: AttentionSpec) -> str | None:
    gated = spec.gate is not None or (spec.latent is not None and spec.latent.gated)
    return None if gated else "this layer has no output gate"


def _no_sigmoid(spec: AttentionSpec) -> str | None:
    if spec.gate is not None and spec.gate.activation != "sigmoid":
        return f"its gate's activation is {spec.gate.activation}"
    return _no_gate(spec)


class _GateBiasDropped(CausalSelfAttention):
    def __init__(self, spec: AttentionSpec, place: str = "") -> None:
        super().__init__(spec, place)
        gate = getattr(self.projections, "gate", None)
        if isinstance(gate, Gate):
            gate.head_bias = None


def _no_gate_bias(spec: AttentionSpec) -> str | None:
    return None if spec.gate is not None and spec.gate.bias else "this layer's gate has no bias of its own"


def _without(field: str, plain: object, reason: str) -> Change:
    """Put an option's field at its plain value."""

    def change(spec: AttentionSpec) -> AttentionSpec | str:
        return reason if getattr(spec, field) == plain else replace(spec, **{field: plain})  # type: ignore[arg-type]

    return change


def _no_clip(layer: CausalSelfAttention, _: int) -> Planted:
    if layer.spec.clip is None:
        return "this layer does not clip queries, keys and values"
    return CausalSelfAttention.like(layer, replace(layer.spec, clip=None))


class _ValuesFinished(CausalSelfAttention):
    def project(self, x: Tensor, shared: tuple[Tensor, Tensor] | None = None) -> Projected:
        right = super().project(x, shared)
        return right._replace(value=right.key)


def _own_values(spec: AttentionSpec) -> str | None:
    return None if spec.value_is_key else "this layer has a W_v of its own"


class _SharedTurnedAgain(CausalSelfAttention):
    def score(self, query: Tensor, key: Tensor) -> Tensor:
        positions = torch.arange(key.shape[-2], device=key.device)
        return super().score(query, rotate(key, positions, self.spec.rope))


def _not_shared(spec: AttentionSpec) -> str | None:
    if spec.shares is None:
        return "this layer uses its own keys and values"
    return without_rope(spec)


def _fused_otherwise(spec: AttentionSpec) -> AttentionSpec | str:
    if spec.layout == "separate":
        return "W_q, W_k and W_v are separate matrices"
    if spec.kv_heads == 1:
        return "with one key/value head the order is the same"
    if spec.layout == "gate first":
        return "the gate stands in the same matrix"
    return replace(spec, layout="stacked" if spec.layout != "stacked" else "grouped")


def _mean_kept(norm: NormSpec) -> NormSpec | str:
    return replace(norm, kind="rms") if norm.kind == "layer" else "its norm subtracts no mean"


def _root_mean_square(norm: NormSpec) -> NormSpec | str:
    return replace(norm, kind="rms") if norm.kind == "l2" else "its norm divides by no length"


def _gate_not_learned(spec: AttentionSpec) -> AttentionSpec | str:
    if spec.gate is None or not spec.gate.learned:
        return "its gate has no learned factors"
    return replace(spec, gate=replace(spec.gate, learned=0.0))


def _gate_on_the_other_side(spec: AttentionSpec) -> AttentionSpec | str:
    if spec.gate is None or spec.output_norm is None:
        return "this layer has not both a gate and a norm before W_o"
    return replace(spec, gate_first=not spec.gate_first)


def _weight_alone(norm: NormSpec) -> NormSpec | str:
    return replace(norm, plus_one=False) if norm.plus_one else "its norm's factor is the weight itself"


def _other_end(spec: AttentionSpec) -> AttentionSpec | str:
    new = rope(lambda r: replace(r, last=not r.last))(spec)
    if isinstance(new, str) or new.rope is None or new.rope.dim != spec.d_head:
        return new
    return "its RoPE turns all dimensions"


def _latent(change: Callable[[LatentSpec], LatentSpec | str]) -> Change:
    def change_spec(spec: AttentionSpec) -> AttentionSpec | str:
        if spec.latent is None:
            return "this layer has no latent vectors"
        new = change(spec.latent)
        return new if isinstance(new, str) else replace(spec, latent=new)

    return change_spec


class _LatentNotNormalised(CausalSelfAttention):
    def __init__(self, spec: AttentionSpec, place: str = "") -> None:
        super().__init__(spec, place)
        if isinstance(self.projections, LatentProjections):
            self.projections.kv_a_norm = _Unchanged()


class _Unchanged(Norm):
    """A norm that does nothing."""

    def __init__(self) -> None:
        super().__init__(NormSpec(0.0, weight=False), 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x


def _no_latent(spec: AttentionSpec) -> str | None:
    return None if spec.latent is not None else "this layer has no latent vectors"


def _stored_otherwise(latent: LatentSpec) -> LatentSpec | str:
    if latent.rope_dim < 4:
        return "it turns too few dimensions for their order to matter"
    return replace(latent, stored_in_pairs=not latent.stored_in_pairs)


def _no_latent_factor(latent: LatentSpec) -> LatentSpec | str:
    if latent.query_factor == latent.key_value_factor == 1.0:
        return "its latent vectors have no constant factor"
    return replace(latent, query_factor=1.0, key_value_factor=1.0)


def _no_rope_norm(latent: LatentSpec) -> LatentSpec | str:
    return replace(latent, rope_norm=False) if latent.rope_norm else "its keys' turning part is not normalised"


# name, meaning ("your numbers equal ours with ..."), how to plant it
SPECIAL: tuple[tuple[str, str, Plant], ...] = (
    ("chunks ignored", "tokens of earlier chunks visible", _no_chunk),
    ("chunk as window", "a sliding window instead of chunks", _chunk_as_window),
    ("all keys visible", "keys visible that the model did not choose", step(_KeysNotChosen, _not_given)),
    ("sinks left out", "the attention sinks left out of the softmax", changed(_no_sinks)),
    ("gate left out", "the output gate left out", step(_NoGate, _no_gate)),
    ("gate without sigmoid", "the gate multiplied in without its sigmoid", step(_RawGate, _no_sigmoid)),
    ("gate bias dropped", "the gate's bias of each head dropped", step(_GateBiasDropped, _no_gate_bias)),
    ("clip left out", "queries, keys and values not clipped", _no_clip),
    ("query factor left out", "the constant factor on queries left out",
     changed(_without("query_factor", 1.0, "its queries have no constant factor"))),
    ("key factor left out", "the constant factor on keys left out",
     changed(_without("key_factor", 1.0, "its keys have no constant factor"))),
    ("value factor left out", "the constant factor on values left out",
     changed(_without("value_factor", 1.0, "its values have no constant factor"))),
    ("temperature left out", "queries that do not grow with their position",
     changed(_without("temperature", None, "its queries do not grow with their position"))),
    ("value norm left out", "values not normalised",
     changed(_without("value_norm", None, "its values are not normalised"))),
    ("output norm left out", "context vectors not normalised before W_o",
     changed(_without("output_norm", None, "its context vectors are not normalised"))),
    ("values from finished keys", "values taken from keys after their norm", step(_ValuesFinished, _own_values)),
    ("shared keys rotated again", "another layer's keys rotated a second time", step(_SharedTurnedAgain, _not_shared)),
    ("fused matrix cut otherwise", "the one matrix of W_q, W_k and W_v cut in another order",
     changed(_fused_otherwise)),
    ("learned query factors left out", "the learned factors on queries left out",
     changed(_without("query_learned", 0.0, "its queries have no learned factors"))),
    ("learned gate factors left out", "the learned factors on the gate left out", changed(_gate_not_learned)),
    ("norm on the other side of the gate", "context vectors normalised before the gate instead of after it, or the "
     "reverse", changed(_gate_on_the_other_side)),
    ("norm by root mean square", "RMSNorm instead of division by the length on queries and keys",
     changed(norms(_root_mean_square))),
    ("norm without mean", "RMSNorm instead of LayerNorm on queries and keys", changed(norms(_mean_kept))),
    ("norm weight without one", "the norm's weight instead of 1 + weight", changed(norms(_weight_alone))),
    ("rope on the other end", "the first dimensions rotated instead of the last, or the reverse",
     changed(_other_end)),
    ("latent not normalised", "the latent vector of keys and values not normalised",
     step(_LatentNotNormalised, _no_latent)),
    ("latent pairs", "turning dimensions read as halves instead of pairs, or the reverse",
     changed(_latent(_stored_otherwise))),
    ("latent factor left out", "the constant factor on latent vectors left out", changed(_latent(_no_latent_factor))),
    ("rope norm left out", "the turning part of keys not normalised", changed(_latent(_no_rope_norm))),
)  # fmt: skip
