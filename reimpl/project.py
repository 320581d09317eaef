"""From attention input to query, key and value vectors: x [..., t, m] in, three head-first tensors out.

The weights are the layer's learned parameters W_q, W_k, W_v, one slice of rows per head. `F.linear` computes
x·Wᵀ, so a slice W[h·d:(h+1)·d] of shape [d, m] is head h's own matrix.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from reimpl.spec import AttentionSpec, NormSpec


class RMSNorm(nn.Module):
    """Divide by the root mean square over the last dimension, in float32, then multiply by a learned weight.

    Zhang & Sennrich 2019, https://arxiv.org/abs/1910.07467; order of rounding as transformers' `LlamaRMSNorm`, or
    with `plus_one` as its `GemmaRMSNorm`.
    """

    def __init__(self, width: int, norm: NormSpec) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width))
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        wide = x if x.dtype == torch.float64 else x.float()
        wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.norm.eps)
        if self.norm.plus_one:
            return (wide * (1.0 + self.weight.to(wide.dtype))).to(x.dtype)
        return self.weight * wide.to(x.dtype)


class Projected(NamedTuple):
    """What the attention input is turned into, head-first, none of it rotated."""

    query: Tensor  # [..., h, t, d]
    key: Tensor  # [..., g, t, d]
    value: Tensor  # [..., g, t, d_value]
    gate: Tensor | None = None  # [..., t, h*d], what the joined context vectors are multiplied by, if anything


class Projections(nn.Module):
    """W_q, W_k, W_v, separate or one below the other, with biases and norms where the model has them."""

    def __init__(self, spec: AttentionSpec) -> None:
        super().__init__()
        self.spec = spec
        h, g, d, m = spec.heads, spec.kv_heads, spec.d_head, spec.d_model
        self.widths = (h * d, g * d, g * d)
        if spec.fused:
            self.qkv_proj = nn.Linear(m, sum(self.widths), bias=spec.qkv_bias)
        else:
            self.q_proj, self.k_proj, self.v_proj = (nn.Linear(m, width, bias=spec.qkv_bias) for width in self.widths)
        self.q_norm = self._norm(spec.query_norm, h)
        self.k_norm = self._norm(spec.key_norm, g)

    def _norm(self, norm: NormSpec | None, heads: int) -> RMSNorm | None:
        return None if norm is None else RMSNorm(self.spec.d_head * (heads if norm.whole else 1), norm)

    def forward(self, x: Tensor) -> Projected:
        """Attention input x [..., t, m] -> query, key and value vectors."""
        query, key, value = self.project(x)
        return Projected(self.cut(query, self.q_norm), self.cut(key, self.k_norm), self.cut(value, None))

    def project(self, x: Tensor) -> Sequence[Tensor]:
        """The matrix products alone: three tensors [..., t, heads·d]."""
        if self.spec.fused:
            return self.qkv_proj(x).split(self.widths, dim=-1)
        return self.q_proj(x), self.k_proj(x), self.v_proj(x)

    def cut(self, x: Tensor, norm: RMSNorm | None) -> Tensor:
        """[..., t, heads·d] -> [..., heads, t, d], normalised over all of it or over each head."""
        if norm is not None and norm.norm.whole:
            x = norm(x)
        x = x.unflatten(-1, (-1, self.spec.d_head))  # (..., t, heads, d)
        if norm is not None and not norm.norm.whole:
            x = norm(x)
        return x.transpose(-3, -2)

    def matrices(self) -> Sequence[Tensor]:
        """W_q [h·d, m], W_k and W_v [g·d, m]."""
        if self.spec.fused:
            return self.qkv_proj.weight.split(self.widths)
        return self.q_proj.weight, self.k_proj.weight, self.v_proj.weight
