"""Mistakes with the rule that scales RoPE frequencies: left out, other numbers, its attention factor."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from inspector.judging.change import Change, setting, shown
from inspector.judging.settings import Settings, Turning, replace
from reimpl.frequencies import rope_frequencies
from reimpl.spec import RopeSpec


def turns(
    what: str, change: Callable[[Turning], Turning], which: Sequence[str] = ("query", "key"), **more: Any
) -> Change:
    """Make a change to how queries and keys, or one of them, are turned."""
    parts = frozenset(f"turn_{one}" for one in which)

    def apply(at: Settings) -> Settings:
        changed: dict[str, Any] = {part: change(getattr(at, part)) for part in parts}
        return replace(at, **changed)

    return Change(what, "rotate", parts, apply, **more)


def of_rope(change: Callable[[RopeSpec], RopeSpec]) -> Callable[[Turning], Turning]:
    """Return the change to what is turned by RoPE, if anything is."""

    def changed(at: Turning) -> Turning:
        return at if at.rope is None else replace(at, rope=change(at.rope))

    return changed


def scalings(rope: RopeSpec, n: int) -> Iterator[Change]:
    """Yield the mistakes with the rule that scales frequencies, of a text of n tokens."""
    if rope.rule != "default":
        yield turns(
            f"the rule {rope.rule!r} that scales RoPE frequencies left out",
            of_rope(lambda r: replace(r, rule="default", scaling=())),
            common=True,
            measured={"scaling": "none"},
        )
        kept = rope_frequencies(rope, n)[1]
        if kept != 1:
            yield turns(
                f"frequencies unscaled where the rule {rope.rule!r} scales them, with its attention factor kept",
                lambda at: replace(at, rope=replace(rope, rule="default", scaling=()), magnitude=kept),
                common=True,
                measured={"scaling": "none"},
            )
        yield from _scaling_numbers(rope)
    factor = rope_frequencies(rope, n)[1]
    if factor != 1:
        yield turns(
            f"the attention factor {factor:.6g} on cosine and sine left out",
            setting(magnitude=1.0),
            common=True,
            measured={"factor": 1.0},
        )
        for which, of in (("query", "queries"), ("key", "keys")):
            yield turns(
                f"the attention factor {factor:.6g} on cosine and sine left out for {of}",
                setting(magnitude=1.0),
                (which,),
                measured={"factor": 1.0},
            )
        yield turns(
            f"the attention factor {factor:.6g} taken twice",
            setting(magnitude=factor * factor),
            measured={"factor": factor * factor},
        )


def _scaling_numbers(rope: RopeSpec) -> Iterator[Change]:
    """Change each number of the rule that scales frequencies."""
    for name, value in rope.scaling:
        if isinstance(value, bool) or not isinstance(value, int | float) or not value:
            continue
        for new in dict.fromkeys(
            (
                1.0,
                2.0,
                4.0,
                8.0,
                16.0,
                32.0,
                64.0,
                value * 2,
                value / 2,
                value * 4,
                value / 4,
                1024.0,
                2048.0,
                4096.0,
                8192.0,
                16384.0,
                32768.0,
                131072.0,
            )
        ):
            if new == value or (new > 128) != (value > 128):
                continue
            scaling = tuple((n, type(value)(new) if n == name else v) for n, v in rope.scaling)
            yield turns(
                f"{name} {shown(new)} in the rule {rope.rule!r} where the model has {shown(value)}",
                of_rope(setting(scaling=scaling)),
                measured={name: new},
            )
    numbers = dict(rope.scaling)
    if "long_factor" in numbers and "short_factor" in numbers:
        scaling = tuple(
            (n, numbers[{"long_factor": "short_factor", "short_factor": "long_factor"}.get(n, n)])
            for n, _ in rope.scaling
        )
        yield turns("longrope's lists for long and short texts exchanged", of_rope(setting(scaling=scaling)))
    if rope.rule != "linear" and "factor" in numbers:
        factor = float(numbers["factor"])  # type: ignore[arg-type]
        yield turns(
            f"all positions divided by {shown(factor)} (linear) where the rule is {rope.rule!r}",
            of_rope(lambda r: replace(r, rule="linear", scaling=(("factor", factor),))),
        )
