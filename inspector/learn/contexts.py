"""Two traces and a word go in; how far the word's vectors move apart, layer by layer, comes out.

A token's embedding does not know its neighbours. What attention gathers from them does: from layer to layer the same
word becomes another vector in another text. Distances are computed in float64 from the vectors the model computed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd
import torch

from inspector.errors import InspectorError
from inspector.model.model import model_of

if TYPE_CHECKING:
    from torch import Tensor

    from inspector.model.model import Model
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
    """Where a word stands in a prompt: its first and last token. What is compared is the last: only that one has seen
    the whole word."""

    first: int
    last: int


def find(tokens: Tokens, word: str) -> Place:
    """The word's last occurrence as a word of its own, written as given, or failing that in another case.

    Raises InspectorError where there is none.
    """
    wanted = word.strip()
    if not wanted:
        raise InspectorError('No word is given: type one that stands in both prompts, for example "have".')
    text = "".join(tokens.texts)
    pattern = rf"(?<!\w){re.escape(wanted)}(?!\w)"
    found = list(re.finditer(pattern, text)) or list(re.finditer(pattern, text, re.IGNORECASE))
    if not found:
        raise InspectorError(f"“{wanted}” does not occur in “{text.strip()}”: type a word that stands in both prompts.")
    start, end = found[-1].span()
    owners: list[int] = []  # of each character, the token it belongs to
    for position, piece in enumerate(tokens.texts):
        owners += [position] * len(piece)
    last = owners[end - 1]
    while last + 1 < len(tokens) and tokens.texts[last + 1] == "":
        last += 1  # the rest of a character that takes several tokens
    return Place(owners[start], last)


def between(one: Tensor, other: Tensor) -> tuple[float, float, int]:
    """Of two vectors [d]: the cosine of their angle; their distance relative to their lengths, |a - b| / ((|a| + |b|)
    / 2), 0 for equal ones and 2 for opposite ones; and how many of the d numbers differ at all."""
    a, b = one.double(), other.double().to(one.device)
    lengths = float(a.norm()), float(b.norm())
    if not any(lengths):
        return 1.0, 0.0, 0
    cosine = float(a @ b) / (lengths[0] * lengths[1]) if all(lengths) else 0.0
    return min(cosine, 1.0), 2 * float((a - b).norm()) / sum(lengths), int((one != other.to(one.device)).sum())


def along(one: Callable[[int], Tensor], other: Callable[[int], Tensor], layers: int) -> pd.DataFrame:
    """A row per layer: columns layer, cosine, distance, differing, of the vectors the two functions give for it."""
    rows = [(layer, *between(one(layer), other(layer))) for layer in range(layers)]
    return pd.DataFrame(rows, columns=["layer", "cosine", "distance", "differing"])


def residuals(first: Trace, at: int, second: Trace, other: int) -> pd.DataFrame:
    """`along` for what enters each layer's block: token `at` of the first trace, token `other` of the second."""
    return along(lambda i: first.residual(i)[at], lambda i: second.residual(i)[other], len(first.layers))


def inputs(first: Trace, at: int, second: Trace, other: int) -> pd.DataFrame:
    """`along` for the attention inputs, which are the residuals after each block's norm."""
    return along(lambda i: first.input(i)[at], lambda i: second.input(i)[other], len(first.layers))


def vectors(first: Trace, at: int, second: Trace, other: int, layer: int, head: int) -> pd.DataFrame:
    """The same of one head's query, key and value vectors: columns vector, cosine, distance, differing, of.

    Before RoPE only what the token holds counts; after it, where it stands too.
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
    """What the word looks at: a row per key token it may see, columns position, token, weight."""
    weights = trace.weights(layer, head, queries=slice(at, at + 1))[0, : at + 1]
    labels = list(trace.tokens.labels[: at + 1])
    return pd.DataFrame({"position": range(at + 1), "token": labels, "weight": weights.double().tolist()})


def moved(trace: Trace, at: int, by: int) -> pd.DataFrame:
    """Position alone: `along` for a token's residual and the same when the whole prompt stands `by` positions later."""
    model = _model(trace)
    again = model.residuals(trace.tokens.ids, first=by)
    return along(lambda i: trace.residual(i)[at], lambda i: again[i][at], len(trace.layers))


def rounding(trace: Trace) -> float:
    """Relative distances up to here may be rounding alone: some units in the last place of the model's dtype. Thirty
    layers of the packaged model in float32 add up to about 6 of them."""
    return 32 * torch.finfo(trace.residual(0).dtype).eps


def repeated(trace: Trace, at: int) -> pd.DataFrame:
    """The control: `along` for a token's residual and that of a second run of the same prompt. All zero, or a distance
    between two prompts says nothing."""
    again = _model(trace).trace(list(trace.tokens.ids), keep=("residual",))
    return residuals(trace, at, again, at)


def cut_to(trace: Trace, at: int, position: int) -> list[int]:
    """Token ids of the prompt, cut at its beginning so that token `at` stands at `position`; tokens the tokenizer puts
    in front of every text stay."""
    special = set(getattr(_model(trace).tokenizer, "all_special_ids", ()))
    ids = list(trace.tokens.ids[: at + 1])
    front = next((i for i, token in enumerate(ids) if token not in special), 0)
    excess = at - position
    if not 0 <= excess <= at - front:
        raise InspectorError(f"Token {at} cannot be brought to position {position} by cutting tokens before it.")
    return ids[:front] + ids[front + excess :]


def at_one_position(first: Trace, at: int, second: Trace, other: int) -> tuple[pd.DataFrame, int, tuple[str, str]]:
    """`along` for the residuals when both prompts are cut at the beginning so that the word stands at the same place;
    that position, and the two texts that were run. What is cut is context too: one difference goes, another comes.
    """
    position = min(at, other)
    runs = []
    for trace, place in ((first, at), (second, other)):
        runs.append(_model(trace).trace(cut_to(trace, place, position), keep=("residual",)))
    texts = tuple("".join(run.tokens.texts) for run in runs)
    return residuals(runs[0], position, runs[1], position), position, (texts[0], texts[1])


def _model(trace: Trace) -> Model:
    return model_of(trace, "running another text")
