"""Measure what experiments and sums that explain a next token cost, beside a plain forward pass of the same tokens.

What is timed is what people call: a logit by head and by source token, one score by what wrote the key, an experiment
with its control, and every head and every token taken away in turn. Sums must hold, controls must change nothing, and
rows of a sweep must be those that single runs give; else nothing is timed.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks.ways import ids_of, make

AT_MOST = {  # plain passes
    "a logit, by head": 3,
    "a logit, by source token": 3,
    "one score": 2,
    "an experiment with its control": 4,
    "every token cut off": 35,
    "every head at zero": 70,
}
GOAL_AT = {"every token cut off": 64, "every head at zero": 14}  # tokens of the prompt that the goal was set for


def measure(tokens: list[int], rounds: int = 3) -> dict[str, Any]:
    """Time the sums and the plain pass in turn.

    Args:
        tokens: prompt lengths.
        rounds: how often each is timed.

    Returns:
        By length: seconds of each and of the plain pass.
    """
    import inspector
    from inspector import lab

    model = inspector.load()
    plain = make("plain", model)
    found: dict[str, Any] = {}
    for n in tokens:
        ids = ids_of(model, n)
        trace = model.trace(ids)
        calls: dict[str, Callable[[], Any]] = {
            "plain": partial(plain, ids),
            "a logit, by head": partial(lab.attribution, trace),
            "a logit, by source token": partial(lab.attribution, trace, by="source"),
            "one score": partial(lab.score_parts, trace, len(trace.layers) // 2, 0),
            "an experiment with its control": partial(lab.experiment, model, ids, lab.zero(len(trace.layers) // 2, 0)),
            "every token cut off": partial(lab.sweep, model, ids, kind="cut", over="tokens"),
            "every head at zero": partial(lab.sweep, model, ids, kind="zero", over="heads"),
        }
        taken: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(rounds):
            for name, call in calls.items():
                start = time.perf_counter()
                result = call()
                taken[name].append(time.perf_counter() - start)
                assert_holds(result)
        found[str(n)] = {name: statistics.median(seconds) for name, seconds in taken.items()}
    return found


def assert_holds(result: Any) -> None:
    """Assert that a sum adds up, that a control changes nothing, and that a sweep's rows are those of single runs.

    Args:
        result: a frame of shares, an experiment's or a sweep's report, or a plain pass's logits.
    """
    attrs = getattr(result, "attrs", {})
    assert abs(attrs.get("remainder", 0)) <= attrs.get("limit", 0), "the shares do not add up"
    assert getattr(result, "ok", True), "the experiment proves nothing"
    if (way := getattr(result, "way", None)) is not None:
        assert way.startswith("as rows of a batch"), way
