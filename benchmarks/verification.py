"""Measure what `inspector.verify` costs, beside a plain forward pass of the same tokens.

Nothing else does this, so there is no other way to compare with. What is timed is the whole of it: every layer's stages
against the library's own module and against float64, the reimplementation inside the library's model (with 40 tokens
generated), and every planted mistake. Before it is timed, the report must hold and every mistake must be caught.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

from benchmarks.ways import ids_of, make


def measure(tokens: list[int], rounds: int = 1) -> dict[str, Any]:
    """Time verification and the plain pass.

    Args:
        tokens: prompt lengths.
        rounds: how often each is timed.

    Returns:
        By length: seconds of the verification and of the plain pass, stages compared, mistakes caught.
    """
    import inspector

    model = inspector.load()
    plain = make("plain", model)
    found: dict[str, Any] = {}
    for n in tokens:
        ids = ids_of(model, n)
        plain(ids)
        taken: dict[str, list[float]] = {"verify": [], "plain": []}
        for _ in range(rounds):
            start = time.perf_counter()
            report = inspector.verify(model, ids)
            taken["verify"].append(time.perf_counter() - start)
            assert_holds(report)
            start = time.perf_counter()
            plain(ids)
            taken["plain"].append(time.perf_counter() - start)
        found[str(n)] = {name: statistics.median(seconds) for name, seconds in taken.items()}
        applied = [result for result in report.control_results if result.applies]
        found[str(n)] |= {"checks": len(report.checks), "caught": len(applied)}
    return found


def assert_holds(report: Any) -> None:
    """Assert that a report found no difference and caught every mistake.

    Args:
        report: the verification's.
    """
    first = report.first_difference
    assert first is None, f"layer {first.layer}, {first.stage} differs by {first.max_abs:.2g}"
    missed = [result.mistake for result in report.control_results if result.applies and not result.caught]
    assert not missed, f"not caught: {', '.join(missed)}"
    assert report.ok, "the verification does not hold"
