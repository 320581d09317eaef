"""Compute the softmax of numbers that a visitor types, by `reimpl.stepwise.softmax`: plain loops, float64."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from inspector.errors import InspectorError
from reimpl.stepwise import softmax

MOST_NUMBERS = 32
LARGEST_NUMBER = 1e6
EXAMPLES: tuple[tuple[float, ...], ...] = ((1.0, 1.1), (10.0, 11.0), (100.0, 110.0))  # one vector, times 1, 10, 100

_DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?", re.IGNORECASE)


@dataclass(frozen=True)
class Shares:
    """The softmax of typed numbers.

    Attributes:
        numbers: as typed [k].
        inputs: (number + added) * scale, what the softmax sees [k].
        weights: their softmax [k].
    """

    numbers: list[float]
    inputs: list[float]
    weights: list[float]

    @property
    def entropy(self) -> float:
        """Return how widely the weights are spread, in bits."""
        return -sum(weight * math.log2(weight) for weight in self.weights if weight > 0)


def parse(text: str, *, what: str = "The vector") -> list[float]:
    """Read the numbers in a text, separated by commas, semicolons or white space.

    Args:
        text: as typed.
        what: what the numbers are, for the sentence of an error.

    Returns:
        The numbers.

    Raises:
        InspectorError: there is none, there are too many, or something is not a number or too large.
    """
    pieces = [piece for piece in re.split(r"[\s,;\[\]()]+", text.replace("−", "-")) if piece]
    if not pieces:
        raise InspectorError(f"{what} is empty: type numbers, for example 1, 1.1.")
    if len(pieces) > MOST_NUMBERS:
        raise InspectorError(f"{what} has {len(pieces)} numbers, more than {MOST_NUMBERS}: leave some out.")
    return [_number(piece, what) for piece in pieces]


def _number(piece: str, what: str) -> float:
    """Read one number."""
    shown = piece if len(piece) <= 20 else piece[:19] + "…"
    if not _DECIMAL.fullmatch(piece):
        raise InspectorError(f"“{shown}” in {_lower(what)} is not a number: write it like 1.5, -2 or 3e2.")
    number = float(piece)
    if abs(number) > LARGEST_NUMBER:
        raise InspectorError(
            f"“{shown}” in {_lower(what)} is beyond ±{LARGEST_NUMBER:,.0f}: type a smaller number, and use the scale."
        )
    return number


def _lower(what: str) -> str:
    return what[0].lower() + what[1:]


def shares(numbers: Sequence[float], *, scale: float = 1.0, added: float = 0.0) -> Shares:
    """Compute the softmax of (number + added) * scale.

    Args:
        numbers: [k].
        scale: what each is multiplied by.
        added: what is added to each before.

    Returns:
        The softmax and what it saw.
    """
    inputs = [(number + added) * scale for number in numbers]
    return Shares(list(numbers), inputs, softmax(inputs))
