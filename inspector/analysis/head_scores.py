"""Measure what each head does with a prompt: a row of plain numbers per head, to sort and to search.

Every measure is a mean over query tokens that have a choice (the first token, which can only attend to itself, is left
out). Many heads give most of their attention to the first token, the attention sink; so that such a head is not taken
for one that looks at the previous token or at a repetition, those measures never count weight on the first token. One
layer is in memory at a time, in strips of query rows where a prompt is long, or a sample of its rows.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd
import torch
from torch import Tensor

from inspector.analysis.thumbnails import spread
from inspector.errors import InspectorError
from inspector.trace.trace import STRIP_BYTES, Trace

if TYPE_CHECKING:
    from inspector.capture.records import OnLayer

__all__ = [
    "BY_NAME", "COUNTS_FROM", "FARTHEST", "MEASURES", "ROLES", "Measure", "RoleSummary", "find", "measures", "ordered",
    "role_summaries",
]  # fmt: skip

FARTHEST = 8  # tokens back: "k tokens back" is measured for k up to this
NEAR = 3  # tokens back that still count as local
COUNTS_FROM = 0.5  # a head has a role where at least this share of its attention does what the role says


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
    """

    name: str
    title: str
    meaning: str
    largest: bool = True
    role: str = ""
    repeats: bool = False


MEASURES = (
    Measure(
        "first",
        "Attends to the first token",
        "mean weight on the first token (the attention sink of many heads)",
        role="First-token sink",
    ),
    Measure("itself", "Attends to itself", "mean weight of each token on itself", role="Self"),
    *(
        Measure(
            f"back {k}",
            "Previous token" if k == 1 else f"{k} tokens back",
            f"mean weight on the token {k} before, where that is not the first token of all",
            role="Previous token" if k == 1 else "",
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
    ),
    Measure(
        "same",
        "Attends to the same token",
        "mean weight on earlier occurrences of the same token, where there are; the first token of all does not count",
        role="Duplicate token",
        repeats=True,
    ),
    Measure(
        "local",
        "Attends nearby",
        f"mean weight on the token itself and the {NEAR} before, over tokens with more than these to look at",
        role="Local",
    ),
    Measure("entropy", "Attends broadly", "mean entropy of a row of weights, in bits: 3 bits are 8 tokens alike"),
    Measure(
        "narrow", "Attends narrowly", "mean entropy of a row of weights, in bits, the smallest first", largest=False
    ),
    Measure("distance", "Attends far back", "mean distance in tokens between a query token and what it looks at"),
)
BY_NAME = {measure.name: measure for measure in MEASURES}
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
    ids = torch.tensor(trace.tokens.ids)
    some = None if sample is None or sample >= trace.n else spread(trace.n, trace.n, sample)
    counts = _counts(ids, torch.arange(trace.n) if some is None else torch.tensor(some))
    rows: list[dict[str, float]] = []
    for info in trace.stored_layers:
        if trace.stored[info.index].unexplained:
            continue
        sums: dict[str, Tensor] = {}
        for queries, keys in trace.strips(info.index) if some is None else _groups(some, info.heads, trace.n):
            weights = trace.weights(info.index, queries=queries, keys=keys).detach()
            for name, part in _sums(weights, _positions(queries), _positions(keys), ids).items():
                sums[name] = sums.get(name, torch.zeros(info.heads, dtype=torch.float64)) + part
        for head in range(info.heads):
            found = {name: float(sums[name][head]) / max(counts[name], 1) for name in sums}
            rows.append({"layer": info.index, "head": head, **found, "narrow": found["entropy"]})
        if on_layer is not None:
            on_layer(info.index + 1, len(trace.layers))
    return pd.DataFrame(rows, columns=["layer", "head", *BY_NAME])


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
    repeats = len(set(ids)) < len(ids)
    found = []
    for measure in ROLES:
        scores = frame[measure.name]
        if frame.empty:
            found.append(RoleSummary(measure, 0, math.nan, (0, 0)))
            continue
        row = frame.loc[scores.idxmax()]
        shown = repeats or not measure.repeats
        count = int((scores >= COUNTS_FROM).sum()) if shown else 0
        best = float(row[measure.name]) if shown else math.nan
        found.append(RoleSummary(measure, count, best, (int(row["layer"]), int(row["head"]))))
    return found


def _sums(weights: Tensor, t: Tensor, s: Tensor, ids: Tensor) -> dict[str, Tensor]:
    """Sum each measure over the query tokens at positions t but the first.

    weights: [h, t, s] of the keys at positions s. Returns [h] in float64 by measure.
    """
    without_first = slice(1 if int(t[0]) == 0 else 0, None)
    w, t = weights[:, without_first].float().cpu(), t[without_first]
    distance = t[:, None] - s[None, :]
    same = (ids[t][:, None] == ids[s][None, :]) & (distance > 0) & (s > 0)  # earlier occurrences of the query's token
    near = (distance >= 0) & (distance <= NEAR) & (t > NEAR)[:, None]
    before = ids[(s - 1).clamp(min=0)]
    after = (ids[t][:, None] == before[None, :]) & (distance >= 0) & (s > 0)  # what comes right after one

    def at(back: int) -> Tensor:
        place = t - back - s[0]  # the column of the token so far back; a window may have left it out
        there = (place >= 0) & (t - back >= (1 if back else 0))
        return w[:, there.nonzero()[:, 0], place[there]]

    def over(table: Tensor) -> Tensor:
        return torch.einsum("hts,ts->ht", w, table.float())

    rows = {  # [h, t]: each row summed in float32, as its softmax was; rows are added up in float64
        "first": w[..., 0] if int(s[0]) == 0 else w.new_zeros(len(w), 1),
        "itself": at(0),
        "entropy": torch.special.entr(w).sum(-1) / math.log(2),
        "distance": over(distance.clamp(min=0)),
        "same": over(same),
        "repeated": over(after),
        "local": over(near),
        **{f"back {k}": at(k) for k in range(1, FARTHEST + 1)},
    }
    return {name: row.double().sum(-1) for name, row in rows.items()}


def _counts(ids: Tensor, t: Tensor) -> dict[str, int]:
    """Count over how many of the query tokens at positions t each measure is a mean."""
    first: dict[int, int] = {}
    for position, token in enumerate(ids.tolist()):
        first.setdefault(token, position)
    again = sum(first[int(ids[position])] < position for position in t.tolist())
    later: dict[int, int] = {}  # the same from the second token on, which alone counts as an earlier occurrence
    for position, token in enumerate(ids.tolist()[1:], start=1):
        later.setdefault(token, position)
    same = sum(later.get(int(ids[position]), len(ids)) < position for position in t.tolist())
    counts = dict.fromkeys(("first", "itself", "entropy", "distance"), int((t > 0).sum()))
    counts |= {f"back {k}": int((t > k).sum()) for k in range(1, FARTHEST + 1)}
    return counts | {"same": same, "repeated": again, "local": int((t > NEAR).sum())}


def _groups(rows: list[int], heads: int, n: int) -> Iterator[tuple[list[int], slice]]:
    """Yield sampled query rows a few at a time, with all keys."""
    height = max(1, STRIP_BYTES // (4 * heads * n))
    for start in range(0, len(rows), height):
        yield rows[start : start + height], slice(0, n)


def _positions(part: slice | list[int]) -> Tensor:
    """Return the positions that a slice or a list stands for, as a tensor."""
    return torch.arange(part.start, part.stop) if isinstance(part, slice) else torch.tensor(part)
