"""Causal multi-head self-attention with RoPE: attention input x [..., t, m] in, attention output [..., t, m] out.

Vaswani et al. 2017 (https://arxiv.org/abs/1706.03762), with Su et al.'s rotation and grouped key/value heads
(Ainslie et al. 2023). `CausalSelfAttention.forward` is attention from top to bottom, for every family of models; one
family's, Llama's, stands on a page of its own in llama.py. The pure functions that it is made of are functional.py's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reimpl.functional import attention_weights, context_vectors, repeat_heads, scaled_scores
from reimpl.latent import LatentProjections
from reimpl.mask import allowed
from reimpl.norm import head_first, make_norm
from reimpl.project import Projected, Projections
from reimpl.query_temperature import apply_temperature
from reimpl.rope import apply_rotation, cos_sin, rotation_dtype
from reimpl.spec import AttentionSpec, UnsupportedError

__all__ = [
    "AttentionTrace",
    "Cached",
    "CausalSelfAttention",
    "ExternalInputs",
    "attention_weights",
    "context_vectors",
    "repeat_heads",
    "scaled_scores",
]


@dataclass(frozen=True)
class AttentionTrace:
    """Hold every stage of one layer, head-first: what was computed from one attention input, in order."""

    query_pre: Tensor  # [..., h, t, d] before rotation
    key_pre: Tensor  # [..., g, s, d] before rotation
    query: Tensor  # [..., h, t, d] after rotation
    key: Tensor  # [..., g, s, d] after rotation
    value: Tensor  # [..., g, s, d_value]
    weights: Tensor  # [..., h, t, s]
    context: Tensor  # [..., h, t, d_value]
    output: Tensor  # [..., t, m]


class ExternalInputs(NamedTuple):
    """Hold what a layer takes from elsewhere in the model. Most layers take nothing."""

    shared: tuple[Tensor, Tensor] | None = None  # key (rotated) and value of the layer that `spec.shares` names
    mask: Tensor | None = None  # where the model chooses keys itself (`spec.mask.given`): [t, s] or [h, t, s]


class Cached(NamedTuple):
    """Hold what a key/value cache hands back: the keys and values of all tokens so far, and where tokens stand."""

    key: Tensor  # [..., g, s, d], rotated
    value: Tensor  # [..., g, s, d_value]
    query_positions: Tensor  # [t]
    key_positions: Tensor  # [s]


Cache = Callable[[Tensor, Tensor], Cached]  # (new rotated keys, new values) -> those of all tokens so far
NO_EXTERNAL_INPUTS = ExternalInputs()


class CausalSelfAttention(nn.Module):
    """Compute one layer. Each step of `forward` is a method, so that a planted mistake overrides just one.

    Args:
        spec: what the layer does.
        place: where it stands in its model, such as "layers.3.self_attn".
    """

    def __init__(self, spec: AttentionSpec, place: str = "") -> None:
        super().__init__()
        self.spec, self.place = spec, place
        self.projections = Projections(spec) if spec.latent is None else LatentProjections(spec, spec.latent)
        self.output_norm = make_norm(spec.output_norm, spec.d_value, spec.heads)
        self.o_proj = nn.Linear(spec.heads * spec.d_value, spec.d_model, bias=spec.output_bias)
        self.sinks = nn.Parameter(torch.empty(spec.heads)) if spec.sinks else None
        self.query_learned = nn.Parameter(torch.empty(spec.heads * spec.d_head)) if spec.query_learned else None

    def forward(
        self,
        x: Tensor,
        positions: Tensor | None = None,
        external: ExternalInputs = NO_EXTERNAL_INPUTS,
        *,
        cache: Cache | None = None,
        record: dict[str, Tensor] | None = None,
    ) -> Tensor:
        """Compute the attention output.

        Args:
            x: attention input [..., t, m].
            positions: [t], by which queries and keys are rotated; from 0 unless told.
            external: what this layer takes from elsewhere in the model.
            cache: takes the new keys and values, hands back those of all tokens so far.
            record: is given every stage by name, for `stages`.

        Returns:
            The attention output [..., t, m].
        """
        positions = _from_zero(x) if positions is None else positions
        unrotated_query, unrotated_key, value, gate = self.project(x, external.shared)  # [..., h, t, d], [..., g, t, d]
        query, key = self.rotate(unrotated_query, unrotated_key, positions)
        query, key = self.after_rotation(query, key, positions)
        query_positions = key_positions = positions
        if cache is not None:
            key, value, query_positions, key_positions = cache(key, value)  # [..., g, s, d]
        scores = self.score(query, key)  # [..., h, t, s]
        mask = self.mask(query_positions, key_positions, external.mask)  # [t, s]
        weights = self.weigh(scores, mask)  # [..., h, t, s]
        context = self.weighted_sum(weights, value)  # [..., h, t, d_value]
        output = self.output_projection(context, gate)  # [..., t, m]
        if record is not None:
            record.update(unrotated_query=unrotated_query, unrotated_key=unrotated_key, query=query, key=key)
            record.update(value=value, weights=weights, context=context)
        return output

    def stages(
        self, x: Tensor, positions: Tensor | None = None, external: ExternalInputs = NO_EXTERNAL_INPUTS
    ) -> AttentionTrace:
        """Compute the attention output and keep every stage on the way.

        "Before rotation" are the vectors that would be scored if nothing were rotated: made here only.

        Args:
            x: attention input [..., t, m].
            positions: [t]; from 0 unless told.
            external: what this layer takes from elsewhere in the model.

        Returns:
            Every stage, the output last.
        """
        positions = _from_zero(x) if positions is None else positions
        found: dict[str, Tensor] = {}
        output = self.forward(x, positions, external, record=found)
        query_pre, key_pre = self.after_rotation(found.pop("unrotated_query"), found.pop("unrotated_key"), positions)
        return AttentionTrace(query_pre, key_pre, output=output, **found)

    def project(self, x: Tensor, shared: tuple[Tensor, Tensor] | None = None) -> Projected:
        """Project the attention input to queries, keys, values and a gate.

        Args:
            x: attention input [..., t, m].
            shared: key (rotated) and value of the layer that `spec.shares` names.

        Returns:
            Query [..., h, t, d], key [..., g, t, d], value [..., g, t, d_value], and the gate, if any.
        """
        projected: Projected = self.projections(x, shared)
        return projected

    def rotate(self, query: Tensor, key: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Turn queries and keys by their positions; values are never turned, nor keys that another layer turned.

        Args:
            query: [..., h, t, d].
            key: [..., g, t, d].
            positions: [t].

        Returns:
            Query and key, turned.
        """
        rope = self.spec.rope
        if rope is None:
            return query, key
        cos, sin = cos_sin(positions, rope, dtype=rotation_dtype(query.dtype, rope))  # [t, dim/2], for both
        turned = apply_rotation(query, cos, sin, rope)
        return turned, key if self.spec.shares is not None else apply_rotation(key, cos, sin, rope)

    def after_rotation(self, query: Tensor, key: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Do what a few models do between rotation and scores: norms, learned factors, the queries' temperature.

        Args:
            query: [..., h, t, d], rotated.
            key: [..., g, t, d], rotated.
            positions: [t].

        Returns:
            Query and key, ready to be scored.
        """
        if isinstance(self.projections, Projections) and self.projections.norms_after_rope:
            query, key = self.projections.norm_after_rope(query, key)
        if self.query_learned is not None:
            factors = (self.query_learned * self.spec.query_learned).view(-1, 1, self.spec.d_head)  # [h, 1, d]
            query = query * factors.square()
        if self.spec.temperature is not None:
            query = apply_temperature(query, positions, self.spec.temperature)
        return query, key

    def score(self, query: Tensor, key: Tensor) -> Tensor:
        """Compare each query with each key.

        Args:
            query: [..., h, t, d].
            key: [..., g, s, d].

        Returns:
            The scaled scores [..., h, t, s].
        """
        return scaled_scores(query, key, scale=self.spec.scale, softcap=self.spec.softcap)

    def mask(self, query_positions: Tensor, key_positions: Tensor, external: Tensor | None = None) -> Tensor:
        """Say which keys each query may look at.

        Args:
            query_positions: [t].
            key_positions: [s].
            external: the mask where the model chooses keys itself.

        Returns:
            The mask [t, s], true where looking is allowed; or the one that was handed in.
        """
        return allowed(self.spec.mask, query_positions, key_positions) if external is None else external

    def weigh(self, scores: Tensor, mask: Tensor) -> Tensor:
        """Turn scores into weights; at training time some are dropped and the rest made larger.

        Args:
            scores: [..., h, t, s].
            mask: [t, s] or [h, t, s].

        Returns:
            The attention weights [..., h, t, s].
        """
        weights = attention_weights(scores, mask, sinks=self.sinks)
        return F.dropout(weights, p=self.spec.dropout, training=self.training)

    def weighted_sum(self, weights: Tensor, value: Tensor) -> Tensor:
        """Sum the values by their weights.

        Args:
            weights: [..., h, t, s].
            value: [..., g, s, d_value].

        Returns:
            The context vectors [..., h, t, d_value].
        """
        return context_vectors(weights, value)

    def output_projection(self, context: Tensor, gate: Tensor | None = None) -> Tensor:
        """Join the heads' context vectors and multiply by W_o.

        Args:
            context: [..., h, t, d_value].
            gate: [..., t, h*d_value], what the joined vectors are multiplied by before W_o.

        Returns:
            The attention output [..., t, m].
        """
        if gate is not None and self.spec.gate_first:
            opened = context.transpose(-3, -2) * gate.unflatten(-1, (self.spec.heads, -1))  # [..., t, h, d_value]
            context, gate = opened.transpose(-3, -2), None
        if self.output_norm is not None:
            context = head_first(self.output_norm, context)
        joined = context.transpose(-3, -2).flatten(-2)  # [..., t, h*d_value]
        output: Tensor = self.o_proj(joined if gate is None else joined * gate)
        return output

    def head_matrices(self, head: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Cut one head's own matrices out of the layer's.

        Args:
            head: the query head, from 0; keys and values are its group's.

        Returns:
            W_q [d, m], W_k [d, m], W_v [d_value, m] and W_o [m, d_value].

        Raises:
            UnsupportedError: the layer has no such single matrices.
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
        """Make an attention of this class that shares the parameters of another.

        Args:
            other: whose parameters, place and mode (training or not) are taken over.
            spec: another spec; parameters that it does not call for are left out.

        Returns:
            The new layer.
        """
        with torch.device("meta"):
            made = cls(spec or other.spec, other.place)
        kept = {name: tensor for name, tensor in other.state_dict().items() if name in made.state_dict()}
        made.load_state_dict(kept, assign=True)
        return made.requires_grad_(False).train(other.training)


def _from_zero(x: Tensor) -> Tensor:
    """Count the positions [t] of x [..., t, m] from 0."""
    return torch.arange(x.shape[-2], device=x.device)
