"""Keep a shard's examples: for each head the rows with its largest weights, and rows that a hash chooses."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inspector.atlas.part import KEYS, best_of

Table = dict[str, NDArray[Any]]  # of a Part: by EXAMPLES, [N, KEPT, ...]


def row_hash(seed: int, what: str, row: int) -> int:
    """Return a number of 52 bits that follows from a row's number alone.

    Args:
        seed: of the atlas.
        what: what it is for.
        row: the row's number in the corpus.

    Returns:
        The number, exact as a float64.
    """
    return int.from_bytes(hashlib.blake2b(f"{seed}:{what}:{row}".encode(), digest_size=8).digest(), "big") >> 12


def keep_largest(table: Table, weights: Tensor, heads: slice, number: int) -> None:
    """Keep a row where a head's largest weight is among its largest so far; of equal ones the earlier row.

    Args:
        table: the examples with the largest weights, which are changed.
        weights: [h, n, n], of the row in one layer.
        heads: the places of the layer's heads among all.
        number: the row's in the corpus.
    """
    n = weights.shape[-1]
    if n <= 2:  # weights[:, 2:, 1:]: a token that has others than the first and itself
        return
    largest, at = weights[:, 2:, 1:].flatten(1).max(-1)
    queries = 2 + at // (n - 1)
    least, last = table["score"][heads, -1], table["row"][heads, -1]
    scores = largest.double().numpy()
    better = np.flatnonzero((scores > least) | ((scores == least) & (number < last)))
    if len(better):
        _keep(table, weights, heads, better, scores, queries.numpy(), number)


def keep_sampled(
    table: Table, weights: Tensor, heads: slice, number: int, *, score: float, seed: int, layer: int
) -> None:
    """Keep a row that its hash has chosen, with a query token for each head that a hash chooses too.

    Args:
        table: the examples chosen by hash, which are changed.
        weights: as in `keep_largest`.
        heads: as in `keep_largest`.
        number: as in `keep_largest`.
        score: by which rows are ordered, from the hash.
        seed: of the atlas.
        layer: from 0.
    """
    every, n = np.arange(weights.shape[0]), weights.shape[-1]
    drawn = np.array([1 + row_hash(seed, f"{layer}.{head}", number) % (n - 1) for head in every])
    _keep(table, weights, heads, every, np.full(len(every), score), drawn, number)


def _keep(
    table: Table,
    weights: Tensor,
    heads: slice,
    which: NDArray[Any],
    scores: NDArray[Any],
    queries: NDArray[Any],
    number: int,
) -> None:
    picked = weights[torch.from_numpy(which), torch.from_numpy(queries[which])]  # [some, n]
    order = torch.sort(picked, descending=True, stable=True, dim=-1)
    keys = np.zeros((len(which), 1, KEYS), dtype=np.int32)
    values = np.zeros((len(which), 1, KEYS), dtype=np.float16)
    count = min(KEYS, picked.shape[-1])
    keys[:, 0, :count], values[:, 0, :count] = order.indices[:, :count].numpy(), order.values[:, :count].numpy()
    new = {
        "score": scores[which, None],
        "row": np.full((len(which), 1), number, dtype=np.int64),
        "query": queries[which, None].astype(np.int32),
        "keys": keys,
        "weights": values,
    }
    places = heads.start + which
    kept = best_of({name: array[places] for name, array in table.items()}, new)
    for name, array in kept.items():
        table[name][places] = array
