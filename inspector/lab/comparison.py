"""Compare what heads look at in two traces: of two prompts, two models of one build, or two precisions.

Tokens are aligned by their longest common subsequence. A head's distance is the Jensen-Shannon divergence of its two
patterns in bits, over the keys that both have and one further bin for the rest, mean over the queries that both have.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from difflib import SequenceMatcher
from typing import Any, ClassVar

import pandas as pd
import torch
from torch import Tensor

from inspector.errors import InspectorError
from inspector.model.model import Model, model_or_none
from inspector.reports import Report
from inspector.trace.trace import STRIP_BYTES, Trace


@dataclass(frozen=True)
class HeadDistance:
    """How far one head's patterns are apart: the mean over aligned queries, and the query where they are farthest.

    vectors: mean cosine of the two value vectors of each aligned token; None where it was not asked for.
    """

    layer: int
    head: int
    js_bits: float
    largest_js_bits: float
    query: int  # in the first trace
    vectors: float | None = None


@dataclass(frozen=True, repr=False)
class ComparisonReport(Report):
    """What `lab.compare` found.

    `verdict` is one of:
        "same"        no aligned query looks anywhere else in any head, to the last bit
        "different"   some do; `ok` is True for both: a difference is no fault
        "not proven"  the control, the layer that changed most beside itself, is not 0 everywhere: `ok` is False
    """

    kind: ClassVar[str] = "comparison"

    names: tuple[str, str]
    lengths: tuple[int, int]
    aligned: tuple[tuple[int, int], ...]  # positions in either trace of the tokens that both have
    by: str  # what tokens were aligned by
    heads: tuple[HeadDistance, ...]
    control: float  # the largest divergence of the first trace beside itself, in the layer that changed most: 0

    @property
    def verdict(self) -> str:
        """What came of it, in a word: see the class."""
        if not self.ok:
            return "not proven"
        return "different" if any(head.js_bits for head in self.heads) else "same"

    @property
    def ok(self) -> bool:
        """Whether the control is 0: a trace beside itself, in the same way, looks nowhere else."""
        return self.control == 0.0

    @property
    def table(self) -> pd.DataFrame:
        """One row a head, those that changed most first."""
        frame = pd.DataFrame([asdict(head) for head in self.heads]).dropna(axis=1, how="all")
        return frame.sort_values("js_bits", ascending=False, kind="stable", ignore_index=True)

    def summary(self) -> str:
        """Return what came of it as one sentence."""
        count = f"{len(self.aligned)} of {self.lengths[0]} and {self.lengths[1]} tokens aligned by {self.by}"
        if self.verdict == "same":
            return f"No head looks anywhere else: {count}, divergence 0 in all {len(self.heads)} heads."
        first = max(self.heads, key=lambda head: head.js_bits)
        if not self.ok:
            return (
                f"A trace beside itself is {self.control:.3g} bits apart in layer {first.layer}: this proves nothing."
            )
        mean = sum(head.js_bits for head in self.heads) / len(self.heads)
        return (
            f"Layer {first.layer}, head {first.head} changed most, by {first.js_bits:.3f} bits of Jensen-Shannon "
            f"divergence (mean of all heads {mean:.3f}; at most 1); {count}."
        )

    def _record(self) -> dict[str, Any]:
        return {
            "names": list(self.names),
            "lengths": list(self.lengths),
            "aligned": [list(pair) for pair in self.aligned],
            "by": self.by,
            "control": self.control,
            "heads": self.table.to_dict("records"),
        }

    def _about(self) -> str:
        return f"{self.names[0]} and {self.names[1]}"


def compare(a: Trace, b: Trace, *, vectors: bool = False) -> ComparisonReport:
    """Compare what each head looks at in two traces.

    Args:
        a: a trace.
        b: another: of another prompt, of another model with as many layers and heads, or in another precision.
        vectors: compare value vectors too, which have a meaning in one model and its copies alone.

    Returns:
        The report: a row for each head, those that changed most first.

    Raises:
        InspectorError: the traces have other layers or heads, no token in common, or vectors are asked for and cannot
            be compared.
    """
    shapes = [[(info.heads, info.kv_heads) for info in trace.layers] for trace in (a, b)]
    if shapes[0] != shapes[1]:
        raise InspectorError(
            f"{a.model_name} has {_heads(a)} and {b.model_name} {_heads(b)}: heads are compared one to one, so take "
            "two traces of one model, or of models of one build."
        )
    same = _same_tokenizer(a, b)
    if vectors and (not same or [i.d_value for i in a.layers] != [i.d_value for i in b.layers]):
        raise InspectorError(
            "Vectors of models with other tokenizers or widths mean different things in each dimension: leave vectors "
            "out, patterns can be compared."
        )
    aligned = _aligned(a.tokens.ids, b.tokens.ids) if same else _aligned(a.tokens.texts, b.tokens.texts)
    if not aligned:
        raise InspectorError("The two prompts have no token in common, so there is nothing to compare: take others.")
    rows = [_layer(a, b, info.index, aligned, vectors=vectors) for info in a.layers]
    heads = [head for layer in rows for head in layer]
    changed = max(heads, key=lambda head: head.js_bits).layer
    itself = _layer(a, a, changed, [(query, query) for query, _ in aligned], vectors=False)
    return ComparisonReport(
        names=(a.model_name, b.model_name),
        lengths=(a.n, b.n),
        aligned=tuple(aligned),
        by="token id" if same else "text, as their tokenizers differ",
        heads=tuple(heads),
        control=max(head.largest_js_bits for head in itself),
    )


def _layer(a: Trace, b: Trace, layer: int, aligned: list[tuple[int, int]], *, vectors: bool) -> list[HeadDistance]:
    heads = a.layers[layer].heads
    keys = torch.tensor(aligned).T
    total, largest = torch.zeros(heads, dtype=torch.float64), torch.full((heads,), -1.0, dtype=torch.float64)
    where = torch.zeros(heads, dtype=torch.long)
    height = max(1, STRIP_BYTES // (8 * heads * max(a.n, b.n)))
    for start in range(0, len(aligned), height):
        part = aligned[start : start + height]
        bins = [
            _bins(trace.weights(layer, queries=[pair[side] for pair in part]), keys[side])
            for side, trace in enumerate((a, b))
        ]
        distance = divergence(*bins)  # [h, rows]
        total += distance.sum(1)
        highest = distance.max(1)
        farther = highest.values > largest
        where = torch.where(farther, torch.tensor([pair[0] for pair in part])[highest.indices], where)
        largest = torch.maximum(largest, highest.values)
    cosines = [None] * heads if not vectors else _cosines(a, b, layer, keys)
    return [
        HeadDistance(
            layer, head, float(total[head]) / len(aligned), float(largest[head]), int(where[head]), cosines[head]
        )
        for head in range(heads)
    ]


def _bins(weights: Tensor, keys: Tensor) -> Tensor:
    """Return weights [h, t, s] of the aligned keys, and in one further bin what is left of 1: other keys, a sink."""
    kept = weights.detach()[..., keys].cpu().double()
    return torch.cat((kept, (1 - kept.sum(-1, keepdim=True)).clamp_min(0)), dim=-1)


def divergence(p: Tensor, q: Tensor) -> Tensor:
    """Return the Jensen-Shannon divergence of distributions in bits: 0 where they are equal, 1 where nothing is shared.

    Args:
        p: [..., s].
        q: [..., s].

    Returns:
        [...].
    """
    middle = (p + q) / 2
    parts = [torch.where(one > 0, one * (one / middle).log2(), 0.0).sum(-1) for one in (p, q)]
    return ((parts[0] + parts[1]) / 2).clamp(0, 1)


def _cosines(a: Trace, b: Trace, layer: int, keys: Tensor) -> list[float | None]:
    info = a.layers[layer]
    found = [trace.value(layer)[:, keys[side]].cpu().double() for side, trace in enumerate((a, b))]
    cosines = torch.nn.functional.cosine_similarity(found[0], found[1], dim=-1).mean(-1)
    return [float(cosines[info.kv_head(head)]) for head in range(info.heads)]


def _aligned(a: tuple[Any, ...], b: tuple[Any, ...]) -> list[tuple[int, int]]:
    blocks = SequenceMatcher(None, a, b, autojunk=False).get_matching_blocks()
    return [(block.a + i, block.b + i) for block in blocks for i in range(block.size)]


def _same_tokenizer(a: Trace, b: Trace) -> bool:
    """Whether equal ids are equal tokens in both; of traces without their models, by name."""
    models = model_or_none(a), model_or_none(b)
    if models[0] is None or models[1] is None:
        return a.model_name == b.model_name
    return models[0] is models[1] or _vocabulary(models[0]) == _vocabulary(models[1])


def _vocabulary(model: Model) -> dict[str, int]:
    found: dict[str, int] = model.tokenizer.get_vocab()
    return found


def _heads(trace: Trace) -> str:
    return f"{len(trace.layers)} layers of {trace.layers[0].heads} heads"
