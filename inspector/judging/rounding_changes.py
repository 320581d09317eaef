"""Mistakes of precision before the scores: angles, vectors, matrices or a cache in a smaller dtype."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from inspector.judging.chain import Chain
from inspector.judging.change import PLURAL, Change, projecting, setting
from inspector.judging.scaling_changes import turns
from inspector.judging.settings import HALVES, Settings, replace
from reimpl.project import Projections

EVERY = ("query", "key", "value")


def angles_rounded() -> Iterator[Change]:
    """Yield what may be rounded while queries and keys are turned."""
    for dtype in ("bfloat16", "float16"):
        for rounded in ("angles", "cos and sin", "frequencies", "vectors"):
            yield turns(
                f"{rounded} of RoPE rounded to {dtype}",
                setting(rounded=rounded, dtype=dtype),
                measured={"dtype": dtype},
            )


def roundings(chain: Chain) -> Iterator[Change]:
    """Yield vectors, matrices and caches that are rounded to a smaller dtype."""
    spec = chain.layer.spec
    if spec.rope is not None:
        yield from angles_rounded()
    if not isinstance(chain.layer.projections, Projections) or spec.shares is not None:
        return
    for dtype in HALVES:
        for which in EVERY:
            yield projecting(
                f"{PLURAL[which]} rounded to {dtype}",
                [which],
                values={"rounded": ("vectors", dtype)},
                measured={"dtype": dtype},
            )
        if spec.rope is not None:
            yield turns(
                f"keys rounded to {dtype} after RoPE",
                setting(rounded="turned", dtype=dtype),
                ("key",),
                measured={"dtype": dtype},
            )
        yield _cache(dtype, turned=spec.rope is not None)
        yield _matrices(dtype)


def _cache(dtype: str, *, turned: bool) -> Change:
    """Make the change to keys and values as a cache in a smaller dtype stores them."""
    vectors: tuple[Literal["matrix", "vectors"], str] = ("vectors", dtype)

    def apply(at: Settings) -> Settings:
        key = at.key if turned else replace(at.key, rounded=vectors)
        turn = replace(at.turn_key, rounded="turned", dtype=dtype) if turned else at.turn_key
        return replace(at, key=key, turn_key=turn, value=replace(at.value, rounded=vectors))

    return Change(
        f"keys and values rounded to {dtype}, as in a cache of that dtype",
        "project",
        frozenset({"value", "turn_key" if turned else "key"}),
        apply,
        measured={"dtype": dtype},
    )


def _matrices(dtype: str) -> Change:
    """Make the change to matrices that are rounded when they are loaded."""

    def apply(at: Settings) -> Settings:
        parts = {which: replace(getattr(at, which), rounded=("matrix", dtype)) for which in EVERY}
        return replace(at, joining=replace(at.joining, rounded=dtype), **parts)

    return Change(
        f"W_q, W_k, W_v and W_o rounded to {dtype}",
        "project",
        frozenset({*EVERY, "joining"}),
        apply,
        measured={"dtype": dtype},
    )
