"""Query temperature: queries and their positions in, queries that grow with their position out.

So attention stays sharp in long texts: Llama 4 scales the queries of its layers without RoPE this way.
"""

from __future__ import annotations

import torch
from torch import Tensor

from reimpl.spec import TemperatureSpec


def apply_temperature(query: Tensor, positions: Tensor, temperature: TemperatureSpec) -> Tensor:
    """Multiply each query by its position's factor.

    Args:
        query: [..., t, d].
        positions: [t], in tokens from 0.
        temperature: the rule and its numbers.

    Returns:
        The queries [..., t, d], in the dtype they came in.
    """
    factor = temperature_factors(positions, temperature).to(query.device)[:, None]  # [t, 1]
    return (query * factor).to(query.dtype)


def temperature_factors(positions: Tensor, temperature: TemperatureSpec) -> Tensor:
    """Compute each position's factor, which is 1 or more.

    Args:
        positions: [t], in tokens from 0.
        temperature: the rule and its numbers.

    Returns:
        The factors [t] in float32.
    """
    passed = (positions.float() + temperature.first) / temperature.every
    if temperature.rule == "power":
        return torch.exp(temperature.scale * torch.log1p(passed))
    return 1 + temperature.scale * torch.log(1 + torch.floor(passed))
