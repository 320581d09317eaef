"""Explain a next token: its logit by head, each head by source token, each source by what made its score."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from inspector.analysis.residual_terms import PartsRun, recorded
from inspector.analysis.score_terms import ScoreSum, score_sum
from inspector.errors import InspectorError
from inspector.lab.explanation import Explanation, Level, Line
from inspector.lab.logit_shares import LogitParts
from inspector.lab.score_shares import score_frame
from inspector.trace.trace import Trace
from inspector.trace.whole_numbers import shown, whole_number

HEADS, SOURCES, PARTS = 5, 3, 4  # listed at each level
KINDS = {
    "mlp": "MLPs",
    "embedding": "embedding",
    "mixer": "mixers of blocks without attention",
    "difference": "blocks without attention, output minus input",
    "bias": "biases",
}


def explain(
    trace: Trace,
    token: str | int | None = None,
    against: str | int | None = None,
    *,
    query: int = -1,
    heads: int = HEADS,
    sources: int = SOURCES,
    parts: int = PARTS,
) -> Explanation:
    """Say why a model predicts a token: which heads wrote its logit, from which tokens, and why they looked there.

    Args:
        trace: the prompt's trace.
        token: as in `attribution`.
        against: as in `attribution`.
        query: as in `attribution`.
        heads: how many heads to list, those with the largest shares.
        sources: how many source tokens of each.
        parts: how many parts of each source's score; 0: none, which saves a pass.

    Returns:
        The explanation: at each level the lines add up to their number, with one line for all that are not listed.

    Raises:
        InspectorError: as `attribution`, or a count is no whole number from 0 on.
        NoModel: the trace was opened from a file, without its model.
    """
    for name, count in (("heads", heads), ("sources", sources), ("parts", parts)):
        if (whole_number(count) or 0) < (name != "parts"):
            raise InspectorError(f"{name}={shown(count)} is not how many to list: give a whole number from 1 on.")
    found = LogitParts(trace, query)
    frame = found.frame(token, against, "head")
    by_source = found.frame(token, against, "source")
    ours = frame[frame["kind"] == "head"]
    largest = ours.loc[ours["share"].abs().sort_values(ascending=False, kind="stable").index[:heads]]
    run = recorded(trace, range(found.query + 1)) if parts else None
    lines = []
    for row in largest.itertuples():
        part = by_source[(by_source["layer"] == row.layer) & (by_source["head"] == row.head)]
        below = _sources(trace, found.query, part, row.share, sources, parts, run)
        lines.append(Line(row.part, row.share, int(row.layer), int(row.head), kind="head", below=below))
    left = ours.drop(largest.index)["share"]
    if len(left):
        lines.append(Line(f"{len(left)} other heads", float(left.sum()), count=len(left), kind="head"))
    for kind, name in KINDS.items():
        shares = frame[frame["kind"] == kind]["share"]
        if len(shares):
            text = name if kind == "embedding" else f"{len(shares)} {name}"
            lines.append(Line(text, float(shares.sum()), count=len(shares), kind=kind))
    at = frame.attrs
    logits = found.logits.logits
    return Explanation(
        model=found.model.name,
        note=found.model.source.note,
        prompt=trace.prompt,
        tokens=trace.tokens,
        query=found.query,
        token=at["token"],
        label=at["label"],
        against=at["against"],
        against_label="the mean of all tokens" if at["against"] == "mean" else at["against_label"],
        probability=float(logits.softmax(-1)[at["token"]]),
        cap=at["cap"],
        after_cap=at["after_cap"],
        limit=at["limit"],
        logit=Level("its logit", "logit", at["logit"], tuple(lines), at["remainder"]),
    )


def _sources(
    trace: Trace, query: int, frame: pd.DataFrame, share: float, sources: int, parts: int, run: PartsRun | None
) -> Level:
    """Return one head's share, as it was computed without its tokens, by the token that it looks at."""
    layer, head = int(frame["layer"].iloc[0]), int(frame["head"].iloc[0])
    largest = frame.loc[frame["share"].abs().sort_values(ascending=False, kind="stable").index[:sources]]
    scores: ScoreSum | None = None
    why = ""
    if run is not None:
        try:
            scores = score_sum(trace, layer, head, query, run=run)
        except InspectorError as error:  # the head's sources are worth more than why it looks there
            why = str(error)
    lines = []
    for row in largest.itertuples():
        source = int(row.source)
        below = None if scores is None else _score(scores, layer, head, query, source, parts)
        lines.append(Line(f"{row.source_token} ({source})", row.share, layer, head, source, below=below))
    lines = _with_rest(lines, frame["share"].drop(largest.index), "token")
    left = share - float(frame["share"].sum())
    return Level(f"the share of head {layer}.{head}", "logit", share, tuple(lines), left, note=why)


def _score(scores: ScoreSum, layer: int, head: int, query: int, key: int, parts: int) -> Level | None:
    """Return what made the score of a source, less the row's mean, by part of the key."""
    if key not in scores.positions:
        return None
    frame = score_frame(scores, layer, head, query, key, "key", centred=True)
    lines = [
        Line(row.part, row.share, None if pd.isna(row.layer) else int(row.layer))
        for row in frame.head(parts).itertuples()
    ]
    return Level(
        "less the mean score of all keys",
        "score",
        frame.attrs["score"],
        tuple(_with_rest(lines, frame["share"].iloc[parts:], "part")),
        frame.attrs["remainder"],
        frame.attrs["warning"],
        frame.attrs["cancellation"],
    )


def _with_rest(lines: Sequence[Line], left: pd.Series, name: str) -> list[Line]:
    """Return the lines with one more for all that are not listed."""
    if not len(left):
        return list(lines)
    text = f"{len(left)} other {name}{'s' if len(left) > 1 else ''}"
    return [*lines, Line(text, float(left.sum()), count=len(left))]
