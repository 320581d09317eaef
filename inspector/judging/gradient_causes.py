"""Why gradients differ, and which mistakes of a backward pass would have shown: each is planted and compared."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from inspector.judging.causes import Explained
from inspector.judging.findings import GRADIENTS, GradientCheck, Power
from inspector.judging.gradient_mistakes import GRADIENT_MISTAKES, GradientMistake
from inspector.judging.gradients import BACKWARDS, gradients_of, wide
from inspector.judging.layer_at import LayerAt
from inspector.judging.parameter_gradients import by_matrix
from inspector.judging.search import CLOSER, NEAR
from reimpl.attention import CausalSelfAttention

KEPT = 64  # tokens up to which gradients under mistakes are kept, since they are asked for twice
CUT = "no gradient comes back from your output: it is cut from autograd's graph (detach, no_grad, or a copy)"


@dataclass(frozen=True)
class ComparedGradients:
    """One layer's gradients: somebody's, in our shapes, beside the model's, by the names that a report uses."""

    at: LayerAt
    layer: CausalSelfAttention
    found: dict[str, Tensor]
    due: dict[str, Tensor]
    limits: dict[str, Tensor]
    made: dict[str, dict[str, Tensor]] = field(default_factory=dict)  # under mistakes, of short texts


def parameters_of(layer: CausalSelfAttention, numbers: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return what belongs to a layer's parameters, by their names."""
    return {name: numbers[name] for name, _ in layer.named_parameters()}


def _made_by(mistake: GradientMistake, compared: ComparedGradients) -> dict[str, Tensor]:
    """Return the gradients of a layer with this mistake, by the names that a report uses."""
    if mistake.name in compared.made:
        return compared.made[mistake.name]
    layer = compared.layer
    made, _ = gradients_of(wide(layer, mistake.kind), compared.at.x, compared.at.external)
    if mistake.after is not None:
        made = {name: mistake.after(name, gradient, compared.at.x.shape[0]) for name, gradient in made.items()}
    named = {name: made[name] for name in BACKWARDS} | by_matrix(layer, parameters_of(layer, made))
    if compared.at.x.shape[0] <= KEPT:
        compared.made[mistake.name] = named
    return named


def _apart(found: Mapping[str, Tensor], made: Mapping[str, Tensor], due: Mapping[str, Tensor]) -> float:
    """Return the largest difference of any gradient, each over the larger of its own and the right one's numbers."""
    return max(
        float(
            (found[n] - made[n]).abs().max() / torch.maximum(due[n].abs().max(), made[n].abs().max()).clamp_min(1e-30)
        )
        for n in found
    )


def gradient_cause(compared: ComparedGradients, rows: Sequence[GradientCheck], dtype: torch.dtype) -> Explained:
    """Find the mistake under which all of a layer's gradients come out."""
    if any(math.isinf(row.max_abs) for row in rows):
        return Explained((CUT,), None)
    before = _apart(compared.found, compared.due, compared.due)
    best: tuple[float, GradientMistake] | None = None
    for mistake in GRADIENT_MISTAKES:
        if mistake.unless(compared.layer.spec):
            continue
        after = _apart(compared.found, _made_by(mistake, compared), compared.due)
        if after <= NEAR[dtype] and after <= CLOSER * before and (best is None or after < best[0]):
            best = after, mistake
    where = f"layer {compared.at.index}"
    if best is not None:
        after, mistake = best
        cause = (
            f"your backward pass has {mistake.meaning} ({where}: with that your gradients come out to {after:.1e} of "
            f"the largest, without it they are off by {before:.3g})"
        )
        return Explained((cause,), mistake.step)
    return Explained(tuple(_factors(compared, rows, NEAR[dtype], where)))


def _factors(compared: ComparedGradients, rows: Sequence[GradientCheck], near: float, where: str) -> list[str]:
    """Say which gradients are the model's times a number, 0 included."""
    said = []
    for row in rows:
        if row.ok:
            continue
        found, due = compared.found[row.by], compared.due[row.by]
        factor = float((found * due).sum() / due.square().sum().clamp_min(1e-300))
        if math.isclose(factor, 1.0, rel_tol=10 * near):
            continue
        if float((found - factor * due).abs().max()) <= near * float(due.abs().max()):
            none = abs(factor) < near
            how = "no gradient" if none else f"a gradient that is the model's times {factor:.6g}"
            said.append(f"your backward pass gives {row.by} {how} ({where})")
    return said[:3]


def gradient_power(mistake: GradientMistake, kinds: Sequence[ComparedGradients]) -> Power:
    """Plant one mistake in each kind of layer until it shows at what was compared."""
    why, applies = "", False
    for compared in kinds:
        reason = mistake.unless(compared.layer.spec)
        if reason:
            why = why or reason
            continue
        made = _made_by(mistake, compared)
        for name in compared.found:
            if bool(((made[name] - compared.due[name]).abs() > compared.limits[name]).any()):
                index = compared.at.index
                return Power(mistake.name, mistake.meaning, True, True, index, name, GRADIENTS, "")
        applies = applies or any(bool((made[n] != compared.due[n]).any()) for n in made)
        why = "the gradients that were compared do not show it"
    return Power(mistake.name, mistake.meaning, applies, False, None, "", GRADIENTS, why)
