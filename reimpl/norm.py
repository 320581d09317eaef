"""Normalisation of queries, keys, values or context vectors: heads' vectors in, the same shape out.

RMSNorm: Zhang & Sennrich 2019, https://arxiv.org/abs/1910.07467; order of rounding as transformers' `LlamaRMSNorm`, or
with `plus_one` as its `GemmaRMSNorm`, with `wide` as its `Olmo2RMSNorm`. LayerNorm: Ba et al. 2016.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reimpl.spec import NormSpec


class Norm(nn.Module):
    """Normalise x [..., heads, d], or [..., heads·d] where the norm is over the whole.

    RMS and L2 norms are computed in float32 whatever the dtype (float64 too), as the library does; `precision` float64
    is for the exact value.

    Args:
        norm: which norm.
        d: head width.
        heads: how many heads x has.
    """

    precision = torch.float32

    def __init__(self, norm: NormSpec, d: int, heads: int) -> None:
        super().__init__()
        shape = {"head": (d,), "each": (heads, d), "whole": (heads * d,)}[norm.over]
        self.norm = norm
        self.weight = nn.Parameter(torch.empty(shape)) if norm.weight else None
        self.bias = nn.Parameter(torch.empty(shape)) if norm.bias else None

    def forward(self, x: Tensor) -> Tensor:
        """Normalise x.

        Args:
            x: [..., heads, d], or [..., heads·d] where the norm is over the whole.

        Returns:
            The same shape and dtype.
        """
        return self._layer(x) if self.norm.kind == "layer" else self._rms_or_l2(x)

    def _rms_or_l2(self, x: Tensor) -> Tensor:
        wide = x.to(self.precision)
        squares = wide.pow(2)
        size = squares.sum(-1, keepdim=True) if self.norm.kind == "l2" else squares.mean(-1, keepdim=True)
        wide = wide * torch.rsqrt(size + self.norm.eps)
        if self.weight is None:
            return wide.to(x.dtype)
        if self.norm.plus_one or self.norm.wide:
            # As the library: Gemma's factor is made float32, OLMo's stays as wide as it is.
            widest = wide.dtype if self.norm.plus_one else torch.promote_types(wide.dtype, self.weight.dtype)
            factor = self.weight.to(widest)
            return (wide * (1.0 + factor if self.norm.plus_one else factor)).to(x.dtype)
        rounded: Tensor = self.weight * wide.to(x.dtype)
        return rounded

    def _layer(self, x: Tensor) -> Tensor:
        d = x.shape[-1]
        if self.norm.over != "each":
            return F.layer_norm(x, (d,), self.weight, self.bias, self.norm.eps)
        x = F.layer_norm(x, (d,), None, None, self.norm.eps)
        if self.weight is not None:
            x = x * self.weight
        if self.bias is not None:
            x = x + self.bias
        return x


def exact_norms(module: nn.Module) -> None:
    """Let all norms of a module compute in float64, where what they are given is so.

    Args:
        module: changed in place.
    """
    for part in module.modules():
        if isinstance(part, Norm):
            part.precision = torch.float64


def make_norm(norm: NormSpec | None, d: int, heads: int) -> Norm | None:
    """Make the norm's module, with parameters for these widths.

    Args:
        norm: which norm; None where there is none.
        d: head width.
        heads: how many heads the norm's input has.

    Returns:
        The module; None where there is no norm.
    """
    return None if norm is None else Norm(norm, d, heads)


def head_first(norm: Norm | None, x: Tensor) -> Tensor:
    """Apply a norm to vectors that are laid out head-first.

    Args:
        norm: the norm; None leaves x as it is.
        x: [..., heads, t, d].

    Returns:
        [..., heads, t, d].
    """
    if norm is None:
        return x
    heads = x.transpose(-3, -2)  # [..., t, heads, d]
    if norm.norm.over == "whole":
        whole: Tensor = norm(heads.flatten(-2))  # [..., t, heads*d]
        return torch.unflatten(whole, -1, heads.shape[-2:]).transpose(-3, -2)
    normed: Tensor = norm(heads)
    return normed.transpose(-3, -2)
