"""From numbers that differ to sentences: the causes of the first layer that differs, held against all others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from inspector.judging.chain import Chain
from inspector.judging.findings import StepCheck
from inspector.judging.layer_at import LayerAt
from inspector.judging.report_sentences import name_of
from inspector.judging.search import NEAR, Cause, Search
from inspector.text import spans
from reimpl.attention import CausalSelfAttention

LAYERS_SEARCHED = 3  # that earlier causes do not explain
CUT = 64  # tokens: causes are looked for in the first ones, if they differ there


@dataclass(frozen=True)
class Explained:
    """Causes in words, the first step that is wrong, what was measured, and layers without a cause."""

    causes: tuple[str, ...] = ()
    step: str | None = None
    measured: dict[str, Any] = field(default_factory=dict)


def explain(
    wrong: Sequence[LayerAt], checks: Sequence[StepCheck], ours: Sequence[CausalSelfAttention], dtype: torch.dtype
) -> Explained:
    """Find the causes of what differs.

    Args:
        wrong: the layers that differ, in order.
        checks: all comparisons.
        ours: all our layers; empty where the family is not reimplemented.
        dtype: what somebody's code computes in.

    Returns:
        What was found.
    """
    first = wrong[0]
    if inputs := _inputs(checks):
        own = [at for at in wrong if any(c.layer == at.index and c.own_ok is False for c in checks)]
        rest = _searched(own, dtype) if own and ours else Explained()
        before = own and own[0].index < first.index
        return Explained(
            (*rest.causes, *inputs) if before else (*inputs, *rest.causes),
            "input" if not before else rest.step,
            rest.measured,
        )
    said = _plain_reasons(first, checks)
    if said:
        return Explained(said)
    return _searched(wrong, dtype) if ours else Explained()


def _plain_reasons(first: LayerAt, checks: Sequence[StepCheck]) -> tuple[str, ...]:
    """Return what the shapes say: another number of tokens, a column that was not cut off."""
    return tuple(
        f"your {name_of(c.stage)} has {c.reason}"
        for c in checks
        if c.layer == first.index and not c.ok and c.reason.startswith("shape")
    )[:1]


def _inputs(checks: Sequence[StepCheck]) -> tuple[str, ...]:
    """Say where somebody's own attention input differs already."""
    bad = [check for check in checks if check.stage == "input" and not check.ok]
    if not bad:
        return ()
    at = bad[0]
    size = "in shape or finiteness" if math.isinf(at.max_abs) else f"by {at.max_abs:.3g} ({at.worst})"
    earlier = next((c for c in checks if c.layer == at.layer - 1 and c.stage == "output"), None)
    if at.layer == 0:
        where = "look at the embedding and the first norm, not at attention"
    elif earlier is not None and not earlier.ok:
        where = f"which follows from layer {at.layer - 1}'s attention output, which differs"
    else:
        where = f"look at layer {at.layer - 1}'s MLP, norm or residual, not at attention"
    return (f"layer {at.layer}'s input already differs {size}: {where}",)


def _searched(wrong: Sequence[LayerAt], dtype: torch.dtype) -> Explained:
    """Search the first layer that differs for causes, then the layers that these do not explain."""
    sentences: list[str] = []
    measured: dict[str, Any] = {}
    step: str | None = None
    known: list[list[Cause]] = []
    searched, deep = 0, True
    for at in wrong:
        if any(_explains(causes, at) for causes in known):
            continue
        if searched == LAYERS_SEARCHED:
            break
        searched += 1
        causes = _search(at, dtype).causes(deep=deep)
        if not causes:
            deep = False  # what one layer does not show, the next hardly will: single mistakes alone from here on
            continue
        known.append(causes)
        step = step or causes[0].changes[0].step
        for cause in causes:
            for change in cause.changes:
                measured = change.measured | measured
        also = [other.index for other in wrong if other is not at and _explains(causes, other)]
        sentences += [_sentence(cause, at, also) for cause in causes]
    return Explained(tuple(dict.fromkeys(sentences)), step, measured)


def _search(at: LayerAt, dtype: torch.dtype) -> Search:
    """Make the search of one layer, over its first tokens where they differ."""
    n = at.x.shape[0]
    chain, found, limits = at.chain, at.found, at.own_limits
    rope = chain.layer.spec.rope
    if n > CUT and (rope is None or rope.rule not in ("dynamic", "longrope")) and chain.external.mask is None:
        cut = {stage: _cut(tensor, stage, CUT) for stage, tensor in found.items()}
        due = {stage: _cut(getattr(at.reference, stage), stage, CUT) for stage in found}
        if any(
            cut[s].shape != due[s].shape or bool((cut[s] - due[s]).abs().max() > 1e-3 * due[s].abs().max()) for s in cut
        ):
            given = {stage: _cut(tensor, stage, CUT) for stage, tensor in at.usable.items()}
            chain = Chain(at.ours, at.index, chain.x[:CUT], given=given)
            found = cut
            limits = {s: _cut(most.expand_as(getattr(at.reference, s)), s, CUT) for s, most in limits.items()}
    return Search(chain, found, limits, dtype)


