"""Compute what one row of tokens adds to an atlas in one layer, from the weights of all its heads, in few passes.

Whatever depends on the distance alone (itself, k tokens back, mean distance, the histogram) comes from one sum over the
diagonals; scores of pairs from one matrix product; the entropy from one more pass. What each number is, is defined in
`score_definitions`; `reference_sums` computes the same from these definitions, one by one, to check it against.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from inspector.analysis.score_definitions import EVERY, FARTHEST, NEAR, Text
from inspector.analysis.score_rows import row_scores
from inspector.atlas.part import BITS_A_BIN, DISTANCES, ENTROPIES, SUMMED
from reimpl.mask import allowed
from reimpl.spec import MaskRule

OF_PAIRS = ("repeated", "same", "far")  # by a matrix product with their pairs


@dataclass(frozen=True)
class RowFacts:
    """What is known of a row of tokens before any layer runs; it serves all layers.

    Attributes:
        text: its tokens, for the definitions of scores.
        pairs: [n * n, len(OF_PAIRS)] of 0 and 1.
        counts: [K], how many query tokens count for each of SUMMED.
        delimiter: [n], 1 at delimiters but the first token.
    """

    text: Text
    pairs: Tensor
    counts: Tensor
    delimiter: Tensor

    @classmethod
    def of(cls, ids: tuple[int, ...], delimiters: Tensor) -> RowFacts:
        """Prepare a row.

        Args:
            ids: its n token ids.
            delimiters: which of them are punctuation or line breaks, bool [n].

        Returns:
            Its facts.
        """
        text, n = Text(torch.tensor(ids), delimiters), len(ids)
        t = s = torch.arange(n)
        tables = [EVERY[name].pairs(t, s, text) for name in OF_PAIRS]  # type: ignore[misc]
        pairs = torch.stack([(table & (t > 0)[:, None]).float() for table in tables], dim=-1)
        counts = [
            int((EVERY[name if name in EVERY else "distance"].counts(t, text) & (t > 0)).sum()) for name in SUMMED
        ]
        marks = delimiters.double()
        marks[0] = 0
        return cls(text, pairs.reshape(n * n, -1), torch.tensor(counts), marks)


@dataclass(frozen=True)
class RowSums:
    """What one row adds in one layer, for h heads.

    Attributes:
        sums: [h, K], in the order of SUMMED, float64.
        distances: [h, DISTANCES], float64.
        entropies: [h, ENTROPIES], int64.
        received: [h, n], what each token received from later ones and itself; the first token 0.
        given: [h, n], what each gave to others than the first; the first token 0.
    """

    sums: Tensor
    distances: Tensor
    entropies: Tensor
    received: Tensor
    given: Tensor


def distance_bins(n: int) -> Tensor:
    """Return the bin of each distance from 0 to n - 1: 0, 1, 2-3, 4-7 ... tokens.

    Args:
        n: how many distances.
    """
    r = torch.arange(n)
    return torch.where(r == 0, 0, torch.floor(torch.log2(r.clamp(min=1).double())).long() + 1).clamp(max=DISTANCES - 1)


def row_sums(weights: Tensor, facts: RowFacts) -> RowSums:
    """Compute what a row adds, the fast way.

    Args:
        weights: [h, n, n], float32, which are overwritten.
        facts: of the row.

    Returns:
        The sums.
    """
    w, (h, n, _) = weights, weights.shape
    w[:, 0] = 0  # the first token has no choice
    first = w[:, :, 0].double()  # [h, t]
    entropy = torch.special.entr(w).sum(-1) / math.log(2)  # [h, t]
    whole = w.sum(-1).double()
    received = w.sum(1).double()  # [h, s]
    received[:, 0] = 0
    diagonals = _diagonals(w)  # [h, r], over all queries but the first
    diagonals -= first  # the first token is r = t back
    r = torch.arange(n, dtype=torch.float64)
    near = diagonals[:, : NEAR + 1].sum(-1)
    early = w[:, 1 : NEAR + 1, 1:].double().sum((1, 2))  # queries with no more than these to look at
    of_pairs = (w.reshape(h, n * n) @ facts.pairs).double()
    none = torch.zeros(h, dtype=torch.float64)
    named = {
        "first": first.sum(-1),
        "itself": diagonals[:, 0],
        **{f"back {k}": diagonals[:, k] if k < n else none for k in range(1, FARTHEST + 1)},
        "local": near - early if n > NEAR else none,
        "entropy": entropy.double().sum(-1),
        "distance": (diagonals * r).sum(-1) + (first * r).sum(-1),
        "distance squared": (diagonals * r**2).sum(-1) + (first * r**2).sum(-1),
        "delimiter": received @ facts.delimiter,
        **{name: of_pairs[:, column] for column, name in enumerate(OF_PAIRS)},
    }
    sums = torch.stack([named[name] for name in SUMMED], dim=-1)
    distances = torch.zeros(h, DISTANCES, dtype=torch.float64).index_add_(1, distance_bins(n), diagonals)
    bins = (entropy[:, 1:] / BITS_A_BIN).long().clamp(0, ENTROPIES - 1)
    entropies = torch.zeros(h, ENTROPIES, dtype=torch.int64).scatter_add_(1, bins, torch.ones_like(bins))
    return RowSums(sums, distances, entropies, received, whole - first)


def reference_sums(weights: Tensor, facts: RowFacts) -> RowSums:
    """Compute the same from the definitions, in float64 and one by one.

    Args:
        weights: [h, n, n], of any precision, left as they are.
        facts: of the row.

    Returns:
        The sums.
    """
    w, n = weights.double(), weights.shape[-1]
    t, s = torch.arange(1, n), torch.arange(n)
    rows = row_scores(w[:, 1:], t, s, facts.text, [EVERY[name] for name in SUMMED if name in EVERY])
    apart = (t[:, None] - s[None, :]).clamp(min=0)
    sums = torch.stack(
        [
            torch.einsum("hts,ts->h", w[:, 1:], apart.double() ** 2)
            if name == "distance squared"
            else rows[name].double().sum(-1)
            for name in SUMMED
        ],
        dim=-1,
    )
    others = w.clone()
    others[:, 0], others[:, :, 0] = 0, 0
    bins = distance_bins(n)[(s[:, None] - s[None, :]).clamp(min=0)]
    distances = torch.stack([(others * (bins == one)).sum((1, 2)) for one in range(DISTANCES)], dim=-1)
    half_bits = (rows["entropy"] / BITS_A_BIN).long().clamp(0, ENTROPIES - 1)
    entropies = torch.stack([(half_bits == one).sum(-1) for one in range(ENTROPIES)], dim=-1)
    return RowSums(sums, distances, entropies, others.sum(1), others.sum(2))


def mask_of(rule: MaskRule | Tensor, n: int, known: dict[tuple[MaskRule, int], Tensor]) -> Tensor:
    """Return a mask as a table, made once for each rule and length.

    Args:
        rule: the rule, or the table itself.
        n: how many tokens.
        known: those that were made.

    Returns:
        Bool, [n, n] or [h, n, n].
    """
    if isinstance(rule, Tensor):
        return rule
    if (rule, n) not in known:
        positions = torch.arange(n)
        known[rule, n] = allowed(rule, positions, positions)
    return known[rule, n]


def _diagonals(w: Tensor) -> Tensor:
    """Sum weights by distance: [h, n, n] to [h, n], without a table of distances.

    In rows of n + 1 numbers instead of n, what stands r back stands in one column, n + 1 - r.
    """
    h, n, _ = w.shape
    if n == 1:
        return w[:, 0].double()
    flat = w.reshape(h, n * n)
    columns = flat[:, :-1].reshape(h, n - 1, n + 1).sum(1).double()  # [h, n + 1]
    found = torch.empty(h, n, dtype=torch.float64)
    found[:, 0] = columns[:, 0] + flat[:, -1].double()
    found[:, 1:] = columns[:, 2:].flip(-1)
    return found
