"""Causal multi-head self-attention with RoPE: attention input x [..., t, m] in, attention output [..., t, m] out.

    x ─project─► query, key, value ─rotate─► query, key ─score─► scaled scores ─mask─weigh─► weights
                                                                 weights, value ─mix─► context ─blend─► output

Vaswani et al. 2017 (https://arxiv.org/abs/1706.03762), with Su et al.'s rotation and grouped key/value heads
(Ainslie et al. 2023). The functions at the top are the whole of attention once queries, keys and values are
there; everything that draws or checks weights uses them. The class below adds a layer's parameters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reimpl.mask import allowed
from reimpl.project import Projected, Projections
from reimpl.rope import rotate
from reimpl.spec import AttentionSpec


def repeat_heads(x: Tensor, heads: int) -> Tensor:
    """Give each query head its group's key/value head: [..., g, s, d] -> [..., h, s, d], in order 0 0 0 1 1 1 ..."""
    return x.repeat_interleave(heads // x.shape[-3], dim=-3)


def scaled_scores(query: Tensor, key: Tensor, *, scale: float, softcap: float | None = None) -> Tensor:
    """query·key for every pair, times the scale: [..., h, t, d], [..., g, s, d] -> [..., h, t, s]; nothing masked."""
    key = repeat_heads(key, query.shape[-3])
    scores = torch.einsum("...htd,...hsd->...hts", query, key) * scale
    return scores if softcap is None else torch.tanh(scores / softcap) * softcap


def attention_weights(
    scores: Tensor, may: Tensor | None, *, sinks: Tensor | None = None, precision: torch.dtype = torch.float32
) -> Tensor:
    """Softmax over the keys a query may look at: scores [..., h, t, s], may [t, s] -> weights [..., h, t, s].

    Computed in float32 whatever the dtype (float64 too), as the library does. With sinks [h] a score joins each row's
    softmax and takes its share away: rows then sum to less than 1.
    """
    if may is not None:
        scores = scores.masked_fill(~may, float("-inf"))
    if sinks is None:
        return torch.softmax(scores, dim=-1, dtype=precision).to(scores.dtype)
    column = sinks.to(scores.dtype).view(-1, 1, 1).expand(*scores.shape[:-1], 1)
    return torch.softmax(torch.cat((scores, column), dim=-1), dim=-1, dtype=precision)[..., :-1].to(scores.dtype)


def context_vectors(weights: Tensor, value: Tensor) -> Tensor:
    """Sum of the weighted values: weights [..., h, t, s], value [..., g, s, d] -> context [..., h, t, d]."""
    return torch.einsum("...hts,...hsd->...htd", weights, repeat_heads(value, weights.shape[-3]))


@dataclass(frozen=True)
class AttentionTrace:
    """Every stage of one layer, head-first: what was computed from one attention input, in order."""

    query_pre: Tensor  # [..., h, t, d] before rotation
    key_pre: Tensor  # [..., g, s, d] before rotation
    query: Tensor  # [..., h, t, d] after rotation
    key: Tensor  # [..., g, s, d] after rotation
    value: Tensor  # [..., g, s, d]
    weights: Tensor  # [..., h, t, s]
    context: Tensor  # [..., h, t, d]
    output: Tensor  # [..., t, m]


class CausalSelfAttention(nn.Module):
    """One layer. Each method is one step of the picture above, so that a planted mistake overrides just one."""

    def __init__(self, spec: AttentionSpec) -> None:
        super().__init__()
        self.spec = spec
        self.projections = Projections(spec)
        self.o_proj = nn.Linear(spec.heads * spec.d_head, spec.d_model, bias=spec.output_bias)

    def forward(self, x: Tensor, positions: Tensor | None = None) -> Tensor:
        """Attention output [..., t, m] for attention input x [..., t, m] at positions [t] (from 0 unless given)."""
        return self.stages(x, positions).output

    def stages(self, x: Tensor, positions: Tensor | None = None) -> AttentionTrace:
        """The same, with every stage kept."""
        if positions is None:
            positions = torch.arange(x.shape[-2], device=x.device)
        projected = self.project(x)
        query, key = self.rotate(projected.query, projected.key, positions)
        weights, context, output = self.attend(query, key, projected.value, positions, positions, projected.gate)
        return AttentionTrace(projected.query, projected.key, query, key, projected.value, weights, context, output)

    def attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        query_positions: Tensor,
        key_positions: Tensor,
        gate: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """From rotated queries and keys on: weights, context, output. A key/value cache sits just before this."""
        may = self.mask(query_positions, key_positions)
        weights = self.weigh(self.score(query, key), may)
        context = self.mix(weights, value)
        return weights, context, self.blend(context, gate)

    def project(self, x: Tensor) -> Projected:
        """x [..., t, m] -> query [..., h, t, d], key [..., g, t, d], value [..., g, t, d]."""
        projected: Projected = self.projections(x)
        return projected

    def rotate(self, query: Tensor, key: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Turn queries and keys by their positions [t]; values are never turned."""
        return rotate(query, positions, self.spec.rope), rotate(key, positions, self.spec.rope)

    def score(self, query: Tensor, key: Tensor) -> Tensor:
        """Scaled scores [..., h, t, s]."""
        return scaled_scores(query, key, scale=self.spec.scale, softcap=self.spec.softcap)

    def mask(self, query_positions: Tensor, key_positions: Tensor) -> Tensor:
        """True where looking is allowed, [t, s]."""
        return allowed(self.spec.mask, query_positions, key_positions)

    def weigh(self, scores: Tensor, may: Tensor) -> Tensor:
        """Attention weights [..., h, t, s]; at training time some are dropped and the rest made larger."""
        weights = attention_weights(scores, may)
        return F.dropout(weights, p=self.spec.dropout, training=self.training)

    def mix(self, weights: Tensor, value: Tensor) -> Tensor:
        """Context vectors [..., h, t, d]."""
        return context_vectors(weights, value)

    def blend(self, context: Tensor, gate: Tensor | None = None) -> Tensor:
        """Concatenate the heads' context vectors and multiply by W_o: [..., h, t, d] -> [..., t, m]."""
        joined = context.transpose(-3, -2).flatten(-2)
        return self.o_proj(joined if gate is None else joined * gate)

    def head_matrices(self, head: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """One head's W_q [d, m], W_k [d, m], W_v [d, m] (its group's) and W_o [m, d]."""
        d, group = self.spec.d_head, head // self.spec.group
        rows, shared = slice(head * d, (head + 1) * d), slice(group * d, (group + 1) * d)
        w_q, w_k, w_v = self.projections.matrices()
        return w_q[rows], w_k[shared], w_v[shared], self.o_proj.weight[:, rows]

    @classmethod
    def like(cls, other: CausalSelfAttention, spec: AttentionSpec | None = None) -> Self:
        """An attention of this class that shares `other`'s parameters, perhaps under another spec."""
        with torch.device("meta"):
            made = cls(spec or other.spec)
        kept = {name: tensor for name, tensor in other.state_dict().items() if name in made.state_dict()}
        made.load_state_dict(kept, assign=True)
        return made.requires_grad_(False).train(other.training)
