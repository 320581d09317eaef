"""Make or find what the page Why shows: what wrote a next token's logit, and what cutting tokens off does to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from inspector import lab
from inspector.errors import InspectorError
from inspector.lab.effects import token_id
from inspector.model import cost
from inspector.text import Progress
from inspector.ui.server.settings import limits
from inspector.ui.server.traces import from_trace, model, reserve_memory
from inspector.ui.state import Request

if TYPE_CHECKING:
    from inspector import Trace

EXPLAINED_UP_TO = 1024  # tokens of a prompt that is explained here: above, its parts take much memory
CUT_UP_TO = 128  # tokens of a prompt whose tokens are cut off one by one here: each costs a run
HEADS, SOURCES, PARTS = 8, 6, 8  # listed at each level
REPORT_BYTES = 2**18
PROMOTED = 5  # next tokens of either side
PASSES = 4  # runs whose residual streams are there at once


def explanation(
    request: Request,
    query: int,
    token: str,
    against: str,
    progress: Progress | None = None,
    *,
    alone: bool = False,
) -> lab.Explanation:
    """Return what wrote the logit of a next token, as three levels of exact sums.

    Args:
        request: what was asked for.
        query: the token after which it stands, by its position.
        token: the next token; empty: the most probable one.
        against: the token whose logit is subtracted; empty: the mean of all.
        progress: told how far it is.
        alone: subtract nothing.

    Returns:
        The explanation.

    Raises:
        InspectorError: the parts do not add up in this model, a token is none, or the prompt is too long.
    """

    def make(traced: Trace, report: Progress) -> lab.Explanation:
        room = _room(request, traced, EXPLAINED_UP_TO, "are explained")
        with reserve_memory(room, report):
            report("Splitting the logit into what each part wrote", None)
            return lab.explain(
                traced,
                token or None,
                None if alone else _foil(request, against),
                query=query,
                heads=HEADS,
                sources=SOURCES,
                parts=PARTS,
            )

    what = ("explanation", query, token, against, alone)
    return from_trace(request, what, make, size=lambda _: REPORT_BYTES, passes=2, progress=progress)


def importance(request: Request, token: str, against: str, progress: Progress | None = None) -> lab.ImportanceReport:
    """Return the effect of cutting each token off, beside what attention and other measures say of it.

    Args:
        request: what was asked for.
        token: as in `explanation`.
        against: as in `explanation`.
        progress: told how far it is.

    Returns:
        The report.

    Raises:
        InspectorError: as `explanation`.
    """

    def make(traced: Trace, report: Progress) -> lab.ImportanceReport:
        room = _room(request, traced, CUT_UP_TO, "are cut off one by one")
        with reserve_memory(room * 2, report):
            return lab.token_importance(traced, token or None, _foil(request, against), progress=report)

    what = ("importance", token, against)
    return from_trace(request, what, make, size=lambda _: REPORT_BYTES, passes=CUT_UP_TO // 3, progress=progress)


def promoted(
    request: Request, layer: int, head: int, query: int, progress: Progress | None = None
) -> dict[str, list[tuple[str, float]]]:
    """Return the next tokens that one head promotes and suppresses most at one token, by its own vector.

    Args:
        request: what was asked for.
        layer: counts attention layers from 0.
        head: the query head, from 0.
        query: the token's position.
        progress: told how far it is.

    Returns:
        "promoted" and "suppressed": labels and shares of their logits, less the mean of all tokens, the largest first.

    Raises:
        InspectorError: as `explanation`.
    """

    def make(traced: Trace, report: Progress) -> dict[str, list[tuple[str, float]]]:
        with reserve_memory(_room(request, traced, EXPLAINED_UP_TO, "are explained"), report):
            report("Reading what the head wrote", None)
            frame = lab.promoted(traced, layer, head, query=query, count=PROMOTED)
        by_size = frame.reindex(frame["share"].abs().sort_values(ascending=False).index)
        return {
            side: [(row.label, float(row.share)) for row in by_size[by_size["side"] == side].itertuples()]
            for side in ("promoted", "suppressed")
        }

    what = ("promoted", layer, head, query)
    return from_trace(request, what, make, size=lambda _: REPORT_BYTES, progress=progress)


def key_parts(
    request: Request, layer: int, head: int, query: int, key: int, progress: Progress | None = None
) -> tuple[float, list[tuple[str, float]], str]:
    """Return what made one key's score, less the mean of its row, by what had written the key.

    Args:
        request: what was asked for.
        layer: counts attention layers from 0.
        head: the query head, from 0.
        query: the query token's position.
        key: the key token's position.
        progress: told how far it is.

    Returns:
        The score less the row's mean, all parts with their shares, the largest first, and a warning where they cancel.

    Raises:
        InspectorError: as `explanation`.
    """

    def make(traced: Trace, report: Progress) -> tuple[float, list[tuple[str, float]], str]:
        with reserve_memory(_room(request, traced, EXPLAINED_UP_TO, "are explained"), report):
            report("Splitting the score into what wrote the key", None)
            frame = lab.score_parts(traced, layer, head, key, query=query)
        parts = [(row.part, float(row.share)) for row in frame.itertuples()]
        return float(frame.attrs["score"]), parts, str(frame.attrs["warning"])

    what = ("key parts", layer, head, query, key)
    return from_trace(request, what, make, size=lambda _: REPORT_BYTES, passes=2, progress=progress)


def _foil(request: Request, against: str) -> int | Literal["mean"]:
    """Return a typed token's id, also of the token "mean"; the mean of all tokens where nothing was typed."""
    return token_id(against, model(request)) if against else "mean"


def _room(request: Request, traced: Trace, most: int, done: str) -> int:
    """Return the bytes that a run needs, where this text may be run on this server."""
    most = limits().longest(most)
    if traced.n > most:
        raise InspectorError(
            f"{traced.n:,} tokens are more than the {most:,} that {done} on this page: take a shorter prompt, or run "
            "it in Python (inspector.lab)."
        )
    return PASSES * cost.run_cost(model(request).sizes, traced.n, speed=None).peak_bytes
