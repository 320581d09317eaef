"""Measure how far real scores are spread, and what softmax makes of them with the model's scale and without.

Of a long prompt a sample of query rows is measured (`sample`), a strip at a time: nothing n x n is stored.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd
import torch
from torch import Tensor

from inspector.capture.masks import masked_weights
from reimpl.attention import attention_weights, scaled_scores

if TYPE_CHECKING:
    from inspector.capture.records import OnLayer
    from inspector.trace.trace import Trace

ALL_ROWS_UP_TO = 512  # tokens; of a longer prompt a sample of query rows is measured
SAMPLED_ROWS = 128
STRIP_BYTES = 64 * 2**20  # of float32 scores computed at once
SHUFFLED_PAIRS = 8192


def sample(n: int) -> slice:
    """Return the query rows that are measured: all, or of a long prompt every k-th up to the last.

    Args:
        n: tokens of the prompt.

    Returns:
        A slice of query positions.
    """
    step = 1 if n <= ALL_ROWS_UP_TO else math.ceil(n / SAMPLED_ROWS)
    return slice((n - 1) % step, n, step)


def spreads(trace: Trace, *, on_layer: OnLayer | None = None) -> pd.DataFrame:
    """Measure the scores of every head over the pairs that the mask allows, and what softmax makes of them.

    Standard deviations are over all measured pairs of a head, not row by row.

    Args:
        trace: the prompt's trace.
        on_layer: called as on_layer(done, total) after each layer; what it raises ends the work.

    Returns:
        A row per head:
        layer, head.
        scale: the layer's own.
        pairs: how many (query token, key token) were measured.
        score std, score min, score max: of the raw scores, query · key.
        scaled std, scaled min, scaled max: of what the softmax sees: scaled, and soft-capped and biased where the model
            is.
        entropy unscaled, entropy: mean over rows with a choice (two keys or more) of the entropy of the row of weights
            in
        bits (a sink's share left out), with the scale left out (set to 1), and as the model has it; NaN where the
        layer's weights cannot be computed.
    """
    rows: list[dict[str, float]] = []
    for layer, info in enumerate(trace.layers):
        raw, seen = _Moments(info.heads), _Moments(info.heads)
        entropies = torch.zeros(2, info.heads, dtype=torch.float64)
        choices = torch.zeros(info.heads, dtype=torch.float64)
        explained = not trace.stored[layer].unexplained
        for strip in _strips(trace, layer):
            allowed = _allowed(trace, layer, strip)
            raw.add(trace.scores(layer, None, queries=strip), allowed)
            seen.add(trace.scaled_scores(layer, None, queries=strip), allowed)
            choice = allowed.sum(-1) > 1  # [h, t]
            choices += choice.sum(-1).double().cpu()
            if explained:
                for at, weights in enumerate((_unscaled(trace, layer, strip), trace.weights(layer, queries=strip))):
                    if info.sinks:  # what the sink takes is no token's: shares of the rest
                        weights = weights / weights.sum(-1, keepdim=True)
                    bits = torch.special.entr(weights.double()).sum(-1) / math.log(2)
                    entropies[at] += (bits * choice).sum(-1).cpu()
        means = entropies / choices if explained else torch.full_like(entropies, math.nan)
        rows += [
            {"layer": layer, "head": head, "scale": info.scale, "pairs": int(raw.count[head])}
            | raw.row("score", head)
            | seen.row("scaled", head)
            | {"entropy unscaled": float(means[0, head]), "entropy": float(means[1, head])}
            for head in range(info.heads)
        ]
        if on_layer is not None:
            on_layer(layer + 1, len(trace.layers))
    return pd.DataFrame(rows)


def row_by_scale(trace: Trace, layer: int, head: int, query: int) -> pd.DataFrame:
    """Compute one row of weights with the scale left out, and with the layer's own.

    Soft-caps, biases and sinks are left out: this is about the scale alone.

    Args:
        trace: the prompt's trace.
        layer: counted from 0.
        head: a query head, counted from 0.
        query: the query token's position.

    Returns:
        A row per key token that the query may attend to: position, token, score, unscaled, scaled.
    """
    rows = slice(query, query + 1)
    allowed = trace.allowed(layer, queries=rows, head=head)[0].expand(trace.n)
    scores = trace.scores(layer, head, queries=rows)[0].float()[allowed].cpu()
    positions = allowed.nonzero()[:, 0].tolist()
    return pd.DataFrame(
        {
            "position": positions,
            "token": [trace.tokens.labels[at] for at in positions],
            "score": scores.numpy(),
        }
        | {
            name: attention_weights((scores * scale)[None, None], None)[0, 0].numpy()
            for name, scale in (("unscaled", 1.0), ("scaled", trace.layers[layer].scale))
        }
    )


@dataclass(frozen=True)
class Variance:
    """Why sqrt(d_head), measured on one head's own queries and keys.

    Attributes:
        d_head: width of the head.
        query_std: standard deviation of all numbers of the queries.
        key_std: of all numbers of the keys.
        score_std: of all their dot products, masked or not.
        shuffled_std: of dot products of the same numbers once each set has mean 0 and standard deviation 1 and is in
            random order, so that no dimension has to do with another.
        expected: sqrt(d_head).
        pairs: how many shuffled dot products.
    """

    d_head: int
    query_std: float
    key_std: float
    score_std: float
    shuffled_std: float
    expected: float
    pairs: int


def variance(trace: Trace, layer: int, head: int, *, seed: int = 0) -> Variance:
    """Measure one head's numbers and their dot products, as they are and shuffled, in float64.

    Args:
        trace: the prompt's trace; its tokens are those of `sample`.
        layer: counted from 0.
        head: a query head, counted from 0.
        seed: of the shuffle.

    Returns:
        The standard deviations.
    """
    at = sample(trace.n)
    query, key = (vectors[at].double().cpu() for vectors in (trace.query(layer, head), trace.key(layer, head)))
    d_head = query.shape[-1]
    random = torch.Generator().manual_seed(seed)
    products = []
    rounds = math.ceil(SHUFFLED_PAIRS / (query.shape[0] * key.shape[0]))
    for _ in range(rounds):
        mixed = [
            _standard(each)[torch.randperm(each.numel(), generator=random)].view(each.shape) for each in (query, key)
        ]
        products.append(scaled_scores(mixed[0][None], mixed[1][None], scale=1.0).flatten())
    shuffled = torch.cat(products)
    real = scaled_scores(query[None], key[None], scale=1.0)
    return Variance(
        d_head=d_head,
        query_std=_std(query),
        key_std=_std(key),
        score_std=_std(real),
        shuffled_std=_std(shuffled),
        expected=math.sqrt(d_head),
        pairs=shuffled.numel(),
    )


def _std(values: Tensor) -> float:
    """Return the standard deviation of all numbers."""
    return float(values.std(correction=0))


def _standard(values: Tensor) -> Tensor:
    """Return the numbers as one row, with mean 0 and standard deviation 1."""
    flat = values.flatten()
    return (flat - flat.mean()) / flat.std(correction=0).clamp_min(1e-30)


class _Moments:
    """Count, mean, spread and range of each head's numbers, strip by strip, in float64."""

    def __init__(self, heads: int) -> None:
        self.count, self.sum, self.squares = (torch.zeros(heads, dtype=torch.float64) for _ in range(3))
        self.smallest = torch.full((heads,), math.inf, dtype=torch.float64)
        self.largest = -self.smallest

    def add(self, values: Tensor, allowed: Tensor) -> None:
        """Add numbers [h, t, s], of which those count that the mask `allowed` [h, t, s] lets through."""
        exact = values.double()
        counted = exact.masked_fill(~allowed, 0)
        self.count += allowed.sum((-1, -2)).cpu()
        self.sum += counted.sum((-1, -2)).cpu()
        self.squares += (counted * counted).sum((-1, -2)).cpu()
        low, high = exact.masked_fill(~allowed, math.inf), exact.masked_fill(~allowed, -math.inf)
        self.smallest = torch.minimum(self.smallest, low.amin((-1, -2)).cpu())
        self.largest = torch.maximum(self.largest, high.amax((-1, -2)).cpu())

    def row(self, name: str, head: int) -> dict[str, float]:
        """Return one head's numbers as columns."""
        mean = self.sum[head] / self.count[head]
        spread = (self.squares[head] / self.count[head] - mean * mean).clamp_min(0).sqrt()
        return {
            f"{name} std": float(spread),
            f"{name} min": float(self.smallest[head]),
            f"{name} max": float(self.largest[head]),
        }


def _strips(trace: Trace, layer: int) -> Iterator[slice]:
    """Yield the sampled query rows, as many at once as STRIP_BYTES allow."""
    rows = sample(trace.n)
    height = max(1, STRIP_BYTES // (4 * trace.n * trace.layers[layer].heads)) * rows.step
    for start in range(rows.start, rows.stop, height):
        yield slice(start, min(start + height, trace.n), rows.step)


def _allowed(trace: Trace, layer: int, rows: slice) -> Tensor:
    """Return where these queries may attend, for every head: [h, t, s]."""
    return trace.allowed(layer, queries=rows)


def _unscaled(trace: Trace, layer: int, rows: slice) -> Tensor:
    """Compute the weights that the layer would have with a scale of 1, all else as it is: [h, t, s]."""
    stored = trace.stored[layer]
    bias, sinks = stored.bias, stored.sinks
    return masked_weights(
        stored.query[:, rows],
        stored.key,
        _allowed(trace, layer, rows)[0] if _alike(stored.mask) else _allowed(trace, layer, rows),
        scale=1.0,
        softcap=stored.info.softcap,
        bias=bias if bias is None or bias.shape[1] == 1 else bias[:, rows],
        sinks=sinks if sinks is None or sinks.ndim == 1 else sinks[:, rows],
    )


def _alike(mask: object) -> bool:
    """Return whether all heads have one mask."""
    return not (isinstance(mask, Tensor) and mask.ndim == 3)
