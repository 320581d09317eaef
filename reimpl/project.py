"""From attention input to query, key and value vectors: x [..., t, m] in, three head-first tensors out.

The weights are the layer's learned parameters W_q, W_k, W_v, one slice of rows per head. `F.linear` computes
x·Wᵀ, so a slice W[h·d:(h+1)·d] of shape [d, m] is head h's own matrix.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from reimpl.spec import AttentionSpec, NormSpec


class RMSNorm(nn.Module):
    """Divide by the root mean square over the last dimension, in float32, then multiply by a learned weight [d].

    Zhang & Sennrich 2019, https://arxiv.org/abs/1910.07467; order of rounding as transformers' `LlamaRMSNorm`.
    """

    def __init__(self, width: int, norm: NormSpec) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width))
        self.eps = norm.eps

    def forward(self, x: Tensor) -> Tensor:
        wide = x if x.dtype == torch.float64 else x.float()
        wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps)
        return self.weight * wide.to(x.dtype)


class Projected(NamedTuple):
    """What the attention input is turned into, head-first, none of it rotated."""

    query: Tensor  # [..., h, t, d]
    key: Tensor  # [..., g, t, d]
    value: Tensor  # [..., g, t, d_value]
    gate: Tensor | None = None  # [..., t, h*d], what the joined context vectors are multiplied by, if anything


class Projections(nn.Module):
    """Separate W_q, W_k, W_v, with biases and per-head norms where the model has them."""

    def __init__(self, spec: AttentionSpec) -> None:
        super().__init__()
        self.spec = spec
        h, g, d, m = spec.heads, spec.kv_heads, spec.d_head, spec.d_model
        self.q_proj = nn.Linear(m, h * d, bias=spec.qkv_bias)
        self.k_proj = nn.Linear(m, g * d, bias=spec.qkv_bias)
        self.v_proj = nn.Linear(m, g * d, bias=spec.qkv_bias)
        self.q_norm = RMSNorm(d, spec.query_norm) if spec.query_norm else None
        self.k_norm = RMSNorm(d, spec.key_norm) if spec.key_norm else None

    def forward(self, x: Tensor) -> Projected:
        """Attention input x [..., t, m] -> query, key and value vectors."""
        query = self.split_heads(self.q_proj(x))  # (..., t, h, d)
        key = self.split_heads(self.k_proj(x))  # (..., t, g, d)
        value = self.split_heads(self.v_proj(x))  # (..., t, g, d)
        if self.q_norm is not None:
            query = self.q_norm(query)
        if self.k_norm is not None:
            key = self.k_norm(key)
        return Projected(query.transpose(-3, -2), key.transpose(-3, -2), value.transpose(-3, -2))

    def split_heads(self, x: Tensor) -> Tensor:
        """[..., t, heads·d] -> [..., t, heads, d]."""
        return x.unflatten(-1, (-1, self.spec.d_head))
