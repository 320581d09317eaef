"""Rotary position embedding: positions and a RopeSpec go in, turned queries and keys come out. Pure functions.

Each plane (two dimensions of a head) is turned by an angle that grows with the token's position, fast in the
first planes, slowly in the last. A query·key product then depends on positions only through their difference.
Source: Su et al. 2021, https://arxiv.org/abs/2104.09864, section 3.4.2.
How fast each plane turns is `frequencies.py`'s part.
"""

from __future__ import annotations

import torch
from torch import Tensor

from reimpl.frequencies import frequencies
from reimpl.spec import RopeSpec


def rotate(x: Tensor, positions: Tensor, rope: RopeSpec | None, *, angles: torch.dtype = torch.float32) -> Tensor:
    """Turn `x` [..., t, d] by `positions` [t]; the same shape and dtype come back. `rope` None: unchanged."""
    if rope is None:
        return x
    working = torch.promote_types(x.dtype, torch.float32) if rope.wide else x.dtype
    cos, sin = cos_sin(positions, rope, dtype=working, angles=angles)  # [t, dim/2]
    passed_first = x.shape[-1] - rope.dim if rope.last else 0
    before, turned, after = x.split((passed_first, rope.dim, x.shape[-1] - passed_first - rope.dim), dim=-1)
    first, second = split_planes(turned.to(working), rope.style)  # each [..., t, dim/2]
    turned = join_planes(first * cos - second * sin, second * cos + first * sin, rope.style).to(x.dtype)
    return turned if rope.dim == x.shape[-1] else torch.cat((before, turned, after), dim=-1)


def cos_sin(
    positions: Tensor,
    rope: RopeSpec,
    *,
    dtype: torch.dtype = torch.float32,
    angles: torch.dtype = torch.float32,
) -> tuple[Tensor, Tensor]:
    """Cosine and sine of each plane's angle: two tensors [t, dim/2].

    The library forms angles in float32 whatever the model's dtype, then rounds to it. `angles` float64 forms them
    more exactly from the same float32 frequencies, which is what "the exact value" means in verification.
    """
    per_position, factor = frequencies(rope, length=int(positions.max()) + 1)
    turned = positions.to(angles)[:, None] * per_position.to(positions.device, angles)[None, :]  # (t, dim/2)
    sin = -turned.sin() if rope.backwards else turned.sin()
    return (turned.cos() * factor).to(dtype), (sin * factor).to(dtype)


def split_planes(x: Tensor, style: str) -> tuple[Tensor, Tensor]:
    """The two coordinates of every plane: x [..., dim] -> two [..., dim/2]."""
    if style == "halves":
        first, second = x.chunk(2, dim=-1)
        return first, second
    return x[..., 0::2], x[..., 1::2]


def join_planes(first: Tensor, second: Tensor, style: str) -> Tensor:
    """The inverse of `split_planes`."""
    if style == "halves":
        return torch.cat((first, second), dim=-1)
    return torch.stack((first, second), dim=-1).flatten(-2)
