"""A trace goes in; what attention costs in bytes comes out: by formula for any prompt length n, and counted from real
tensors. Attention scores and weights, the key/value cache, the parameters, what the capture keeps.

Sizes in formulas: n tokens, L layers, H query heads, G key/value heads, d = d_head, m = d_model, b bytes a number.
A kilobyte is 1000 bytes here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pandas as pd
from torch import Tensor
from transformers.cache_utils import DummyLayer, DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from inspector.errors import InspectorError
from inspector.model.model import model_of, model_or_none

if TYPE_CHECKING:
    from inspector.model.model import Model
    from inspector.text import Progress
    from inspector.trace.trace import Trace

LENGTHS = (1, 4, 16, 64)  # tokens for which real tensors are counted, beside the prompt's own number of them
MEASURED_UP_TO = 256  # tokens: the weights of all layers are made here, one layer after the other
DRAWN_UP_TO = 131_072  # tokens, where a model sets no limit

# What is counted -> how it grows. The names of columns, lines and table rows.
GROWTH = {
    "weights of one head": "n²",
    "weights of one layer": "n²",
    "weights of all layers": "n²",
    "key/value cache": "n",
    "kept by the capture": "n",
    "attention's parameters": "not at all",
    "all parameters": "not at all",
}


@dataclass(frozen=True)
class LayerSizes:
    """One layer. `back`: the library's cache keeps this many last positions at most (None: all), which with the new
    token are the window."""

    heads: int
    kv_heads: int
    d_head: int
    d_value: int
    back: int | None = None

    def cached(self, n: int) -> int:
        """How many positions the cache holds after n tokens."""
        return n if self.back is None else min(n, self.back)


@dataclass(frozen=True)
class Sizes:
    """What the formulas need. element: bytes a number takes; limit: the positions the model has (None: no limit).
    d_model is None where a trace from a file does not say it."""

    layers: tuple[LayerSizes, ...]
    d_model: int | None
    element: int
    dtype: str
    limit: int | None

    def weights_of_head(self, n: int) -> int:
        """n² · b. The scores take as much; half of both lies behind the mask and takes its place all the same."""
        return n * n * self.element

    def weights_of_layer(self, n: int, layer: int) -> int:
        """H · n² · b."""
        return self.layers[layer].heads * self.weights_of_head(n)

    def weights(self, n: int) -> int:
        """L · H · n² · b, were all layers' kept at the same time."""
        return sum(self.weights_of_layer(n, layer) for layer in range(len(self.layers)))

    def cache(self, n: int) -> int:
        """L · 2 · n · G · d · b; in a layer with a window only its last positions."""
        return sum(one.cached(n) * one.kv_heads * (one.d_head + one.d_value) for one in self.layers) * self.element

    def stored(self, n: int) -> int:
        """L · n · (H + 2 G) · d · b: queries, keys and values of every token, windows or not."""
        each = (one.heads * one.d_head + one.kv_heads * (one.d_head + one.d_value) for one in self.layers)
        return n * sum(each) * self.element

    def matrices(self) -> int | None:
        """L · (2 H + 2 G) · d · m · b: W_q, W_k, W_v and W_o, for any n. None where m is not known."""
        if self.d_model is None:
            return None
        each = ((one.heads + one.kv_heads) * (one.d_head + one.d_value) for one in self.layers)
        return sum(each) * self.d_model * self.element

    def without_sharing(self) -> Sizes:
        """The same model if every query head had keys and values of its own."""
        return replace(self, layers=tuple(replace(one, kv_heads=one.heads) for one in self.layers))


@dataclass(frozen=True)
class Parameters:
    """Bytes of the library's parameters, tied ones once: all of the model, and those inside its attention modules.

    matrices: of W_q, W_k, W_v and W_o as the reimplementation reads them from the checkpoint; None where the family is
    not reimplemented, or has no four such matrices. why: the reason then.
    """

    whole: int
    attention: int
    matrices: int | None
    why: str = ""


def sizes(trace: Trace) -> Sizes:
    """The sizes of this trace's model. A trace from a file has no model at hand: its limit is unknown then."""
    value = trace.value(0)  # in the model's own dtype, however the trace keeps it
    backs = _backs(trace)
    layers = tuple(
        LayerSizes(info.heads, info.kv_heads, info.d_head, info.d_value, back)
        for info, back in zip(trace.layers, backs, strict=True)
    )
    model = model_or_none(trace)
    try:
        d_model = trace.input(0).shape[-1]
    except InspectorError:
        d_model = None
    return Sizes(
        layers=layers,
        d_model=d_model,
        element=value.element_size(),
        dtype=str(value.dtype).removeprefix("torch."),
        limit=None if model is None else model.positions,
    )


