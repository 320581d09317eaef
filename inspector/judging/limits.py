"""How far somebody's right attention may be from the model's: for each number its own limit, with the reason.

Three things move the numbers of right code: sums in another order, as in verification's tolerances.py; rounding to the
dtype that it computes in; and rounded angles. An angle is position x frequency, and a frequency computed by another
formula (in float64, by exp and log) is another float32 number, so the angle, and what is turned by it, moves by as much
more as the position is larger. A mistake moves them by more than all three, or does not show: `power` counts which.

Each limit follows the error from where it arises to the stage compared: a score that moves by e moves a weight w by at
most 2·w(1-w)·e, and what the weights move, the context moves by as much as the values are large.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from inspector.capture.records import LayerInfo
from inspector.verification.compare import largest
from inspector.verification.tolerances import sum_rounding
from reimpl.attention import AttentionTrace, CausalSelfAttention, repeat_heads
from reimpl.frequencies import rope_frequencies
from reimpl.rope import split_planes

SPREAD = 4.0  # errors of one kind have either sign: sums of them reach four times their root mean square, no more
EPS = torch.finfo(torch.float32).eps  # angles are float32 in every library


@dataclass(frozen=True)
class Limit:
    """The largest difference allowed of each number of a stage, and why: broadcasts to the stage's shape."""

    most: Tensor
    reason: str


def stage_limits(
    reference: AttentionTrace,
    info: LayerInfo,
    x: Tensor,
    *,
    ours: CausalSelfAttention | None,
    dtype: torch.dtype,
    chained: bool = True,
) -> dict[str, Limit]:
    """Return for each stage how far right code may be from the reference.

    Args:
        reference: the model's numbers of this layer, or, unchained, what ours makes of somebody's own numbers.
        info: what the layer is like.
        x: the attention input [n, m].
        ours: our layer, whose matrices and frequencies make limits tighter; None where the family is not known.
        dtype: what somebody's code computes in; the model's dtype is rounded to as well.
        chained: each stage inherits the errors of those before it; else each starts from the very same numbers.

    Returns:
        Stage -> limit.
    """
    unit_of = max(dtype, reference.value.dtype, key=lambda one: torch.finfo(one).eps)
    unit = torch.finfo(unit_of).eps
    wide = AttentionTrace(**{name: tensor.float() for name, tensor in vars(reference).items()})
    h, n = wide.query.shape[:2]
    project = sum_rounding(unit_of, x.shape[-1])
    sizes = {stage: max(largest(getattr(wide, stage)), _sum_size(ours, stage, x)) for stage in _PROJECTED}
    angles = angle_errors(ours, n, x.device)  # [n, planes or 1]
    worst_angle = angles.amax(-1)  # [n]
    into = f"{x.shape[-1]} products summed in another order"
    names = f"{unit_of} unit {unit:.1e}".removeprefix("torch.")
    start = project if chained else 0.0
    found = {stage: Limit(x.new_tensor(project * sizes[stage]).float(), f"{names}: {into}") for stage in _PROJECTED}

    for stage, before in (("query", "query_pre"), ("key", "key_pre")):
        rows = getattr(wide, stage).abs().amax(-1, keepdim=True)  # [heads, n, 1]
        size = max(largest(getattr(wide, stage)), sizes[before] if chained else 0.0)
        turned = (start + 3 * unit) * size + rows * worst_angle[:, None]
        found[stage] = Limit(
            turned, f"{names}: two products and a sum, and angles that are rounded by up to {_far(worst_angle)}"
        )

    moved = _score_errors(wide, info, angles, ours, unit_of, chained=chained)  # [h, n, 1]
    steep = wide.weights * (1 - wide.weights).clamp_min(0) * torch.expm1(2 * moved).clamp_max(1.0)  # [h, n, s]
    weighed = steep + unit
    found["weights"] = Limit(
        weighed, f"{names}: {info.d_head} products, scores that may move by {float(moved.max()):.1e}"
    )
    values = repeat_heads(wide.value.abs(), h)  # [h, s, d]
    summed = sum_rounding(unit_of, n) * (wide.weights @ values)
    context = summed + start * sizes["value"]
    if chained:
        context = context + weighed @ values
    found["context"] = Limit(context + unit * sizes["value"], f"{names}: {n} weighted values")
    found["output"] = _output_limit(wide, found["context"].most, ours, unit_of, names, chained=chained)
    return found


_PROJECTED = ("query_pre", "key_pre", "value")


