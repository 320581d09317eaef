"""Compare somebody's gradients with the model's: those by the input, by each stage handed over, and by each matrix.

Only layers whose output is right are asked: a wrong output has other gradients. What autograd does not lead to (a
returned copy, a matrix that asks for no gradient) is not compared.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from inspector.errors import InspectorError
from inspector.judging.answers import Registered
from inspector.judging.causes import Explained
from inspector.judging.findings import GradientCheck, Power
from inspector.judging.gradient_causes import CUT, ComparedGradients, gradient_cause, gradient_power, parameters_of
from inspector.judging.gradient_mistakes import GRADIENT_MISTAKES
from inspector.judging.gradients import BACKWARDS, cotangent, gradient_limits, gradients_of, wide
from inspector.judging.layer_at import LayerAt
from inspector.judging.layouts import read_alike, read_layout
from inspector.judging.library_modules import modules_of
from inspector.judging.parameter_gradients import Owned, behind, by_matrix, matched, own_parameters
from inspector.model.model import Model
from inspector.verification.compare import STAGES
from reimpl.attention import CausalSelfAttention

MOST_TOKENS = 512  # the passes keep tables n x n in float64


@dataclass
class Gradients:
    """What came of comparing gradients: rows, the cause, which mistakes would have shown, and sentences."""

    checks: list[GradientCheck] = field(default_factory=list)
    explained: Explained = field(default_factory=Explained)
    planted: list[Power] = field(default_factory=list)
    said: list[str] = field(default_factory=list)


def compare_gradients(handed: Any, model: Model, asked: Sequence[LayerAt], dtype: torch.dtype) -> Gradients:
    """Compare the gradients of layers whose output is right.

    Args:
        handed: somebody's attention.
        model: the reference.
        asked: the layers to ask, each right on the whole text.
        dtype: what their code computes in.

    Returns:
        What was found.

    Raises:
        InspectorError: gradients cannot be had of what was handed over, or of so long a text.
    """
    if asked and asked[0].trace.n > MOST_TOKENS:
        raise InspectorError(
            f"gradients=True was asked for {asked[0].trace.n} tokens, and its passes keep tables of all pairs: give at "
            f"most {MOST_TOKENS} tokens, or leave gradients out."
        )
    source = handed
    if isinstance(handed, Registered):
        source = modules_of(model.model, model)
        source.attach(asked[0].trace) if asked else None
    if not hasattr(source, "attached"):
        raise InspectorError(
            "gradients=True needs something to call: hand over a function, a module or a model of torch, not numbers "
            "alone, or leave gradients out."
        )
    made = Gradients()
    kinds: dict[object, ComparedGradients] = {}
    for at in asked:
        compared = _layer(source, at, dtype, made)
        if compared is None:
            continue
        rows = _rows(compared)
        made.checks += rows
        kinds.setdefault((compared.layer.spec, tuple(compared.found)), compared)
        if not made.explained.causes and any(not row.ok for row in rows):
            made.explained = gradient_cause(compared, rows, dtype)
    made.planted = [gradient_power(mistake, list(kinds.values())) for mistake in GRADIENT_MISTAKES] if kinds else []
    made.said = list(dict.fromkeys(made.said))
    return made


def _layer(source: Any, at: LayerAt, dtype: torch.dtype, made: Gradients) -> ComparedGradients | None:
    """Run one layer and its pass back, ours and theirs; None, and why, where they cannot be compared."""
    if at.layer is None:
        made.said.append("gradients were not compared: this model's family is not reimplemented")
        return None
    stages, x = _attached(source, at)
    if "output" not in stages:
        made.said.append("gradients were not compared: they are those of the output, which you did not hand over")
        return None
    layer = at.layer
    exact, output = gradients_of(wide(layer), at.x, at.external)
    if bool(((output - at.reference.output.cpu().double()).abs() > at.limits["output"].most.cpu()).any()):
        made.said.append(f"gradients of layer {at.index} were not compared: our own output is not the model's there")
        return None
    limits = gradient_limits(layer, at.x, exact, max(dtype, at.x.dtype, key=lambda one: torch.finfo(one).eps),
                             at.external)  # fmt: skip
    found = _theirs(stages, x, at, source, layer, exact, made)
    due = {name: exact[name] for name in BACKWARDS} | by_matrix(layer, parameters_of(layer, exact))
    most = {name: limits[name] for name in BACKWARDS}
    spread = {name: limits[name].expand_as(exact[name]).contiguous() for name in exact}
    most |= by_matrix(layer, parameters_of(layer, spread))
    return ComparedGradients(at, layer, found, due, most)


def _attached(source: Any, at: LayerAt) -> tuple[Mapping[str, Tensor], Tensor]:
    """Call somebody's attention with a graph behind its answer, and return it with the input that it hangs on."""
    with torch.inference_mode(False), torch.enable_grad():
        x = at.x.detach().clone().requires_grad_()
        return source.attached(at.index, x), x


