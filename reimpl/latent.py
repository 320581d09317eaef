"""Multi-head latent attention: x [..., t, m] in, query, key and value vectors out, by way of narrow latent vectors.

DeepSeek-V2 (2024, https://arxiv.org/abs/2405.04434), section 2.1. Keys and values of all heads are expanded from one
latent vector per token, which is all that a cache need keep; a key's turning dimensions are the same for all heads.

    x ─W_qa─► latent ─norm─W_qb─► queries [fixed | turning]
    x ─W_kva─► latent ─norm─W_kvb─► keys' fixed part, values
            └► keys' turning part, one for all heads
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from reimpl.norm import Norm
from reimpl.project import Gate, Projected
from reimpl.spec import AttentionSpec, LatentSpec, NormSpec, UnsupportedError


class LatentProjections(nn.Module):
    """Apply the learned matrices above; their names are those of DeepSeek's files.

    Args:
        spec: the layer's.
        latent: its widths and what its family does otherwise.
    """

    def __init__(self, spec: AttentionSpec, latent: LatentSpec) -> None:
        super().__init__()
        self.spec, self.latent = spec, latent
        h, d, m = spec.heads, spec.d_head, spec.d_model
        norm = NormSpec(latent.eps)
        if latent.query_rank is None:
            self.q_proj = nn.Linear(m, h * d, bias=False)
        else:
            self.q_a_proj = nn.Linear(m, latent.query_rank, bias=spec.qkv_bias)
            self.q_a_norm = Norm(norm, latent.query_rank, 1)
            if latent.gated:
                self.q_b_proj = nn.Linear(2 * latent.query_rank, h * (d + spec.d_value), bias=False)
            else:
                self.q_b_proj = nn.Linear(latent.query_rank, h * d, bias=False)
        self.kv_a_proj = nn.Linear(m, latent.key_value_rank + latent.rope_dim, bias=spec.qkv_bias)
        self.kv_a_norm = Norm(norm, latent.key_value_rank, 1)
        self.kv_b_proj = nn.Linear(latent.key_value_rank, h * (d - latent.rope_dim + spec.d_value), bias=False)
        self.k_rope_norm = Norm(norm, latent.rope_dim, 1) if latent.rope_norm else None
        self.gate = None if spec.gate is None or latent.gated else Gate(spec.gate, spec)

    def forward(self, x: Tensor, _: tuple[Tensor, Tensor] | None = None) -> Projected:
        """Project the attention input by way of latent vectors.

        Args:
            x: attention input [..., t, m].
            _: such layers share no keys.

        Returns:
            Query and key [..., h, t, d], value [..., h, t, d_value], and the gate, if any.
        """
        query, gate = self.queries(x)
        key, value = self.keys_and_values(x)
        if self.gate is not None:
            gate = self.gate(x, query)[1]
        return Projected(query, key, value, gate)

    def queries(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Compute the queries.

        Args:
            x: attention input [..., t, m].

        Returns:
            Queries [..., h, t, d], and the gate [..., t, h·d_value] where the same matrix gives it.
        """
        spec, latent, gate = self.spec, self.latent, None
        if latent.query_rank is None:
            query = self.q_proj(x)
        else:
            narrow = self.q_a_proj(x)
            normed = self.q_a_norm(narrow)
            if latent.factor_on_latent:
                normed = normed * latent.query_factor
            query = self.q_b_proj(torch.cat((normed, narrow), dim=-1) if latent.gated else normed)
        query = query.unflatten(-1, (spec.heads, -1))  # [..., t, h, d], wider where gated
        if latent.gated:
            query, gate = query.split((spec.d_head, spec.d_value), dim=-1)
            gate = torch.sigmoid(gate.flatten(-2).float()).to(gate.dtype)
        if latent.query_factor != 1.0 and not latent.factor_on_latent:
            query = query * latent.query_factor
        return self._turning_last(query).transpose(-3, -2), gate

    def keys_and_values(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Compute keys and values, both from one latent vector a token.

        Args:
            x: attention input [..., t, m].

        Returns:
            Keys [..., h, t, d] and values [..., h, t, d_value].
        """
        spec, latent = self.spec, self.latent
        fixed = spec.d_head - latent.rope_dim
        narrow, turning = self.kv_a_proj(x).split((latent.key_value_rank, latent.rope_dim), dim=-1)
        if self.k_rope_norm is not None:
            turning = self.k_rope_norm(turning)
        normed = self.kv_a_norm(narrow)
        if latent.key_value_factor != 1.0:
            normed = normed * latent.key_value_factor
        expanded = self.kv_b_proj(normed).unflatten(-1, (spec.heads, -1))  # [..., t, h, fixed + d_value]
        key, value = expanded.split((fixed, spec.d_value), dim=-1)
        key = torch.cat((key, turning.unsqueeze(-2).expand(*key.shape[:-1], -1)), dim=-1)
        return self._turning_last(key).transpose(-3, -2), value.transpose(-3, -2)

    def _turning_last(self, x: Tensor) -> Tensor:
        """Read the turning dimensions, last in x [..., d], as halves where the files hold them as pairs."""
        if not self.latent.stored_in_pairs or not self.latent.rope_dim:
            return x
        widths = [self.spec.d_head - self.latent.rope_dim, self.latent.rope_dim]
        fixed, turning = torch.split(x, widths, dim=-1)
        return torch.cat((fixed, turning[..., 0::2], turning[..., 1::2]), dim=-1)

    def matrices(self) -> Sequence[Tensor]:
        """Refuse: there are no single matrices to list.

        Raises:
            UnsupportedError: always.
        """
        raise UnsupportedError(
            "A latent-attention layer has no single W_q, W_k and W_v: each is two matrices with a norm between."
        )
