"""Mistakes of projection: which matrix, order of its rows, how heads are cut."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from inspector.judging.chain import Chain
from inspector.judging.change import NAMES, PLURAL, Change, projecting, shown
from inspector.judging.loading_changes import biases, other_layers
from inspector.judging.norm_changes import norms, norms_added
from inspector.judging.settings import Settings, replace
from reimpl.spec import AttentionSpec


def factor(which: str, value: float) -> Change:
    """Make the change to queries, keys or values times a number."""
    what = f"{PLURAL[which]} that are the model's times {shown(value)}"
    return projecting(what, [which], values={"factor": value}, measured={f"{which} times": value})


def projections(chain: Chain) -> Iterator[Change]:
    """Yield the mistakes of a layer that has W_q, W_k and W_v of its own."""
    spec = chain.layer.spec
    yield from biases(chain)
    yield from norms(chain)
    alike = spec.d_value == spec.d_head and not spec.value_is_key
    if alike:
        yield Change(
            "W_k and W_v exchanged",
            "project",
            frozenset({"key", "value"}),
            lambda at: replace(at, key=replace(at.key, matrix="value"), value=replace(at.value, matrix="key")),
            common=True,
        )
        if spec.kv_heads == spec.heads:
            yield Change(
                "W_q and W_k exchanged",
                "project",
                frozenset({"key", "query"}),
                lambda at: replace(at, key=replace(at.key, matrix="query"), query=replace(at.query, matrix="key")),
            )
            yield Change(
                "W_q and W_v exchanged",
                "project",
                frozenset({"value", "query"}),
                lambda at: replace(
                    at, value=replace(at.value, matrix="query"), query=replace(at.query, matrix="value")
                ),
            )
        yield projecting("W_v in the place of W_k too", ["key"], values={"matrix": "value"})
        yield projecting("W_k in the place of W_v too", ["value"], values={"matrix": "key"})
        norm = "as keys" if spec.key_norm is not None and not spec.key_norm.after_rope else ""
        if norm:
            yield projecting("keys in the place of values", ["value"], values={"matrix": "key", "norm": norm})
        yield projecting(
            "keys, turned by position, in the place of values",
            ["value"],
            values={"matrix": "key", "norm": norm, "turned": True},
        )
    every = ("query", "key", "value")
    yield projecting(
        "vectors cut into heads without exchanging the token and head axes",
        every,
        values={"cut": "tokens first"},
        common=True,
    )
    yield projecting("heads cut as [n, d, h] instead of [n, h, d]", every, values={"cut": "dims first"}, common=True)
    for which in every:
        yield projecting(
            f"{PLURAL[which]} alone cut into heads without exchanging axes", [which], values={"cut": "tokens first"}
        )
        yield projecting(
            f"{PLURAL[which]} alone cut as [n, d, h] instead of [n, h, d]", [which], values={"cut": "dims first"}
        )
    yield from _orders(spec)
    for which in every:
        yield projecting(
            f"{NAMES[which]} not transposed (x·W where the file has W·x)",
            [which],
            values={"transposed": True},
            common=True,
        )
    yield projecting("W_q, W_k and W_v not transposed (x·W where the file has W·x)", every, values={"transposed": True})
    if spec.heads == spec.kv_heads and spec.d_value == spec.d_head:
        yield projecting(
            "W_q, W_k and W_v taken as one matrix that holds each head's query, key and value in turn",
            every,
            values={"fused": "each head in turn"},
        )
    if spec.layout in ("separate", "grouped", "stacked") and spec.d_value == spec.d_head and spec.kv_heads > 1:
        how = "stacked" if spec.layout == "grouped" else "grouped"
        yield projecting(
            f"the one matrix of W_q, W_k and W_v cut as {how}",
            every,
            values={"fused": how},
            common=spec.layout != "separate",
        )
    yield projecting(
        "the attention input normalised once more (divided by its root mean square)",
        every,
        values={"renormed": True},
        common=True,
    )
    yield from other_layers(chain)
    yield from norms_added(spec)
    for name in ("query_factor", "key_factor", "value_factor"):
        if getattr(spec, name) != 1.0:
            which = name.removesuffix("_factor")
            yield projecting(
                f"the factor {shown(getattr(spec, name))} on {PLURAL[which]} left out",
                [which],
                values={"factor": 1 / getattr(spec, name)},
            )


def _orders(spec: AttentionSpec) -> Iterator[Change]:
    """Put the rows of W_q and W_k in another order, as for another pairing, or for the wrong number of heads."""
    names = {"interleaved": "interleaved (Meta's order)", "parted": "parted (from Meta's order)"}
    for how, name in names.items():
        for follows in (True, False) if spec.qkv_bias else (True,):
            own = "" if follows else ", biases left where they were"
            orders = {"query": (how, spec.heads), "key": (how, spec.kv_heads)}

            def apply(at: Settings, orders: Any = orders, follows: bool = follows) -> Settings:
                query, key = (
                    replace(getattr(at, which), order=order, bias_follows=follows) for which, order in orders.items()
                )
                return replace(at, query=query, key=key)

            yield Change(
                f"rows of W_q and W_k {name} within each head{own}",
                "project",
                frozenset({"query", "key"}),
                apply,
                common=True,
                measured={"order": name},
            )
            for which, heads, wrong in (("key", spec.kv_heads, spec.heads), ("query", spec.heads, spec.kv_heads)):
                yield projecting(
                    f"rows of {NAMES[which]} {name} within each head{own}",
                    [which],
                    values={"order": (how, heads), "bias_follows": follows},
                    measured={"order": name},
                )
                width = (spec.kv_heads if which == "key" else spec.heads) * spec.d_head
                if wrong != heads and width % (2 * wrong) == 0:
                    yield projecting(
                        f"rows of {NAMES[which]} {name} as if it had {wrong} heads, where it has {heads}{own}",
                        [which],
                        values={"order": (how, wrong), "bias_follows": follows},
                        common=how == "parted",
                        measured={"order": f"{name}, {wrong} heads"},
                    )