def parameters(model: Model) -> Parameters:
    """Bytes of the loaded model's parameters, counted."""
    names = {info.name for info in model.layers}
    attention = [parameter for name in sorted(names) for parameter in model.model.get_submodule(name).parameters()]
    matrices, why = None, ""
    try:
        ours = model.reimplementation
        heads = [model.head_parameters(layer, head) for layer, one in enumerate(ours) for head in range(one.spec.heads)]
        matrices = _nbytes(part for one in heads for part in (one.W_q, one.W_k, one.W_v, one.W_o))
    except InspectorError as error:
        why = str(error)
    return Parameters(_nbytes(model.model.parameters()), _nbytes(attention), matrices, why)


def cache_bytes(cache: Any) -> int:
    """Bytes of the tensors in a library's cache, one after the other.

    Raises InspectorError for a cache of layers that hold anything but keys and values (states of a recurrence).
    """
    return _nbytes(
        part for layer in _cache_layers(cache) for part in (layer.keys, layer.values) if isinstance(part, Tensor)
    )


def _cache_layers(cache: Any) -> list[Any]:
    """The cache's layers, all of a kind that can be counted."""
    if not isinstance(cache, DynamicCache):
        kind = "no cache" if cache is None else f"a {type(cache).__name__}"
        raise InspectorError(f"This model hands back {kind}, which is not made of keys and values alone.")
    known = (DynamicLayer, DynamicSlidingWindowLayer, DummyLayer)  # the last one holds nothing
    other = next((layer for layer in cache.layers if type(layer) not in known), None)
    if other is not None:
        raise InspectorError(
            f"This model's cache has a {type(other).__name__}, which is not made of keys and values alone."
        )
    return list(cache.layers)


def _backs(trace: Trace) -> list[int | None]:
    """How many last positions each layer's cache keeps: what the library's own cache says of itself (it may keep all
    where the mask has a window, or nothing where a layer uses another's keys). From the masks where it cannot be asked.
    A window of w is the new token and w - 1 before it; stretches (chunks) are cached the same way."""
    model = model_or_none(trace)
    if model is not None:
        try:
            layers = _cache_layers(model.passes.cache(trace.tokens.ids[:1]))
        except InspectorError:
            layers = []
        if len(layers) == len(trace.layers):
            windows = [0 if type(one) is DummyLayer else getattr(one, "sliding_window", None) for one in layers]
            return [None if window is None else max(window - 1, 0) for window in windows]
    limits = [info.window or info.chunk for info in trace.layers]
    return [None if limit is None else limit - 1 for limit in limits]


def measured(trace: Trace, layer: int, progress: Progress | None = None) -> tuple[pd.DataFrame, str]:
    """Real tensors' bytes: a row for each number of tokens, the columns of GROWTH up to what the capture keeps.

    The prompt's tokens, repeated where they do not suffice, run through the model; `layer` is the one whose weights
    stand by themselves. Also why the cache was not counted (its column is NaN then); empty: it was.
    """
    model = model_of(trace, "counting real tensors")
    rows, why = [], ""
    for at, n in enumerate(lengths(trace)):
        if progress is not None:
            progress(f"Counting the bytes of {n} tokens", at / len(lengths(trace)))
        ids = [trace.tokens.ids[i % trace.n] for i in range(n)]
        run = trace if n == trace.n and trace.exact else model.trace(ids)
        try:
            cached: float = cache_bytes(model.passes.cache(ids))
        except InspectorError as error:
            cached, why = float("nan"), str(error)
        kept = [part for one in run.stored for part in (one.query, one.key, one.value)]
        counts = (
            run.weights(layer, 0).nbytes,
            run.weights(layer).nbytes,
            sum(run.weights(one.index).nbytes for one in run.layers),
            cached,
            sum(part.nbytes for part in kept),
        )
        rows.append({"tokens": n, **dict(zip(GROWTH, counts, strict=False))})
    return pd.DataFrame(rows), why


def lengths(trace: Trace) -> list[int]:
    """For how many tokens real tensors are counted."""
    model = model_or_none(trace)
    limit = None if model is None else model.positions
    wanted = {n for n in LENGTHS if limit is None or n <= limit}
    return sorted(wanted | ({trace.n} if trace.n <= MEASURED_UP_TO else set()))


def by_formula(found: Sizes, counted: Parameters | None, layer: int, ns: Iterable[int]) -> pd.DataFrame:
    """The same columns by formula, a row for each n. All parameters together follow no formula here: they are counted,
    as are those inside the attention modules, which may be more than four matrices (missing without a model)."""
    rows = []
    for n in ns:
        costs = (
            found.weights_of_head(n),
            found.weights_of_layer(n, layer),
            found.weights(n),
            found.cache(n),
            found.stored(n),
            counted.attention if counted else found.matrices(),
            counted.whole if counted else None,
        )
        rows.append({"tokens": n, **dict(zip(GROWTH, costs, strict=True))})
    return pd.DataFrame(rows)


