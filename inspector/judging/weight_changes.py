"""Mistakes between queries, keys and weights: scale, soft-cap, mask, window, softmax, sinks, rounding."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

from inspector.judging.chain import Chain
from inspector.judging.change import Change, setting, shown
from inspector.judging.findings import Step
from inspector.judging.settings import Weighing, replace
from reimpl.spec import AttentionSpec


def weighs(what: str, step: Step, change: Callable[[Weighing], Weighing], **more: Any) -> Change:
    """Make a change to how weights come of queries and keys."""
    return Change(what, step, frozenset({"weighing"}), lambda at: replace(at, weighing=change(at.weighing)), **more)


def scale(value: float, model: float, name: str = "", *, common: bool = False) -> Change:
    """Make the change to another scale of scores."""
    called = f" ({name})" if name else ""
    what = f"the scale {shown(value)}{called} where the model has {shown(model)}"
    if value == 1.0:
        what = f"scores not scaled: the scale 1 where the model has {shown(model)}"
    return weighs(what, "score", setting(scale=value), common=common, measured={"scale": value})


def softcap(value: float, model: float | None) -> Change:
    """Make the change to another soft-cap."""
    has = f"the model has {shown(model)}" if model else "the model has none"
    return weighs(
        f"a soft-cap of {shown(value)} where {has}", "score", setting(softcap=value), measured={"soft-cap": value}
    )


def masked_with(value: float) -> Change:
    """Make the change to a number in masked scores."""
    return weighs(
        f"masked scores set to {shown(value)} instead of -inf",
        "mask",
        setting(masked_with=value),
        measured={"masked with": value},
    )


def scales(spec: AttentionSpec, width: int) -> dict[float, str]:
    """Name the scales that people take by mistake."""
    per_head = width / spec.heads
    named = (
        (1.0, "no scale"),
        (spec.d_head**-0.5, "1/sqrt(d_head)"),
        (spec.scale**2, "the scale twice"),
        (spec.d_model**-0.5, "1/sqrt(d_model)"),
        (1 / spec.d_head, "1/d_head"),
        (per_head**-0.5, "1/sqrt(d_model/heads)"),
        (math.sqrt(spec.d_head), "multiplied by sqrt(d_head)"),
        ((spec.d_head / 2) ** -0.5, "1/sqrt(d_head/2)"),
        (spec.kv_heads**-0.5, "1/sqrt(key/value heads)"),
        (spec.heads**-0.5, "1/sqrt(heads)"),
        ((spec.heads * spec.d_head) ** -0.5, "1/sqrt(heads·d_head)"),
        (spec.scale**0.5, "the scale's root"),
        (spec.scale * spec.d_head**-0.5, "1/sqrt(d_head) on top of the model's scale"),
        (1 / spec.scale, "divided by the scale"),
        (1 / spec.d_model, "1/d_model"),
    )
    found: dict[float, str] = {}
    for value, name in named:
        if not math.isclose(value, spec.scale, rel_tol=1e-9):
            found.setdefault(value, name)
    return found


def weighings(chain: Chain) -> Iterator[Change]:
    """Yield the mistakes between queries, keys and weights."""
    spec, n = chain.layer.spec, chain.x.shape[0]
    for value, name in scales(spec, spec.d_model).items():
        yield scale(
            value,
            spec.scale,
            name,
            common=name in ("no scale", "1/sqrt(d_model)", "the scale twice", "1/sqrt(d_head)", "1/d_head"),
        )
    yield weighs("no causal mask: every key is seen", "mask", setting(mask="none", window=None), common=True)
    yield weighs(
        "a mask that lets each query see the next token too", "mask", setting(mask="sees the next"), common=True
    )
    yield weighs("a mask that hides each token from itself", "mask", setting(mask="hides itself"), common=True)
    yield weighs(
        "the mask upside down: later keys are seen, earlier ones not",
        "mask",
        setting(mask="upside down", window=None),
        common=True,
    )
    window = spec.mask.window
    if window is not None:
        yield weighs(
            f"the sliding window left out where the model's is {window}",
            "mask",
            setting(window=None),
            common=True,
            measured={"window": None},
        )
        yield weighs(
            f"the sliding window {window} to both sides: later keys are seen too", "mask", setting(mask="both sides")
        )
    known = [layer.spec.mask.window for layer in chain.layers]
    for found in dict.fromkeys(
        [*(w for w in known if w), *(window + by for by in (1, -1) if window), *range(1, min(n, 129))]
    ):
        if found != window and found < n and found > 0:
            has = f"the model's is {window}" if window else "the model has none in this layer"
            yield weighs(
                f"a sliding window of {found} (window {found}) where {has}",
                "mask",
                setting(window=found),
                common=(window is not None and abs(found - window) == 1) or found in known,
                measured={"window": found},
            )
    yield weighs(
        "the mask applied after the softmax: rows do not sum to 1",
        "mask",
        setting(mask="after the softmax"),
        common=True,
    )
    yield weighs(
        "masked scores set to 0 (or to a tiny number) instead of -inf",
        "mask",
        setting(masked_with=0.0),
        common=True,
        measured={"masked with": 0.0},
    )
    for low in (-1.0, -10.0, -100.0, 1.0, -5.0, -1000.0):
        yield masked_with(low)
    yield weighs(
        "the softmax over queries (columns sum to 1) instead of keys",
        "softmax",
        setting(softmax="queries"),
        common=True,
    )
    yield weighs("the softmax over heads instead of keys", "softmax", setting(softmax="heads"), common=True)
    yield weighs("no softmax", "softmax", setting(softmax="none"))
    yield weighs("a softmax with 1 added to its denominator", "softmax", setting(one_more=True))
    if spec.softcap is not None:
        yield weighs(
            f"the soft-cap {shown(spec.softcap)} left out",
            "score",
            setting(softcap=None),
            common=True,
            measured={"soft-cap": None},
        )
        yield weighs(
            f"the soft-cap {shown(spec.softcap)} before the scale instead of after it",
            "score",
            setting(capped_first=True),
            common=True,
        )
        yield weighs(
            f"the soft-cap after the mask: masked scores set to {shown(-spec.softcap)} instead of -inf",
            "mask",
            setting(masked_with=-spec.softcap),
            measured={"masked with": -spec.softcap},
        )
    for cap in (
        20.0,
        30.0,
        50.0,
        15.0,
        10.0,
        100.0,
        5.0,
        1.0,
        *((spec.softcap * 2, spec.softcap / 2) if spec.softcap else ()),
    ):
        if cap != spec.softcap:
            yield softcap(cap, spec.softcap)
    if spec.sinks:
        yield weighs("the attention sinks left out: rows sum to 1", "softmax", setting(sinks="none"), common=True)
        yield weighs("the attention sinks scaled like scores", "softmax", setting(sinks="scaled"))
        yield weighs(
            "the attention sinks added to the score of the first key", "softmax", setting(sinks="on the first key")
        )
        yield weighs("the attention sinks with the other sign", "softmax", setting(sinks="negative"))
        if spec.kv_heads not in (1, spec.heads):
            yield weighs(
                "the attention sinks in the order (member, group) instead of (group, member)",
                "softmax",
                setting(sinks="moved"),
            )
    for rounded in ("weights bfloat16", "weights float16", "scores bfloat16", "scores float16"):
        what, dtype = rounded.split()
        yield weighs(
            f"{what} rounded to {dtype}",
            "softmax" if what == "weights" else "score",
            setting(rounded=rounded),
            measured={"dtype": dtype},
        )