def angle_errors(ours: CausalSelfAttention | None, n: int, device: torch.device) -> Tensor:
    """Return how far each plane's angle may be off at each position, in radians [n, planes]; one plane where unknown.

    A frequency f = exp(-u) is rounded when it is computed, by exp and log by u units more, and its product with the
    position once again: position x f x (2 + u) units.

    Args:
        ours: our layer; None where the family is not known.
        n: tokens.
        device: where to compute.
    """
    speeds = torch.ones(1, device=device)
    if ours is not None:
        if ours.spec.rope is None:
            return torch.zeros(n, 1, device=device)
        speeds = rope_frequencies(ours.spec.rope, n)[0].to(device)
    units = 2 - speeds.clamp(1e-30, 1.0).log()
    return torch.arange(n, device=device)[:, None] * (speeds * units * EPS)[None, :]


def _score_errors(
    at: AttentionTrace,
    info: LayerInfo,
    angles: Tensor,
    ours: CausalSelfAttention | None,
    dtype: torch.dtype,
    *,
    chained: bool,
) -> Tensor:
    """Return how far the scores of each query may move [h, n, 1]: by sums, and by what came before them."""
    h = at.query.shape[0]
    key = repeat_heads(at.key, h)
    products = (at.query.square() @ key.square().transpose(-1, -2)).sqrt().amax(-1, keepdim=True)  # [h, n, 1]
    moved = SPREAD * sum_rounding(dtype, info.d_head) * products
    if chained:
        lengths = at.query.norm(dim=-1, keepdim=True), key.norm(dim=-1).amax(-1)[:, None, None]
        unit = torch.finfo(dtype).eps
        flat = [(sum_rounding(dtype, 1) + 2 * unit) * largest(t) for t in (at.query, at.key)]
        moved = moved + SPREAD * (flat[0] * lengths[1] + flat[1] * lengths[0])
        if angles.shape[-1] > 1 and ours is not None and ours.spec.rope is not None:
            moved = moved + _by_planes(at.query, key, angles, ours)
        else:
            moved = moved + lengths[0] * lengths[1] * angles.amax(-1)[:, None]
    return moved * abs(info.scale)


def _by_planes(query: Tensor, key: Tensor, angles: Tensor, ours: CausalSelfAttention) -> Tensor:
    """Return how far rounded angles may move the products of each query [h, n, 1], summed plane by plane."""
    rope = ours.spec.rope
    assert rope is not None  # noqa: S101  (asked before)
    sizes = []
    for x in (query, key):
        turning = x[..., -rope.dim :] if rope.last else x[..., : rope.dim]
        sizes.append(torch.hypot(*split_planes(turning, rope.style)))  # [h, n, planes]
    moved: Tensor = (sizes[0] * sizes[1].amax(-2, keepdim=True) * angles).sum(-1, keepdim=True)
    return moved


def _output_limit(
    at: AttentionTrace,
    context: Tensor,
    ours: CausalSelfAttention | None,
    dtype: torch.dtype,
    names: str,
    *,
    chained: bool,
) -> Limit:
    """Return the limit of the output [n, m]: products with W_o, of head after head if somebody sums them so."""
    width = at.context.shape[0] * at.context.shape[-1]
    size = largest(at.output)
    reason = f"{names}: {width} products summed in another order"
    if ours is None or ours.output_norm is not None or ours.o_proj.weight.shape[1] != width:
        inherited = float(context.max()) / max(largest(at.context), 1e-30) if chained else 0.0
        return Limit(at.output.new_tensor((sum_rounding(dtype, width) + inherited) * size), reason)
    squared = ours.o_proj.weight.float().square().T  # [h·d, m]
    joined = at.context.transpose(0, 1).flatten(1)
    sums = SPREAD * sum_rounding(dtype, width) * (joined.square() @ squared).sqrt()
    # The context's limit is the largest error already: its sum over dimensions of either sign is their root sum square.
    inherited_of = (context.expand_as(at.context).transpose(0, 1).flatten(1).square() @ squared).sqrt()
    return Limit(sums + (inherited_of if chained else 0.0) + torch.finfo(dtype).eps * size, reason)


def _sum_size(ours: CausalSelfAttention | None, stage: str, x: Tensor) -> float:
    """Return how large the sums behind a projected stage are on their way, where they may cancel in the end."""
    if ours is None or ours.spec.latent is not None or ours.spec.shares is not None or x.shape[-1] != ours.spec.d_input:
        return 0.0
    norm = {"query_pre": ours.spec.query_norm, "key_pre": ours.spec.key_norm}.get(stage)
    matrices = ours.projections.matrices()
    place = {"query_pre": 0, "key_pre": 1, "value": 2}[stage]
    if norm is not None or place >= len(matrices):
        return 0.0
    factor = (ours.spec.query_factor, ours.spec.key_factor, ours.spec.value_factor)[place]
    return float((x.float().square() @ matrices[place].float().square().T).max().sqrt()) * abs(factor)


def _far(angle: Tensor) -> str:
    return f"{float(angle.max()):.1e} radians at the last position" if math.isfinite(float(angle.max())) else "any"
