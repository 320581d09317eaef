"""Measure what `inspector.judge` costs in plain forward passes of the same tokens, beyond the judged code's own time.

python -m benchmarks.judging

Right attention hands over all stages and has a cache, so that it is also run token by token and in chunks. Wrong
attention hands over its output alone, with each mistake of the gallery and with one that no cause explains: the dearest
of all.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

PROMPT = "Houston, we have a problem"
MOST = {"right": 15.0, "wrong": 60.0}  # plain passes


class Right:
    """Right attention of our own layers with a key/value cache, which counts its own seconds."""

    def __init__(self, layers: Any) -> None:
        self.layers, self.seconds = layers, 0.0
        self.past: dict[int, tuple[Tensor, Tensor]] = {}

    def reset(self) -> None:
        """Forget all earlier tokens."""
        self.past = {}

    def __call__(self, x: Tensor, layer: int) -> dict[str, Tensor]:
        """Return every stage of new tokens x [t, m]."""
        started = time.perf_counter()
        at, start = self.layers[layer], self.past[layer][0].shape[1] if layer in self.past else 0
        query_pre, key_pre, new_value, gate = at.project(x)
        query, new_key = at.rotate(query_pre, key_pre, torch.arange(start, start + len(x)))
        key, value = new_key, new_value
        if layer in self.past:
            key, value = (torch.cat(pair, 1) for pair in zip(self.past[layer], (key, value), strict=True))
        self.past[layer] = key, value
        places = torch.arange(key.shape[1])
        weights = at.weigh(at.score(query, key), at.mask(places[start:], places))
        context = at.weighted_sum(weights, value)
        found = {"query_pre": query_pre, "key_pre": key_pre, "query": query, "key": new_key, "value": new_value}
        found |= {"weights": weights, "context": context, "output": at.output_projection(context, gate)}
        self.seconds += time.perf_counter() - started
        return found


class OutputAlone:
    """Somebody's attention of which the output alone is handed over, which counts its own seconds."""

    def __init__(self, function: Callable[[Tensor, int], Mapping[str, Tensor]]) -> None:
        self.function, self.seconds = function, 0.0

    def __call__(self, x: Tensor, layer: int) -> Tensor:
        """Return the output of x [n, m]."""
        started = time.perf_counter()
        found = self.function(x, layer)["output"]
        self.seconds += time.perf_counter() - started
        return found


def measure(rounds: int = 3) -> dict[str, dict[str, Any]]:
    """Judge right and wrong attention.

    Args:
        rounds: how often each is judged; the quickest counts.

    Returns:
        What was judged -> "passes", how many plain passes it took, and "verdict" and "causes".
    """
    import inspector
    from inspector.judging import gallery

    model = inspector.load()
    ours = model.reimplementation
    trace = model.trace(PROMPT, keep=("input",))
    plain = _plain(model, list(trace.tokens.ids))
    made: dict[str, Callable[[], Any]] = {"right": lambda: Right(ours)}
    for exhibit in gallery.possible(ours):
        made[exhibit.name] = lambda exhibit=exhibit: OutputAlone(gallery.with_mistake(trace, ours, exhibit))  # type: ignore[misc]
    made["unknown"] = lambda: OutputAlone(lambda x, layer: {"output": ours[layer].stages(x).output.sin()})
    found: dict[str, dict[str, Any]] = {}
    for name, make in made.items():
        seconds = []
        for _ in range(rounds):
            mine = make()
            started = time.perf_counter()
            report = inspector.judge(model, mine, PROMPT)
            seconds.append(time.perf_counter() - started - mine.seconds)
        found[name] = {"passes": min(seconds) / plain, "verdict": report.verdict, "causes": list(report.causes)}
    return found


def _plain(model: Any, ids: list[int]) -> float:
    """Return the seconds of a plain pass."""
    taken = []
    with torch.inference_mode():
        for _ in range(15):
            started = time.perf_counter()
            model.model(torch.tensor([ids]))
            taken.append(time.perf_counter() - started)
    return statistics.median(taken)


if __name__ == "__main__":
    for name, row in measure().items():
        most = MOST["right" if name == "right" else "wrong"]
        within = "within" if row["passes"] <= most else "OVER"
        print(f"{name}: {row['passes']:.1f} plain passes, {within} {most:.0f}; {row['verdict']}; {row['causes'][:1]}")
