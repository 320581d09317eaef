"""Measure what each head does with a prompt: a row of plain numbers per head, to sort and to search.

Every measure is a mean over query tokens that have a choice (the first token, which can only attend to itself, is left
out); score_definitions.py says what each sums. One layer is in memory at a time, in strips of query rows where a prompt
is long, or a sample of its rows.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from inspector.analysis.score_definitions import BY_NAME, FARTHEST, MEASURES, Measure, Text
from inspector.analysis.score_rows import row_scores
from inspector.analysis.thumbnails import spread
from inspector.errors import InspectorError
from inspector.trace.trace import STRIP_BYTES, Trace

if TYPE_CHECKING:
    from inspector.capture.records import OnLayer

__all__ = [
    "BY_NAME", "COUNTS_FROM", "FARTHEST", "MEASURES", "ROLES", "Measure", "RoleSummary", "find", "measures", "ordered",
    "over_texts", "role_summaries",
]  # fmt: skip

COUNTS_FROM = 0.5  # a head has a role where at least this share of its attention does what the role says
# In the order in which they are offered: what is known best first.
ROLES = tuple(BY_NAME[name] for name in ("back 1", "repeated", "first", "same", "itself", "local"))


def find(text: str) -> Measure | None:
    """Return the measure that somebody's words mean.

    Args:
        text: a title, a name, or words such as "heads that look back 1".

    Returns:
        The measure; None where the words fit none.

    Raises:
        InspectorError: `text` is no text.
    """
    if not isinstance(text, str):
        raise InspectorError(f"find needs words and was given {type(text).__name__}: pass a text such as 'back 1'.")
    said = text.strip().lower()
    for measure in MEASURES:
        if said in (measure.name, measure.title.lower()):
            return measure
    if numbers := re.findall(r"\d+", said):
        return BY_NAME.get(f"back {int(numbers[0])}")
    words = {
        "previous": "back 1", "induction": "repeated", "repeat": "repeated", "sink": "first", "first": "first",
        "itself": "itself", "themsel": "itself", "self": "itself", "diagonal": "itself", "same": "same",
        "wide": "entropy", "broad": "entropy", "entropy": "entropy", "few": "narrow", "narrow": "narrow",
        "sharp": "narrow",
        "far": "distance", "distance": "distance", "near": "local", "local": "local",
    }  # fmt: skip
    return next((BY_NAME[name] for word, name in words.items() if word in said), None)


def measures(trace: Trace, *, sample: int | None = None, on_layer: OnLayer | None = None) -> pd.DataFrame:
    """Measure every head of the layers whose weights can be computed from what is stored.

    Args:
        trace: the prompt's trace, as `model.trace(prompt)` returns it.
        sample: means over about this many query tokens, spread evenly, instead of all (None). Each is measured with all
            its keys.
        on_layer: called as on_layer(done, total) after each layer; what it raises ends the work.

    Returns:
        A row per head: layer, head, and a column for each of MEASURES. Weights are between 0 and 1, entropies in bits,
        distances in tokens.

    Raises:
        InspectorError: `trace` is no trace, or `sample` is below 1.
    """
    if not isinstance(trace, Trace):
        raise InspectorError(
            f"measures needs a trace and was given {type(trace).__name__}: pass what model.trace(prompt) returns."
        )
    if sample is not None and sample < 1:
        raise InspectorError(f"A sample of {sample} query tokens measures nothing: choose 1 or more, or None for all.")
    text = Text(torch.tensor(trace.tokens.ids))
    some = None if sample is None or sample >= trace.n else spread(trace.n, trace.n, sample)
    counts = _counts(text, torch.arange(trace.n) if some is None else torch.tensor(some))
    rows: list[dict[str, float]] = []
    for info in trace.stored_layers:
        if trace.stored[info.index].unexplained:
            continue
        sums: dict[str, Tensor] = {}
        for queries, keys in trace.strips(info.index) if some is None else _groups(some, info.heads, trace.n):
            weights = trace.weights(info.index, queries=queries, keys=keys).detach()
            t = _positions(queries)
            weights, t = weights[:, int(t[0] == 0) :], t[int(t[0] == 0) :]  # the first token has no choice
            for name, rows_of in row_scores(weights, t, _positions(keys), text).items():  # [h, t]
                sums[name] = sums.get(name, torch.zeros(info.heads, dtype=torch.float64)) + rows_of.double().sum(-1)
        for head in range(info.heads):
            found = {name: float(sums[name][head]) / max(counts[name], 1) for name in sums}
            rows.append({"layer": info.index, "head": head, **found})
        if on_layer is not None:
            on_layer(info.index + 1, len(trace.layers))
    return pd.DataFrame(rows, columns=["layer", "head", *BY_NAME])


def over_texts(traces: Iterable[Trace]) -> pd.DataFrame:
    """Measure every head in each of many texts, and take means over the texts as they come.

    One trace is in memory at a time where `model.traces(texts)` makes them, and each text weighs the same.

    Args:
        traces: of one model, at least one; a generator is read once.

    Returns:
        A row per head and measure: layer, head, measure, the mean over texts, their standard deviation `sd` (NaN of one
        text), and in `n` how many texts there were that could show it (not those without a repeated token, of measures
        of repetitions). A measure that no text could show has NaN.

    Raises:
        InspectorError: there is no trace, something among them is none, or they are not of the same heads.
    """
    heads: list[tuple[int, int]] | None = None
    n = mean = squares = np.zeros(0)
    for trace in traces:
        frame = measures(trace)
        found = list(zip(frame["layer"].tolist(), frame["head"].tolist(), strict=True))
        if heads is None:
            heads, shape = found, (len(found), len(MEASURES))
            n, mean, squares = np.zeros(len(MEASURES)), np.zeros(shape), np.zeros(shape)
        elif heads != found:
            raise InspectorError(
                f"Among these traces one has {len(found)} measured heads and those before it {len(heads)}: give traces "
                "of one model, with the same layers stored."
            )
        counts = _counts(Text(torch.tensor(trace.tokens.ids)), torch.arange(trace.n))
        shown = np.array([float(counts[measure.name] > 0) for measure in MEASURES])
        n = n + shown  # Welford's running mean and sum of squared deviations (Technometrics 4, 1962)
        away = (frame[list(BY_NAME)].to_numpy() - mean) * shown
        mean = mean + away / np.maximum(n, 1)
        squares = squares + away * (frame[list(BY_NAME)].to_numpy() - mean)
    if heads is None:
        raise InspectorError("There is no text to measure heads in: give at least one trace.")
    spread_of = np.sqrt(squares / np.where(n > 1, n - 1, np.nan))
    mean = np.where(n > 0, mean, np.nan)
    rows = [
        (layer, head, measure.name, mean[row, column], spread_of[row, column], int(n[column]))
        for row, (layer, head) in enumerate(heads)
        for column, measure in enumerate(MEASURES)
    ]
    return pd.DataFrame(rows, columns=["layer", "head", "measure", "mean", "sd", "n"])


def ordered(frame: pd.DataFrame, measure: Measure) -> pd.DataFrame:
    """Sort heads by a measure, the most telling first.

    Args:
        frame: the table that `measures` returns.
        measure: one of MEASURES; `find` has them by their words.

    Returns:
        The same rows in another order; equal ones by layer and head.

    Raises:
        InspectorError: `measure` is no Measure.
    """
    if not isinstance(measure, Measure):
        raise InspectorError(
            f"ordered needs one of MEASURES and was given {type(measure).__name__}: find(words) returns one."
        )
    return frame.sort_values(
        [measure.name, "layer", "head"], ascending=[not measure.largest, True, True], kind="stable"
    )


@dataclass(frozen=True)
class RoleSummary:
    """How many heads have a role in one prompt, and which has it most.

    Attributes:
        measure: the role's measure, one of ROLES.
        count: heads whose score is at least COUNTS_FROM.
        best: the largest score; NaN where the prompt cannot show it, for lack of a repeated token, or no head's weights
            are known.
        head: the (layer, head) with the largest score.
    """

    measure: Measure
    count: int
    best: float
    head: tuple[int, int]


def role_summaries(frame: pd.DataFrame, ids: Sequence[int]) -> list[RoleSummary]:
    """Count for each role the heads that have it in this prompt.

    Args:
        frame: the table that `measures` returns.
        ids: the prompt's token ids.

    Returns:
        One for each of ROLES, in their order.
    """
    counts = _counts(Text(torch.tensor(ids)), torch.arange(len(ids)))  # a mean over no token is not known
    found = []
    for measure in ROLES:
        scores = frame[measure.name]
        if frame.empty:
            found.append(RoleSummary(measure, 0, math.nan, (0, 0)))
            continue
        row = frame.loc[scores.idxmax()]
        shown = counts[measure.name] > 0
        count = int((scores >= COUNTS_FROM).sum()) if shown else 0
        best = float(row[measure.name]) if shown else math.nan
        found.append(RoleSummary(measure, count, best, (int(row["layer"]), int(row["head"]))))
    return found


def _counts(text: Text, t: Tensor) -> dict[str, int]:
    """Count over how many of the query tokens at positions t each measure is a mean."""
    return {measure.name: int((measure.counts(t, text) & (t > 0)).sum()) for measure in MEASURES}


def _groups(rows: list[int], heads: int, n: int) -> Iterator[tuple[list[int], slice]]:
    """Yield sampled query rows a few at a time, with all keys."""
    height = max(1, STRIP_BYTES // (4 * heads * n))
    for start in range(0, len(rows), height):
        yield rows[start : start + height], slice(0, n)


def _positions(part: slice | list[int]) -> Tensor:
    """Return the positions that a slice or a list stands for, as a tensor."""
    return torch.arange(part.start, part.stop) if isinstance(part, slice) else torch.tensor(part)
