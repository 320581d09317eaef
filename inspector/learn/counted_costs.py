"""Count what attention costs in real tensors' bytes, to compare with the formulas of costs.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from inspector.errors import InspectorError
from inspector.learn.cache_sizes import cache_bytes
from inspector.learn.costs import GROWTH
from inspector.model.model import model_of, model_or_none
from inspector.text import no_progress

if TYPE_CHECKING:
    from inspector.text import Progress
    from inspector.trace.trace import Trace

LENGTHS = (1, 4, 16, 64)  # tokens for which real tensors are counted, beside the prompt's own number of them
MEASURED_UP_TO = 256  # tokens: the weights of all layers are made here, one layer after the other


def measured(trace: Trace, layer: int, *, progress: Progress = no_progress) -> tuple[pd.DataFrame, str]:
    """Count real tensors' bytes for several numbers of tokens.

    The prompt's tokens, repeated where they do not suffice, run through the model.

    Args:
        trace: the prompt's trace.
        layer: the layer whose weights are listed by themselves.
        progress: called with what is counted, and the fraction done.

    Returns:
        A row per number of tokens, with the columns of GROWTH up to what the capture stores; and why the cache was not
        counted (its column is NaN then; empty: it was).

    Raises:
        InspectorError: the trace has no model.
    """
    model = model_of(trace, "counting real tensors")
    rows, why = [], ""
    for at, n in enumerate(lengths(trace)):
        progress(f"Counting the bytes of {n} tokens", at / len(lengths(trace)))
        ids = [trace.tokens.ids[i % trace.n] for i in range(n)]
        run = trace if n == trace.n and trace.exact else model.trace(ids)
        try:
            cached: float = cache_bytes(model.passes.cache(ids))
        except InspectorError as error:
            cached, why = float("nan"), str(error)
        stored = [part for one in run.stored for part in (one.query, one.key, one.value)]
        counts = (
            run.weights(layer, 0).nbytes,
            run.weights(layer).nbytes,
            sum(run.weights(one.index).nbytes for one in run.layers),
            cached,
            sum(part.nbytes for part in stored),
        )
        rows.append({"tokens": n, **dict(zip(GROWTH, counts, strict=False))})
    return pd.DataFrame(rows), why


def lengths(trace: Trace) -> list[int]:
    """Return for how many tokens real tensors are counted.

    Args:
        trace: the prompt's trace.

    Returns:
        Numbers of tokens, in order.
    """
    model = model_or_none(trace)
    limit = None if model is None else model.positions
    wanted = {n for n in LENGTHS if limit is None or n <= limit}
    return sorted(wanted | ({trace.n} if trace.n <= MEASURED_UP_TO else set()))