def _theirs(
    stages: Mapping[str, Tensor],
    x: Tensor,
    at: LayerAt,
    source: Any,
    layer: CausalSelfAttention,
    exact: Mapping[str, Tensor],
    made: Gradients,
) -> dict[str, Tensor]:
    """Return somebody's gradients in our shapes; by the input always, by what else their graph leads to."""
    heads = layer.spec.heads
    output = stages["output"]
    if not output.requires_grad:
        return {"input": torch.full_like(exact["input"], math.nan)}
    with torch.inference_mode(False), torch.enable_grad():
        read, _ = read_layout("output", output, at.reference.output, heads)
        loss = (read.cpu().double() * cotangent(read)).sum()
    late = layer.query_learned is not None or getattr(layer.projections, "norms_after_rope", False)
    late = late or layer.spec.temperature is not None
    within = [
        stage
        for stage in STAGES
        if stage in stages
        and stage != "output"
        and stages[stage].requires_grad
        and not (late and stage.endswith("_pre"))
        and at.right_as_it_stands(stage)
    ]
    leaves = [leaf for leaf in behind(output) if leaf is not x]
    known = {id(leaf) for leaf in leaves}
    leaves += [one for one in own_parameters(source, at.index) if id(one) not in known]
    asked = [x, *(stages[stage] for stage in within), *leaves]
    given = torch.autograd.grad(loss, asked, allow_unused=True)
    nothing = torch.full_like(exact["input"], math.nan)
    found = {"input": nothing if given[0] is None else given[0].detach().cpu().double()}
    for stage, gradient in zip(within, given[1:], strict=False):
        if gradient is None:
            made.said.append(f"the gradient by your {stage} was not compared: your output does not come from what you "
                             "returned as it (a copy)")  # fmt: skip
            continue
        of_stage = read_alike(stage, gradient.detach(), stages[stage].detach(), getattr(at.reference, stage), heads)
        if of_stage is not None:
            found[stage] = of_stage.cpu().double()
    values = by_matrix(layer, {name: one.detach().cpu().double() for name, one in layer.named_parameters()})
    gradients = by_matrix(layer, parameters_of(layer, exact))
    others = 0
    for leaf, gradient in zip(leaves, given[1 + len(within) :], strict=True):
        match = matched(Owned(leaf, gradient), values, gradients)
        if match is not None:
            found[match[0]] = match[1]
        else:
            others += gradient is not None
    if others:
        made.said.append("gradients of parameters whose numbers are none of the model's were not compared")
    if not leaves:
        made.said.append("your matrices ask for no gradient: theirs were not compared")
    return found


def _rows(compared: ComparedGradients) -> list[GradientCheck]:
    """Compare every gradient there is, from the output backwards, matrices last."""
    ordered = [name for name in BACKWARDS if name in compared.found]
    ordered += [name for name in compared.found if name not in ordered]
    rows = []
    for name in ordered:
        found, due, most = compared.found[name], compared.due[name], compared.limits[name].expand_as(compared.due[name])
        far = (found - due).abs()
        finite = bool(torch.isfinite(far).all())
        worst = int((far / most.clamp_min(1e-45)).nan_to_num(math.inf).argmax())
        place = [int(i) for i in torch.unravel_index(torch.tensor(worst), far.shape)]
        yours, right = float(found.flatten()[worst]), float(due.flatten()[worst])
        rows.append(
            GradientCheck(
                layer=compared.at.index,
                by=name,
                max_abs=float(far.max()) if finite else math.inf,
                tolerance=float(most.flatten()[worst]),
                elements=far.numel(),
                worst=f"{place}: yours {yours:.6g}, the model's {right:.6g}" if finite else "",
                reason=f"as far as rounding moved it, four times over, in {len(BACKWARDS)} steps of the pass"
                if finite
                else CUT,
                ok=finite and bool((far <= most).all()),
            )
        )
    return rows
