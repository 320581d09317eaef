"""How fast each plane turns: a RopeSpec and the text's length go in; radians per position of each plane come out.

With them comes the factor by which the rule scales cosine and sine.
A plain model turns plane i by theta**(-2i/dim) radians per position. To read longer texts than it was trained on, the
rules below slow planes down. Each is computed with the operations, and in the order, of transformers'
`modeling_rope_utils.py`, in float32: `base ** -x` or float64 would be as correct on paper, but move the cosine by 1e-4
at position 4000, and a comparison with the library's numbers would no longer come out at zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from reimpl.choices import RopeRule
from reimpl.spec import RopeSpec

Frequencies = tuple[Tensor, float]  # [dim/2] radians per position, factor on cosine and sine


def rope_frequencies(rope: RopeSpec, length: int) -> Frequencies:
    """Compute how fast each plane turns, and the factor on cosine and sine.

    Args:
        rope: the base, how many dimensions turn, and the rule.
        length: of the text, in tokens: rules that adapt to it give one answer for all positions of a call.

    Returns:
        Radians per position [dim/2] in float32 (a plane's wavelength in tokens is 2·pi divided by it), and the factor.
    """
    return RULES[rope.rule](rope, dict(rope.scaling), length)


def plain(theta: float | Tensor, dim: int) -> Tensor:
    """Compute theta**(-2i/dim) for every plane.

    Args:
        theta: RoPE's base.
        dim: how many dimensions turn.

    Returns:
        Radians per position [dim/2] in float32.
    """
    return 1.0 / (theta ** (torch.arange(0, dim, 2, dtype=torch.float32) / dim))


def _default(rope: RopeSpec, _: dict[str, Any], __: int) -> Frequencies:
    """Turn as in RoPE's paper."""
    return plain(rope.theta, rope.dim), 1.0


def _linear(rope: RopeSpec, numbers: dict[str, Any], _: int) -> Frequencies:
    """Divide every angle by one factor: position interpolation (Chen et al. 2023)."""
    return plain(rope.theta, rope.dim) / numbers["factor"], 1.0


def _dynamic(rope: RopeSpec, numbers: dict[str, Any], length: int) -> Frequencies:
    """Take a larger base as soon as the text is longer than trained on: NTK-aware scaling by the length at hand."""
    factor, trained = numbers["factor"], numbers["max_position_embeddings"]
    if length <= trained:
        return plain(rope.theta, rope.dim), 1.0
    # The length is a tensor in the library, which makes this float32 arithmetic.
    stretched = (factor * torch.tensor(length) / trained) - (factor - 1)
    return plain(rope.theta * stretched ** (rope.dim / (rope.dim - 2)), rope.dim), 1.0


def _yarn(rope: RopeSpec, numbers: dict[str, Any], _: int) -> Frequencies:
    """Keep fast planes, interpolate slow ones, with a ramp between; scores made steeper: YaRN (Peng et al. 2023)."""
    original = numbers["original_max_position_embeddings"]
    factor = numbers.get("factor") or numbers["max_position_embeddings"] / original
    mscale, mscale_all_dim = numbers.get("mscale"), numbers.get("mscale_all_dim")
    attention_factor = numbers.get("attention_factor")
    if attention_factor is None:
        attention_factor = magnitude(factor)
        if mscale and mscale_all_dim:
            attention_factor = magnitude(factor, mscale) / magnitude(factor, mscale_all_dim)

    def plane_turning(rotations: float) -> float:
        """Find the plane that turns this often within the original length."""
        return (rope.dim * math.log(original / (rotations * 2 * math.pi))) / (2 * math.log(rope.theta))

    low = plane_turning(numbers.get("beta_fast") or 32)
    high = plane_turning(numbers.get("beta_slow") or 1)
    if numbers.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, rope.dim - 1)
    if low == high:
        high += 0.001  # as the library: no division by zero
    slow = torch.clamp((torch.arange(rope.dim // 2, dtype=torch.float32) - low) / (high - low), 0, 1)
    turns = rope.theta ** (torch.arange(0, rope.dim, 2).to(torch.float32) / rope.dim)
    kept = 1 - slow
    return (1.0 / (factor * turns)) * (1 - kept) + (1.0 / turns) * kept, float(attention_factor)


def magnitude(factor: float, mscale: float = 1.0) -> float:
    """Compute YaRN's growth of scores with the stretch: 0.1·mscale·ln(factor) + 1.

    Args:
        factor: how many times longer texts become.
        mscale: how strongly scores grow.

    Returns:
        The growth, 1 or more.
    """
    return 1.0 if factor <= 1 else 0.1 * mscale * math.log(factor) + 1.0


def _longrope(rope: RopeSpec, numbers: dict[str, Any], length: int) -> Frequencies:
    """Slow each plane by a searched factor, one list for short and one for long texts: LongRoPE (Ding et al. 2024)."""
    original, trained = numbers["original_max_position_embeddings"], numbers["max_position_embeddings"]
    factor = numbers.get("factor") or trained / original
    attention_factor = numbers.get("attention_factor")
    if attention_factor is None:
        attention_factor = 1.0 if factor <= 1.0 else math.sqrt(1 + math.log(factor) / math.log(original))
    which = "long" if length > original else "short"
    attention_factor = numbers.get(f"{which}_mscale") or attention_factor  # Phi-3.5-MoE states both
    chosen = numbers[f"{which}_factor"]
    stretch = torch.tensor(chosen, dtype=torch.float32)
    exponent = torch.arange(0, rope.dim, 2, dtype=torch.int64).float() / rope.dim
    return 1.0 / (stretch * rope.theta**exponent), float(attention_factor)


def _llama3(rope: RopeSpec, numbers: dict[str, Any], _: int) -> Frequencies:
    """Keep fast planes, divide slow ones by the factor, with a smooth blend between: Llama 3.1."""
    factor, original = numbers["factor"], numbers["original_max_position_embeddings"]
    low, high = numbers["low_freq_factor"], numbers["high_freq_factor"]
    unscaled = plain(rope.theta, rope.dim)
    wavelength = 2 * math.pi / unscaled
    slowed = torch.where(wavelength > original / low, unscaled / factor, unscaled)
    blend = (original / wavelength - low) / (high - low)
    blended = (1 - blend) * slowed / factor + blend * slowed
    between = ~(wavelength < original / high) & ~(wavelength > original / low)
    return torch.where(between, blended, slowed), 1.0


def _proportional(rope: RopeSpec, numbers: dict[str, Any], _: int) -> Frequencies:
    """Turn the first part of the planes as if all turned, and the others not at all."""
    turning = int(numbers.get("partial_rotary_factor", 1.0) * rope.dim // 2)
    first = 1.0 / (rope.theta ** (torch.arange(0, 2 * turning, 2, dtype=torch.int64).float() / rope.dim))
    return torch.cat((first, torch.zeros(rope.dim // 2 - turning))) / numbers.get("factor", 1.0), 1.0


# Each rule: (spec, its own numbers, length) -> frequencies and factor. A new rule is a new line.
RULES: dict[RopeRule, Callable[[RopeSpec, dict[str, Any], int], Frequencies]] = {
    "default": _default,
    "linear": _linear,
    "dynamic": _dynamic,
    "yarn": _yarn,
    "longrope": _longrope,
    "llama3": _llama3,
    "proportional": _proportional,
}
