"""From what was compared to a verdict: which word, which step comes first, and what to do next."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from inspector.judging.causes import Explained
from inspector.judging.findings import LEAST_SHOWN, LEAST_SHOWN_IN_HALF, GradientCheck, Power, StepCheck, Verdict, Way
from inspector.judging.layer_at import STEP_OF
from inspector.judging.stage_check import HALF


def verdict_of(
    checks: Sequence[StepCheck],
    ways: Sequence[Way],
    gradients: Sequence[GradientCheck],
    planted: Sequence[Power],
    *,
    in_another_layout: bool,
    dtype: torch.dtype,
    models_dtype: torch.dtype,
    n: int,
) -> Verdict:
    """Choose the verdict; no wider than what was compared.

    Args:
        checks: the stages that were compared.
        ways: the ways of giving the text.
        gradients: the gradients that were compared.
        planted: which known mistakes would have shown.
        in_another_layout: what differs is but the layout of queries and keys.
        dtype: what somebody's code computes in.
        models_dtype: what the model computes in.
        n: tokens.

    Returns:
        The verdict.
    """
    if any(way.ok is False for way in ways) or (any(not check.ok for check in checks) and not in_another_layout):
        return "different"
    if any(not check.ok for check in gradients):
        return "different"
    whole = [row for row in planted if row.applies and row.way == "whole"]
    shown = sum(row.shown for row in whole)
    stages = {check.stage for check in checks}
    least = LEAST_SHOWN_IN_HALF if dtype in HALF else LEAST_SHOWN
    enough = shown >= least * len(whole) if whole else "output" in stages and n > 1
    if not checks or not enough:
        return "not shown"
    if in_another_layout:
        return "right, in another layout"
    coarser = torch.finfo(dtype).eps > torch.finfo(models_dtype).eps
    if not coarser or dtype not in HALF:
        return "right"
    return "right to bfloat16" if dtype == torch.bfloat16 else "right to float16"


def advice_on(verdict: Verdict, name: str) -> list[str]:
    """Say how to see more where limits are those of half precision.

    Args:
        verdict: what came of it.
        name: the model's.
    """
    if not verdict.startswith("right to"):
        return []
    half = verdict.removeprefix("right to ")
    return [
        f"Limits are those of {half}: to see more, judge against the model in the same dtype, "
        f'load("{name}", dtype="{half}").'
    ]


def first_step(
    verdict: Verdict,
    checks: Sequence[StepCheck],
    ways: Sequence[Way],
    gradients: Sequence[GradientCheck],
    explained: Explained,
) -> str | None:
    """Name the first step that differs: the cause's, where it is known; else that of the first stage that differs.

    Args:
        verdict: what came of it.
        checks: the stages that were compared.
        ways: the ways of giving the text.
        gradients: the gradients that were compared.
        explained: the cause.
    """
    if verdict != "different":
        return None
    first = next((check for check in checks if not check.ok), None)
    if first is not None:
        return "input" if first.stage == "input" else explained.step or first.step
    way = next((way for way in ways if way.ok is False), None)
    if way is not None:
        return explained.step or STEP_OF.get(way.stage)  # none where the call itself failed
    wrong = next((check for check in gradients if not check.ok), None)
    return explained.step or (STEP_OF.get(wrong.by) if wrong else None)
