"""What a change of settings is: one mistake, in the words of the report, and how it is made."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from inspector.judging.findings import Step
from inspector.judging.settings import Settings, replace

Apply = Callable[[Settings], Settings]
PLURAL = {"query": "queries", "key": "keys", "value": "values"}
NAMES = {"query": "W_q", "key": "W_k", "value": "W_v"}


@dataclass(frozen=True)
class Change:
    """One mistake: what it changes, in words that end "your attention has ...", and how to make it.

    parts: the fields of Settings that it changes. common: tried together with others too.
    """

    what: str
    step: Step
    parts: frozenset[str]
    apply: Apply
    common: bool = False
    measured: dict[str, Any] = field(default_factory=dict)


def shown(number: float) -> str:
    """Write a number as people do: 10000, 0.125, 500000."""
    return f"{number:.0f}" if number == round(number) and abs(number) < 1e9 else f"{number:.6g}"


def setting(**values: Any) -> Callable[[Any], Any]:
    """Return what gives a part of the settings these values."""
    return lambda at: replace(at, **values)


def projecting(
    what: str, which: Iterable[str], step: Step = "project", *, values: dict[str, Any], **more: Any
) -> Change:
    """Make a change to how some of queries, keys and values are projected."""
    parts = frozenset(which)

    def apply(at: Settings) -> Settings:
        return replace(at, **{part: replace(getattr(at, part), **values) for part in parts})

    return Change(what, step, parts, apply, **more)
