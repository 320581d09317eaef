"""Define every score of heads once: the pairs of tokens whose weights it sums, and the query tokens it is a mean over.

The chips of the first screen, `measures`, the finder (inspector/heads) and the atlas (inspector/atlas) all read this
table. Many heads give most of their attention to the first token, the attention sink; so that such a head is not taken
for one that looks at the previous token or at a repetition, those scores never count weight on the first token.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

FARTHEST = 8  # tokens back: "k tokens back" is measured for k up to this
NEAR = 3  # tokens back that still count as local
SINKS, RECENT = 4, 64  # tokens that a cache for streaming keeps: the first and the last (arXiv 2309.17453, 2410.10819)


@dataclass(frozen=True)
class Text:
    """What scores need to know of a text.

    Attributes:
        ids: its token ids, [n].
        delimiters: which tokens are punctuation or line breaks, bool [n]; None: it is not known.
    """

    ids: Tensor
    delimiters: Tensor | None = None

    @cached_property
    def again(self) -> Tensor:
        """Whether each token occurred before, bool [n]."""
        return self._after(0)

    @cached_property
    def again_after_first(self) -> Tensor:
        """The same of the tokens from the second on, which alone count as earlier occurrences."""
        return self._after(1)

    def _after(self, start: int) -> Tensor:
        first: dict[int, int] = {}
        ids = self.ids.tolist()
        for position, token in enumerate(ids[start:], start=start):
            first.setdefault(token, position)
        return torch.tensor([first.get(token, len(ids)) < position for position, token in enumerate(ids)])


Pairs = Callable[[Tensor, Tensor, Text], Tensor]  # (query positions [t], key positions [s], text) -> [t, s]
Counts = Callable[[Tensor, Text], Tensor]  # (query positions [t], text) -> bool [t]


@dataclass(frozen=True)
class Measure:
    """One thing that is measured of every head.

    Attributes:
        name: the column in the table of measures.
        title: a few words by which people choose it.
        meaning: what the number is, in one sentence without its full stop.
        largest: whether the largest numbers are the most telling; else the smallest are.
        role: what a head is called that does mostly this; empty for a measure that is no share of attention.
        repeats: whether it says something only of a prompt in which a token occurs twice.
        back: of a measure of one distance alone, how many tokens back it looks.
        pairs: by what each weight is multiplied before a row is summed; None: of the row's entropy.
        counts: which query tokens the mean is over.
    """

    name: str
    title: str
    meaning: str
    largest: bool = True
    role: str = ""
    repeats: bool = False
    back: int | None = None
    pairs: Pairs | None = None
    counts: Counts = field(default_factory=lambda: _from(1))


def _from(position: int) -> Counts:
    """Return what counts the query tokens from a position on; the first of all can only attend to itself."""

    def counts(t: Tensor, text: Text) -> Tensor:
        del text
        return t >= position

    return counts


def _distance(t: Tensor, s: Tensor) -> Tensor:
    return t[:, None] - s[None, :]


def _first(t: Tensor, s: Tensor, text: Text) -> Tensor:
    del text
    return (s == 0).expand(len(t), -1)


def _back(k: int) -> Pairs:
    """Return the pairs of one distance; of a distance from 1 on, those whose key is not the first token."""

    def pairs(t: Tensor, s: Tensor, text: Text) -> Tensor:
        del text
        return (_distance(t, s) == k) & ((s > 0) | (k == 0))

    return pairs


def _repeated(t: Tensor, s: Tensor, text: Text) -> Tensor:
    """Return which keys come right after an earlier occurrence of the query's token."""
    before = text.ids[(s - 1).clamp(min=0)]
    return (text.ids[t][:, None] == before[None, :]) & (_distance(t, s) >= 0) & (s > 0)


def _same(t: Tensor, s: Tensor, text: Text) -> Tensor:
    return (text.ids[t][:, None] == text.ids[s][None, :]) & (_distance(t, s) > 0) & (s > 0)


