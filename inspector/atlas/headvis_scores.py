"""Measure heads as HeadVis does, so that an atlas can be read by its front end.

The definitions are those of Neuronpedia's `compute-head-metrics.py`, whose scores differ from ours: the first token's
row counts, weight on the first token counts as any other's, and weights below 0.01 count as no induction.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

METRICS = {
    "self_attention_score": "Mean weight of each token on itself.",
    "prev_token_score": "Mean weight of each token but the first on the one before.",
    "pattern_entropy": "Mean entropy of a row of weights, in nats.",
    "qk_distance": "Mean distance in tokens between a query token and what it looks at.",
    "qk_distance_variance": "Variance of that distance, all of a head's weight taken together.",
    "induction_score": "Weight on tokens that came after earlier occurrences of the same token, each of 0.01 or more.",
}
LEAST_INDUCTION = 0.01
BINS = 50  # of a row's largest weight


class HeadVisSums:
    """Add up HeadVis' scores over rows of tokens, for all heads of a model."""

    def __init__(self, heads: int) -> None:
        """Begin with no rows.

        Args:
            heads: N, of all layers.
        """
        self.sums = np.zeros((heads, 6))
        self.queries = self.earlier = self.repeated = 0
        self.histogram = np.zeros((heads, BINS), dtype=np.int64)
        self.largest: list[NDArray[np.float32]] = []  # of each row, [N]

    def add(self, ids: tuple[int, ...], layers: list[Tensor]) -> None:
        """Add a row.

        Args:
            ids: its n token ids.
            layers: for each layer its weights, [h, n, n].
        """
        n = len(ids)
        pairs, repeated = _repetitions(ids)
        t = torch.arange(n)
        apart = (t[:, None] - t[None, :]).clamp(min=0).double()
        sums, largest = [], []
        for weights in layers:
            w = weights.double().cpu()
            again = w[:, pairs[:, 0], pairs[:, 1]] if len(pairs) else w.new_zeros(len(w), 0)
            sums.append(
                torch.stack(
                    [
                        w.diagonal(dim1=1, dim2=2).sum(-1),
                        w.diagonal(offset=-1, dim1=1, dim2=2).sum(-1),
                        torch.special.entr(w).sum((1, 2)),
                        (w * apart).sum((1, 2)),
                        (w * apart**2).sum((1, 2)),
                        torch.where(again < LEAST_INDUCTION, 0, again).sum(-1),
                    ],
                    dim=-1,
                )
            )
            largest.append(w[:, 1:, 1:].flatten(1).max(-1).values)
        self.sums += torch.cat(sums).numpy()
        self.queries, self.earlier, self.repeated = self.queries + n, self.earlier + n - 1, self.repeated + repeated
        most = torch.cat(largest).numpy().astype(np.float32)
        self.largest.append(most)
        at = np.clip((most * BINS).astype(np.int64), 0, BINS - 1)
        self.histogram[np.arange(len(at)), at] += 1

    def scores(self) -> dict[str, NDArray[np.float64]]:
        """Return each of METRICS for every head, [N]; NaN where no row could show it."""
        counts = [self.queries, self.earlier, self.queries, self.queries, self.queries, self.repeated]
        means = [
            self.sums[:, k] / count if count else np.full(len(self.sums), np.nan) for k, count in enumerate(counts)
        ]
        means[4] = means[4] - means[3] ** 2
        return dict(zip(METRICS, means, strict=True))


def _repetitions(ids: tuple[int, ...]) -> tuple[Tensor, int]:
    """Return the pairs of a query and a key after an earlier occurrence of its token, and how many queries have any."""
    places: dict[int, list[int]] = {}
    pairs, repeated = [], 0
    for query, token in enumerate(ids):
        before = places.setdefault(token, [])
        pairs += [(query, earlier + 1) for earlier in before]
        repeated += bool(before)
        before.append(query)
    return torch.tensor(pairs, dtype=torch.long).reshape(-1, 2), repeated
