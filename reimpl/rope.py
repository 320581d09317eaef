"""Rotary position embedding: positions and a RopeSpec go in, turned queries and keys come out. Pure functions.

Each plane (two dimensions of a head) is turned by an angle that grows with the token's position, fast in the
first planes, slowly in the last. A query·key product then depends on positions only through their difference.
Source: Su et al. 2021, https://arxiv.org/abs/2104.09864, section 3.4.2.

The frequencies are computed with the operations and the order of operations of transformers'
`modeling_rope_utils.py`, in float32: `base ** -x` or float64 would be as correct on paper, but move the cosine by
1e-4 at position 4000, and a comparison with the library's numbers would no longer come out at zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from reimpl.spec import RopeSpec, UnsupportedError


def rotate(x: Tensor, positions: Tensor, rope: RopeSpec | None, *, angles: torch.dtype = torch.float32) -> Tensor:
    """Turn `x` [..., t, d] by `positions` [t]; the same shape and dtype come back. `rope` None: unchanged."""
    if rope is None:
        return x
    cos, sin = cos_sin(positions, rope, dtype=x.dtype, angles=angles)  # [t, dim/2]
    turned, passed = x[..., : rope.dim], x[..., rope.dim :]
    first, second = split_planes(turned, rope.style)  # each [..., t, dim/2]
    turned = join_planes(first * cos - second * sin, second * cos + first * sin, rope.style)
    return torch.cat((turned, passed), dim=-1) if passed.shape[-1] else turned


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
    frequencies = inverse_frequencies(rope).to(positions.device, angles)
    turned = positions.to(angles)[:, None] * frequencies[None, :]  # (t, dim/2)
    return turned.cos().to(dtype), turned.sin().to(dtype)


def inverse_frequencies(rope: RopeSpec) -> Tensor:
    """Radians per position of each plane, [dim/2] in float32; its wavelength in tokens is 2·pi divided by it."""
    if rope.rule not in FREQUENCY_RULES:
        known = ", ".join(FREQUENCY_RULES)
        raise UnsupportedError(f'rope_type "{rope.rule}" is not modelled; known rules: {known}.')
    plain = 1.0 / (rope.theta ** (torch.arange(0, rope.dim, 2, dtype=torch.float32) / rope.dim))
    return FREQUENCY_RULES[rope.rule](plain, dict(rope.scaling))


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


def _default(plain: Tensor, _: Mapping[str, float]) -> Tensor:
    return plain


def _linear(plain: Tensor, scaling: Mapping[str, float]) -> Tensor:
    """Position interpolation (Chen et al. 2023): every angle divided by one factor."""
    return plain / scaling["factor"]


def _llama3(plain: Tensor, scaling: Mapping[str, float]) -> Tensor:
    """Llama 3.1: fast planes kept, slow planes divided by the factor, a smooth blend between."""
    factor, original = scaling["factor"], scaling["original_max_position_embeddings"]
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    wavelength = 2 * math.pi / plain
    slowed = torch.where(wavelength > original / low, plain / factor, plain)
    blend = (original / wavelength - low) / (high - low)
    blended = (1 - blend) * slowed / factor + blend * slowed
    between = ~(wavelength < original / high) & ~(wavelength > original / low)
    return torch.where(between, blended, slowed)


# Each rule: (plain frequencies [dim/2], its own numbers) -> frequencies [dim/2]. A new rule is a new line.
FREQUENCY_RULES: dict[str, Callable[[Tensor, Mapping[str, float]], Tensor]] = {
    "default": _default,
    "linear": _linear,
    "llama3": _llama3,
}
