"""How a mistake is planted: a right attention layer goes in, the same layer with one known mistake comes out.

Each mistake is a changed spec or a subclass overriding one step of `CausalSelfAttention`. Where a model cannot make
a mistake (no bias to drop), planting gives the reason instead of a layer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from reimpl.attention import CausalSelfAttention
from reimpl.spec import AttentionSpec, NormSpec, RopeSpec

Planted = CausalSelfAttention | str
Plant = Callable[[CausalSelfAttention, int], Planted]  # (layer, tokens in the prompt) -> layer or reason why not
Change = Callable[[AttentionSpec], AttentionSpec | str]  # a spec -> another spec, or the reason why not

NO_ROPE = "this layer has no RoPE"
NO_NORM = "this layer does not normalise queries or keys"


@dataclass(frozen=True)
class Mistake:
    """A planted mistake; `meaning` completes the sentence "your numbers equal ours with ..."."""

    name: str
    meaning: str
    plant: Plant


def changed(change: Change) -> Plant:
    """Plant a mistake of configuration: the layer under another spec, its parameters shared."""

    def plant(layer: CausalSelfAttention, _: int) -> Planted:
        new = change(layer.spec)
        return new if isinstance(new, str) else CausalSelfAttention.like(layer, new)

    return plant


def step(
    kind: type[CausalSelfAttention], unless: Callable[[AttentionSpec], str | None] = lambda _: None, *, least: int = 1
) -> Plant:
    """Plant a mistake of computation: the layer with one step done otherwise.

    Args:
        kind: the layer's class with that step overridden.
        unless: gives the reason why a layer cannot make this mistake; None: it can.
        least: tokens that a prompt must have for it to show.

    Returns:
        What plants it.
    """

    def plant(layer: CausalSelfAttention, n: int) -> Planted:
        reason = unless(layer.spec) or ("one token has nothing to confuse" if n < least else None)
        return reason or kind.like(layer)

    return plant


def rope(change: Callable[[RopeSpec], RopeSpec | str | None]) -> Change:
    """Change a spec's RoPE (None: leave it out), where it has any."""

    def change_spec(spec: AttentionSpec) -> AttentionSpec | str:
        if spec.rope is None:
            return NO_ROPE
        new = change(spec.rope)
        return new if isinstance(new, str) else replace(spec, rope=new)

    return change_spec


def norms(change: Callable[[NormSpec], NormSpec | str]) -> Change:
    """Change the norm of queries and keys, where a spec has one."""

    def change_spec(spec: AttentionSpec) -> AttentionSpec | str:
        norm = spec.query_norm or spec.key_norm
        if norm is None:
            return NO_NORM
        new = change(norm)
        if isinstance(new, str):
            return new
        return replace(spec, query_norm=new, key_norm=new if spec.key_norm else None)

    return change_spec


def without_rope(spec: AttentionSpec) -> str | None:
    """Give the reason why a mistake of rotation cannot be made."""
    return NO_ROPE if spec.rope is None else None