def steps(limit: int | None) -> list[int]:
    """1, 2, 4, ... and the model's limit: enough points, for in a log-log picture these are straight lines."""
    most = limit or DRAWN_UP_TO
    return sorted({*(2**power for power in range(most.bit_length()) if 2**power <= most), most})


def long(frame: pd.DataFrame, how: str) -> pd.DataFrame:
    """Columns tokens, what, bytes, size (in words), how: a row for each number, for a chart."""
    melted = frame.melt("tokens", var_name="what", value_name="bytes").dropna()
    melted["bytes"] = melted["bytes"].astype("float64")
    melted["size"] = [human(int(number)) for number in melted["bytes"]]
    melted["how"] = how
    return melted.reset_index(drop=True)


def compared(formula: pd.DataFrame, counts: pd.DataFrame) -> pd.DataFrame:
    """A row for each thing and length that was counted: columns what, tokens, formula, counted, difference."""
    rows = []
    for what in counts.columns[1:]:
        for n, counted in zip(counts["tokens"], counts[what], strict=True):
            if pd.notna(counted):
                expected = int(formula.loc[formula["tokens"] == n, what].iloc[0])
                rows.append((what, int(n), expected, int(counted), int(counted) - expected))
    return pd.DataFrame(rows, columns=["what", "tokens", "formula", "counted", "difference"])


def formulas(found: Sizes) -> dict[str, str]:
    """What is counted -> its formula with this model's own sizes, as LaTeX. Layers of one kind make one term."""
    b = found.element
    kinds = Counter(found.layers)

    def term(count: int, *factors: int) -> str:
        return r" \cdot ".join(f"{factor:,}".replace(",", "{,}") for factor in (count, *factors))

    def total(factors: Callable[[LayerSizes], tuple[int, ...]], length: Callable[[LayerSizes], str]) -> str:
        return " + ".join(term(many, *factors(one)) + r" \cdot " + length(one) for one, many in kinds.items())

    def positions(one: LayerSizes) -> str:
        return "n" if one.back is None else rf"\min(n, {one.back})"

    said = {
        "weights of all layers": r"L \cdot H \cdot b \cdot n^2 = " + total(lambda o: (o.heads, b), lambda _: "n^2"),
        "key/value cache": r"L \cdot G \cdot 2d \cdot b \cdot n = "
        + total(lambda o: (o.kv_heads, o.d_head + o.d_value, b), positions),
        "kept by the capture": r"L \cdot (H + 2G) \cdot d \cdot b \cdot n = "
        + total(lambda o: (o.heads * o.d_head + o.kv_heads * (o.d_head + o.d_value), b), lambda _: "n"),
    }
    if found.d_model is not None:
        m = f"{found.d_model:,}".replace(",", "{,}")
        said["attention's parameters"] = r"L \cdot (2H + 2G) \cdot d \cdot b \cdot m = " + total(
            lambda o: (o.heads + o.kv_heads, o.d_head + o.d_value, b), lambda _: m
        )
    return said


def growth(found: Sizes, counted: Parameters | None, layer: int, n: int) -> pd.DataFrame:
    """At n tokens: columns what, grows with, bytes, size, and what twice as many tokens multiply it by."""
    both = by_formula(found, counted, layer, (n, 2 * n))
    windows = any(one.back is not None for one in found.layers)
    rows = []
    for what, law in GROWTH.items():
        here, doubled = both[what]
        if windows and what == "key/value cache":
            law += ", in a layer with a window up to it"
        if pd.notna(here):
            rows.append((what, law, int(here), human(int(here)), doubled / here))
    return pd.DataFrame(rows, columns=["what", "grows with", "bytes", "size", "twice the tokens"])


def nobody_builds(n: int, d: int, element: int = 4) -> int:
    """Bytes of a tensor [n, n, d, d]: a d × d matrix for every pair of tokens. No model has one."""
    return n * n * d * d * element


def human(count: int) -> str:
    """768 B, 1.02 kB, 4.5 PB: three significant digits, a kilobyte being 1000 bytes."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB", "TB", "PB", "EB"):
        if size < 999.5 or unit == "EB":
            break
        size /= 1000
    digits = f"{size:,.0f}" if unit == "B" or size >= 99.95 else f"{size:.3g}"
    return f"{digits} {unit}"


def _nbytes(tensors: Iterable[Tensor] | Sequence[Tensor]) -> int:
    """Bytes of tensors, each place in memory once."""
    return sum({(one.data_ptr(), one.nbytes): one.nbytes for one in tensors}.values())
