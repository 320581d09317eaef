"""Settings that can be any number, each with the change to it: a base, a scale, a cap, a factor, an epsilon."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from inspector.judging.change import Change
from inspector.judging.norm_changes import epsilon
from inspector.judging.projection_changes import factor
from inspector.judging.rotation_changes import base, magnitude, speed
from inspector.judging.settings import Settings
from inspector.judging.weight_changes import masked_with, scale, scales, softcap
from reimpl.spec import AttentionSpec


@dataclass(frozen=True)
class Number:
    """One number that is measured: value -> the change to it, and between which it lies; on a logarithmic scale.

    often: people get it wrong together with something else too.
    """

    change: Callable[[float], Change]
    least: float
    most: float
    often: bool = False


def numbers(between: frozenset[str], settings: Settings, spec: AttentionSpec) -> Iterator[Number]:
    """Yield the numbers that act on a stage.

    Args:
        between: the fields of Settings that act between what was handed over and the stage.
        settings: as they are set now.
        spec: the layer's.
    """
    rope = settings.turn_query.rope or settings.turn_key.rope
    if between & {"turn_query", "turn_key"} and rope is not None:
        yield Number(lambda value: base(value, rope.theta), 10.0, 1e9, often=True)
        for which in ("query", "key"):
            yield Number(lambda value, which=which: base(value, rope.theta, (which,)), 10.0, 1e9)  # type: ignore[misc]
        yield Number(speed, 1 / 128, 128.0)
        yield Number(magnitude, 0.2, 5.0)
    if "weighing" in between:
        named = scales(spec, spec.d_model)
        yield Number(lambda value: scale(value, spec.scale, _named(value, named)), 1e-4, 20.0, often=True)
        yield Number(lambda value: softcap(value, spec.softcap), 0.5, 200.0)
        yield Number(lambda value: masked_with(-value), 0.01, 200.0)
    for which in ("query", "key", "value"):
        if which in between:
            yield Number(lambda value, which=which: factor(which, value), 1e-3, 1e3)  # type: ignore[misc]
    norm = spec.query_norm or spec.key_norm
    if between & {"query", "key"} and norm is not None and not norm.after_rope:
        yield Number(lambda value: epsilon(value, norm.eps), 1e-9, 10.0)


def _named(value: float, names: dict[float, str]) -> str:
    return next((name for known, name in names.items() if math.isclose(value, known, rel_tol=1e-4)), "")
