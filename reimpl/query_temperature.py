"""Queries that grow with their position: queries and positions in, scaled queries out."""

from __future__ import annotations

import torch
from torch import Tensor

from reimpl.spec import TemperatureSpec


def growing(query: Tensor, positions: Tensor, temperature: TemperatureSpec | None) -> Tensor:
    """query [..., t, d] times its position's factor; None: unchanged."""
    if temperature is None:
        return query
    factor = factors(positions, temperature).to(query.device)[:, None]
    return (query * factor).to(query.dtype)


def factors(positions: Tensor, temperature: TemperatureSpec) -> Tensor:
    """Each position's factor, [t] in float32: 1 or more."""
    passed = (positions.float() + temperature.first) / temperature.every
    if temperature.rule == "power":
        return torch.exp(temperature.scale * torch.log1p(passed))
    return 1 + temperature.scale * torch.log(1 + torch.floor(passed))
