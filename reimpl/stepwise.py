"""Attention of one query token in plain loops over Python numbers, step by step, as a text would tell it.

One query vector and the keys and values it may look at go in; scores, scaled scores, weights, weighted values and the
context vector come out. No tensor, no matrix product: slow, and readable. Python numbers are float64.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

Vector = Sequence[float]


@dataclass(frozen=True)
class Steps:
    """Hold what each step gave, one entry per key token (context: one per dimension)."""

    scores: list[float]
    scaled: list[float]
    weights: list[float]
    weighted_values: list[list[float]]
    context: list[float]


def attend_one(query: Vector, keys: Sequence[Vector], values: Sequence[Vector], *, scale: float) -> Steps:
    """Compute the attention of one query over keys and values, all of them allowed (leave masked ones out).

    Args:
        query: [d].
        keys: [s][d].
        values: [s][d_value].
        scale: what each product is multiplied by.

    Returns:
        Every step's numbers.
    """
    scores = [dot(query, key) for key in keys]
    scaled = [score * scale for score in scores]
    weights = softmax(scaled)
    weighted_values = [[weight * number for number in value] for weight, value in zip(weights, values, strict=True)]
    context = [sum(column) for column in zip(*weighted_values, strict=True)]
    return Steps(scores, scaled, weights, weighted_values, context)


def dot(a: Vector, b: Vector) -> float:
    """Sum the products of two vectors, entry by entry.

    Args:
        a: [d].
        b: [d].

    Returns:
        The dot product.
    """
    total = 0.0
    for left, right in zip(a, b, strict=True):
        total += left * right
    return total


def softmax(numbers: Sequence[float]) -> list[float]:
    """Compute each number's share of the sum of exponentials.

    The largest is taken off first: the shares stay the same and no exponential overflows.

    Args:
        numbers: at least one.

    Returns:
        Shares, which sum to 1.
    """
    largest = max(numbers)
    exponentials = [math.exp(number - largest) for number in numbers]
    total = sum(exponentials)
    return [exponential / total for exponential in exponentials]


def rotate_one(vector: Vector, position: int, *, theta: float) -> list[float]:
    """Turn one vector plane by plane, in Llama's layout: plane i is the dimensions i and i + d/2.

    Args:
        vector: [d].
        position: the token's, from 0.
        theta: RoPE's base.

    Returns:
        The turned vector [d].
    """
    half = len(vector) // 2
    turned = list(vector)
    for i in range(half):
        angle = position / theta ** (2 * i / len(vector))
        x, y = vector[i], vector[i + half]
        turned[i] = x * math.cos(angle) - y * math.sin(angle)
        turned[i + half] = y * math.cos(angle) + x * math.sin(angle)
    return turned
