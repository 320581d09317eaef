"""Mistakes with the norms of queries, keys and values: left out, late, by another weight or another number."""

from __future__ import annotations

import math
from collections.abc import Iterator

from inspector.judging.chain import Chain
from inspector.judging.change import PLURAL, Change, projecting
from reimpl.spec import AttentionSpec


def epsilon(value: float, model: float) -> Change:
    """Make the change to another epsilon in the norm of queries and keys."""
    what = f"eps {value:g} in the norm of queries and keys where the model has {model:g}"
    return projecting(what, ("query", "key"), "norm", values={"eps": value}, measured={"eps": value})


def norms(chain: Chain) -> Iterator[Change]:
    """Yield the mistakes with the norms of queries and keys."""
    spec = chain.layer.spec
    found = spec.query_norm, spec.key_norm
    norm = found[0] or found[1]
    if norm is None or norm.after_rope:
        return
    both = ("query", "key")
    yield projecting("queries and keys not normalised", both, "norm", values={"norm": "dropped"}, common=True)
    yield projecting(
        "queries and keys normalised after RoPE instead of before it",
        both,
        "norm",
        values={"norm": "late"},
        common=True,
    )
    for which in both:
        yield projecting(f"{PLURAL[which]} not normalised", [which], "norm", values={"norm": "dropped"}, common=True)
    factors = {"weight": "w", "1 + weight": "1 + w", "2 + weight": "2 + w"}
    due = "1 + weight" if norm.plus_one else "weight"
    if norm.weight:
        for parts, of in ((both, ""), (("query",), " of queries"), (("key",), " of keys")):
            for name, short in factors.items():
                if name != due:
                    yield projecting(
                        f"the norm's factor {short}{of} where the model's is {factors[due]}",
                        parts,
                        "norm",
                        values={"norm": name},
                        common=not of,
                    )
            yield projecting(f"the norm's weight{of} left out", parts, "norm", values={"norm": "no weight"})
        yield projecting(
            "the norms' weights of queries and keys exchanged",
            both,
            "norm",
            values={"norm": "other's weight"},
            common=True,
        )
        yield projecting("the queries' norm weight on keys too", ["key"], "norm", values={"norm": "other's weight"})
        yield projecting("the keys' norm weight on queries too", ["query"], "norm", values={"norm": "other's weight"})
    size, other = ("length", "root mean square") if norm.kind != "l2" else ("root mean square", "length")
    for parts, of in ((both, "queries and keys"), (("query",), "queries"), (("key",), "keys")):
        yield projecting(
            f"{of} divided by their {size} where the model divides by the {other}",
            parts,
            "norm",
            values={"norm": "length"},
            common=parts == both,
        )
    over = "over each head" if norm.over == "whole" else "over all heads together"
    yield projecting(
        f"queries and keys normalised {over}", both, "norm", values={"norm": "over all heads"}, common=True
    )
    if norm.kind == "rms":
        yield projecting(
            "queries and keys normalised with their mean subtracted (LayerNorm)",
            both,
            "norm",
            values={"norm": "with the mean"},
        )
    for eps in (1e-5, 1e-6, 1e-8, 1e-12, 0.0, 1e-3, 1e-4, 1e-7, 1e-2):
        if not math.isclose(eps, norm.eps):
            yield epsilon(eps, norm.eps)
    for parts, of in ((both, "queries and keys"), (("query",), "queries"), (("key",), "keys")):
        yield projecting(f"{of} normalised twice", parts, "norm", values={"norm": "twice"})
    for index, layer in enumerate(chain.layers):
        if index == chain.index or not norm.weight or (layer.spec.query_norm, layer.spec.key_norm) != found:
            continue
        for parts, of in ((both, "queries and keys"), (("query",), "queries"), (("key",), "keys")):
            yield projecting(
                f"layer {index}'s norm weight of {of} in the place of layer {chain.index}'s",
                parts,
                "norm",
                values={"norm_layer": index},
            )


def norms_added(spec: AttentionSpec) -> Iterator[Change]:
    """Yield norms where the model has none."""
    for which in ("query", "key"):
        norm = spec.query_norm if which == "query" else spec.key_norm
        if norm is None:
            yield projecting(
                f"{PLURAL[which]} normalised where the model does not", [which], "norm", values={"norm": "added"}
            )
    if spec.value_norm is None:
        yield projecting("values normalised where the model does not", ["value"], "norm", values={"norm": "added"})
    if spec.query_norm is None and spec.key_norm is None:
        yield projecting(
            "queries and keys normalised where the model does not", ("query", "key"), "norm", values={"norm": "added"}
        )
