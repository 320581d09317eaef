"""Make weights of queries and keys as settings say: scale, soft-cap, mask, softmax, sinks, rounding."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from inspector.judging.projection_step import moved
from inspector.judging.settings import HALVES, Weighing
from reimpl.attention import CausalSelfAttention, attention_weights


def right_weighing(layer: CausalSelfAttention) -> Weighing:
    """Return how a layer makes weights when it is right."""
    spec = layer.spec
    return Weighing(scale=spec.scale, softcap=spec.softcap, window=spec.mask.window)


def weighed(query: Tensor, key: Tensor, at: Weighing, layer: CausalSelfAttention, given: Tensor | None) -> Tensor:
    """Return the weights [h, n, n] of queries and keys.

    Args:
        query: [h, n, d].
        key: [g, n, d].
        at: how scores, mask and softmax are set.
        layer: ours.
        given: the mask where the model chooses keys itself.
    """
    if at == right_weighing(layer):
        return layer.weigh(layer.score(query, key), seen(at, layer, query.shape[-2], given))
    h = query.shape[0]
    keys = key[list(at.heads)] if at.heads is not None else key.repeat_interleave(h // key.shape[0], 0)
    scores = query @ keys.transpose(-1, -2)
    if at.capped_first and at.softcap is not None:
        scores = torch.tanh(scores / at.softcap) * at.softcap * at.scale
    else:
        scores = scores * at.scale
        scores = scores if at.softcap is None else torch.tanh(scores / at.softcap) * at.softcap
    if at.rounded.startswith("scores"):
        scores = scores.to(HALVES[at.rounded.split()[1]]).to(scores.dtype)
    return _softmax(scores, at, layer, given)


def _softmax(scores: Tensor, at: Weighing, layer: CausalSelfAttention, given: Tensor | None) -> Tensor:
    may = seen(at, layer, scores.shape[-1], given)
    boolean = may if may.dtype == torch.bool else may > -math.inf
    if at.mask.startswith("after"):
        weights = attention_weights(scores, None) * boolean
        return weights / weights.sum(-1, keepdim=True) if "renormalised" in at.mask else weights
    if at.softmax == "none":
        return scores.masked_fill(~boolean, 0)
    if at.masked_with is not None:
        scores, may = scores.masked_fill(~boolean, at.masked_with), torch.ones_like(boolean)
        boolean = may
    if at.one_more:
        return attention_weights(scores, may, sinks=scores.new_zeros(scores.shape[0]))
    if at.softmax in ("queries", "heads"):
        return scores.masked_fill(~boolean, -math.inf).softmax(-2 if at.softmax == "queries" else -3).nan_to_num(0.0)
    if at.rounded.startswith("weights"):
        half = HALVES[at.rounded.split()[1]]
        return attention_weights(scores, may, sinks=layer.sinks).to(half).to(scores.dtype)
    if at.sinks == "on the first key" and layer.sinks is not None:
        first = F.pad(layer.sinks[:, None, None], (0, scores.shape[-1] - 1))
        return attention_weights(scores + first, may)
    return attention_weights(scores, may, sinks=_sinks(layer, at))


def seen(at: Weighing, layer: CausalSelfAttention, n: int, given: Tensor | None = None) -> Tensor:
    """Return which keys each of n queries sees [n, n], true where it does.

    Args:
        at: how the mask is set.
        layer: ours.
        n: tokens.
        given: the mask where the model chooses keys itself.
    """
    positions = torch.arange(n, device=layer.o_proj.weight.device)
    if at.mask in ("", "after the softmax", "after, renormalised") and at.window == layer.spec.mask.window:
        return layer.mask(positions, positions, given)
    t, s = positions[:, None], positions[None, :]
    if at.mask == "none":
        return torch.ones_like(t >= s)
    if at.mask == "upside down":
        return s >= t
    if at.mask == "both sides" and at.window is not None:
        return (t - s).abs() < at.window
    may = s <= (t + 1 if at.mask == "sees the next" else t)
    may = may & (s != t) if at.mask == "hides itself" else may
    if at.window is not None:
        may = may & (s > t - at.window)
    if layer.spec.mask.chunk is not None:
        may = may & (s // layer.spec.mask.chunk == t // layer.spec.mask.chunk)
    return may


def _sinks(layer: CausalSelfAttention, at: Weighing) -> Tensor | None:
    """Return the attention sinks [h] as the setting takes them."""
    if layer.sinks is None or at.sinks == "none":
        return None
    if at.sinks == "scaled":
        return layer.sinks * layer.spec.scale
    if at.sinks == "negative":
        return -layer.sinks
    return moved(layer.sinks[:, None], layer.spec.kv_heads)[:, 0] if at.sinks == "moved" else layer.sinks
