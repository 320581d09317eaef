"""Compute by formula what attention costs in bytes, for any prompt length n.

Attention scores and weights, the key/value cache, the parameters, what the capture stores. The letters in formulas are
those of attention_sizes.py; counted_costs.py counts real tensors. A kilobyte is 1000 bytes here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import pandas as pd

from inspector.learn.attention_sizes import LayerSizes, Parameters, Sizes

if TYPE_CHECKING:
    pass

DRAWN_UP_TO = 131_072  # tokens, where a model sets no limit

# What is counted -> how it grows. The names of columns, lines and table rows.
GROWTH = {
    "weights of one head": "n²",
    "weights of one layer": "n²",
    "weights of all layers": "n²",
    "key/value cache": "n",
    "stored by the capture": "n",
    "attention's parameters": "not at all",
    "all parameters": "not at all",
}


def by_formula(found: Sizes, counted: Parameters | None, layer: int, ns: Iterable[int]) -> pd.DataFrame:
    """Compute the same columns by formula.

    All parameters together follow no formula here: they are counted, as are those inside the attention modules, which
    may be more than four matrices (missing without a model).

    Args:
        found: the model's sizes.
        counted: its parameters; None without a model.
        layer: the layer whose weights are listed by themselves.
        ns: numbers of tokens.

    Returns:
        A row per number of tokens: tokens, and the columns of GROWTH in bytes.
    """
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
    """Return the numbers of tokens to draw: 1, 2, 4, ... and the model's limit.

    These are enough points, for in a log-log picture growth is a straight line.

    Args:
        limit: how many positions the model has (None: no limit).

    Returns:
        Numbers of tokens, in order.
    """
    most = limit or DRAWN_UP_TO
    return sorted({*(2**power for power in range(most.bit_length()) if 2**power <= most), most})


def long(frame: pd.DataFrame, how: str) -> pd.DataFrame:
    """Reshape a table of costs for a chart: a row for each number.

    Args:
        frame: tokens, and the columns of GROWTH.
        how: how the numbers were found, for the column of that name.

    Returns:
        Columns tokens, what, bytes, size (in words), how.
    """
    melted = frame.melt("tokens", var_name="what", value_name="bytes").dropna()
    melted["bytes"] = melted["bytes"].astype("float64")
    melted["size"] = [human(int(number)) for number in melted["bytes"]]
    melted["how"] = how
    return melted.reset_index(drop=True)


def compared(formula: pd.DataFrame, counts: pd.DataFrame) -> pd.DataFrame:
    """Compare formulas with real tensors.

    Args:
        formula: the table of `by_formula`.
        counts: the table of `counted_costs.measured`.

    Returns:
        A row for each thing and length that was counted: what, tokens, formula, counted, difference.
    """
    rows = []
    for what in counts.columns[1:]:
        for n, counted in zip(counts["tokens"], counts[what], strict=True):
            if pd.notna(counted):
                expected = int(formula.loc[formula["tokens"] == n, what].iloc[0])
                rows.append((what, int(n), expected, int(counted), int(counted) - expected))
    return pd.DataFrame(rows, columns=["what", "tokens", "formula", "counted", "difference"])


def formulas(found: Sizes) -> dict[str, str]:
    """Write each formula with this model's own sizes, as LaTeX.

    Args:
        found: the model's sizes. Layers of one kind make one term.

    Returns:
        What is counted -> its formula.
    """
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
        "stored by the capture": r"L \cdot (H + 2G) \cdot d \cdot b \cdot n = "
        + total(lambda o: (o.heads * o.d_head + o.kv_heads * (o.d_head + o.d_value), b), lambda _: "n"),
    }
    if found.d_model is not None:
        m = f"{found.d_model:,}".replace(",", "{,}")
        said["attention's parameters"] = r"L \cdot (2H + 2G) \cdot d \cdot b \cdot m = " + total(
            lambda o: (o.heads + o.kv_heads, o.d_head + o.d_value, b), lambda _: m
        )
    return said


def growth(found: Sizes, counted: Parameters | None, layer: int, n: int) -> pd.DataFrame:
    """Say what each thing takes at n tokens, and what twice as many tokens multiply it by.

    Args:
        found: the model's sizes.
        counted: its parameters; None without a model.
        layer: the layer whose weights are listed by themselves.
        n: tokens.

    Returns:
        Columns what, grows with, bytes, size, twice the tokens.
    """
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


def nobody_builds(n: int, d: int, *, element: int = 4) -> int:
    """Return the bytes of the full tensor [n, n, d, d]: a d × d matrix for every pair of tokens. No model has one.

    Args:
        n: tokens.
        d: width.
        element: bytes of one number.

    Returns:
        Bytes.
    """
    return n * n * d * d * element


def human(count: int) -> str:
    """Write bytes for people: 768 B, 1.02 kB, 4.5 PB; three significant digits, a kilobyte being 1000 bytes.

    Args:
        count: bytes.

    Returns:
        The text.
    """
    size = float(count)
    for unit in ("B", "kB", "MB", "GB", "TB", "PB", "EB"):
        if size < 999.5 or unit == "EB":
            break
        size /= 1000
    digits = f"{size:,.0f}" if unit == "B" or size >= 99.95 else f"{size:.3g}"
    return f"{digits} {unit}"
