"""Measure how far one word's vectors move apart in two texts, layer by layer.

A token's embedding does not depend on its neighbours. What attention gathers from them does: from layer to layer the
same word becomes another vector in another text. Distances are computed in float64 from the vectors of the model.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from inspector.errors import InspectorError

if TYPE_CHECKING:
    from torch import Tensor

    from inspector.trace.tokens import Tokens
    from inspector.trace.trace import Trace


@dataclass(frozen=True)
class Example:
    """Two prompts that share a word."""

    title: str
    first: str
    second: str
    word: str


# The second pair differs in meaning, the third does not: its vectors stay closer in every layer behind the first
# (tests/test_two_contexts_lab.py holds that).
EXAMPLES = (
    Example("have: promise and report", "we'll always have", "Houston, we have", "have"),
    Example("light: lamp and weight", "He switched on the light", "The feather is very light", "light"),
    Example("light: lamp and lamp", "He switched on the light", "The lamp gave a warm light", "light"),
    Example("Control: the same prompt twice", "Houston, we have", "Houston, we have", "have"),
)


@dataclass(frozen=True)
class Place:
    """Where a word stands in a prompt.

    The last token is compared: only that one has seen the whole word.

    Attributes:
        first: position of its first token.
        last: position of its last token.
    """

    first: int
    last: int


def find(tokens: Tokens, word: str) -> Place:
    """Find a word's last occurrence in a text as a word of its own.

    Args:
        tokens: the text's tokens.
        word: as typed; it is looked for in this case, and failing that in any.

    Returns:
        The positions of its first and last token.

    Raises:
        InspectorError: the word is empty or does not occur.
    """
    wanted = word.strip()
    if not wanted:
        raise InspectorError('No word is typed: type one that occurs in both prompts, for example "have".')
    text = "".join(tokens.texts)
    pattern = rf"(?<!\w){re.escape(wanted)}(?!\w)"
    found = list(re.finditer(pattern, text)) or list(re.finditer(pattern, text, re.IGNORECASE))
    if not found:
        raise InspectorError(f"“{wanted}” does not occur in “{text.strip()}”; type a word that occurs in both prompts.")
    start, end = found[-1].span()
    owners: list[int] = []  # of each character, the token it belongs to
    for position, piece in enumerate(tokens.texts):
        owners += [position] * len(piece)
    last = owners[end - 1]
    while last + 1 < len(tokens) and tokens.texts[last + 1] == "":
        last += 1  # the rest of a character that takes several tokens
    return Place(owners[start], last)


def between(one: Tensor, other: Tensor) -> tuple[float, float, int]:
    """Compare two vectors.

    Args:
        one: [d].
        other: [d].

    Returns:
        The cosine of their angle; their distance relative to their lengths, |a - b| / ((|a| + |b|) / 2), 0 for equal
        ones and 2 for opposite ones; and how many of the d numbers differ at all.
    """
    a, b = one.double(), other.double().to(one.device)
    lengths = float(a.norm()), float(b.norm())
    if not any(lengths):
        return 1.0, 0.0, 0
    cosine = float(a @ b) / (lengths[0] * lengths[1]) if all(lengths) else 0.0
    return min(cosine, 1.0), 2 * float((a - b).norm()) / sum(lengths), int((one != other.to(one.device)).sum())


def along(one: Callable[[int], Tensor], other: Callable[[int], Tensor], layers: int) -> pd.DataFrame:
    """Compare two vectors in every layer.

    Args:
        one: layer -> vector [d].
        other: the same of the other.
        layers: how many layers.

    Returns:
        A row per layer: layer, cosine, distance, differing, as `between` has them.
    """
    rows = [(layer, *between(one(layer), other(layer))) for layer in range(layers)]
    return pd.DataFrame(rows, columns=["layer", "cosine", "distance", "differing"])


def residuals(first: Trace, at: int, second: Trace, other: int) -> pd.DataFrame:
    """Compare what enters each layer's block: one token of the first trace with one of the second.

    Args:
        first: a trace.
        at: position of its token.
        second: another trace of the same model.
        other: position of that one's token.

    Returns:
        A row per layer, as `along`.
    """
    return along(lambda i: first.residual(i)[at], lambda i: second.residual(i)[other], len(first.layers))


def inputs(first: Trace, at: int, second: Trace, other: int) -> pd.DataFrame:
    """Compare the attention inputs, which are the residuals after each block's norm.

    Args:
        first: a trace.
        at: position of its token.
        second: another trace of the same model.
        other: position of that one's token.

    Returns:
        A row per layer, as `along`.
    """
    return along(lambda i: first.input(i)[at], lambda i: second.input(i)[other], len(first.layers))


def vectors(first: Trace, at: int, second: Trace, other: int, layer: int, head: int) -> pd.DataFrame:
    """Compare one head's query, key and value vectors of two tokens.

    Before RoPE only the token's content counts; after it, its position too.

    Args:
        first: a trace.
        at: position of its token.
        second: another trace of the same model.
        other: position of that one's token.
        layer: counted from 0.
        head: a query head, counted from 0.

    Returns:
        A row per kind of vector: vector, cosine, distance, differing, of (how many numbers it has).
    """
    kinds: dict[str, Callable[[Trace], Tensor]] = {}
    if first.layers[layer].rope:
        kinds["query before RoPE"] = lambda trace: trace.query(layer, head, rope=False)
        kinds["query after RoPE"] = lambda trace: trace.query(layer, head)
        kinds["key before RoPE"] = lambda trace: trace.key(layer, head, rope=False)
        kinds["key after RoPE"] = lambda trace: trace.key(layer, head)
    else:
        kinds["query"] = lambda trace: trace.query(layer, head)
        kinds["key"] = lambda trace: trace.key(layer, head)
    kinds["value"] = lambda trace: trace.value(layer, head)
    rows = []
    for name, get in kinds.items():
        one, another = get(first)[at], get(second)[other]
        rows.append((name, *between(one, another), one.numel()))
    return pd.DataFrame(rows, columns=["vector", "cosine", "distance", "differing", "of"])


def row(trace: Trace, at: int, layer: int, head: int) -> pd.DataFrame:
    """Return one token's row of attention weights.

    Args:
        trace: the prompt's trace.
        at: the query token's position.
        layer: counted from 0.
        head: a query head, counted from 0.

    Returns:
        A row per key token up to this one: position, token, weight.
    """
    weights = trace.weights(layer, head, queries=slice(at, at + 1))[0, : at + 1]
    labels = list(trace.tokens.labels[: at + 1])
    return pd.DataFrame({"position": range(at + 1), "token": labels, "weight": weights.double().tolist()})
