"""How far numbers are apart, and where a function of one number is least."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor


def far_from(made: Tensor, target: Tensor) -> float:
    """Return the root mean square of the difference; infinite where shapes differ."""
    if made.shape != target.shape:
        return math.inf
    return float((made - target).nan_to_num(0.0, 0.0, 0.0).square().mean().sqrt())


def apart(made: Tensor, target: Tensor) -> float:
    """Return the largest difference; infinite where shapes, or the places of what is not finite, differ."""
    if made.shape != target.shape:
        return math.inf
    difference = (made - target).abs().max()
    size = float(difference)
    if math.isfinite(size):
        return size
    finite = torch.isfinite(target)
    if not torch.equal(finite, torch.isfinite(made)) or not finite.any():
        return math.inf
    return float((made - target)[finite].abs().max())


def golden(far: Callable[[float], float], low: float, high: float, steps: int = 44) -> float:
    """Return where a function that falls and rises again is least, by golden sections.

    Args:
        far: the function.
        low: from where.
        high: to where.
        steps: each leaves 0.618 of the range.
    """
    ratio = (math.sqrt(5) - 1) / 2
    a, b = high - ratio * (high - low), low + ratio * (high - low)
    fa, fb = far(a), far(b)
    for _ in range(steps):
        if fa <= fb:
            high, b, fb = b, a, fa
            a = high - ratio * (high - low)
            fa = far(a)
        else:
            low, a, fa = a, b, fb
            b = low + ratio * (high - low)
            fb = far(b)
    return (low + high) / 2


def nice(value: float) -> Iterator[float]:
    """Yield the round numbers near a measured one: of one digit, two, three."""
    for digits in (1, 2, 3):
        rounded = float(f"{value:.{digits - 1}e}")
        if math.isclose(rounded, value, rel_tol=2e-3):
            yield rounded
