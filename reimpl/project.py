"""Projections: attention input x [..., t, m] in, query, key and value vectors out, head-first.

The weights are the layer's learned parameters W_q, W_k, W_v, one slice of rows per head. `F.linear` computes
x·Wᵀ, so a slice W[h·d:(h+1)·d] of shape [d, m] is head h's own matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reimpl.choices import FusedLayout, GateActivation
from reimpl.norm import Norm, head_first, make_norm
from reimpl.spec import AttentionSpec, GateSpec


class Projected(NamedTuple):
    """Hold what the attention input is projected to, head-first, none of it rotated."""

    query: Tensor  # [..., h, t, d]
    key: Tensor  # [..., g, t, d]
    value: Tensor  # [..., g, t, d_value]
    gate: Tensor | None = None  # [..., t, h*d_value], what the joined context vectors are multiplied by, if anything


class Projections(nn.Module):
    """Apply W_q, W_k, W_v, in one of five layouts, with biases, norms and a gate where the model has them.

    Args:
        spec: the layer's.
    """

    def __init__(self, spec: AttentionSpec) -> None:
        super().__init__()
        self.spec = spec
        h, g, d, m = spec.heads, spec.kv_heads, spec.d_head, spec.d_input
        self.widths = (h * d, g * d, g * spec.d_value)
        if spec.layout == "separate":
            doubled = 2 if spec.gate is not None and spec.gate.source == "query" else 1
            self.q_proj = nn.Linear(m, doubled * h * d, bias=spec.qkv_bias)
            if spec.shares is None:
                self.k_proj = nn.Linear(m, g * d, bias=spec.qkv_bias)
                if not spec.value_is_key:
                    self.v_proj = nn.Linear(m, g * spec.d_value, bias=spec.qkv_bias)
        else:
            gate = h * spec.d_value if spec.gate is not None and spec.gate.source == "matrix" else 0
            self.qkv_proj = nn.Linear(m, gate + sum(self.widths), bias=spec.qkv_bias)
        self.q_norm = make_norm(spec.query_norm, d, h)
        self.k_norm = make_norm(spec.key_norm, d, g) if spec.shares is None else None
        self.v_norm = make_norm(spec.value_norm, spec.d_value, g) if spec.shares is None else None
        norms = (spec.query_norm, spec.key_norm)
        self.norms_after_rope = any(norm is not None and norm.after_rope for norm in norms)
        self.gate = None if spec.gate is None else Gate(spec.gate, spec)

    def forward(self, x: Tensor, shared: tuple[Tensor, Tensor] | None = None) -> Projected:
        """Project the attention input to query, key and value vectors, and the gate.

        Args:
            x: attention input [..., t, m].
            shared: key (rotated) and value of the layer named by `spec.shares`, where there is one.

        Returns:
            Query [..., h, t, d], key [..., g, t, d], value [..., g, t, d_value] and the gate, if any.

        Raises:
            ValueError: the layer has no keys of its own, and none were handed in.
        """
        raw_query, *others = self.project(x)  # each [..., t, heads*d]
        gate = None
        if self.gate is not None:
            raw_query, gate = self.gate(x, raw_query, others[2] if len(others) > 2 else None)
        query = self.split_heads(raw_query, self.q_norm, self.spec.query_factor)
        if self.spec.shares is not None:
            if shared is None:
                raise ValueError(f"This layer has no keys of its own: hand it those of {self.spec.shares}.")
            return Projected(query, *shared, gate)
        key = self.split_heads(others[0], self.k_norm, self.spec.key_factor)
        value = self.split_heads(others[1], self.v_norm, self.spec.value_factor, width=self.spec.d_value)
        return Projected(query, key, value, gate)

    def project(self, x: Tensor) -> Sequence[Tensor]:
        """Compute the matrix products alone.

        Args:
            x: attention input [..., t, m].

        Returns:
            Queries, keys and values, each [..., t, heads·d], as far as the layer has its own; and a gate that stands in
            the same matrix.
        """
        if self.spec.layout != "separate":
            return LAYOUTS[self.spec.layout](self.qkv_proj(x), self.spec)
        if self.spec.shares is not None:
            return (self.q_proj(x),)
        key = self.k_proj(x)
        return self.q_proj(x), key, key if self.spec.value_is_key else self.v_proj(x)

    def split_heads(self, x: Tensor, norm: Norm | None, factor: float = 1.0, *, width: int | None = None) -> Tensor:
        """Split projected numbers into heads, clipped and normalised as the layer does.

        Args:
            x: [..., t, heads·d].
            norm: over all of it or over each head; None, or one that comes after rotation: not here.
            factor: a constant on all numbers.
            width: of a head, where it is not d.

        Returns:
            [..., heads, t, d].
        """
        early = norm if norm is not None and not norm.norm.after_rope else None
        if early is not None and early.norm.over == "whole":
            x, early = early(x), None
        if self.spec.clip is not None:
            x = x.clamp(-self.spec.clip, self.spec.clip)
        x = torch.unflatten(x, -1, (-1, width or self.spec.d_head))  # [..., t, heads, d]
        if early is not None:
            x = early(x)
        return (x if factor == 1.0 else x * factor).transpose(-3, -2)

    def norm_after_rope(self, query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        """Normalise queries and keys where the norms come after rotation.

        Args:
            query: [..., h, t, d].
            key: [..., g, s, d].

        Returns:
            Query and key.
        """
        late_q, late_k = ((n if n is not None and n.norm.after_rope else None) for n in (self.q_norm, self.k_norm))
        return head_first(late_q, query), head_first(late_k, key)

    def matrices(self) -> Sequence[Tensor]:
        """List W_q [h·d, m], W_k and W_v [g·d, m]; fewer where the layer has fewer of its own."""
        if self.spec.layout != "separate":
            return [part.T for part in LAYOUTS[self.spec.layout](self.qkv_proj.weight.T, self.spec)[:3]]
        w_q = self.q_proj.weight
        if self.gate is not None:
            w_q = self.gate.query_part(w_q.T)[0].T
        if self.spec.shares is not None:
            return (w_q,)
        return w_q, self.k_proj.weight, (self.k_proj if self.spec.value_is_key else self.v_proj).weight


class Gate(nn.Module):
    """Compute what the joined context vectors are multiplied by: from the attention input, or W_q's second half.

    Args:
        gate: where it comes from, and its activation.
        spec: the layer's, for its widths.
    """

    def __init__(self, gate: GateSpec, spec: AttentionSpec) -> None:
        super().__init__()
        self.spec, self.heads, self.d_head, self.d_value = gate, spec.heads, spec.d_head, spec.d_value
        width = spec.heads * (1 if gate.per_head else spec.d_value)
        if gate.source == "gate":
            self.proj = nn.Linear(spec.d_input, width, bias=False)
        self.head_bias = nn.Parameter(torch.empty(spec.heads)) if gate.bias else None
        self.learned = nn.Parameter(torch.empty(width)) if gate.learned else None

    def forward(self, x: Tensor, query: Tensor, fused: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Compute the queries alone and the gate.

        Args:
            x: attention input [..., t, m].
            query: what W_q gave, [..., t, h·d], or twice as wide where it holds the gate's numbers.
            fused: the gate's numbers [..., t, h·d_value] where the one matrix of W_q, W_k and W_v gave them.

        Returns:
            The queries [..., t, h·d] and the gate [..., t, h·d_value].
        """
        query, gate = self.query_part(query)
        if gate is None:
            gate = self.proj(x) if fused is None else fused
        return query, self.activate(gate)

    def query_part(self, query: Tensor) -> tuple[Tensor, Tensor | None]:
        """Split what W_q gave into queries and, where it holds them, the gate's numbers: each head's halves.

        Args:
            query: [..., t, h·d], or twice as wide.

        Returns:
            The queries [..., t, h·d], and the gate's numbers [..., t, h·d] or None.
        """
        if self.spec.source != "query":
            return query, None
        wanted, gate = torch.unflatten(query, -1, (self.heads, 2 * self.d_head)).chunk(2, dim=-1)  # [..., t, h, d]
        return wanted.flatten(-2), gate.flatten(-2)

    def activate(self, gate: Tensor) -> Tensor:
        """Apply learned factors, bias and activation, and repeat a number a head for each of its dimensions.

        Args:
            gate: [..., t, h·d_value], or [..., t, h] with a number a head.

        Returns:
            The gate [..., t, h·d_value].
        """
        if self.learned is not None:
            gate = gate * (self.learned * self.spec.learned).square()
        if self.head_bias is not None:
            gate = (torch.unflatten(gate, -1, (self.heads, -1)) + self.head_bias[:, None]).flatten(-2)
        wide = gate if gate.dtype == torch.float64 else gate.float()
        gate = ACTIVATIONS[self.spec.activation](wide).to(gate.dtype)
        return gate.repeat_interleave(self.d_value, dim=-1) if self.spec.per_head else gate


