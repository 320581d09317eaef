"""Causal multi-head self-attention with RoPE: attention input x [..., t, m] in, attention output [..., t, m] out.

    x ─project─► query, key, value ─rotate─► query, key ─score─► scaled scores ─mask─weigh─► weights
                                                                 weights, value ─mix─► context ─blend─► output

Vaswani et al. 2017 (https://arxiv.org/abs/1706.03762), with Su et al.'s rotation and grouped key/value heads
(Ainslie et al. 2023). The functions at the top are the whole of attention once queries, keys and values are
there; everything that draws or checks weights uses them. The class below adds a layer's parameters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reimpl.latent import LatentProjections
from reimpl.mask import allowed
from reimpl.norm import head_first, make_norm
from reimpl.project import Projected, Projections
from reimpl.query_temperature import growing
from reimpl.rope import rotate
from reimpl.spec import AttentionSpec, UnsupportedError


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

    `may` is true where looking is allowed; or, for models that add something to scores, that, and -inf elsewhere.

    Computed in float32 whatever the dtype (float64 too), as the library does. With sinks [h] a score joins each row's
    softmax and takes its share away: rows then sum to less than 1.
    """
    if may is not None:
        scores = scores.masked_fill(~may, float("-inf")) if may.dtype == torch.bool else scores + may.to(scores.dtype)
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


class Given(NamedTuple):
    """What a layer takes from elsewhere in the model. Most layers take nothing."""

    shared: tuple[Tensor, Tensor] | None = None  # key (rotated) and value of the layer that `spec.shares` names
    mask: Tensor | None = None  # where the model chooses keys itself (`spec.mask.given`): [t, s] or [h, t, s]


NOTHING = Given()


class CausalSelfAttention(nn.Module):
    """One layer. Each method is one step of the picture above, so that a planted mistake overrides just one.

    `place` is where the layer stands in its model, such as "layers.3.self_attn".
    """

    def __init__(self, spec: AttentionSpec, place: str = "") -> None:
        super().__init__()
        self.spec, self.place = spec, place
        self.projections = Projections(spec) if spec.latent is None else LatentProjections(spec, spec.latent)
        self.output_norm = make_norm(spec.output_norm, spec.d_value, spec.heads)
        self.o_proj = nn.Linear(spec.heads * spec.d_value, spec.d_model, bias=spec.output_bias)
        self.sinks = nn.Parameter(torch.empty(spec.heads)) if spec.sinks else None

    def forward(self, x: Tensor, positions: Tensor | None = None, given: Given = NOTHING) -> Tensor:
        """Attention output [..., t, m] for attention input x [..., t, m] at positions [t] (from 0 unless given)."""
        return self.stages(x, positions, given).output

    def stages(self, x: Tensor, positions: Tensor | None = None, given: Given = NOTHING) -> AttentionTrace:
        """The same, with every stage kept."""
        if positions is None:
            positions = torch.arange(x.shape[-2], device=x.device)
        projected = self.project(x, given.shared)
        query_pre, key_pre = self.finish(projected.query, projected.key, positions)
        query, key = self.finish(*self.rotate(projected.query, projected.key, positions), positions)
        weights, context, output = self.attend(
            query, key, projected.value, positions, positions, projected.gate, given.mask
        )
        return AttentionTrace(query_pre, key_pre, query, key, projected.value, weights, context, output)

    def attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        query_positions: Tensor,
        key_positions: Tensor,
        gate: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """From rotated queries and keys on: weights, context, output. A key/value cache sits just before this."""
        may = self.mask(query_positions, key_positions, mask)
        weights = self.weigh(self.score(query, key), may)
        context = self.mix(weights, value)
        return weights, context, self.blend(context, gate)

    def project(self, x: Tensor, shared: tuple[Tensor, Tensor] | None = None) -> Projected:
        """x [..., t, m] -> query [..., h, t, d], key [..., g, t, d], value [..., g, t, d_value]."""
        projected: Projected = self.projections(x, shared)
        return projected

    def rotate(self, query: Tensor, key: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Turn queries and keys by their positions [t]; values are never turned, nor keys that another layer turned."""
        turned = rotate(query, positions, self.spec.rope)
        return turned, key if self.spec.shares is not None else rotate(key, positions, self.spec.rope)

    def finish(self, query: Tensor, key: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """What some models do between rotation and scores: norms, and queries that grow with their position."""
        if isinstance(self.projections, Projections):
            query, key = self.projections.norm_after_rope(query, key)
        return growing(query, positions, self.spec.temperature), key

    def score(self, query: Tensor, key: Tensor) -> Tensor:
        """Scaled scores [..., h, t, s]."""
        return scaled_scores(query, key, scale=self.spec.scale, softcap=self.spec.softcap)

    def mask(self, query_positions: Tensor, key_positions: Tensor, given: Tensor | None = None) -> Tensor:
        """True where looking is allowed, [t, s]; `given` where the model chooses keys itself."""
        return allowed(self.spec.mask, query_positions, key_positions) if given is None else given

    def weigh(self, scores: Tensor, may: Tensor) -> Tensor:
        """Attention weights [..., h, t, s]; at training time some are dropped and the rest made larger."""
        weights = attention_weights(scores, may, sinks=self.sinks)
        return F.dropout(weights, p=self.spec.dropout, training=self.training)

    def mix(self, weights: Tensor, value: Tensor) -> Tensor:
        """Context vectors [..., h, t, d_value]."""
        return context_vectors(weights, value)

    def blend(self, context: Tensor, gate: Tensor | None = None) -> Tensor:
        """Join the heads' context vectors and multiply by W_o: [..., h, t, d_value] -> [..., t, m]."""
        joined = head_first(self.output_norm, context).transpose(-3, -2).flatten(-2)
        output: Tensor = self.o_proj(joined if gate is None else joined * gate)
        return output

    def head_matrices(self, head: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """One head's W_q [d, m], W_k [d, m], W_v [d_value, m] (its group's) and W_o [m, d_value].

        Raises UnsupportedError where the layer has no such single matrices.
        """
        if self.spec.shares is not None:
            raise UnsupportedError(f"This layer has no W_k and W_v: it uses the keys and values of {self.spec.shares}.")
        d, d_value, group = self.spec.d_head, self.spec.d_value, head // self.spec.group
        w_q, w_k, w_v = self.projections.matrices()
        values = slice(group * d_value, (group + 1) * d_value)
        return (
            w_q[head * d : (head + 1) * d],
            w_k[group * d : (group + 1) * d],
            w_v[values],
            self.o_proj.weight[:, head * d_value : (head + 1) * d_value],
        )

    @classmethod
    def like(cls, other: CausalSelfAttention, spec: AttentionSpec | None = None) -> Self:
        """An attention of this class that shares `other`'s parameters, perhaps under another spec."""
        with torch.device("meta"):
            made = cls(spec or other.spec, other.place)
        kept = {name: tensor for name, tensor in other.state_dict().items() if name in made.state_dict()}
        made.load_state_dict(kept, assign=True)
        return made.requires_grad_(False).train(other.training)
