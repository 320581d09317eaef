"""Hold a norm at the scale that it had: it is then a linear map, and a sum goes through it part by part.

y = scale · weight * (x - mean of x, where it centres) + bias, with one `scale` for each token. Which of a module's
parameters are weight and bias, whether it centres, and the scales are found from what it received and returned; that
the formula gives what it returned is checked in every element.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from inspector.capture.residual_parts import Passed
from inspector.errors import InspectorError

ROUNDINGS = 16  # of the largest number: a norm rounds its mean, its scale and two products


@dataclass(frozen=True)
class FrozenStep:
    """A linear map of vectors [p, m] of p tokens, in float64.

    Attributes:
        scale: one number for each token [p].
        weight: [m].
        centred: whether a vector's mean is taken off it first.
        bias: what is added [m]; None: nothing.
        missed: the largest difference from what was returned, over the largest number returned.
    """

    scale: Tensor
    weight: Tensor
    centred: bool
    bias: Tensor | None
    missed: float

    def apply(self, x: Tensor) -> Tensor:
        """Return the map of vectors, without the bias.

        Args:
            x: [..., p, m], parts of what the module received.

        Returns:
            [..., p, m], parts of what it returned.
        """
        x = x.double()
        if self.centred:
            x = x - x.mean(-1, keepdim=True)
        return x * self.weight * self.scale[:, None]

    def back(self, u: Tensor, row: int = 0) -> Tensor:
        """Return the direction whose product with a vector is the product of `u` with the vector's map.

        Args:
            u: [..., m], a direction after the module.
            row: which token's scale it had.

        Returns:
            [..., m], the direction before it.
        """
        u = u * self.weight * self.scale[row]
        return u - u.mean(-1, keepdim=True) if self.centred else u


def frozen(step: Passed) -> FrozenStep:
    """Find the linear map that a module was for these tokens.

    Args:
        step: the module, and the vectors [p, m] that it received and returned.

    Returns:
        The map.

    Raises:
        InspectorError: it is no norm, factor or identity: no such map gives what it returned.
    """
    found = min(_maps(step.module, step.received, step.returned), key=lambda one: one.missed)
    room = ROUNDINGS * torch.finfo(step.returned.dtype).eps
    if not found.missed <= room:
        raise InspectorError(
            f"What {step.name} ({type(step.module).__name__}) makes of its input is no norm: the nearest one misses it "
            f"by {found.missed:.2g} of its largest number, more than {room:.1g} of rounding, so no sum goes through it."
        )
    return found


def factor_between(received: Tensor, returned: Tensor) -> FrozenStep:
    """Find the factor that lies between two vectors of each token.

    Args:
        received: [p, m].
        returned: [p, m].

    Returns:
        The map, which is a multiplication.

    Raises:
        InspectorError: there is none.
    """
    return frozen(Passed("a factor", nn.Identity(), received, returned))


def _maps(module: nn.Module, received: Tensor, returned: Tensor) -> Iterator[FrozenStep]:
    """Yield what the module may be, the simplest first, each with its best scale and what it misses."""
    x, y = received.double(), returned.double()
    width = x.shape[-1]
    parameters = [one.detach().double().to(x.device) for one in module.parameters() if one.shape == (width,)]
    ones = torch.ones(width, dtype=torch.float64, device=x.device)
    weights = [ones, *(weight for one in parameters for weight in (one, 1 + one))]
    largest = y.abs().max().clamp_min(1e-30)
    for centred in (False, True):
        centre = x - x.mean(-1, keepdim=True) if centred else x
        for weight in weights:
            for bias in [None, *parameters]:
                due = y if bias is None else y - bias
                made = centre * weight
                scale = (due * made).sum(-1) / (made * made).sum(-1).clamp_min(1e-300)
                missed = float((scale[:, None] * made - due).abs().max() / largest)
                yield FrozenStep(scale, weight, centred, bias, missed)
