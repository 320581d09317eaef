"""Measure every head's scores and nulls in one text, with its first token and without."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from inspector.analysis.score_definitions import EVERY, Measure, Text
from inspector.analysis.score_rows import row_scores, without_first
from inspector.trace.trace import Trace

Means = dict[str, Tensor]  # measure -> [h]


def layer_scores(trace: Trace, text: Text, measures: Sequence[Measure]) -> Iterator[tuple[int, Means, Means]]:
    """Compute means over query tokens of each layer's heads.

    Args:
        trace: of a text short enough for n x n weights of one layer.
        text: the text whose pairs of places are looked at, of the same length.
        measures: which scores; none but those of pairs.

    Yields:
        For each layer its number, the scores, and the scores without the first token.
    """
    t, s = torch.arange(1, trace.n), torch.arange(trace.n)
    for info in trace.stored_layers:
        if trace.stored[info.index].unexplained:
            continue
        weights = trace.weights(info.index, queries=slice(1, None)).float().cpu()  # [h, t, s]
        yield info.index, _means(weights, t, s, text, measures), _means(without_first(weights, s), t, s, text, measures)


def shuffled_scores(trace: Trace, text: Text, measures: Sequence[Measure]) -> Iterator[tuple[int, Means, Means]]:
    """Compute what the scores of `layer_scores` would be, on average over all ways to shuffle each row's keys.

    The first token keeps its weight, but in its own measure, which is shuffled with all.

    Args:
        trace: as in `layer_scores`.
        text: as in `layer_scores`.
        measures: as in `layer_scores`.

    Yields:
        For each layer its number, the nulls, and the nulls without the first token.
    """
    t, s = torch.arange(1, trace.n), torch.arange(trace.n)
    for info in trace.stored_layers:
        if trace.stored[info.index].unexplained:
            continue
        weights = trace.weights(info.index, queries=slice(1, None)).float().cpu()
        allowed = trace.allowed(info.index, 0, queries=slice(1, None)).cpu()  # [t, s]
        evened, beside = _evened(weights, allowed), _evened(without_first(weights, s), allowed)
        whole = weights.sum(-1, keepdim=True) * allowed / allowed.sum(-1, keepdim=True)
        others = [measure for measure in measures if measure is not EVERY["first"]]
        found = _means(evened, t, s, text, others)
        if len(others) < len(measures):
            found |= _means(whole, t, s, text, [EVERY["first"]])
        yield info.index, found, _means(beside, t, s, text, others)


def _evened(weights: Tensor, allowed: Tensor) -> Tensor:
    """Share each row's weight out evenly among the keys that it may look at, the first token aside."""
    others = allowed.clone()
    others[:, 0] = False
    mass = weights[..., 1:].sum(-1, keepdim=True)  # [h, t, 1]
    found = mass * others / others.sum(-1, keepdim=True).clamp_min(1)
    found[..., 0] = weights[..., 0]
    return found


def _means(weights: Tensor, t: Tensor, s: Tensor, text: Text, measures: Sequence[Measure]) -> Means:
    found = {}
    for name, rows in row_scores(weights, t, s, text, measures).items():
        counted = EVERY[name].counts(t, text) & (t > 0)
        found[name] = rows[:, counted].double().sum(-1) / max(int(counted.sum()), 1)
    return found


def position_shares(trace: Trace, *, seed: int) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Compute which share of the variance of each head's scaled scores the distance explains.

    A softmax does not change when a number is added to a whole row, so rows may differ by any number; pairs with the
    first token are left out.

    Args:
        trace: of a text in which nothing but the distance can tell tokens apart, such as random ones.
        seed: of the shuffle behind the null.

    Yields:
        For each layer its number, the shares [h], and the same of scores shuffled within their rows.
    """
    n = trace.n
    draw = torch.rand(n, n, generator=torch.Generator().manual_seed(seed))
    distance = (torch.arange(n)[:, None] - torch.arange(n)[None, :]).clamp(min=0)
    for info in trace.stored_layers:
        if trace.stored[info.index].unexplained:
            continue
        allowed = trace.allowed(info.index, 0).cpu().clone()
        allowed[:, 0] = False
        allowed[:3] = False  # a row of one key says nothing
        scores = trace.scaled_scores(info.index).float().cpu()
        yield (
            info.index,
            _explained(scores, allowed, distance),
            _explained(_shuffled(scores, allowed, draw), allowed, distance),
        )


def _explained(scores: Tensor, allowed: Tensor, distance: Tensor) -> Tensor:
    """Return the share of the scores' variance within rows that a function of the distance explains, [h].

    Least squares of row effects and distance effects together; A f = b are its normal equations for the distances.
    """
    count = allowed.sum(-1, keepdim=True).clamp_min(1)
    rows = torch.where(allowed, scores, 0).double()
    rows = torch.where(allowed, rows - rows.sum(-1, keepdim=True) / count, 0)  # [h, t, s]
    n = len(distance)
    places, values = distance[allowed], rows[:, allowed]  # [pairs], [h, pairs]
    b = torch.zeros(len(values), n, dtype=torch.float64).index_add_(1, places, values)
    seen = torch.zeros(n, n, dtype=torch.float64)  # whether a row has a key at a distance
    seen[allowed.nonzero()[:, 0], places] = 1
    A = torch.diag(seen.sum(0)) - seen.T @ (seen / count)
    explained = ((b @ torch.linalg.pinv(A, hermitian=True)) * b).sum(-1)
    shares: Tensor = explained / (values**2).sum(-1).clamp_min(torch.finfo(torch.float64).tiny)
    return shares


def _shuffled(scores: Tensor, allowed: Tensor, draw: Tensor) -> Tensor:
    """Shuffle each row's allowed scores, alike in all heads."""
    ordered = torch.argsort((~allowed).float(), dim=-1, stable=True)  # allowed places first, in their order
    mixed = torch.argsort(torch.where(allowed, draw, 2.0), dim=-1)  # the same places, in a drawn order
    return torch.empty_like(scores).scatter_(-1, ordered.expand_as(scores), scores.gather(-1, mixed.expand_as(scores)))
