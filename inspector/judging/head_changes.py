"""Mistakes with heads and behind them: which key/value head is read, how heads are joined, W_o."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from inspector.judging.chain import Chain
from inspector.judging.change import Change, projecting, setting
from inspector.judging.findings import Step
from inspector.judging.settings import Settings, replace
from inspector.verification.mistakes.options import SPECIAL
from reimpl.project import Projections
from reimpl.spec import AttentionSpec


def heads_map(which: str, heads: tuple[int, ...], spec: AttentionSpec, *, common: bool = False) -> Change:
    """Make the change to another choice of key or value heads."""
    h, g = spec.heads, spec.kv_heads
    names = {
        tuple(i % g for i in range(h)): "tiled, 0 1 2 0 1 2 instead of 0 0 1 1 2 2",
        (0,) * h: "the first one for all query heads",
    }
    name = names.get(heads, f"read in the order {' '.join(map(str, heads))}")
    parts = {"key": ["weighing"], "value": ["mixing"], "both": ["weighing", "mixing"]}[which]
    plural = {"key": "key", "value": "value", "both": "key/value"}[which]

    def apply(at: Settings) -> Settings:
        return replace(at, **{part: replace(getattr(at, part), heads=heads) for part in parts})

    step: Step = "weighted sum" if which == "value" else "score"
    return Change(
        f"{plural} heads {name}",
        step,
        frozenset(parts),
        apply,
        common=common,
        measured={f"{plural} heads": list(heads)},
    )


def head_maps(chain: Chain) -> Iterator[Change]:
    """Yield the changes of which key/value head each query head reads."""
    spec = chain.layer.spec
    h, g = spec.heads, spec.kv_heads
    if g == 1:
        return
    reversed_map = tuple(g - 1 - i // (h // g) for i in range(h))
    for heads in dict.fromkeys((tuple(i % g for i in range(h)), (0,) * h, (g - 1,) * h, reversed_map)):
        if heads != tuple(i // (h // g) for i in range(h)):
            for which in ("both", "key", "value"):
                yield heads_map(which, heads, spec, common=heads[:2] == (0, 1) and which == "both")
    if isinstance(chain.layer.projections, Projections) and h != g:
        yield projecting(
            "query heads in the order (member, group) instead of (group, member)",
            ["query"],
            values={"heads_moved": True},
        )


def _joined(what: str, step: Step, *, values: dict[str, Any], **more: Any) -> Change:
    return Change(
        what, step, frozenset({"joining"}), lambda at: replace(at, joining=replace(at.joining, **values)), **more
    )


def outputs(chain: Chain) -> Iterator[Change]:
    """Yield the mistakes between context vectors and output."""
    layer = chain.layer
    spec = layer.spec
    if layer.output_norm is not None or (spec.gate is not None and spec.gate_first):
        return
    if spec.heads > 1:
        yield _joined(
            "context vectors joined without exchanging the head and token axes",
            "concatenate",
            values={"cut": "tokens first"},
            common=True,
        )
        yield _joined(
            "context vectors joined as [n, d, h] instead of [n, h, d]",
            "concatenate",
            values={"cut": "dims first"},
            common=True,
        )
    if spec.kv_heads not in (1, spec.heads):
        yield _joined(
            "heads joined in the order (member, group) instead of (group, member)",
            "concatenate",
            values={"heads_moved": True},
        )
    if spec.heads * spec.d_value == spec.d_model:
        yield _joined("W_o left out", "output projection", values={"matrix": "none"}, common=True)
        yield _joined(
            "W_o not transposed (x·W where the file has W·x)",
            "output projection",
            values={"matrix": "transposed"},
            common=True,
        )
    if layer.o_proj.bias is not None:
        yield _joined("the bias of W_o dropped", "output projection", values={"bias": 0.0}, common=True)
        yield _joined(
            f"the bias of W_o added {spec.heads} times, once a head",
            "output projection",
            values={"bias": float(spec.heads)},
        )
    for index, other in enumerate(chain.layers):
        if index != chain.index and other.o_proj.weight.shape == layer.o_proj.weight.shape:
            yield _joined(
                f"layer {index}'s W_o in the place of layer {chain.index}'s",
                "output projection",
                values={"layer": index},
                common=abs(index - chain.index) == 1,
                measured={"W_o": f"layer {index}'s"},
            )
    if spec.d_input == spec.d_model:
        yield _joined("the attention input added to the output", "output projection", values={"plus_input": True})
    yield Change(
        "values summed by the columns of the weights instead of the rows",
        "weighted sum",
        frozenset({"mixing"}),
        lambda at: replace(at, mixing=replace(at.mixing, transposed=True)),
    )


def of_families(chain: Chain) -> Iterator[Change]:
    """Leave out an option that few families have: the planted mistakes about it."""
    everything = frozenset({"query", "key", "value", "turn_query", "turn_key", "weighing", "mixing", "joining"})
    own = {
        "sinks left out",
        "query factor left out",
        "key factor left out",
        "value factor left out",
        "norm weight without one",
        "fused matrix cut otherwise",
        "rope on the other end",
    }
    for name, meaning, _ in SPECIAL:
        if name not in own and not isinstance(chain.planted(name), str):
            yield Change(meaning, "project", everything, setting(planted=name))