def _cut(tensor: Tensor, stage: str, rows: int) -> Tensor:
    return tensor[..., :rows, :rows] if stage == "weights" else tensor[..., :rows, :]


def _explains(causes: Sequence[Cause], at: LayerAt) -> bool:
    """Tell whether causes found in one layer give another's numbers too."""
    chain = at.chain
    settings = chain.right
    for cause in causes:
        for change in cause.changes:
            settings = change.apply(settings)
    try:
        near = NEAR[at.dtype]
        return all(_close(chain.stage(stage, settings), found, near) for stage, found in at.found.items())
    except (RuntimeError, IndexError):
        return False


def _close(made: Tensor, found: Tensor, near: float) -> bool:
    if made.shape != found.shape:
        return False
    size = float(made.nan_to_num(0.0, 0.0, 0.0).abs().max())
    same = (made - found).abs() <= near * size
    return bool((same | (~torch.isfinite(made) & ~torch.isfinite(found))).all())


def _sentence(cause: Cause, at: LayerAt, also: Sequence[int]) -> str:
    """Say one cause, with the number that supports it and the layers that it explains."""
    where = f"layer {at.index}" if not also else f"layers {spans(sorted([at.index, *also]), ' to ')}"
    without = "it is of another shape or not finite" if math.isinf(cause.before) else f"it is off by {cause.before:.3g}"
    instead = f"; {cause.instead} would give the same numbers here" if cause.instead else ""
    return (
        f"your attention has {cause.what} ({where}: with that the right steps give your {name_of(cause.stage)} to "
        f"{cause.after:.1e}, without it {without}{instead})"
    )


def same_in_another_layout(wrong: Sequence[LayerAt], checks: Sequence[StepCheck]) -> tuple[str, ...] | None:
    """Say how queries, keys or values stand in another layout, where weights and output are the model's all the same.

    Args:
        wrong: the layers that differ.
        checks: all comparisons.

    Returns:
        A sentence for each difference of layout; None where something else differs, or nothing shows that it is right.
    """
    sentences: list[str] = []
    for at in wrong:
        of_layer = {check.stage: check for check in checks if check.layer == at.index}
        bad = [stage for stage, check in of_layer.items() if not check.ok]
        if set(bad) & {"weights", "output", "input"} or not {"weights", "output"} & set(of_layer):
            return None
        if {"value", "context"} & set(bad) and "output" not in of_layer:
            return None
        for stage in bad:
            how = _layout(at.found[stage], getattr(at.reference, stage), at.limits[stage].most)
            if how is None:
                return None
            same = "weights are" if "weights" in of_layer else "output is"
            sentences.append(f"your {name_of(stage)} {how}, and your {same} the model's all the same")
    return tuple(dict.fromkeys(sentences))


def _layout(found: Tensor, due: Tensor, most: Tensor) -> str | None:
    """Say how one stage is the other in another layout: dimensions of each head in another order, or a factor."""
    if found.shape != due.shape or not torch.isfinite(found).all():
        return None
    due = due.float()
    factor = float((found * due).sum() / due.square().sum())
    scaled = not math.isclose(factor, 1.0, rel_tol=1e-3)
    if factor and scaled and bool(((found - factor * due).abs() <= most * max(1.0, abs(factor))).all()):
        return f"is the model's times {factor:.6g}"
    a, b = found.transpose(0, 1).flatten(0, 1).T, due.transpose(0, 1).flatten(0, 1).T  # [d, n·h]
    order = torch.cdist(a, b).argmin(1)
    d = len(order)
    moved = order.tolist() != list(range(d))
    if moved and len(set(order.tolist())) == d and float((a - b[order]).abs().max()) <= float(most.max()):
        half = torch.arange(d).view(2, -1).T.flatten() if d % 2 == 0 else order
        if torch.equal(order, half):
            return "has each head's dimensions interleaved (Meta's order)"
        if torch.equal(order, half.argsort()):
            return "has each head's dimensions parted (halves, where the model has pairs)"
        return "has each head's dimensions in another order"
    return None
