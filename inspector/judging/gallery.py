"""The commonest mistakes of attention, made on purpose: what each does to angles and weights, to learn from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from inspector.judging.chain import Chain
from inspector.judging.change import Change, setting
from inspector.judging.head_changes import heads_map
from inspector.judging.layer_at import LayerAt
from inspector.judging.measured import angles_per_plane
from inspector.judging.rotation_changes import base, paired
from inspector.judging.scaling_changes import turns
from inspector.judging.weight_changes import scale, weighs
from inspector.model.model import Model
from inspector.trace.trace import Trace
from reimpl.attention import CausalSelfAttention
from reimpl.spec import AttentionSpec

SHOWN_TOKENS = 64  # the first ones of a longer prompt
ALIKE = 1e-5  # radians a token


@dataclass(frozen=True)
class Exhibit:
    """A mistake: what it is called, how people come to it, and the change that makes it; None where a model cannot."""

    name: str
    story: str
    change: Callable[[AttentionSpec], Change | None]


@dataclass(frozen=True)
class Shown:
    """What a mistake does in one layer.

    what: in the judge's words. yours, model: by how much each plane turns from token to token, in radians; empty where
    nothing is turned otherwise. of: what was turned, "query" or "key". head, token: the row of weights that moves most,
    your_row and model_row.
    """

    layer: int
    what: str
    of: str
    yours: tuple[float, ...]
    model: tuple[float, ...]
    head: int
    token: int
    your_row: tuple[float, ...]
    model_row: tuple[float, ...]


def _other_base(spec: AttentionSpec) -> Change | None:
    if spec.rope is None:
        return None
    return base(10000.0 if spec.rope.theta != 10000.0 else 500000.0, spec.rope.theta)


def _pairs(spec: AttentionSpec) -> Change | None:
    return None if spec.rope is None else paired(spec.rope)


def _only_rotated(change: Change) -> Callable[[AttentionSpec], Change | None]:
    return lambda spec: None if spec.rope is None else change


def _always(change: Change) -> Callable[[AttentionSpec], Change | None]:
    def same(spec: AttentionSpec) -> Change:
        del spec
        return change

    return same


def _tiled(spec: AttentionSpec) -> Change | None:
    h, g = spec.heads, spec.kv_heads
    return None if g in (1, h) else heads_map("both", tuple(i % g for i in range(h)), spec)


def _no_scale(spec: AttentionSpec) -> Change | None:
    return None if spec.scale == 1 else scale(1.0, spec.scale)


def _no_window(spec: AttentionSpec) -> Change | None:
    window = spec.mask.window
    what = f"the sliding window left out where the model's is {window}"
    return None if window is None else weighs(what, "mask", setting(window=None))


EXHIBITS: tuple[Exhibit, ...] = (
    Exhibit(
        "RoPE with another base",
        "The code has a base of its own and never reads the checkpoint's rope_theta. Short prompts look nearly right.",
        _other_base,
    ),
    Exhibit(
        "RoPE on other pairs of dimensions",
        "Two conventions exist: dimension i turns with i + d/2, or with its neighbour. Code of one reads a checkpoint "
        "of the other.",
        _pairs,
    ),
    Exhibit(
        "All angles divided by 8",
        "A rule that stretches long texts is applied to a model that was not trained with it, or its factor twice.",
        _only_rotated(turns("all angles divided by 8 (position interpolation)", setting(speed=1 / 8))),
    ),
    Exhibit(
        "Keys that are not rotated",
        "Queries are rotated, and keys go into the cache as they are.",
        _only_rotated(turns("queries rotated, keys not", setting(rope=None), ("key",))),
    ),
    Exhibit(
        "Key positions one too high",
        "Keys are counted from 1, queries from 0: as where a cache has grown before its length is read.",
        _only_rotated(turns("key positions off by +1", setting(first=1.0), ("key",))),
    ),
    Exhibit(
        "No causal mask",
        "Every token sees those after it. With a cache it is right, one token at a time.",
        _always(weighs("no causal mask: every key is seen", "mask", setting(mask="none", window=None))),
    ),
    Exhibit(
        "A mask that is off by one",
        "The diagonal is one too high: each token sees the one that it should predict.",
        _always(weighs("a mask that lets each query see the next token too", "mask", setting(mask="sees the next"))),
    ),
    Exhibit(
        "Masked scores set to 0",
        "0 is a score like any other: masked keys keep weight. It takes minus infinity to give them none.",
        _always(weighs("masked scores set to 0 instead of -inf", "mask", setting(masked_with=0.0))),
    ),
    Exhibit("The sliding window left out", "Layers with a window see the whole text.", _no_window),
    Exhibit(
        "Scores that are not scaled", "Without the factor 1/sqrt(d_head) the softmax is nearly one-hot.", _no_scale
    ),
    Exhibit(
        "Key/value heads in another order",
        "Heads are repeated in turn, 0 1 2 0 1 2, where each should be repeated in place, 0 0 1 1 2 2.",
        _tiled,
    ),
    Exhibit(
        "The softmax over queries",
        "Columns sum to 1 instead of rows: dim=-2 for dim=-1.",
        _always(
            weighs("the softmax over queries (columns sum to 1) instead of keys", "softmax", setting(softmax="queries"))
        ),
    ),
)


def possible(ours: Sequence[CausalSelfAttention]) -> tuple[Exhibit, ...]:
    """Return the mistakes that this model can have.

    Args:
        ours: its layers; none where its family is not reimplemented.
    """
    return tuple(one for one in EXHIBITS if any(one.change(layer.spec) is not None for layer in ours))


def show_mistakes(model: Model, ids: Sequence[int]) -> dict[str, Shown]:
    """Compute what each mistake does in the first layer that can have it: its name -> what it does.

    Args:
        model: the model.
        ids: a prompt's tokens, of which the first ones are run.
    """
    ours = model.reimplementation
    trace = model.trace(list(ids[:SHOWN_TOKENS]), keep=("input",))
    return {one.name: _shown(trace, ours, one) for one in possible(ours)}


def _shown(trace: Trace, ours: Sequence[CausalSelfAttention], exhibit: Exhibit) -> Shown:
    index = next(i for i, layer in enumerate(ours) if exhibit.change(layer.spec) is not None)
    layer, at = ours[index], LayerAt(trace, index, ours)
    chain = Chain(ours, index, at.x.float(), external=at.external)
    change = exhibit.change(layer.spec)
    assert change is not None  # noqa: S101  (this layer was chosen so)
    wrong = change.apply(chain.right)
    of = "key" if wrong.turn_query == chain.right.turn_query else "query"
    yours: tuple[float, ...] = ()
    model: tuple[float, ...] = ()
    if {"turn_query", "turn_key"} & change.parts and layer.spec.rope is not None and chain.x.shape[0] > 1:
        before = chain.stage(f"{of}_pre", chain.right)
        yours, model = (
            tuple(angles_per_plane(before, chain.stage(of, settings), layer.spec.rope))
            for settings in (wrong, chain.right)
        )
    if all(abs(a - b) < ALIKE for a, b in zip(yours, model, strict=True)):
        yours = model = ()
    rows = chain.stage("weights", wrong), chain.stage("weights", chain.right)
    moved = (rows[0] - rows[1]).abs().sum(-1)  # [h, n]
    head, token = (int(i) for i in torch.unravel_index(moved.argmax(), moved.shape))
    your_row, model_row = (tuple(row[head, token].tolist()) for row in rows)
    return Shown(index, change.what, of, yours, model, head, token, your_row, model_row)


def with_mistake(
    trace: Trace, ours: Sequence[CausalSelfAttention], exhibit: Exhibit
) -> Callable[[Tensor, int], Mapping[str, Tensor]]:
    """Return attention with this mistake in every layer that can have it, as somebody would hand it over.

    Args:
        trace: the prompt that it will be judged on.
        ours: our layers of its model.
        exhibit: the mistake.
    """

    def attention(x: Tensor, layer: int) -> Mapping[str, Tensor]:
        chain = Chain(ours, layer, x.float(), external=LayerAt(trace, layer, ours).external)
        change = exhibit.change(ours[layer].spec)
        settings = chain.right if change is None else change.apply(chain.right)
        names = ("query_pre", "key_pre", "query", "key", "value", "weights", "context", "output")
        return {name: chain.stage(name, settings) for name in names}

    return attention
