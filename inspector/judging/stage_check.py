"""Compare one stage with what it should be, each number with its own limit, and say what was found in words."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from inspector.judging.findings import Step, StepCheck
from inspector.judging.limits import Limit

HALF = (torch.bfloat16, torch.float16)


def compared(layer: int, stage: str, step: Step, found: Tensor, due: Tensor, limit: Limit) -> StepCheck:
    """Compare one stage with what it should be, each number with its own limit.

    Args:
        layer: the layer's number.
        stage: what is compared.
        step: the step that makes it.
        found: somebody's numbers.
        due: the model's.
        limit: how far each may be off.

    Returns:
        What was found, at the element that is most over its limit.
    """
    if found.shape != due.shape:
        return StepCheck(
            layer,
            stage,
            step,
            math.inf,
            0.0,
            found.numel(),
            due.numel(),
            "",
            _shape_sentence(found, due, stage),
            ok=False,
        )
    finite = torch.isfinite(found)
    if not finite.all():
        count = int((~finite).sum())
        return StepCheck(
            layer, stage, step, math.inf, 0.0, count, found.numel(), "", _not_finite(finite, stage), ok=False
        )
    wide = due.to(found.dtype)
    far, most = (found - wide).abs(), limit.most.expand_as(wide)
    ratio = far / most.clamp_min(1e-45)
    worst = int(ratio.argmax())
    place = [int(i) for i in torch.unravel_index(torch.tensor(worst), ratio.shape)]
    return StepCheck(
        layer=layer,
        stage=stage,
        step=step,
        max_abs=float(far.max()),
        tolerance=float(most.flatten()[worst]),
        differing=int((found != wide).sum()),
        elements=found.numel(),
        worst=_place(place, stage, float(found.flatten()[worst]), float(wide.flatten()[worst])),
        reason=limit.reason,
        ok=bool((far <= most).all()),
    )


def _place(place: list[int], stage: str, found: float, due: float) -> str:
    names = {3: ("head", "token", "key" if stage == "weights" else "dimension"), 2: ("token", "dimension")}[len(place)]
    at = ", ".join(f"{name} {number}" for name, number in zip(names, place, strict=True))
    return f"{at}: yours {found:.6g}, the model's {due:.6g}"


def _shape_sentence(found: Tensor, due: Tensor, stage: str) -> str:
    sizes = f"shape {list(found.shape)} where the model has {list(due.shape)}"
    if found.ndim != due.ndim:
        return sizes
    tokens = -2 if stage != "weights" else -1
    others = all(a == b for i, (a, b) in enumerate(zip(found.shape, due.shape, strict=True)) if i != due.ndim + tokens)
    if stage == "weights" and found.shape[:-1] == due.shape[:-1] and found.shape[-1] == due.shape[-1] + 1:
        return f"{sizes}: one column more than there are keys; is the sinks' column not cut off?"
    if others and stage != "weights":
        more = found.shape[tokens] - due.shape[tokens]
        bos = "; is there a second beginning-of-sequence token?" if more == 1 else ""
        return f"{sizes}: {found.shape[tokens]} tokens where the prompt has {due.shape[tokens]}{bos}"
    return sizes


def _not_finite(finite: Tensor, stage: str) -> str:
    """Say where numbers are not finite: in which rows, of which heads."""
    bad = ~finite
    rows = sorted({int(i) for i in bad.nonzero()[:, -2]})
    text = f"{int(bad.sum())} numbers that are not finite, in rows (tokens) {_some(rows, bad.shape[-2])}"
    if bad.ndim == 3:
        heads = sorted({int(i) for i in bad.nonzero()[:, 0]})
        text += f" of heads {_some(heads, bad.shape[0])}"
    if rows == [0] and stage in ("weights", "context", "output"):
        text += ": the first query may look at no key at all; does your mask hide each token from itself?"
    return text


def _some(numbers: list[int], of: int) -> str:
    if len(numbers) == of:
        return f"all {of}"
    return ", ".join(map(str, numbers[:6])) + (f" and {len(numbers) - 6} more" if len(numbers) > 6 else "")


def rounded_to(found: Mapping[str, Tensor], dtypes: Mapping[str, torch.dtype]) -> torch.dtype | None:
    """Return the half precision that somebody's code computes in: that of the first stage's numbers, if they fit one.

    Args:
        found: somebody's stages, in order.
        dtypes: in which dtype they came.
    """
    if not found:
        return None
    stage, tensor = next(iter(found.items()))
    if dtypes[stage] in HALF:
        return dtypes[stage]
    finite = tensor[torch.isfinite(tensor)]
    if finite.numel() < 16:
        return None
    return next(
        (half for half in HALF if torch.equal(finite.to(half).to(finite.dtype), finite) and bool(finite.any())), None
    )
