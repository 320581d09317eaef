"""Rotary position embedding: positions and a RopeSpec go in, turned queries and keys come out. Pure functions.

Each plane (two dimensions of a head) is turned by an angle that grows with the token's position, fast in the
first planes, slowly in the last. A query·key product then depends on positions only through their difference.
Source: Su et al. 2021, https://arxiv.org/abs/2104.09864, section 3.4.2.
How fast each plane turns is `frequencies.py`'s part.
"""

from __future__ import annotations

import torch
from torch import Tensor

from reimpl.choices import RopeStyle
from reimpl.frequencies import rope_frequencies
from reimpl.spec import RopeSpec


def rotate(x: Tensor, positions: Tensor, rope: RopeSpec | None, *, angles: torch.dtype = torch.float32) -> Tensor:
    """Turn the vectors x by their positions.

    Args:
        x: [..., t, d].
        positions: [t], in tokens from 0.
        rope: how; None leaves x as it is.
        angles: the dtype in which angles are formed, as in `cos_sin`.

    Returns:
        The turned vectors [..., t, d], in the dtype of x.
    """
    if rope is None:
        return x
    cos, sin = cos_sin(positions, rope, dtype=rotation_dtype(x.dtype, rope), angles=angles)
    return apply_rotation(x, cos, sin, rope)


def apply_rotation(x: Tensor, cos: Tensor, sin: Tensor, rope: RopeSpec) -> Tensor:
    """Turn the vectors x by angles whose cosines and sines are at hand: queries and keys share one table.

    Args:
        x: [..., t, d].
        cos: [t, dim/2], in the dtype in which to turn.
        sin: [t, dim/2], likewise.
        rope: which dimensions turn, and which two make a plane.

    Returns:
        The turned vectors [..., t, d], in the dtype of x.
    """
    passed_first = x.shape[-1] - rope.dim if rope.last else 0
    widths = [passed_first, rope.dim, x.shape[-1] - passed_first - rope.dim]
    before, turning, after = torch.split(x, widths, dim=-1)
    first, second = split_planes(turning.to(cos.dtype), rope.style)  # each [..., t, dim/2]
    turned = join_planes(first * cos - second * sin, second * cos + first * sin, rope.style).to(x.dtype)
    return turned if rope.dim == x.shape[-1] else torch.cat((before, turned, after), dim=-1)


def rotation_dtype(dtype: torch.dtype, rope: RopeSpec) -> torch.dtype:
    """Choose the dtype in which vectors of this dtype are turned: their own, or float32 at least where `wide`.

    Args:
        dtype: of the queries and keys.
        rope: the layer's; its `wide` decides.

    Returns:
        The dtype for the tables of cosines and sines.
    """
    return torch.promote_types(dtype, torch.float32) if rope.wide else dtype


def cos_sin(
    positions: Tensor,
    rope: RopeSpec,
    *,
    dtype: torch.dtype = torch.float32,
    angles: torch.dtype = torch.float32,
) -> tuple[Tensor, Tensor]:
    """Compute cosine and sine of each plane's angle at each position.

    The library forms angles in float32 whatever the model's dtype, then rounds to it. `angles` float64 forms them
    more exactly from the same float32 frequencies, which is what "the exact value" means in verification.

    Args:
        positions: [t], in tokens from 0.
        rope: how fast each plane turns.
        dtype: of the tables.
        angles: the dtype in which angles (radians) are formed.

    Returns:
        Cosines and sines, each [t, dim/2].
    """
    per_position, factor = rope_frequencies(rope, length=int(positions.max()) + 1)
    turned = positions.to(angles)[:, None] * per_position.to(positions.device, angles)[None, :]  # [t, dim/2]
    sin = -turned.sin() if rope.backwards else turned.sin()
    return (turned.cos() * factor).to(dtype), (sin * factor).to(dtype)


def split_planes(x: Tensor, style: RopeStyle) -> tuple[Tensor, Tensor]:
    """Split vectors into the two coordinates of every plane.

    Args:
        x: [..., dim].
        style: which two dimensions make a plane: i and i + dim/2 ("halves"), or 2i and 2i + 1 ("pairs").

    Returns:
        The planes' first and second coordinates, each [..., dim/2].
    """
    if style == "halves":
        first, second = x.chunk(2, dim=-1)
        return first, second
    return x[..., 0::2], x[..., 1::2]


def join_planes(first: Tensor, second: Tensor, style: RopeStyle) -> Tensor:
    """Join the two coordinates of every plane: the inverse of `split_planes`.

    Args:
        first: [..., dim/2].
        second: [..., dim/2].
        style: as in `split_planes`.

    Returns:
        The vectors [..., dim].
    """
    if style == "halves":
        return torch.cat((first, second), dim=-1)
    return torch.stack((first, second), dim=-1).flatten(-2)
