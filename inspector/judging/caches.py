"""Mistakes that only a key/value cache makes: the text in pieces, our layer with one thing about its cache done wrong.

They are planted to see which would show, and held against somebody's numbers as causes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from inspector.judging.causes import Explained
from inspector.judging.chain import Chain
from inspector.judging.findings import Step
from inspector.judging.pieces import explaining
from reimpl.attention import CausalSelfAttention


@dataclass(frozen=True)
class CacheMistake:
    """One mistake: its name, its meaning ("your numbers equal ours with ..."), and what is done wrong.

    positions: of new tokens: "from 0", "one too high", "number of the call"; queries_only: keys are placed right.
    cached: what happens to the cached keys. mask: how rows of new tokens are masked. kept: which tokens stay.
    """

    name: str
    meaning: str
    positions: str = ""
    queries_only: bool = False
    cached: str = ""
    mask: str = ""
    kept: str = ""

    @property
    def step(self) -> Step:
        """The step that is done wrong: which keys are scored, where nothing else is."""
        return "rotate" if self.positions or self.cached else "mask" if self.mask else "score"


CACHE_MISTAKES: tuple[CacheMistake, ...] = (
    CacheMistake("positions restart", "positions that start at 0 again in each call", positions="from 0"),
    CacheMistake("query positions restart", "query positions that start at 0 again in each call, while keys go on",
                 positions="from 0", queries_only=True),
    CacheMistake("positions one too high", "positions of later calls one too high", positions="one too high"),
    CacheMistake("positions one too low", "positions of later calls one too low", positions="one too low"),
    CacheMistake("positions count calls", "positions that count calls instead of tokens",
                 positions="number of the call"),
    CacheMistake("cached keys rotated again", "cached keys rotated again at each step", cached="rotated again"),
    CacheMistake("keys cached unrotated", "keys written into the cache unrotated and never rotated afterwards",
                 cached="unrotated"),
    CacheMistake("all keys at the new position", "all cached keys rotated by the newest position", cached="newest"),
    CacheMistake("mask aligned top left", "a causal mask aligned to the top left: new queries see the first keys only",
                 mask="top left"),
    CacheMistake("no mask in later calls", "no causal mask among the new tokens of a later call", mask="none"),
    CacheMistake("cache forgets", "earlier tokens forgotten: each call sees its own tokens only", kept="new only"),
    CacheMistake("first call only", "only the first call's tokens cached", kept="first call"),
    CacheMistake("last row overwritten", "the last cached row overwritten by the next call's first token",
                 kept="last overwritten"),
    CacheMistake("first rows overwritten", "the cache's first rows overwritten by each call's tokens",
                 kept="first overwritten"),
    CacheMistake("new tokens unseen", "new queries that see the cache and not their own keys", kept="old only"),
    CacheMistake("new tokens twice", "new tokens written into the cache twice", kept="twice"),
    CacheMistake("values not kept in step", "values one row behind their keys", kept="values behind"),
)  # fmt: skip


def applies(mistake: CacheMistake, layer: CausalSelfAttention) -> bool:
    """Tell whether a layer can make this mistake: those of positions and rotation need RoPE, and keys of one's own.

    Where a norm stands between rotation and scores, no cache is computed here.
    """
    spec = layer.spec
    if layer.query_learned is not None or getattr(layer.projections, "norms_after_rope", False):
        return False
    if spec.latent is not None or spec.shares is not None or spec.mask.given or spec.mask.chunk is not None:
        return False
    return spec.rope is not None or not (mistake.positions or mistake.cached)


def in_pieces(mistake: CacheMistake | None, chain: Chain, pieces: Sequence[tuple[int, int]]) -> dict[str, Tensor]:
    """Compute a layer piece by piece with a cache that has this mistake.

    Args:
        mistake: which one; None: a right cache.
        chain: the layer and its text.
        pieces: from which token to which, one after the other.

    Returns:
        Query, context and output of all tokens.
    """
    at = mistake or CacheMistake("", "")
    layer, right = chain.layer, chain.right
    query_pre, key_pre = chain.stage("query_pre", right), chain.stage("key_pre", right)
    value = chain.stage("value", right)
    gate = chain.layer.project(chain.x).gate
    keys, values, places = key_pre[:, :0], value[:, :0], torch.arange(0)
    made: dict[str, list[Tensor]] = {"query": [], "context": [], "output": []}
    for number, (start, end) in enumerate(pieces):
        positions = torch.arange(start, end)
        believed = _believed(at.positions, start, end, number)
        q = layer.rotate(query_pre[:, start:end], key_pre[:, start:end], believed)[0]
        k = layer.rotate(query_pre[:, start:end], key_pre[:, start:end], positions if at.queries_only else believed)[1]
        new = key_pre[:, start:end] if at.cached == "unrotated" else k
        old = keys
        if at.cached == "rotated again" and keys.shape[1]:
            old = _turned_keys(layer, keys, torch.arange(keys.shape[1]))
        seen_keys, seen_values, seen_places = _seen(
            at.kept, old, values, places, k, value[:, start:end], positions, number
        )
        if at.cached == "newest":
            seen_keys = _turned_keys(
                layer, key_pre[:, : seen_keys.shape[1]], torch.full((seen_keys.shape[1],), end - 1)
            )
        keys, values, places = _seen(
            at.kept, old, values, places, new, value[:, start:end], positions, number, stored=True
        )
        may = layer.mask(positions, seen_places)
        if at.mask == "top left":
            may = torch.arange(seen_places.numel())[None, :] <= torch.arange(end - start)[:, None]
        elif (at.mask == "none" and number) or at.kept == "old only":
            may = torch.ones_like(may)
        weights = layer.weigh(layer.score(q, seen_keys), may)
        context = layer.weighted_sum(weights, seen_values)
        made["query"].append(q)
        made["context"].append(context)
        made["output"].append(layer.output_projection(context, None if gate is None else gate[start:end]))
    return {stage: torch.cat(parts, dim=-2) for stage, parts in made.items()}


def _believed(positions: str, start: int, end: int, number: int) -> Tensor:
    """Return the positions that new tokens are given."""
    moved = {"from 0": -start, "one too high": 1 if start else 0, "one too low": -1 if start else 0}
    if positions == "number of the call":
        return torch.arange(number, number + end - start)
    return torch.arange(start, end) + moved.get(positions, 0)


def _turned_keys(layer: CausalSelfAttention, keys: Tensor, positions: Tensor) -> Tensor:
    """Turn keys [g, s, d] by positions [s]."""
    return layer.rotate(keys.new_zeros(layer.spec.heads, *keys.shape[1:]), keys, positions)[1]


def _seen(
    kept: str,
    keys: Tensor,
    values: Tensor,
    places: Tensor,
    k: Tensor,
    v: Tensor,
    positions: Tensor,
    number: int,
    *,
    stored: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the keys, values and places that a call sees, or (stored) leaves in the cache."""
    whole = torch.cat((keys, k), 1), torch.cat((values, v), 1), torch.cat((places, positions))
    if kept == "new only" or not number:
        return (k, v, positions)
    if kept == "first call" and stored:
        return keys, values, places
    if kept == "last overwritten":
        return torch.cat((keys[:, :-1], k), 1), torch.cat((values[:, :-1], v), 1), torch.cat((places[:-1], positions))
    if kept == "first overwritten":
        t = k.shape[1]
        return torch.cat((k, keys[:, t:]), 1), torch.cat((v, values[:, t:]), 1), torch.cat((positions, places[t:]))
    if kept == "old only" and not stored:
        return keys, values, places
    if kept == "twice":
        return torch.cat((whole[0], k), 1), torch.cat((whole[1], v), 1), torch.cat((whole[2], positions))
    if kept == "values behind" and not stored:
        return whole[0], torch.cat((whole[1][:, :1], whole[1][:, :-1]), 1), whole[2]
    return whole


def cause_of_pieces(
    found: Mapping[str, Tensor], chain: Chain, pieces: Sequence[tuple[int, int]], near: float
) -> Explained:
    """Name the cache mistake that gives somebody's numbers; no cause where none does.

    Args:
        found: somebody's query, context or output of all tokens of the pieces, each [..., t, d].
        chain: the layer and its text.
        pieces: in which pieces the text was given.
        near: how near, of the largest number.

    Returns:
        The cause and its step.
    """

    def tried() -> Iterator[tuple[str, Step, Mapping[str, Tensor]]]:
        for mistake in CACHE_MISTAKES:
            if applies(mistake, chain.layer):
                yield f"your cache has {mistake.meaning}", mistake.step, in_pieces(mistake, chain, pieces)

    with torch.inference_mode():
        return explaining(found, in_pieces(None, chain, pieces), tried(), near)