def _stacked(x: Tensor, spec: AttentionSpec) -> Sequence[Tensor]:
    """Split all queries, all keys, all values."""
    widths = [spec.heads * spec.d_head, spec.kv_heads * spec.d_head, spec.kv_heads * spec.d_value]
    return torch.split(x, widths, dim=-1)


def _gate_first(x: Tensor, spec: AttentionSpec) -> Sequence[Tensor]:
    """Split the gate, then all queries, all keys, all values; the gate is handed back last."""
    gate, rest = x.tensor_split((spec.heads * spec.d_value,), dim=-1)
    return *_stacked(rest, spec), gate


def _grouped(x: Tensor, spec: AttentionSpec) -> Sequence[Tensor]:
    """Split, for each key/value head, its query heads, its key, its value."""
    groups = torch.unflatten(x, -1, (spec.kv_heads, spec.group + 2, spec.d_head))  # [..., t, g, h/g + 2, d]
    query, key, value = torch.split(groups, [spec.group, 1, 1], dim=-2)
    return query.flatten(-3), key.flatten(-3), value.flatten(-3)


def _quarters(x: Tensor, spec: AttentionSpec) -> Sequence[Tensor]:
    """Split four blocks (one for each device it was trained on) of queries, values, keys."""
    blocks = torch.unflatten(x, -1, (4, -1))  # [..., t, 4, 3*h*d/4]
    query, value, key = torch.split(blocks, spec.heads * spec.d_head // 4, dim=-1)
    return query.flatten(-2), key.flatten(-2), value.flatten(-2)


# How one matrix holds W_q, W_k and W_v: [..., N] -> query, key, value [..., heads·d].
LAYOUTS: dict[FusedLayout, Callable[[Tensor, AttentionSpec], Sequence[Tensor]]] = {
    "stacked": _stacked,
    "gate first": _gate_first,
    "grouped": _grouped,
    "quarters": _quarters,
}
ACTIVATIONS: dict[GateActivation, Callable[[Tensor], Tensor]] = {"sigmoid": torch.sigmoid, "softplus": F.softplus}
