"""Turn queries and keys by position as settings say: rightly, or with a mistake of pairing, angle or sign."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from inspector.judging.settings import HALVES, Turning, replace
from reimpl.choices import RopeStyle
from reimpl.frequencies import rope_frequencies
from reimpl.rope import apply_rotation, join_planes, split_planes
from reimpl.spec import RopeSpec


def turned(x: Tensor, setting: Turning) -> Tensor:
    """Turn vectors [heads, n, d] once, as the setting says.

    Args:
        x: the vectors.
        setting: how.

    Returns:
        The turned vectors.
    """
    rope = setting.rope
    if rope is None:
        return x
    count = x.shape[0] if setting.by == "heads" else x.shape[1]
    positions = setting.first + setting.stride * torch.arange(count, device=x.device, dtype=torch.float32)
    speeds, factor = rope_frequencies(rope, x.shape[1])
    speeds = speeds.to(x.device)
    if setting.line is not None:
        a, b = setting.line
        planes = torch.arange(rope.dim // 2, dtype=torch.float32, device=x.device)
        speeds = rope.theta ** (-(a * planes + b) / (setting.exponent_over or rope.dim))
    elif setting.exponent_over is not None:
        planes = torch.arange(0, rope.dim, 2, dtype=torch.float32, device=x.device)
        speeds = rope.theta ** (-planes / setting.exponent_over)
    speeds = speeds * setting.speed
    factor = factor if setting.magnitude is None else setting.magnitude
    half = HALVES[setting.dtype]
    if setting.rounded == "frequencies":
        speeds = speeds.to(half).float()
    angles = positions[:, None] * speeds[None, :]
    if setting.rounded == "angles":
        angles = (positions.to(half)[:, None] * speeds.to(half)[None, :]).float()
    cos, sin = angles.cos() * factor, angles.sin() * factor
    if setting.rounded in ("cos and sin", "vectors"):
        cos, sin = cos.to(half).float(), sin.to(half).float()
    sin = -sin if rope.backwards else sin
    cos, sin = cos.to(x.dtype), sin.to(x.dtype)
    cos, sin = (sin, cos) if setting.swapped else (cos, sin)
    if setting.by == "heads":
        cos, sin = cos[:, None, :], sin[:, None, :]
    if setting.padded:
        cos, sin = _padded(cos, 1.0, x.shape[-1]), _padded(sin, 0.0, x.shape[-1])
        rope = replace(rope, dim=x.shape[-1])
    if setting.mixed or setting.sign:
        return _mixed(x, cos, sin, setting, rope)
    if setting.rounded == "vectors":
        return apply_rotation(x.to(half).float(), cos, sin, rope).to(half).to(x.dtype)
    made = apply_rotation(x, cos, sin, rope)
    return made.to(half).to(x.dtype) if setting.rounded == "turned" else made


def _padded(table: Tensor, value: float, d: int) -> Tensor:
    """Lengthen a table of the turning planes to all planes of a head, the others standing still."""
    return F.pad(table, (0, d // 2 - table.shape[-1]), value=value)


def _mixed(x: Tensor, cos: Tensor, sin: Tensor, setting: Turning, rope: RopeSpec) -> Tensor:
    """Turn by what is no rotation: angles of one pairing with the exchange of the other, or a wrong sign."""
    turning = x[..., -rope.dim :] if rope.last else x[..., : rope.dim]
    angles_in: RopeStyle = rope.style
    exchanged_by: RopeStyle = rope.style
    if setting.mixed:
        angles_in, exchanged_by = ("pairs", "halves") if setting.mixed == "angles in pairs" else ("halves", "pairs")
    table_cos, table_sin = join_planes(cos, cos, angles_in), join_planes(sin, sin, angles_in)
    first, second = split_planes(turning, exchanged_by)
    signs = {"": (-1, 1), "no minus": (1, 1), "minus on both": (-1, -1)}[setting.sign]
    exchanged = join_planes(signs[0] * second, signs[1] * first, exchanged_by)
    made = turning * table_cos + exchanged * table_sin
    if rope.dim == x.shape[-1]:
        return made
    rest = x[..., : -rope.dim] if rope.last else x[..., rope.dim :]
    return torch.cat((rest, made) if rope.last else (made, rest), dim=-1)