def _local(t: Tensor, s: Tensor, text: Text) -> Tensor:
    del text
    return (_distance(t, s) >= 0) & (_distance(t, s) <= NEAR) & (t > NEAR)[:, None]


def _how_far(t: Tensor, s: Tensor, text: Text) -> Tensor:
    del text
    return _distance(t, s).clamp(min=0)


def _far(t: Tensor, s: Tensor, text: Text) -> Tensor:
    del text
    return (_distance(t, s) >= RECENT) & (s >= SINKS)


def _delimiter(t: Tensor, s: Tensor, text: Text) -> Tensor:
    if text.delimiters is None:
        return torch.zeros(len(t), len(s), dtype=torch.bool)
    return (text.delimiters[s] & (s > 0)).expand(len(t), -1)


MEASURES = (
    Measure(
        "first",
        "Attends to the first token",
        "mean weight on the first token (the attention sink of many heads)",
        role="First-token sink",
        pairs=_first,
    ),
    Measure(
        "itself",
        "Attends to itself",
        "mean weight of each token on itself",
        role="Self",
        back=0,
        pairs=_back(0),
    ),
    *(
        Measure(
            f"back {k}",
            "Previous token" if k == 1 else f"{k} tokens back",
            f"mean weight on the token {k} before, where that is not the first token of all",
            role="Previous token" if k == 1 else "",
            back=k,
            pairs=_back(k),
            counts=_from(k + 1),
        )
        for k in range(1, FARTHEST + 1)
    ),
    Measure(
        "repeated",
        "Continues a repetition (induction)",
        "mean weight on the tokens that came after earlier occurrences of the same token, over tokens that occurred "
        "before (0 in a prompt without repetitions)",
        role="Induction",
        repeats=True,
        pairs=_repeated,
        counts=lambda t, text: text.again[t],
    ),
    Measure(
        "same",
        "Attends to the same token",
        "mean weight on earlier occurrences of the same token, where there are; the first token of all does not count",
        role="Duplicate token",
        repeats=True,
        pairs=_same,
        counts=lambda t, text: text.again_after_first[t],
    ),
    Measure(
        "local",
        "Attends nearby",
        f"mean weight on the token itself and the {NEAR} before, over tokens with more than these to look at",
        role="Local",
        pairs=_local,
        counts=_from(NEAR + 1),
    ),
    Measure("entropy", "Attends broadly", "mean entropy of a row of weights, in bits: 3 bits are 8 tokens alike"),
    Measure(
        "narrow", "Attends narrowly", "mean entropy of a row of weights, in bits, the smallest first", largest=False
    ),
    Measure(
        "distance",
        "Attends far back",
        "mean distance in tokens between a query token and what it looks at",
        pairs=_how_far,
    ),
)
BY_NAME = {measure.name: measure for measure in MEASURES}
# Of texts that the finder and the atlas choose: a short prompt has neither delimiters enough nor anything so far.
OF_TEXTS = (
    Measure(
        "delimiter",
        "Attends to punctuation and line breaks",
        "mean weight on tokens that are punctuation or line breaks, the first token aside",
        role="Delimiter",
        pairs=_delimiter,
    ),
    Measure(
        "far",
        "Attends beyond a streaming cache",
        f"mean weight outside the first {SINKS} and the last {RECENT} tokens, over tokens that have others",
        role="Retrieval",
        pairs=_far,
        counts=_from(SINKS + RECENT),
    ),
)
EVERY = {measure.name: measure for measure in (*MEASURES, *OF_TEXTS)}


def delimiters(texts: Sequence[str]) -> Tensor:
    """Tell which tokens are punctuation or line breaks, in any language.

    Args:
        texts: each token's own text.

    Returns:
        Bool [n]: nothing but characters of Unicode's categories P (punctuation) and Z (separators) and line breaks,
        and not spaces alone.
    """

    def delimits(text: str) -> bool:
        known = all(character in "\r\n\t" or unicodedata.category(character)[0] in "PZ" for character in text)
        return known and bool(text.strip(" "))

    return torch.tensor([delimits(text) for text in texts], dtype=torch.bool)
