"""What each head does with a prompt, as plain numbers: a trace goes in; a row per head comes out, to sort and search.

Every measure is a mean over query tokens that have a choice (the first token, which can only look at itself, is left
out). One layer in memory at a time, in strips of query rows where a prompt is long.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd
import torch
from torch import Tensor

if TYPE_CHECKING:
    from inspector.trace import Trace

STRIP_BYTES = 64 * 2**20  # of float32 weights computed at once
FARTHEST = 8  # "look back k" is measured for k up to this


@dataclass(frozen=True)
class Measure:
    """name: the column. title: what to choose it by. meaning: one sentence. largest: the most telling end."""

    name: str
    title: str
    meaning: str
    largest: bool = True


MEASURES = (
    Measure("first", "Look at the first token", "mean weight on the first token (the attention sink of many heads)"),
    Measure("itself", "Look at themselves", "mean weight of each token on itself"),
    *(
        Measure(
            f"back {k}",
            "Look back 1: at the previous token" if k == 1 else f"Look back {k}",
            f"mean weight on the token {k} before",
        )
        for k in range(1, FARTHEST + 1)
    ),
    Measure(
        "repeated",
        "Continue a repetition (induction)",
        "mean weight on the tokens that came after earlier occurrences of the same token, over tokens that occurred "
        "before (0 in a prompt without repetitions)",
    ),
    Measure("same", "Look at the same token", "mean weight on earlier occurrences of the same token, where there are"),
    Measure("entropy", "Look widely", "mean entropy of a row of weights, in bits: 3 bits are 8 tokens alike"),
    Measure(
        "narrow", "Look at few tokens", "mean entropy of a row of weights, in bits, the smallest first", largest=False
    ),
    Measure("distance", "Look far back", "mean distance in tokens between a query token and what it looks at"),
)  # fmt: skip
BY_NAME = {measure.name: measure for measure in MEASURES}


def find(text: str) -> Measure | None:
    """The measure that somebody means: a title, a name, or words such as "heads that look back 1"; None: no idea."""
    said = text.strip().lower()
    for measure in MEASURES:
        if said in (measure.name, measure.title.lower()):
            return measure
    if numbers := re.findall(r"\d+", said):
        return BY_NAME.get(f"back {int(numbers[0])}")
    words = {
        "previous": "back 1", "induction": "repeated", "repeat": "repeated", "sink": "first", "first": "first",
        "itself": "itself", "themsel": "itself", "self": "itself", "diagonal": "itself", "same": "same",
        "wide": "entropy", "entropy": "entropy", "few": "narrow", "narrow": "narrow", "sharp": "narrow",
        "far": "distance", "distance": "distance",
    }  # fmt: skip
    return next((BY_NAME[name] for word, name in words.items() if word in said), None)


def measures(trace: Trace, *, on_layer: Callable[[int, int], None] | None = None) -> pd.DataFrame:
    """One row per head: layer, head, and a column for each of MEASURES."""
    same, after = _repetitions(torch.tensor(trace.tokens.ids))
    rows: list[dict[str, float]] = []
    for layer, info in enumerate(trace.layers):
        sums: dict[str, Tensor] = {}
        for strip, weights in _strips(trace, layer):
            for name, part in _sums(weights, strip, same, after).items():
                sums[name] = sums.get(name, torch.zeros(info.heads, dtype=torch.float64)) + part
        counts = _counts(trace.n, same, after)
        for head in range(info.heads):
            found = {name: float(sums[name][head]) / max(counts[name], 1) for name in sums}
            rows.append({"layer": layer, "head": head, **found, "narrow": found["entropy"]})
        if on_layer is not None:
            on_layer(layer + 1, len(trace.layers))
    return pd.DataFrame(rows)


def ordered(frame: pd.DataFrame, measure: Measure) -> pd.DataFrame:
    """The heads by this measure, the most telling first."""
    return frame.sort_values(
        [measure.name, "layer", "head"], ascending=[not measure.largest, True, True], kind="stable"
    )


def _sums(weights: Tensor, strip: slice, same: Tensor, after: Tensor) -> dict[str, Tensor]:
    """Each measure's sum over the strip's query rows but row 0: weights [h, t, s] -> [h] in float64."""
    t = torch.arange(strip.start, strip.stop)
    rows = t > 0
    w, t = weights[:, rows].double().cpu(), t[rows]
    s = torch.arange(w.shape[-1])
    distance = (t[:, None] - s[None, :]).clamp(min=0).double()
    found = {
        "first": w[..., 0].sum(-1),
        "itself": w.gather(-1, t.view(1, -1, 1).expand(w.shape[0], -1, 1)).sum((-1, -2)),
        "entropy": torch.special.entr(w).sum((-1, -2)) / torch.log(torch.tensor(2.0)).double(),
        "distance": (w * distance).sum((-1, -2)),
        "same": (w * same[t]).sum((-1, -2)),
        "repeated": (w * after[t]).sum((-1, -2)),
    }
    for k in range(1, FARTHEST + 1):
        far = t >= k
        at = (t[far] - k).view(1, -1, 1).expand(w.shape[0], -1, 1)
        found[f"back {k}"] = w[:, far].gather(-1, at).sum((-1, -2))
    return found


def _counts(n: int, same: Tensor, after: Tensor) -> dict[str, int]:
    """How many query rows each measure is the mean of."""
    counts = dict.fromkeys(("first", "itself", "entropy", "distance"), n - 1)
    counts |= {f"back {k}": n - k for k in range(1, FARTHEST + 1)}
    return counts | {"same": int(same.any(-1).sum()), "repeated": int(after.any(-1).sum())}


def _repetitions(ids: Tensor) -> tuple[Tensor, Tensor]:
    """Two tables [t, s] of 0 and 1: s is an earlier occurrence of t's token; s comes right after one (and before t)."""
    same = (ids[:, None] == ids[None, :]).tril(-1)
    after = torch.zeros_like(same)
    after[:, 1:] = same[:, :-1]
    return same, after.tril()


def _strips(trace: Trace, layer: int) -> Iterator[tuple[slice, Tensor]]:
    """All heads' weights [h, t, s], as many query rows at once as STRIP_BYTES allow."""
    height = max(1, STRIP_BYTES // (4 * trace.n * trace.layers[layer].heads))
    for start in range(0, trace.n, height):
        strip = slice(start, min(start + height, trace.n))
        yield strip, trace.weights(layer, None, queries=strip).detach()
