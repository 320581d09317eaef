"""Mistakes of loading: biases left out or taken twice, and another layer's matrices or biases."""

from __future__ import annotations

from collections.abc import Iterator

from inspector.judging.chain import Chain
from inspector.judging.change import NAMES, PLURAL, Change, projecting
from reimpl.attention import CausalSelfAttention
from reimpl.project import Projections


def biases(chain: Chain) -> Iterator[Change]:
    """Yield the mistakes with the biases of queries, keys and values."""
    if not chain.layer.spec.qkv_bias:
        return
    every = ("query", "key", "value")
    yield projecting("the biases of queries, keys and values dropped", every, values={"bias": False}, common=True)
    for which in every:
        yield projecting(f"the bias of {PLURAL[which]} dropped", [which], values={"bias": False}, common=True)
    yield projecting("the biases of queries and keys dropped", ("query", "key"), values={"bias": False})
    yield projecting("the biases of keys and values dropped", ("key", "value"), values={"bias": False})
    for times, how in ((2.0, "added twice"), (-1.0, "subtracted")):
        yield projecting(f"the biases of queries, keys and values {how}", every, values={"bias": times})
        for which in every:
            yield projecting(f"the bias of {PLURAL[which]} {how}", [which], values={"bias": times})
    for index in _alike(chain):
        yield projecting(
            f"layer {index}'s biases of queries, keys and values in the place of layer {chain.index}'s",
            every,
            values={"bias_layer": index},
        )


def other_layers(chain: Chain) -> Iterator[Change]:
    """Yield each other layer's matrices in the place of this one's."""
    layer, every = chain.layer, ("query", "key", "value")
    for index, other in enumerate(chain.layers):
        if index != chain.index and isinstance(other.projections, Projections) and other.spec.shares is None:
            near = abs(index - chain.index) == 1
            for which in every:
                if not _fits(other, layer, which):
                    continue
                for with_bias in (True, False) if layer.spec.qkv_bias else (True,):
                    own = "" if with_bias else ", with its own bias"
                    yield projecting(
                        f"layer {index}'s {NAMES[which]} in the place of layer {chain.index}'s{own}",
                        [which],
                        values={"layer": index, "bias_follows": with_bias},
                        common=near,
                        measured={NAMES[which]: f"layer {index}'s"},
                    )
            if all(_fits(other, layer, which) for which in every):
                yield projecting(
                    f"layer {index}'s W_q, W_k and W_v in the place of layer {chain.index}'s",
                    every,
                    values={"layer": index},
                )


def _alike(chain: Chain) -> Iterator[int]:
    """Yield the other layers whose queries, keys and values have the same sizes."""
    for index, other in enumerate(chain.layers):
        if index == chain.index or not isinstance(other.projections, Projections) or other.spec.shares is not None:
            continue
        biased = other.spec.qkv_bias and other.spec.layout == chain.layer.spec.layout
        if biased and all(_fits(other, chain.layer, which) for which in ("query", "key", "value")):
            yield index


def _fits(other: CausalSelfAttention, layer: CausalSelfAttention, which: str) -> bool:
    a, b = other.spec, layer.spec
    same = (a.heads, a.kv_heads, a.d_head, a.d_value, a.d_input, a.latent) == (
        b.heads,
        b.kv_heads,
        b.d_head,
        b.d_value,
        b.d_input,
        b.latent,
    )
    return same and not (which == "value" and a.value_is_key)
